// The part of a stage that one rank holds: rule 4 of the header.
#include "engine_worker/shard.h"

#include <algorithm>

#include "engine_worker/shard_names.h"

namespace shoal::engine_worker {
namespace {

// How a tensor of a block is divided, by its name without ".weight" or ".bias".
enum class Cut { whole, query_rows, key_rows, value_rows, inner_rows, value_columns, inner_columns };
struct Rule {
    std::string_view name;
    Cut cut;
};
constexpr Rule rules[] = {
    {".attn_norm", Cut::whole},   {".ffn_norm", Cut::whole},         {".post_attention_norm", Cut::whole},
    {".attn_q_norm", Cut::whole}, {".attn_k_norm", Cut::whole},      {".attn_q", Cut::query_rows},
    {".attn_k", Cut::key_rows},   {".attn_v", Cut::value_rows},      {".ffn_gate", Cut::inner_rows},
    {".ffn_up", Cut::inner_rows}, {".ffn_down", Cut::inner_columns}, {".attn_output", Cut::value_columns},
};

std::optional<Cut> cut_of(std::string_view base, bool bias) {
    const auto* rule = std::find_if(std::begin(rules), std::end(rules), [&](const Rule& r) { return r.name == base; });
    if (rule == std::end(rules)) return std::nullopt;
    // A bias of what is summed is added once, behind the sum.
    const bool columns = rule->cut == Cut::value_columns || rule->cut == Cut::inner_columns;
    return columns && bias ? Cut::whole : rule->cut;
}

// What the library calls the tensor in the architecture that the rank's part is written as.
std::string_view name_as(const Architecture& kind, std::string_view rest) {
    const bool renamed = kind.divides_as == "seed_oss" && kind.name != kind.divides_as;
    return renamed && rest == ".ffn_norm.weight" ? ".post_attention_norm.weight" : rest;
}

Error does_not_divide(const std::string& what, Rank rank) {
    return fail(Errc::invalid, what + " do not divide among " + std::to_string(rank.count) + " ranks");
}

}  // namespace

Result<WholeModel::Divided> WholeModel::divided(Rank rank) const {
    if (shape_.kind->divides_as.empty()) {
        return fail(Errc::unsupported,
                    "the layers of the architecture " + quoted(gguf_.architecture) +
                        " cannot be divided among ranks (these can: " + dividing_architecture_names() + ")");
    }
    Divided out;
    out.heads = TRY(number("attention.head_count")).value_or(0);
    out.kv_heads = TRY(number("attention.head_count_kv")).value_or(out.heads);
    out.inner = TRY(number("feed_forward_length")).value_or(0);
    if (out.heads == 0 || out.kv_heads == 0 || out.inner == 0 || out.heads > shape_.width) {
        return fail(Errc::malformed, "the model's numbers of heads or its feed-forward width make no sense");
    }
    out.key = TRY(number("attention.key_length")).value_or(shape_.width / out.heads);
    out.value = TRY(number("attention.value_length")).value_or(shape_.width / out.heads);
    if (out.heads % rank.count != 0) return does_not_divide(std::to_string(out.heads) + " heads", rank);
    if (out.kv_heads % rank.count != 0) return does_not_divide(std::to_string(out.kv_heads) + " key heads", rank);
    if (out.inner % rank.count != 0) {
        return does_not_divide(std::to_string(out.inner) + " feed-forward rows", rank);
    }
    return out;
}

Result<WholeModel::Part> WholeModel::part(const GgufTensor& tensor, std::string_view rest, const Divided& sizes,
                                          Rank rank) const {
    const std::size_t point = rest.rfind('.');
    const std::string_view base = rest.substr(0, point), kind = rest.substr(point);
    const auto cut = kind == ".weight" || kind == ".bias" ? cut_of(base, kind == ".bias") : std::nullopt;
    if (!cut) {
        return fail(Errc::unsupported, "the tensor " + quoted(tensor.name) + " is not known to be divided among ranks");
    }
    Part out{tensor.dims, {0, tensor.bytes, tensor.offset}};
    const auto other_shape = [&] {
        return fail(Errc::unsupported, "the tensor " + quoted(tensor.name) + " has another shape than the model");
    };
    const bool columns = *cut == Cut::value_columns || *cut == Cut::inner_columns;
    std::uint64_t size = 0;
    switch (*cut) {
        case Cut::whole:
            // A norm over all heads at once would need them all.
            if ((base == ".attn_q_norm" || base == ".attn_k_norm") && tensor.dims[0] != sizes.key) return other_shape();
            return out;
        case Cut::query_rows: size = sizes.heads * sizes.key; break;
        case Cut::key_rows: size = sizes.kv_heads * sizes.key; break;
        case Cut::value_rows: size = sizes.kv_heads * sizes.value; break;
        case Cut::inner_rows:
        case Cut::inner_columns: size = sizes.inner; break;
        case Cut::value_columns: size = sizes.heads * sizes.value; break;
    }
    const std::size_t side = columns || tensor.dims.size() == 1 ? 0 : 1;
    if (tensor.dims.size() > 2 || (kind == ".weight" && tensor.dims.size() != 2) || tensor.dims[side] != size) {
        return other_shape();
    }
    out.dims[side] = size / rank.count;
    if (!columns) {
        // Rows lie together; of a bias each is one number.
        if (side == 0 && block_of_(tensor.type).elements != 1) return other_shape();
        out.extent.bytes = tensor.bytes / rank.count;
        out.extent.source = tensor.offset + rank.number * out.extent.bytes;
        return out;
    }
    const BlockSize block = block_of_(tensor.type);
    if (out.dims[0] % block.elements != 0) {
        return does_not_divide("the columns of " + quoted(tensor.name) + ", in whole blocks of their type,", rank);
    }
    out.extent.piece = out.dims[0] / block.elements * block.bytes;
    out.extent.stride = tensor.bytes / tensor.dims[1];
    out.extent.bytes = tensor.bytes / rank.count;
    out.extent.source = tensor.offset + rank.number * out.extent.piece;
    return out;
}

void WholeModel::write_rank(const Divided& sizes, Rank rank, GgufWriter& out) const {
    const auto set = [&](const char* name, std::uint64_t value) {
        out.u32(std::string(shape_.kind->divides_as) + "." + name, static_cast<std::uint32_t>(value));
    };
    set("attention.head_count", sizes.heads / rank.count);
    set("attention.head_count_kv", sizes.kv_heads / rank.count);
    // Otherwise taken to be the width over the number of heads.
    set("attention.key_length", sizes.key);
    set("attention.value_length", sizes.value);
    set("feed_forward_length", sizes.inner / rank.count);
}

Status WholeModel::write_divided(Shard& shard, const Divided& sizes, GgufWriter& out) const {
    for (const GgufTensor& tensor : gguf_.tensors) {
        const auto of = block_tensor(tensor.name);
        if (!of || of->block < shard.range_.first || of->block >= shard.range_.end) continue;
        Part part = TRY(this->part(tensor, of->rest, sizes, shard.rank_));
        part.extent.at = out.tensor(block_name(of->block - shard.range_.first, name_as(*shape_.kind, of->rest)),
                                    tensor.type, part.dims, part.extent.bytes);
        shard.weight_bytes_ += part.extent.bytes;
        shard.extents_.push_back(part.extent);
    }
    return ok();
}

Result<Shard> WholeModel::cut_rank(LayerRange range, Rank rank) const {
    if (rank.count == 1) return cut_without_head(range);
    ASSERT(rank.number < rank.count);
    TRY(check_range(*shape_.kind, shape_.layers, range, shape_.slides));
    const Divided sizes = TRY(divided(rank));
    Shard out = begin(blocks_of(range), false);
    out.rank_ = rank;
    GgufWriter writer;
    TRY(write_metadata(out.blocks_, false, shape_.kind->divides_as, writer));
    write_rank(sizes, rank, writer);
    TRY(write_divided(out, sizes, writer));
    write_others(out, writer);
    finish(out, writer);
    return out;
}

}  // namespace shoal::engine_worker
