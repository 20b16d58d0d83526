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

inline std::uint64_t unix_seconds(UnixTime t) {
    return static_cast<std::uint64_t>(t.time_since_epoch().count());
}
// A wire value beyond the year 2200 is pinned there. Rationale: 64 bits of nanoseconds reach the year 2262, so a time
// of any peer can be subtracted from another, and a Duration added to it, without overflow.
inline constexpr std::uint64_t unix_seconds_max = 7'258'118'400;
inline UnixTime from_unix_seconds(std::uint64_t s) {
    return UnixTime(std::chrono::seconds(s < unix_seconds_max ? s : unix_seconds_max));
}
inline double to_seconds(Duration d) {
    return std::chrono::duration<double>(d).count();
}
inline Duration from_seconds(double s) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

}  // namespace shoal
