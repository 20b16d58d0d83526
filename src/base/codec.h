// Writer and Reader: the two ends of every wire format. Little-endian, no padding, bounded.
//
// A Reader never reads past its end: the first short read marks it failed, later reads give zeros, and finish() tells.
// So a decoder reads all its fields in a row and asks once.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace shoal {

class Writer {
public:
    Writer() = default;
    explicit Writer(std::size_t reserve) { out_.reserve(reserve); }

    void u8(std::uint8_t v) { out_.push_back(v); }
    void u16(std::uint16_t v) { integer(v); }
    void u32(std::uint32_t v) { integer(v); }
    void u64(std::uint64_t v) { integer(v); }
    void f32(float v) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &v, sizeof bits);
        integer(bits);
    }
    void bytes(ByteView view) { append(out_, view); }
    void zeros(std::size_t count) { out_.resize(out_.size() + count); }
    // A length as u16 or u32, then the bytes. The caller keeps to the field's limit.
    void bytes_u16(ByteView view) {
        ASSERT(view.size() <= UINT16_MAX);
        u16(static_cast<std::uint16_t>(view.size()));
        bytes(view);
    }
    void bytes_u32(ByteView view) {
        ASSERT(view.size() <= UINT32_MAX);
        u32(static_cast<std::uint32_t>(view.size()));
        bytes(view);
    }
    void text_u16(std::string_view text) { bytes_u16(as_bytes(text)); }
    void text_u32(std::string_view text) { bytes_u32(as_bytes(text)); }

    std::size_t size() const { return out_.size(); }
    ByteView view() const { return out_; }
    Bytes take() { return std::move(out_); }

private:
    template <typename T>
    void integer(T v) {
        const std::size_t at = out_.size();
        out_.resize(at + sizeof(T));
        store_le<T>(out_.data() + at, v);
    }
    Bytes out_;
};

class Reader {
public:
    explicit Reader(ByteView input) : rest_(input) {}

    std::uint8_t u8() { return integer<std::uint8_t>(); }
    std::uint16_t u16() { return integer<std::uint16_t>(); }
    std::uint32_t u32() { return integer<std::uint32_t>(); }
    std::uint64_t u64() { return integer<std::uint64_t>(); }
    float f32() {
        const std::uint32_t bits = u32();
        float v = 0;
        std::memcpy(&v, &bits, sizeof v);
        return v;
    }
    // A view into the input: valid as long as the input is. Empty when too short.
    ByteView bytes(std::size_t count) {
        if (count > rest_.size()) {
            failed_ = true;
            return {};
        }
        const ByteView out = rest_.first(count);
        rest_ = rest_.subspan(count);
        return out;
    }
    template <std::size_t N>
    ByteArray<N> array() {
        const ByteView view = bytes(N);
        return view.size() == N ? first_bytes<N>(view) : ByteArray<N>{};
    }
    // A length, refused above `max`, then that many bytes.
    ByteView bytes_u16(std::size_t max) { return bounded(u16(), max); }
    ByteView bytes_u32(std::size_t max) { return bounded(u32(), max); }
    std::string text_u16(std::size_t max) { return std::string(as_text(bytes_u16(max))); }
    std::string text_u32(std::size_t max) { return std::string(as_text(bytes_u32(max))); }
    // Reserved bytes and padding must be zero, so that they can mean something later.
    void expect_zeros(std::size_t count) {
        for (std::uint8_t byte : bytes(count)) {
            if (byte != 0) failed_ = true;
        }
    }

    bool failed() const { return failed_; }
    std::size_t remaining() const { return rest_.size(); }
    ByteView rest() const { return rest_; }
    // Everything was there and nothing is left over. `what` names the message in the error (Errc::malformed).
    Status finish(std::string_view what) const;
    // As finish, but bytes may be left.
    Status check(std::string_view what) const;

private:
    template <typename T>
    T integer() {
        const ByteView view = bytes(sizeof(T));
        return view.size() == sizeof(T) ? load_le<T>(view.data()) : T{0};
    }
    ByteView bounded(std::size_t count, std::size_t max) {
        if (count > max) {
            failed_ = true;
            return {};
        }
        return bytes(count);
    }
    ByteView rest_;
    bool failed_ = false;
};

}  // namespace shoal
