#include "engine_worker/kv_snapshot.h"

#include <algorithm>

#include "base/codec.h"
#include "base/secret.h"

namespace shoal::engine_worker {
namespace {

constexpr std::uint8_t version = 1;
constexpr std::size_t hash_bytes = 32;

crypto::Blake2b256 layer_hash() {
    crypto::Blake2b256 out;
    out.update(as_bytes("sc1/prefix-layer"));
    return out;
}

Bytes header(const KvShape& shape, std::uint32_t tokens) {
    ASSERT(!shape.layers.empty() && shape.layers.size() <= limits::model_layers_max);
    Writer out(32 + shape.layers.size() * 10);
    out.u8(version);
    out.u32(tokens);
    out.u16(0);
    out.u16(static_cast<std::uint16_t>(shape.layers.size()));
    out.u32(shape.turned_keys);
    out.u32(shape.turned_values);
    for (const KvLayer& layer : shape.layers) {
        for (const KvRows& form : {layer.keys, layer.values}) {
            out.u8(static_cast<std::uint8_t>(form.type));
            out.u32(form.bytes);
        }
    }
    return out.take();
}

std::size_t head_bytes(const KvShape& shape) {
    return header(shape, 0).size() + shape.layers.size() * hash_bytes;
}

std::size_t side_bytes(const KvShape& shape, std::size_t layer, KvSide side, std::uint32_t tokens) {
    const KvLayer& forms = shape.layers[layer];
    return std::size_t{side == KvSide::keys ? forms.keys.bytes : forms.values.bytes} * tokens;
}

// To the side that follows.
void step(const KvShape& shape, std::size_t& layer, KvSide& side, std::size_t& at) {
    if (side == KvSide::keys && shape.layers[layer].values.bytes > 0) {
        side = KvSide::values;
    } else {
        side = KvSide::keys;
        ++layer;
    }
    at = 0;
}

}  // namespace

std::uint64_t snapshot_bytes(const KvShape& shape, std::uint32_t tokens) {
    return head_bytes(shape) + shape.token_bytes() * tokens;
}

SnapshotDigest SnapshotHead::digest() const {
    return crypto::blake2b<32>({as_bytes("sc1/prefix"), bytes});
}

// ---- out -----------------------------------------------------------------------------------------------------------

ByteView SnapshotRows::next(std::size_t most) {
    ASSERT(most > 0 && tokens_ <= copy_.tokens());
    if (layer_ == shape().layers.size()) return {};
    const KvLayer& forms = shape().layers[layer_];
    const std::size_t row = side_ == KvSide::keys ? forms.keys.bytes : forms.values.bytes;
    const std::size_t end = side_bytes(shape(), layer_, side_, tokens_);
    const auto token = static_cast<std::uint32_t>(at_ / row);
    const ByteView together = copy_.rows(layer_, side_, token).subspan(at_ % row);
    const ByteView out = together.first(std::min({together.size(), end - at_, most}));
    at_ += out.size();
    if (at_ == end) step(shape(), layer_, side_, at_);
    return out;
}

SnapshotHashing::SnapshotHashing(SnapshotRows rows)
    : rows_(std::move(rows)), layer_(layer_hash()), head_(header(rows_.shape(), rows_.tokens())) {}

bool SnapshotHashing::work(std::size_t bytes) {
    for (std::size_t done = 0; done < bytes;) {
        const ByteView part = rows_.next(bytes - done);
        if (part.empty()) return true;
        layer_.update(part);
        done += part.size();
        if (!rows_.at_layer()) continue;
        append(head_, layer_.digest());
        layer_ = layer_hash();
    }
    return head_.size() == head_bytes(rows_.shape());
}

SnapshotHead SnapshotHashing::head() const {
    ASSERT(head_.size() == head_bytes(rows_.shape()));
    return {head_};
}

Bytes layer_hashes(const KvCopy& copy, std::uint32_t tokens) {
    ASSERT(tokens > 0 && tokens <= copy.tokens());
    Bytes out;
    for (std::size_t layer = 0; layer < copy.shape().layers.size(); ++layer) {
        crypto::Blake2b256 hash = layer_hash();
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const std::size_t all = side_bytes(copy.shape(), layer, side, tokens);
            for (std::size_t done = 0; done < all;) {
                const ByteView together = copy.rows(layer, side, static_cast<std::uint32_t>(done / (all / tokens)));
                const ByteView rows = together.first(std::min(together.size(), all - done));
                hash.update(rows);
                done += rows.size();
            }
        }
        append(out, hash.digest());
    }
    return out;
}

