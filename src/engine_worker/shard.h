// Cuts a stage out of a model: blocks [a, b) as an ordinary GGUF of b - a blocks, which the library loads like any
// other. Or one rank's part of such a stage: as many blocks, but fewer heads and a narrower feed-forward layer in each.
//
// Nothing is copied: a Shard is a new header and a list of where its tensors lie in the whole file. It can be read at
// any offset, so the library loads from it directly (stage.h); or be written out (write_shard).
//
// Rules
//   1. Blocks are numbered from 0 again, and what the library derives from a block's number is written out: arrays with
//      a value a block are sliced, leading dense blocks are counted anew, the sliding-window pattern is an array.
//   2. No stage has a tokenizer: the coordinator has it, from the header of the whole file.
//   3. Only the last stage has the head and the real vocabulary, or none has: then the head is apart (head.h). The
//   others have a vocabulary of zeros, as small as the
//      library takes it, and are fed with rows: the first stage too (embedding.h), so that no stage needs the
//      embedding. Rationale: embedding and head are a fifth of a small model, and logits of a vocabulary nobody wants
//      cost time.
//   4. A rank of n has the heads and the feed-forward rows that are its own, an n-th of each, and of the two matrices
//      behind them (attn_output, ffn_down) the columns that these meet. Their products are parts of a sum, which the
//      stage has made before it goes on (stage.h). Norms and biases of what is summed are whole at every rank. What
//      does not divide into whole heads and whole blocks of the tensor's type is refused.
//   5. A key with a value a block that we do not know is refused: taken over as it is, it would be silently wrong.
//
// The file is a stranger's. Any bytes give a model whose stages lie inside the file and overlap nowhere, or a plain
// line: Errc::malformed, Errc::unsupported (architecture, features), Errc::invalid (a cut that is not allowed).
// Pure: the file is a function. O(header).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine_worker/gguf.h"
#include "engine_worker/gguf_writer.h"
#include "engine_worker/shard_table.h"

namespace shoal::engine_worker {

// One of those that divide a stage among themselves.
struct Rank {
    std::uint32_t number = 0;
    std::uint32_t count = 1;
};

// What a cut needs to know of the whole model.
struct ModelShape {
    const Architecture* kind = nullptr;
    std::uint32_t layers = 0;
    std::uint32_t width = 0;       // of a row of the hidden state
    std::uint32_t vocabulary = 0;  // tokens
    bool tied = false;             // the embedding is the head, too
    std::vector<bool> slides;      // a block each: looks at a sliding window. Empty: none does
};

class Shard {
public:
    struct Extent {
        std::uint64_t at = 0;  // in the shard
        std::uint64_t bytes = 0;
        std::optional<std::uint64_t> source;  // in the whole file; none: zeros
        // Columns of a matrix: pieces of this many bytes, the same distance from each other. 0: all lies together.
        std::uint64_t piece = 0;
        std::uint64_t stride = 0;
    };

    // From its first block to its last, those that were left out between them included.
    LayerRange range() const { return range_; }
    std::uint32_t blocks() const { return static_cast<std::uint32_t>(blocks_.size()); }
    Rank rank() const { return rank_; }
    const ModelShape& shape() const { return shape_; }
    bool is_first() const { return range_.first == 0; }
    // It gives logits; otherwise the hidden state behind its last block.
    bool has_head() const { return has_head_; }
    // Of the GGUF, and of the tensors in it that are not zeros.
    std::uint64_t bytes() const { return bytes_; }
    std::uint64_t weight_bytes() const { return weight_bytes_; }
    ByteView header() const { return header_; }
    // Ascending, none overlaps; between them is padding.
    std::span<const Extent> extents() const { return extents_; }
    // Fills `out` from `offset`; false past the end or when the whole file cannot be read. O(log tensors + bytes),
    // and a call of the reader for each row of columns.
    bool read(std::uint64_t offset, ByteSpan out) const;

private:
    friend class WholeModel;
    bool read_pieces(const Extent& extent, std::uint64_t from, ByteSpan out) const;

