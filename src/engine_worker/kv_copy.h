// What one sequence holds in the library's memory: its keys and values, a row a token and layer, out of the library's
// own bytes and back into them.
//
// Rules
//   1. The library believes what it is given, so bytes that came from elsewhere never reach it as they are: blank()
//      makes all of them but the rows, and only rows of exactly the right size are filled in.
//   2. What the library gave is read strictly, to its last byte. Memory of any other form (a second cache for sliding
//      windows, recurrent states, values that lie transposed) is unsupported: a part of it would be silently wrong.
//   3. Rows come out in the order of their positions, wherever they lie.
//
// Layout (libllama 0.7, little-endian), of one sequence:
//     magic:u32  sequence:i32  streams:u32 = 1  cells:u32  { position:i32 sequences:u32 = 1 sequence:i32 }
//     transposed:u32 = 0  layers:u32  turned_keys:u32  turned_values:u32
//     { type:i32 row:u64 rows }  layers times the keys, then as often the values; no values at all where the keys hold
//     them as well (multi-head latent attention)
//
// Holds as much as the text of the prompt: wiped at its end. Pure. O(tokens) beside the copying.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/result.h"
#include "wire/kv_shape.h"

namespace shoal::engine_worker {

using wire::KvLayer;
using wire::KvRows;
using wire::KvRowType;
using wire::KvShape;

enum class KvSide : std::uint8_t { keys, values };

class KvCopy {
public:
    // Errc::unsupported: rule 2; the message says where it differs. Errc::invalid: positions are missing.
    static Result<KvCopy> read(Bytes blob);
    // The library's bytes for the positions 0 to tokens - 1, with rows of zeros.
    static KvCopy blank(KvShape shape, std::uint32_t tokens);
    ~KvCopy();
    KvCopy(KvCopy&&) noexcept = default;
    KvCopy& operator=(KvCopy&& other) noexcept;

    const KvShape& shape() const { return shape_; }
    std::uint32_t tokens() const { return tokens_; }
    // Rows from that of `token` on, as many as lie together: at least one, where there are any.
    ByteView rows(std::size_t layer, KvSide side, std::uint32_t token) const;
    // All rows of a blank one, to be filled.
    ByteSpan rows_to_fill(std::size_t layer, KvSide side);
    // Of one token, its keys and values layer by layer: token_bytes() of the shape.
    void append_token(Bytes& out, std::uint32_t token) const;
    // As many rows of that form as it has tokens.
    static KvCopy of_tokens(KvShape shape, ByteView rows);
    // For the library.
    ByteView blob() const { return blob_; }

private:
    // Where the rows of a layer begin in the blob.
    struct Place {
        std::size_t keys = 0, values = 0;
    };
    KvCopy() = default;
    const KvRows& form(std::size_t layer, KvSide side) const;
    std::size_t begin(std::size_t layer, KvSide side) const;

    Bytes blob_;
    KvShape shape_;
    std::uint32_t tokens_ = 0;
    std::vector<Place> places_;         // of each layer
    std::vector<std::uint32_t> order_;  // of each position, its cell; empty: they lie in order
};

}  // namespace shoal::engine_worker
