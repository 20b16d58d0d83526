// Time as an argument. Nothing on floors 0 to 4 reads a clock; the driver passes the time in.
#pragma once

#include <chrono>
#include <cstdint>

namespace shoal {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;

// Tag clocks without now(): a time point can be passed, compared and added to, but not read from the machine.
struct MonotonicTag {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    static constexpr bool is_steady = true;
};
struct WallTag {
    using duration = std::chrono::seconds;
    using rep = duration::rep;
    using period = duration::period;
    static constexpr bool is_steady = false;
};

// Monotonic; the zero has no meaning. For timers.
using Instant = std::chrono::time_point<MonotonicTag, Duration>;
// Seconds since 1970 UTC. For what is signed and expires.
using UnixTime = std::chrono::time_point<WallTag, std::chrono::seconds>;

struct Now {
    Instant mono;
    UnixTime wall;
};

inline std::uint64_t unix_seconds(UnixTime t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }
// A wire value beyond the year 10000 is pinned there, so that adding a duration cannot overflow.
inline UnixTime from_unix_seconds(std::uint64_t s) {
    constexpr std::uint64_t year_10000 = 253'402'300'800;
    return UnixTime(std::chrono::seconds(s < year_10000 ? s : year_10000));
}
inline double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline Duration from_seconds(double s) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s)); }

}  // namespace shoal
