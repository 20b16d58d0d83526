#include "engine_worker/kv_copy.h"

#include <algorithm>

#include "base/codec.h"
#include "base/secret.h"

namespace shoal::engine_worker {
namespace {

constexpr std::uint32_t magic = 0xaf143cd8;
// As ggml.h numbers them.
constexpr std::uint32_t library_f16 = 1;
constexpr std::uint32_t library_q8_0 = 8;
constexpr std::uint32_t q8_0_block_bytes = 34;
constexpr std::size_t cell_bytes = 12;

Error strange(const char* what) {
    return fail(Errc::unsupported, std::string("the model's memory is of another form: ") + what);
}

std::uint32_t library_type(KvRowType type) {
    return type == KvRowType::f16 ? library_f16 : library_q8_0;
}

Result<KvRows> read_form(Reader& in) {
    const std::uint32_t type = in.u32();
    const std::uint64_t bytes = in.u64();
    if (type != library_f16 && type != library_q8_0) return strange("a type of cache");
    const std::uint32_t unit = type == library_f16 ? 2 : q8_0_block_bytes;
    if (bytes == 0 || bytes % unit != 0 || bytes > limits::layer_kv_bytes_per_token_max) return strange("a row");
    return KvRows{type == library_f16 ? KvRowType::f16 : KvRowType::q8_0, static_cast<std::uint32_t>(bytes)};
}

// Of each position its cell; empty where all lie in order.
Result<std::vector<std::uint32_t>> read_cells(Reader& in, std::uint32_t cells) {
    if (in.remaining() / cell_bytes < cells) return strange("cells");
    std::vector<std::uint32_t> order(cells, UINT32_MAX);
    bool sorted = true;
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
        const std::uint32_t position = in.u32();
        const std::uint32_t sequences = in.u32();
        in.u32();  // whose it is, and whose it was when the library reads it
        if (sequences != 1) return strange("cells of several sequences");
        if (position >= cells || order[position] != UINT32_MAX) return fail(Errc::invalid, "positions are missing");
        order[position] = cell;
        sorted = sorted && position == cell;
    }
    if (sorted) order.clear();
    return order;
}

}  // namespace

Result<KvCopy> KvCopy::read(Bytes blob) {
    KvCopy out;
    out.blob_ = std::move(blob);
    Reader in(out.blob_);
    if (in.u32() != magic) return strange("what it begins with");
    in.u32();  // which sequence: the library puts another in its place
    if (in.u32() != 1) return strange("streams");
    out.tokens_ = in.u32();
    if (out.tokens_ == 0 || out.tokens_ > limits::context_tokens_max) return strange("cells");
    out.order_ = TRY(read_cells(in, out.tokens_));
    if (in.u32() != 0) return strange("transposed values");
    const std::uint32_t layers = in.u32();
    if (layers == 0 || layers > limits::model_layers_max) return strange("layers");
    out.shape_.turned_keys = in.u32();
    out.shape_.turned_values = in.u32();
    out.shape_.layers.resize(layers);
    out.places_.resize(layers);
    for (const KvSide side : {KvSide::keys, KvSide::values}) {
        if (side == KvSide::values && in.remaining() == 0) break;
        for (std::uint32_t i = 0; i < layers; ++i) {
            const KvRows form = TRY(read_form(in));
            const std::size_t at = out.blob_.size() - in.remaining();
            in.bytes(std::size_t{form.bytes} * out.tokens_);
            (side == KvSide::keys ? out.shape_.layers[i].keys : out.shape_.layers[i].values) = form;
            (side == KvSide::keys ? out.places_[i].keys : out.places_[i].values) = at;
        }
    }
    if (!in.finish("memory")) return strange("its length");
    return out;
}