SnapshotHead head_of_hashes(const KvShape& shape, std::uint32_t tokens, ByteView hashes) {
    ASSERT(hashes.size() == shape.layers.size() * hash_bytes);
    SnapshotHead out{header(shape, tokens)};
    append(out.bytes, hashes);
    return out;
}

std::uint64_t SnapshotOutlet::left() const {
    return snapshot_bytes(rows_.shape(), rows_.tokens()) - given_;
}

Bytes SnapshotOutlet::next(std::size_t most) {
    ASSERT(most > 0 && left() > 0);
    Bytes out;
    out.reserve(std::min<std::uint64_t>(most, left()));
    if (given_ < head_.size()) {
        const ByteView head = ByteView(head_).subspan(given_);
        append(out, head.first(std::min(head.size(), most)));
    }
    while (out.size() < most) {
        const ByteView rows = rows_.next(most - out.size());
        if (rows.empty()) break;
        append(out, rows);
    }
    given_ += out.size();
    return out;
}

// ---- in ------------------------------------------------------------------------------------------------------------

SnapshotIntake::SnapshotIntake(KvShape shape, std::uint32_t tokens, const SnapshotDigest& digest)
    : shape_(std::move(shape)), tokens_(tokens), digest_(digest), hash_(layer_hash()) {}

SnapshotIntake::~SnapshotIntake() = default;

Status SnapshotIntake::refuse(const char* why) {
    refused_ = true;
    copy_.reset();
    return fail(Errc::invalid, std::string("the snapshot of a prefix ") + why);
}

Status SnapshotIntake::feed(ByteView more) {
    if (refused_) return refuse("was refused");
    while (!more.empty()) {
        if (!copy_) {
            TRY(feed_head(more));
        } else {
            TRY(feed_rows(more));
        }
    }
    return ok();
}

Status SnapshotIntake::feed_head(ByteView& more) {
    const std::size_t whole = head_bytes(shape_);
    const ByteView taken = more.first(std::min(more.size(), whole - head_.size()));
    append(head_, taken);
    more = more.subspan(taken.size());
    return head_.size() == whole ? check_head() : ok();
}

Status SnapshotIntake::check_head() {
    if (SnapshotHead{head_}.digest() != digest_) return refuse("is not the one that was named");
    const Bytes ours = header(shape_, tokens_);
    if (!std::equal(ours.begin(), ours.end(), head_.begin())) return refuse("is of another model or cache");
    copy_.emplace(KvCopy::blank(shape_, tokens_));
    return ok();
}

Status SnapshotIntake::feed_rows(ByteView& more) {
    if (complete()) return refuse("is too long");
    const ByteSpan place = copy_->rows_to_fill(layer_, side_).subspan(at_);
    const ByteView taken = more.first(std::min(more.size(), place.size()));
    std::copy(taken.begin(), taken.end(), place.begin());
    hash_.update(taken);
    more = more.subspan(taken.size());
    at_ += taken.size();
    if (taken.size() < place.size()) return ok();
    const std::size_t ended = layer_;
    step(shape_, layer_, side_, at_);
    if (layer_ == ended) return ok();
    const ByteView hashes = ByteView(head_).subspan(head_.size() - shape_.layers.size() * hash_bytes);
    if (hash_.digest() != first_bytes<hash_bytes>(hashes.subspan(ended * hash_bytes))) return refuse("was altered");
    hash_ = layer_hash();
    return ok();
}

KvCopy SnapshotIntake::take() {
    ASSERT(complete());
    KvCopy out = std::move(*copy_);
    copy_.reset();
    return out;
}

}  // namespace shoal::engine_worker
