// What a sequence holds of the beginning of a prompt, in a form that another engine of the same model can check before
// it uses it. Format: protocol/prefix.md.
//
// Rules
//   1. All bytes but the rows follow from the model and the number of tokens, so the engine that takes a snapshot does
//      not read them: they are those that it would have written itself, or the snapshot is refused.
//   2. Nothing is taken on trust before it is checked: the head against the digest, then each layer against the head.
//      Memory for the rows is there only once the head is right.
//   3. Rows reach the library when all of them are checked, in bytes of our own making (kv_copy.h).
//
// Pure. Linear in the bytes; hashing is most of it. One thread.
#pragma once

#include "crypto/hash.h"
#include "engine_worker/kv_copy.h"

namespace shoal::engine_worker {

using SnapshotDigest = ByteArray<32>;

// The whole of it; it may be above limits::prefix_snapshot_bytes_max.
std::uint64_t snapshot_bytes(const KvShape& shape, std::uint32_t tokens);

// What stands before the rows: the header, and the hash of each layer.
struct SnapshotHead {
    Bytes bytes;
    SnapshotDigest digest() const;
};

// The rows of a snapshot in their order.
class SnapshotRows {
public:
    // Of the first `tokens` of what `copy` has, at least one.
    SnapshotRows(KvCopy copy, std::uint32_t tokens) : copy_(std::move(copy)), tokens_(tokens) {}
    // What comes next: at most `most` bytes, of one layer, and at least one; empty: that was all.
    ByteView next(std::size_t most);
    // Whether the next bytes are a layer's first, or there are none.
    bool at_layer() const { return side_ == KvSide::keys && at_ == 0; }
    const KvShape& shape() const { return copy_.shape(); }
    std::uint32_t tokens() const { return tokens_; }
    std::uint64_t copy_bytes() const { return copy_.blob().size(); }

private:
    KvCopy copy_;
    std::uint32_t tokens_;
    std::size_t layer_ = 0;
    KvSide side_ = KvSide::keys;
    std::size_t at_ = 0;  // bytes of this side of the layer that were given
};

// Makes the head, a part at a time: hashing takes a millisecond for each megabyte.
class SnapshotHashing {
public:
    explicit SnapshotHashing(SnapshotRows rows);
    // Hashes at least one byte and about `bytes`. True: that was the last.
    bool work(std::size_t bytes);
    // Once all is hashed.
    SnapshotHead head() const;
    const SnapshotRows& rows() const { return rows_; }

private:
    SnapshotRows rows_;
    crypto::Blake2b256 layer_;
    Bytes head_;
};

// Of engines that have some of the layers: their hashes of the first `tokens`, and the head of all of them. The number
// of hashes is that of the layers.
Bytes layer_hashes(const KvCopy& copy, std::uint32_t tokens);
SnapshotHead head_of_hashes(const KvShape& shape, std::uint32_t tokens, ByteView hashes);

// A snapshot as it is sent: the head, then the rows.
class SnapshotOutlet {
public:
    SnapshotOutlet(Bytes head, SnapshotRows rows) : head_(std::move(head)), rows_(std::move(rows)) {}
    // At most `most` bytes, at least one. Not after the last.
    Bytes next(std::size_t most);
    bool ended() const { return left() == 0; }
    std::uint64_t copy_bytes() const { return rows_.copy_bytes(); }

private:
    std::uint64_t left() const;
    Bytes head_;
    SnapshotRows rows_;
    std::uint64_t given_ = 0;
};

// A snapshot as it arrives.
class SnapshotIntake {
public:
    // Of the first `tokens` of a prompt, for a model of this shape.
    SnapshotIntake(KvShape shape, std::uint32_t tokens, const SnapshotDigest& digest);
    ~SnapshotIntake();
    SnapshotIntake(const SnapshotIntake&) = delete;
    SnapshotIntake& operator=(const SnapshotIntake&) = delete;

    // Errc::invalid: not the snapshot that the digest names, or not one of this model; it takes nothing more then.
    Status feed(ByteView more);
    bool complete() const { return copy_ && layer_ == shape_.layers.size(); }
    // Once it is complete.
    KvCopy take();

private:
    Status feed_head(ByteView& more);
    Status feed_rows(ByteView& more);
    Status check_head();
    Status refuse(const char* why);

    KvShape shape_;
    std::uint32_t tokens_;
    SnapshotDigest digest_;
    Bytes head_;
    std::optional<KvCopy> copy_;  // once the head is right
    std::size_t layer_ = 0;
    KvSide side_ = KvSide::keys;
    std::size_t at_ = 0;  // bytes of this side of the layer that have come
    crypto::Blake2b256 hash_;
    bool refused_ = false;
};

}  // namespace shoal::engine_worker
