// Fields that more than one format has. Internal to this room.
#pragma once

#include <string>

#include "base/codec.h"
#include "base/time.h"

namespace shoal::wire {

// Seconds since 1970 as u64. Errc::malformed beyond the year 2200: from_unix_seconds would pin the value there, and
// two encodings of one time would exist. A short read gives zero here and is told by the Reader's finish().
inline Result<UnixTime> read_time(Reader& in, std::string_view what) {
    const std::uint64_t raw = in.u64();
    const UnixTime time = from_unix_seconds(raw);
    if (unix_seconds(time) != raw) return fail(Errc::malformed, std::string(what) + ": a time beyond the year 2200");
    return time;
}

// One byte that numbers an enumeration from zero to `max`.
template <typename Enum>
Result<Enum> read_enum(Reader& in, std::uint8_t max, std::string_view what) {
    const std::uint8_t raw = in.u8();
    if (raw > max) return fail(Errc::malformed, std::string(what) + ": unknown value " + std::to_string(raw));
    return static_cast<Enum>(raw);
}

// One byte, 0 or 1.
inline Result<bool> read_bool(Reader& in, std::string_view what) {
    const std::uint8_t raw = in.u8();
    if (raw > 1) return fail(Errc::malformed, std::string(what) + ": neither 0 nor 1");
    return raw == 1;
}

}  // namespace shoal::wire
