// Byte sequences: owned, viewed and fixed-size, and their hexadecimal form.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;
using ByteSpan = std::span<std::uint8_t>;
template <std::size_t N>
using ByteArray = std::array<std::uint8_t, N>;

inline ByteView as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(ByteView view) {
    return {view.begin(), view.end()};
}

inline void append(Bytes& out, ByteView view) {
    out.insert(out.end(), view.begin(), view.end());
}

// Copies the first N bytes of `view`, which must hold at least N.
template <std::size_t N>
ByteArray<N> first_bytes(ByteView view) {
    ByteArray<N> out;
    std::memcpy(out.data(), view.data(), N);
    return out;
}

// Little-endian loads and stores; the caller has checked the length.
template <typename T>
T load_le(const std::uint8_t* at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | (static_cast<T>(at[i]) << (8 * i)));
    return value;
}
template <typename T>
void store_le(std::uint8_t* at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

// Lower-case hexadecimal, two digits a byte.
std::string to_hex(ByteView bytes);
// nullopt for an odd length or a character that is no hexadecimal digit; both cases of letters are read.
std::optional<Bytes> from_hex(std::string_view text);

}  // namespace shoal
