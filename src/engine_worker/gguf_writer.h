// The header of a GGUF (version 3) that is made, not read: metadata, then the table of tensors.
//
// Pure. Keys come out sorted, so the same content is the same bytes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "engine_worker/gguf.h"

namespace shoal::engine_worker {

// Numbers of the format for types of values.
enum class GgufType : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    text = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};
// Bytes of a value; 0 for text, arrays and what does not exist.
std::size_t gguf_value_bytes(GgufType type);

class GgufWriter {
public:
    static constexpr std::uint64_t alignment = 32;

    // A later value of a key replaces the earlier one.
    void text(const std::string& key, std::string_view value);
    void u32(const std::string& key, std::uint32_t value);
    void f32(const std::string& key, float value);
    void u32s(const std::string& key, const std::vector<std::uint32_t>& values);
    // Type and value as they stand in another file.
    void raw(const std::string& key, Bytes value) { values_[key] = std::move(value); }

    // The next tensor. Its place in the data section is the answer; the section's own place is finish().size().
    std::uint64_t tensor(const std::string& name, std::uint32_t type, const std::vector<std::uint64_t>& dims,
                         std::uint64_t bytes);

    // The header, filled up to the alignment.
    Bytes finish() const;
    // Of the data section, its last padding included.
    std::uint64_t data_bytes() const { return data_bytes_; }

private:
    std::map<std::string, Bytes> values_;
    Bytes tensors_;
    std::uint64_t tensor_count_ = 0;
    std::uint64_t data_bytes_ = 0;
};

}  // namespace shoal::engine_worker