KvCopy KvCopy::blank(KvShape shape, std::uint32_t tokens) {
    ASSERT(tokens > 0 && tokens <= limits::context_tokens_max && !shape.layers.empty());
    KvCopy out;
    out.tokens_ = tokens;
    out.places_.resize(shape.layers.size());
    Writer blob(64 + tokens * (cell_bytes + shape.token_bytes()) + shape.layers.size() * 24);
    blob.u32(magic);
    blob.u32(0);
    blob.u32(1);
    blob.u32(tokens);
    for (std::uint32_t i = 0; i < tokens; ++i) {
        blob.u32(i);
        blob.u32(1);
        blob.u32(0);
    }
    blob.u32(0);
    blob.u32(static_cast<std::uint32_t>(shape.layers.size()));
    blob.u32(shape.turned_keys);
    blob.u32(shape.turned_values);
    for (const KvSide side : {KvSide::keys, KvSide::values}) {
        for (std::size_t i = 0; i < shape.layers.size(); ++i) {
            const KvRows& form = side == KvSide::keys ? shape.layers[i].keys : shape.layers[i].values;
            if (form.bytes == 0) continue;
            blob.u32(library_type(form.type));
            blob.u64(form.bytes);
            (side == KvSide::keys ? out.places_[i].keys : out.places_[i].values) = blob.size();
            blob.zeros(std::size_t{form.bytes} * tokens);
        }
    }
    out.blob_ = blob.take();
    out.shape_ = std::move(shape);
    return out;
}

KvCopy::~KvCopy() {
    wipe(blob_.data(), blob_.size());
}

KvCopy& KvCopy::operator=(KvCopy&& other) noexcept {
    blob_.swap(other.blob_);  // its end wipes what was here
    shape_ = std::move(other.shape_);
    tokens_ = other.tokens_;
    places_ = std::move(other.places_);
    order_ = std::move(other.order_);
    return *this;
}

const KvRows& KvCopy::form(std::size_t layer, KvSide side) const {
    return side == KvSide::keys ? shape_.layers[layer].keys : shape_.layers[layer].values;
}

std::size_t KvCopy::begin(std::size_t layer, KvSide side) const {
    return side == KvSide::keys ? places_[layer].keys : places_[layer].values;
}

ByteView KvCopy::rows(std::size_t layer, KvSide side, std::uint32_t token) const {
    ASSERT(layer < places_.size() && token < tokens_);
    const std::size_t bytes = form(layer, side).bytes;
    const std::uint32_t cell = order_.empty() ? token : order_[token];
    std::uint32_t end = token + 1;
    if (order_.empty()) {
        end = tokens_;
    } else {
        while (end < tokens_ && order_[end] == cell + (end - token)) ++end;
    }
    return ByteView(blob_).subspan(begin(layer, side) + cell * bytes, (end - token) * bytes);
}

ByteSpan KvCopy::rows_to_fill(std::size_t layer, KvSide side) {
    ASSERT(layer < places_.size() && order_.empty());
    return ByteSpan(blob_).subspan(begin(layer, side), std::size_t{form(layer, side).bytes} * tokens_);
}

void KvCopy::append_token(Bytes& out, std::uint32_t token) const {
    for (std::size_t layer = 0; layer < shape_.layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const std::uint32_t bytes = form(layer, side).bytes;
            if (bytes > 0) append(out, rows(layer, side, token).first(bytes));
        }
    }
}

KvCopy KvCopy::of_tokens(KvShape shape, ByteView rows) {
    const std::size_t token_bytes = shape.token_bytes();
    ASSERT(!rows.empty() && rows.size() % token_bytes == 0);
    const std::size_t tokens = rows.size() / token_bytes;
    KvCopy out = blank(std::move(shape), static_cast<std::uint32_t>(tokens));
    std::size_t at = 0;
    for (std::size_t layer = 0; layer < out.shape_.layers.size(); ++layer) {
        for (const KvSide side : {KvSide::keys, KvSide::values}) {
            const std::uint32_t bytes = out.form(layer, side).bytes;
            if (bytes == 0) continue;
            const ByteSpan to = out.rows_to_fill(layer, side);
            for (std::size_t token = 0; token < tokens; ++token) {
                const ByteView row = rows.subspan(token * token_bytes + at, bytes);
                std::copy(row.begin(), row.end(), to.begin() + static_cast<std::ptrdiff_t>(token * bytes));
            }
            at += bytes;
        }
    }
    return out;
}

}  // namespace shoal::engine_worker