    LayerRange range_;
    std::vector<std::uint32_t> blocks_;  // of the whole model, ascending
    Rank rank_;
    bool has_head_ = false;
    ModelShape shape_;
    Bytes header_;
    std::vector<Extent> extents_;
    std::uint64_t bytes_ = 0;
    std::uint64_t weight_bytes_ = 0;
    ReadAt whole_;
};

class WholeModel {
public:
    // `read` must give the bytes that `gguf` was read from, as long as this and its shards live. `kind` takes the place
    // of the table's entry: for tests, which show that a wrong one is seen.
    static Result<WholeModel> open(Gguf gguf, ReadAt read, const BlockOf& block_of, const Architecture* kind = nullptr);

    const ModelShape& shape() const { return shape_; }
    const Gguf& gguf() const { return gguf_; }
    const ReadAt& read() const { return read_; }
    const GgufTensor& embedding() const { return gguf_.tensors[embedding_]; }
    // With the head where it reaches the last block.
    Result<Shard> cut(LayerRange range) const { return cut(range, range.end == shape_.layers); }
    // For a chain whose head is apart (head.h).
    Result<Shard> cut_without_head(LayerRange range) const { return cut(range, false); }
    // All blocks but `skipped`, with the head: a model that answers worse and sooner (draft_model.h). The first and the
    // last block stay. Errc::invalid.
    Result<Shard> cut_skipping(LayerRange skipped) const;
    // One rank's part of that. Errc::unsupported: the architecture does not divide, by name; or a tensor of another
    // shape. Errc::invalid: not into so many.
    Result<Shard> cut_rank(LayerRange range, Rank rank) const;

    // What a lead reads behind the header: the embedding, the last norm and the head, with their places in the file.
    std::vector<Shard::Extent> ends() const;

    // nullptr: no such tensor.
    const GgufTensor* find_tensor(std::string_view name) const;
    // The f32 under "<architecture>.<name>"; nullopt when there is none. Errc::malformed: something else is there.
    Result<std::optional<float>> real(std::string_view name) const;

private:
    WholeModel() = default;
    Status read_shape();
    Status read_windows();
    Status check_tensors() const;
    std::string key(std::string_view name) const { return gguf_.architecture + "." + std::string(name); }
    const GgufPair* find(const std::string& key) const;
    Result<Shard> cut(LayerRange range, bool with_head) const;
    Result<Shard> cut(std::vector<std::uint32_t> blocks, bool with_head) const;
    Result<Bytes> value(const GgufPair& pair) const;
    // The whole number under "<architecture>.<name>"; nullopt when there is none.
    Result<std::optional<std::uint64_t>> number(std::string_view name) const;
    // The sizes that ranks divide among themselves, of the whole model.
    struct Divided {
        std::uint64_t heads = 0, kv_heads = 0, key = 0, value = 0, inner = 0;
    };
    // What a rank holds of a tensor.
    struct Part {
        std::vector<std::uint64_t> dims;
        Shard::Extent extent;  // its place is still to be set
    };
    Result<Divided> divided(Rank rank) const;
    Result<Part> part(const GgufTensor& tensor, std::string_view rest, const Divided& sizes, Rank rank) const;
    // Under the name of the architecture `as`.
    Status write_metadata(std::span<const std::uint32_t> blocks, bool with_head, std::string_view as,
                          GgufWriter& out) const;
    void write_rank(const Divided& sizes, Rank rank, GgufWriter& out) const;
    Status write_divided(Shard& shard, const Divided& sizes, GgufWriter& out) const;
    Result<Bytes> slice(const GgufPair& pair, Bytes value, std::span<const std::uint32_t> blocks) const;
    void write_blocks(Shard& shard, GgufWriter& out) const;
    void write_others(Shard& shard, GgufWriter& out) const;
    void add(const std::string& name, const GgufTensor& tensor, Shard& shard, GgufWriter& out) const;
    static std::vector<std::uint32_t> blocks_of(LayerRange range);
    Shard begin(std::vector<std::uint32_t> blocks, bool with_head) const;
    static void finish(Shard& shard, const GgufWriter& writer);

    Gguf gguf_;
    ReadAt read_;
    ModelShape shape_;
    std::size_t embedding_ = 0;
    std::uint32_t zero_type_ = 0;  // of tensors that nobody reads
    BlockSize zeros_;
    BlockOf block_of_;
};

// Writes the shard to the descriptor `out`, an empty file; tensors go from `whole`, the descriptor of the whole file,
// inside the kernel where it can. Errc::io.
Status write_shard(const Shard& shard, int whole, int out);

}  // namespace shoal::engine_worker
