#include "engine_worker/shard.h"

#include <algorithm>
#include <numeric>

#include "base/codec.h"
#include "base/limits.h"
#include "engine_worker/shard_names.h"

namespace shoal::engine_worker {
namespace {

// The largest known: 126 blocks, rows of 18,432, 262,144 tokens.
constexpr std::uint64_t layers_max = limits::model_layers_max;
constexpr std::uint64_t width_max = limits::stage_width_max;
constexpr std::uint64_t vocabulary_max = 1 << 24;
// Of one value that is copied or sliced; the tokenizer's, which are larger, are not.
constexpr std::uint64_t value_bytes_max = 64 * 1024;
// The vocabulary of a stage that has none.
constexpr std::uint64_t vocabulary_dummy = 32;
// ggml's numbers of types for zeros that nobody reads, the smallest first: q1_0, iq1_s, q8_0, f32. The library holds
// them in memory all the same, and the last stage's have as many rows as the real vocabulary.
constexpr std::uint32_t zero_types[] = {41, 19, 8, 0};

constexpr std::string_view embedding_name = "token_embd.weight";
constexpr std::string_view head_name = "output.weight";
constexpr std::string_view window_pattern = "attention.sliding_window_pattern";
// Of no block, and wanted by every stage.
constexpr std::string_view shared_tensors[] = {"output_norm.weight", "output_norm.bias", "rope_freqs.weight",
                                               "rope_factors_long.weight", "rope_factors_short.weight"};
// Of no block, and the last stage's.
constexpr std::string_view last_tensors[] = {head_name, "output.bias", "output.scale", "output.input_scale"};
// Of no block, and a lead's (embedding.h, head.h).
constexpr std::string_view end_tensors[] = {embedding_name, "output_norm.weight", "output_norm.bias", head_name,
                                            "output.bias"};
// Arrays with a value a block, after "<architecture>.".
constexpr std::string_view block_arrays[] = {"feed_forward_length", "attention.head_count", "attention.head_count_kv",
                                             "swiglu_clamp_exp", "swiglu_clamp_shexp"};
// Arrays that are about something else, however long they are.
constexpr std::string_view other_arrays[] = {"rope.dimension_sections"};

template <std::size_t N>
bool is_one_of(std::string_view name, const std::string_view (&names)[N]) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// A value as it stands in the file: its type, and for an array its elements' type and number.
struct Value {
    GgufType type{};
    GgufType element{};
    std::uint64_t count = 0;
    ByteView data;
};
Value parse(ByteView raw) {
    Reader in(raw);
    Value out;
    out.type = static_cast<GgufType>(in.u32());
    if (out.type == GgufType::array) {
        out.element = static_cast<GgufType>(in.u32());
        out.count = in.u64();
    }
    out.data = in.rest();
    return out;
}

// A whole number of any width; nullopt for other types and for negative ones.
std::optional<std::uint64_t> whole_number(GgufType type, ByteView data) {
    if (data.size() != gguf_value_bytes(type) || data.empty()) return std::nullopt;
    const bool sign = (data.back() & 0x80) != 0;
    std::uint8_t wide[8] = {};
    std::copy(data.begin(), data.end(), wide);
    switch (type) {
        case GgufType::i8:
        case GgufType::i16:
        case GgufType::i32:
        case GgufType::i64:
            if (sign) return std::nullopt;
            break;
        case GgufType::u8:
        case GgufType::u16:
        case GgufType::u32:
        case GgufType::u64:
        case GgufType::boolean: break;
        default: return std::nullopt;
    }
    return load_le<std::uint64_t>(wide);
}

Error odd_value(const std::string& key) {
    return fail(Errc::malformed, "the metadata " + quoted(key) + " is missing or makes no sense");
}

}  // namespace

bool Shard::read(std::uint64_t offset, ByteSpan out) const {
    if (offset > bytes_ || out.size() > bytes_ - offset) return false;
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    const std::uint64_t end = offset + out.size();
    if (offset < header_.size()) {
        const std::size_t count = std::min<std::uint64_t>(out.size(), header_.size() - offset);
        std::copy_n(header_.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
    }
    auto extent = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                   [](std::uint64_t at, const Extent& e) { return at < e.at + e.bytes; });
    for (; extent != extents_.end() && extent->at < end; ++extent) {
        if (!extent->source) continue;
        const std::uint64_t from = std::max(offset, extent->at);
        const std::uint64_t to = std::min(end, extent->at + extent->bytes);
        if (!read_pieces(*extent, from - extent->at, out.subspan(from - offset, to - from))) return false;
    }
    return true;
}

// `out` from byte `from` of the extent.
bool Shard::read_pieces(const Extent& extent, std::uint64_t from, ByteSpan out) const {
    if (extent.piece == 0) return whole_(*extent.source + from, out);
    while (!out.empty()) {
        const std::uint64_t inside = from % extent.piece;
        const std::size_t count = std::min<std::uint64_t>(out.size(), extent.piece - inside);
        if (!whole_(*extent.source + from / extent.piece * extent.stride + inside, out.first(count))) return false;
        from += count;
        out = out.subspan(count);
    }
    return true;
}

Result<WholeModel> WholeModel::open(Gguf gguf, ReadAt read, const BlockOf& block_of, const Architecture* kind) {
    WholeModel model;
    model.gguf_ = std::move(gguf);
    model.read_ = std::move(read);
    model.block_of_ = block_of;
    model.shape_.kind = kind != nullptr ? kind : find_architecture(model.gguf_.architecture);
    TRY(model.read_shape());
    TRY(model.read_windows());
    TRY(model.check_tensors());
    for (std::uint32_t type : zero_types) {
        model.zero_type_ = type;
        model.zeros_ = block_of(type);
        if (model.zeros_.elements != 0 && model.shape_.width % model.zeros_.elements == 0) return model;
    }
    return fail(Errc::unsupported, "this engine knows no type of tensor for a stage without an embedding");
}

const GgufPair* WholeModel::find(const std::string& key) const {
    const auto found = std::lower_bound(gguf_.metadata.begin(), gguf_.metadata.end(), key,
                                        [](const GgufPair& pair, const std::string& k) { return pair.key < k; });
    return found != gguf_.metadata.end() && found->key == key ? &*found : nullptr;
}

const GgufTensor* WholeModel::find_tensor(std::string_view name) const {
    const auto found = std::lower_bound(gguf_.tensors.begin(), gguf_.tensors.end(), name,
                                        [](const GgufTensor& tensor, std::string_view n) { return tensor.name < n; });
    return found != gguf_.tensors.end() && found->name == name ? &*found : nullptr;
}

std::vector<Shard::Extent> WholeModel::ends() const {
    std::vector<Shard::Extent> out;
    for (const GgufTensor& tensor : gguf_.tensors) {
        if (is_one_of(tensor.name, end_tensors)) out.push_back({tensor.offset, tensor.bytes, tensor.offset});
    }
    return out;
}

Result<Bytes> WholeModel::value(const GgufPair& pair) const {
    if (pair.bytes > value_bytes_max) {
        return fail(Errc::unsupported, "the metadata " + quoted(pair.key) + " is too large for a stage");
    }
    Bytes out(pair.bytes);
    if (!read_(pair.offset, out)) return fail(Errc::io, "the model file cannot be read");
    return out;
}

Result<std::optional<std::uint64_t>> WholeModel::number(std::string_view name) const {
    const GgufPair* pair = find(key(name));
    if (pair == nullptr) return std::optional<std::uint64_t>();
    const Bytes raw = TRY(value(*pair));
    const Value parsed = parse(raw);
    const auto out = whole_number(parsed.type, parsed.data);
    if (!out) return odd_value(pair->key);
    return out;
}

Status WholeModel::read_shape() {
    if (shape_.kind == nullptr) {
        return fail(Errc::unsupported, "the architecture " + quoted(gguf_.architecture) +
                                           " cannot be cut into stages (these can: " + architecture_names() + ")");
    }
    const std::uint64_t layers = TRY(number("block_count")).value_or(0);
    const std::uint64_t width = TRY(number("embedding_length")).value_or(0);
    if (layers == 0 || layers > layers_max) return odd_value(key("block_count"));
    if (width == 0 || width > width_max) return odd_value(key("embedding_length"));
    const GgufTensor* embedding = find_tensor(embedding_name);
    if (embedding == nullptr || embedding->dims.size() != 2 || embedding->dims[0] != width ||
        embedding->dims[1] > vocabulary_max) {
        return fail(Errc::malformed, "the tensor 'token_embd.weight' is missing or has another shape than the model");
    }
    embedding_ = static_cast<std::size_t>(embedding - gguf_.tensors.data());
    shape_.layers = static_cast<std::uint32_t>(layers);
    shape_.width = static_cast<std::uint32_t>(width);
    shape_.vocabulary = static_cast<std::uint32_t>(embedding->dims[1]);
    shape_.tied = find_tensor(head_name) == nullptr;
    TRY(check_layers(*shape_.kind, shape_.layers));
    // Blocks that predict several tokens ahead stand behind the others and count as blocks.
    if (TRY(number("nextn_predict_layers")).value_or(0) != 0) {
        return fail(Errc::unsupported, "a model with blocks for predicting several tokens cannot be cut into stages");
    }
    if (!shape_.kind->needed_key.empty() && find(key(shape_.kind->needed_key)) == nullptr) {
        return fail(Errc::unsupported, "this kind of " + gguf_.architecture + " cannot be cut into stages: it lacks " +
                                           key(shape_.kind->needed_key));
    }
    return ok();
}

// As the library reads it: an array; a number, which is the period; or the architecture's own period.
Status WholeModel::read_windows() {
    std::uint64_t period = shape_.kind->window_period;
    if (period == 0) return ok();
    const auto window = TRY(number("attention.sliding_window"));
    if (shape_.kind->window_is_optional && window.value_or(0) == 0) return ok();
    shape_.slides.resize(shape_.layers);
    if (const GgufPair* pair = find(key(window_pattern))) {
        const Bytes raw = TRY(value(*pair));
        const Value parsed = parse(raw);
        if (parsed.type == GgufType::array) {
            const std::size_t each = gguf_value_bytes(parsed.element);
            if (each == 0 || parsed.count != shape_.layers || parsed.data.size() != parsed.count * each) {
                return odd_value(pair->key);
            }
            for (std::size_t i = 0; i < shape_.layers; ++i) {
                const auto flag = whole_number(parsed.element, parsed.data.subspan(i * each, each));
                if (!flag || *flag > 1) return odd_value(pair->key);
                shape_.slides[i] = *flag == 1;
            }
            return ok();
        }
        const auto written = whole_number(parsed.type, parsed.data);
        if (!written) return odd_value(pair->key);
        period = *written;
    }
    for (std::uint64_t i = 0; i < shape_.layers; ++i) shape_.slides[i] = period == 0 || i % period < period - 1;
    return ok();
}

Status WholeModel::check_tensors() const {
    std::vector<bool> seen(shape_.layers);
    for (const GgufTensor& tensor : gguf_.tensors) {
        if (const auto of = block_tensor(tensor.name)) {
            if (of->block >= shape_.layers) {
                return fail(Errc::malformed, "the tensor " + quoted(tensor.name) + " is of a block that is not there");
            }
            seen[of->block] = true;
        } else if (tensor.name != embedding_name && !is_one_of(tensor.name, shared_tensors) &&
                   !is_one_of(tensor.name, last_tensors)) {
            return fail(Errc::unsupported,
                        "the tensor " + quoted(tensor.name) + " is of no block and not known: a stage cannot have it");
        }
    }
    const auto missing = std::find(seen.begin(), seen.end(), false);
    if (missing == seen.end()) return ok();
    return fail(Errc::malformed, "block " + std::to_string(missing - seen.begin()) + " has no tensors");
}

Result<Bytes> WholeModel::slice(const GgufPair& pair, Bytes raw, std::span<const std::uint32_t> blocks) const {
    const Value parsed = parse(raw);
    const std::string_view name = std::string_view(pair.key).substr(gguf_.architecture.size() + 1);
    if (parsed.type != GgufType::array || is_one_of(name, other_arrays)) return raw;
    const std::size_t each = gguf_value_bytes(parsed.element);
    if (!is_one_of(name, block_arrays)) {
        // A text a block would be no arithmetic; a number a block would.
        if (each == 0 || parsed.count != shape_.layers) return raw;
        return fail(Errc::unsupported, "the metadata " + quoted(pair.key) + " has a value a block and is not known");
    }
    if (each == 0 || parsed.count != shape_.layers || parsed.data.size() != parsed.count * each) {
        return odd_value(pair.key);
    }
    Writer out;
    out.u32(static_cast<std::uint32_t>(GgufType::array));
    out.u32(static_cast<std::uint32_t>(parsed.element));
    out.u64(blocks.size());
    for (const std::uint32_t block : blocks) out.bytes(parsed.data.subspan(block * each, each));
    return out.take();
}

Status WholeModel::write_metadata(std::span<const std::uint32_t> blocks, bool with_head, std::string_view as,
                                  GgufWriter& out) const {
    const std::string own = gguf_.architecture + ".", prefix = std::string(as) + ".";
    for (const GgufPair& pair : gguf_.metadata) {
        if (pair.key.compare(0, own.size(), own) != 0) continue;
        if (pair.key == key(window_pattern) && shape_.kind->window_period != 0) continue;  // written anew below
        Bytes raw = TRY(value(pair));
        out.raw(prefix + pair.key.substr(own.size()), TRY(slice(pair, std::move(raw), blocks)));
    }
    out.text("general.architecture", as);
    out.u32("general.file_type", gguf_.file_type);
    out.text("tokenizer.ggml.model", "no_vocab");
    out.u32(prefix + "vocab_size", with_head ? shape_.vocabulary : static_cast<std::uint32_t>(vocabulary_dummy));
    out.u32(prefix + "block_count", static_cast<std::uint32_t>(blocks.size()));
    if (const auto dense = TRY(number("leading_dense_block_count"))) {
        const auto left = std::count_if(blocks.begin(), blocks.end(), [&](std::uint32_t b) { return b < *dense; });
        out.u32(prefix + "leading_dense_block_count", static_cast<std::uint32_t>(left));
    }
    if (blocks.front() > 0 && find(own + "embedding_scale") != nullptr) out.f32(prefix + "embedding_scale", 1.0F);
    if (!shape_.slides.empty()) {
        std::vector<std::uint32_t> pattern;
        for (const std::uint32_t block : blocks) pattern.push_back(shape_.slides[block] ? 1 : 0);
        out.u32s(prefix + std::string(window_pattern), pattern);
    }
    return ok();
}

void WholeModel::add(const std::string& name, const GgufTensor& tensor, Shard& shard, GgufWriter& out) const {
    const std::uint64_t at = out.tensor(name, tensor.type, tensor.dims, tensor.bytes);
    shard.extents_.push_back({at, tensor.bytes, tensor.offset});
    shard.weight_bytes_ += tensor.bytes;
}

void WholeModel::write_blocks(Shard& shard, GgufWriter& out) const {
    for (const GgufTensor& tensor : gguf_.tensors) {
        const auto of = block_tensor(tensor.name);
        if (!of) continue;
        const auto at = std::lower_bound(shard.blocks_.begin(), shard.blocks_.end(), of->block);
        if (at == shard.blocks_.end() || *at != of->block) continue;
        add(block_name(static_cast<std::uint64_t>(at - shard.blocks_.begin()), of->rest), tensor, shard, out);
    }
}

// Those of no block.
void WholeModel::write_others(Shard& shard, GgufWriter& out) const {
    const auto add_zeros = [&](std::string_view name, std::uint64_t rows) {
        const std::uint64_t bytes = shape_.width / zeros_.elements * zeros_.bytes * rows;
        const std::uint64_t at = out.tensor(std::string(name), zero_type_, {shape_.width, rows}, bytes);
        shard.extents_.push_back({at, bytes, std::nullopt});
    };
    for (const GgufTensor& tensor : gguf_.tensors) {
        if (is_one_of(tensor.name, shared_tensors) || (shard.has_head_ && is_one_of(tensor.name, last_tensors))) {
            add(tensor.name, tensor, shard, out);
        }
    }
    // Every model is asked for an embedding, even where it is not the head.
    if (shard.has_head_ && shape_.tied) {
        add(std::string(embedding_name), embedding(), shard, out);
    } else {
        add_zeros(embedding_name, shard.has_head_ ? shape_.vocabulary : vocabulary_dummy);
    }
    if (!shard.has_head_ && !shape_.tied) add_zeros(head_name, vocabulary_dummy);
}

Result<std::optional<float>> WholeModel::real(std::string_view name) const {
    const GgufPair* pair = find(key(name));
    if (pair == nullptr) return std::optional<float>();
    const Bytes raw = TRY(value(*pair));
    Reader in(raw);
    const bool is_real = in.u32() == static_cast<std::uint32_t>(GgufType::f32);
    const float out = in.f32();
    if (!is_real || !in.finish("value")) return odd_value(pair->key);
    return std::optional(out);
}

std::vector<std::uint32_t> WholeModel::blocks_of(LayerRange range) {
    std::vector<std::uint32_t> out(range.count());
    std::iota(out.begin(), out.end(), range.first);
    return out;
}

Result<Shard> WholeModel::cut(LayerRange range, bool with_head) const {
    TRY(check_range(*shape_.kind, shape_.layers, range, shape_.slides));
    return cut(blocks_of(range), with_head);
}

Result<Shard> WholeModel::cut_skipping(LayerRange skipped) const {
    if (skipped.first == 0 || skipped.first >= skipped.end || skipped.end >= shape_.layers) {
        return fail(Errc::invalid, "layers that can be skipped lie between the first and the last: 1 to " +
                                       std::to_string(static_cast<std::int64_t>(shape_.layers) - 2));
    }
    // What can be cut off on both sides can be left out.
    TRY(check_range(*shape_.kind, shape_.layers, {0, skipped.first}, shape_.slides));
    TRY(check_range(*shape_.kind, shape_.layers, {skipped.end, shape_.layers}, shape_.slides));
    std::vector<std::uint32_t> blocks;
    for (std::uint32_t i = 0; i < shape_.layers; ++i) {
        if (i < skipped.first || i >= skipped.end) blocks.push_back(i);
    }
    return cut(std::move(blocks), true);
}

Shard WholeModel::begin(std::vector<std::uint32_t> blocks, bool with_head) const {
    Shard out;
    out.range_ = {blocks.front(), blocks.back() + 1};
    out.blocks_ = std::move(blocks);
    out.has_head_ = with_head;
    out.shape_ = shape_;
    out.whole_ = read_;
    return out;
}

void WholeModel::finish(Shard& shard, const GgufWriter& writer) {
    shard.header_ = writer.finish();
    for (Shard::Extent& extent : shard.extents_) extent.at += shard.header_.size();
    shard.bytes_ = shard.header_.size() + writer.data_bytes();
}

Result<Shard> WholeModel::cut(std::vector<std::uint32_t> blocks, bool with_head) const {
    Shard out = begin(std::move(blocks), with_head);
    GgufWriter writer;
    TRY(write_metadata(out.blocks_, with_head, gguf_.architecture, writer));
    write_blocks(out, writer);
    write_others(out, writer);
    finish(out, writer);
    return out;
}

}  // namespace shoal::engine_worker
