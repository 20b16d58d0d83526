#include "engine_worker/shard.h"

#include <gtest/gtest.h>

#include <map>

#include "base/codec.h"

namespace shoal::engine_worker {
namespace {

BlockSize block_of(std::uint32_t type) {
    return type == 0 ? BlockSize{1, 4} : type == 1 ? BlockSize{1, 2} : BlockSize{};
}

// A model of a few bytes that a test can spoil.
struct Spec {
    std::string architecture = "llama";
    std::uint32_t layers = 6;
    std::uint32_t width = 4;
    bool tied = false;
    std::map<std::string, Bytes> more = {};  // metadata: type and value
    std::vector<std::string> more_tensors = {};
    std::string without = {};  // a tensor
};
Bytes u32_value(std::uint32_t value) {
    Writer out;
    out.u32(4);
    out.u32(value);
    return out.take();
}
Bytes array_value(const std::vector<std::uint32_t>& values, std::uint32_t type = 4) {
    Writer out;
    out.u32(9);
    out.u32(type);
    out.u64(values.size());
    for (std::uint32_t value : values) {
        if (type == 7) {
            out.u8(static_cast<std::uint8_t>(value));
        } else {
            out.u32(value);
        }
    }
    return out.take();
}

Bytes model_file(const Spec& spec) {
    GgufWriter out;
    out.text("general.architecture", spec.architecture);
    out.text("tokenizer.ggml.model", "llama");
    out.u32s("tokenizer.ggml.token_type", {1, 1, 1});
    out.u32(spec.architecture + ".block_count", spec.layers);
    out.u32(spec.architecture + ".embedding_length", spec.width);
    for (const auto& [key, value] : spec.more) out.raw(key, value);
    std::vector<std::pair<std::string, std::vector<std::uint64_t>>> tensors = {{"token_embd.weight", {spec.width, 40}},
                                                                               {"output_norm.weight", {spec.width}}};
    if (!spec.tied) tensors.push_back({"output.weight", {spec.width, 40}});
    for (std::uint32_t i = 0; i < spec.layers; ++i) {
        tensors.push_back({"blk." + std::to_string(i) + ".attn_q.weight", {spec.width, spec.width}});
    }
    for (const std::string& name : spec.more_tensors) tensors.push_back({name, {spec.width}});
    std::erase_if(tensors, [&spec](const auto& tensor) { return tensor.first == spec.without; });
    for (const auto& [name, dims] : tensors) {
        out.tensor(name, 0, dims, 4 * dims[0] * (dims.size() > 1 ? dims[1] : 1));
    }
    Bytes file = out.finish();
    // Every tensor's bytes say which tensor they are of.
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto& dims = tensors[i].second;
        file.insert(file.end(), 4 * dims[0] * (dims.size() > 1 ? dims[1] : 1), static_cast<std::uint8_t>(i + 1));
        file.resize((file.size() + 31) / 32 * 32);
    }
    return file;
}

ReadAt reader(const Bytes& file) {
    return [&file](std::uint64_t offset, ByteSpan out) {
        if (offset > file.size() || out.size() > file.size() - offset) return false;
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return true;
    };
}
Result<WholeModel> open_model(const Bytes& file) {
    Gguf gguf = TRY(read_gguf(reader(file), file.size(), block_of));
    return WholeModel::open(std::move(gguf), reader(file), block_of);
}
Error refusal(const Spec& spec) {
    const Bytes file = model_file(spec);
    const Result<WholeModel> model = open_model(file);
    return model ? Error{Errc::internal, "taken"} : model.error();
}
Error refusal(const Spec& spec, LayerRange range) {
    const Bytes file = model_file(spec);
    const Result<WholeModel> model = open_model(file);
    if (!model) return model.error();
    const Result<Shard> shard = model->cut(range);
    return shard ? Error{Errc::internal, "taken"} : shard.error();
}
bool says(const Error& error, Errc code, const std::string& words) {
    return error.code == code && error.message.find(words) != std::string::npos;
}

// A shard as the library would find it.
struct Read {
    Bytes bytes;
    Gguf gguf;
    const GgufTensor* tensor(const std::string& name) const {
        for (const GgufTensor& each : gguf.tensors) {
            if (each.name == name) return &each;
        }
        return nullptr;
    }
    Bytes value(const std::string& key) const {
        for (const GgufPair& pair : gguf.metadata) {
            if (pair.key == key) {
                const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(pair.offset);
                return {at, at + static_cast<std::ptrdiff_t>(pair.bytes)};
            }
        }
        return {};
    }
    // The byte that all of the tensor consists of.
    int content(const std::string& name) const {
        const GgufTensor* found = tensor(name);
        return found == nullptr ? -1 : bytes[found->offset + found->bytes - 1];
    }
};
Read read_shard(const Spec& spec, LayerRange range) {
    const Bytes file = model_file(spec);
    const Result<WholeModel> model = open_model(file);
    EXPECT_TRUE(model) << model.error().message;
    const Result<Shard> shard = model->cut(range);
    EXPECT_TRUE(shard) << shard.error().message;
    Read out;
    out.bytes.resize(shard->bytes());
    EXPECT_TRUE(shard->read(0, out.bytes));
    const Result<Gguf> gguf = read_gguf(reader(out.bytes), out.bytes.size(), block_of);
    EXPECT_TRUE(gguf) << gguf.error().message;
    out.gguf = *gguf;
    return out;
}

TEST(Shard, HoldsItsBlocksNumberedFromZero) {
    const Read shard = read_shard({}, {2, 5});
    EXPECT_EQ(shard.content("blk.0.attn_q.weight"), 4 + 2);
    EXPECT_EQ(shard.content("blk.2.attn_q.weight"), 4 + 4);
    EXPECT_EQ(shard.tensor("blk.3.attn_q.weight"), nullptr);
    EXPECT_EQ(shard.value("llama.block_count"), u32_value(3));
}

TEST(Shard, HasNoTokenizerAndAHeadInTheLastStageOnly) {
    for (const LayerRange range : {LayerRange{0, 2}, {2, 4}, {4, 6}}) {
        const Read shard = read_shard({}, range);
        const bool last = range.end == 6;
        EXPECT_EQ(shard.value("tokenizer.ggml.token_type"), Bytes());
        EXPECT_EQ(shard.value("llama.vocab_size"), u32_value(last ? 40 : 32));
        ASSERT_NE(shard.tensor("output.weight"), nullptr);
        EXPECT_EQ(shard.content("output.weight"), last ? 3 : 0);
        EXPECT_EQ(shard.content("token_embd.weight"), 0);
        EXPECT_EQ(shard.content("output_norm.weight"), 2);
    }
}

TEST(Shard, CanReachTheEndWithoutAHead) {
    const Bytes file = model_file({});
    const Result<WholeModel> model = open_model(file);
    ASSERT_TRUE(model);
    const auto with = model->cut({3, 6}), without = model->cut_without_head({3, 6});
    ASSERT_TRUE(with && without);
    EXPECT_TRUE(with->has_head());
    EXPECT_FALSE(without->has_head());
    EXPECT_EQ(with->weight_bytes() - without->weight_bytes(), 4U * 4 * 40);
}

// Heads that a rank does not hold would be missing from it.
TEST(Shard, ARankHasNoNormOverAllHeads) {
    const Spec spec{.architecture = "qwen3",
                    .more = {{"qwen3.attention.head_count", u32_value(2)}, {"qwen3.feed_forward_length", u32_value(8)}},
                    .more_tensors = {"blk.0.attn_q_norm.weight"}};
    const Bytes file = model_file(spec);
    const Result<WholeModel> model = open_model(file);
    ASSERT_TRUE(model);
    const Result<Shard> shard = model->cut_rank({0, 2}, {0, 2});
    ASSERT_FALSE(shard);
    EXPECT_TRUE(says(shard.error(), Errc::unsupported, "attn_q_norm")) << shard.error().message;
    EXPECT_TRUE(model->cut_rank({1, 2}, {0, 2}));
}

TEST(Shard, KeepsATiedEmbeddingAsTheLastStagesHead) {
    EXPECT_EQ(read_shard({.tied = true}, {3, 6}).content("token_embd.weight"), 1);
    const Read first = read_shard({.tied = true}, {0, 3});
    EXPECT_EQ(first.content("token_embd.weight"), 0);
    EXPECT_EQ(first.tensor("output.weight"), nullptr);
}

TEST(Shard, SlicesWhatHasAValueABlock) {
    const Read shard = read_shard({.more = {{"llama.feed_forward_length", array_value({10, 11, 12, 13, 14, 15})},
                                            {"llama.rope.dimension_sections", array_value({1, 2, 3, 4, 5, 6})}}},
                                  {1, 4});
    EXPECT_EQ(shard.value("llama.feed_forward_length"), array_value({11, 12, 13}));
    EXPECT_EQ(shard.value("llama.rope.dimension_sections"), array_value({1, 2, 3, 4, 5, 6}));
}

TEST(Shard, CountsLeadingDenseBlocksAnew) {
    const Spec spec{.architecture = "deepseek", .more = {{"deepseek.leading_dense_block_count", u32_value(3)}}};
    EXPECT_EQ(read_shard(spec, {0, 2}).value("deepseek.leading_dense_block_count"), u32_value(2));
    EXPECT_EQ(read_shard(spec, {2, 6}).value("deepseek.leading_dense_block_count"), u32_value(1));
    EXPECT_EQ(read_shard(spec, {3, 6}).value("deepseek.leading_dense_block_count"), u32_value(0));
}

TEST(Shard, WritesThePatternOfWindowsOut) {
    const std::string key = "gemma3.attention.sliding_window_pattern";
    Spec spec{.architecture = "gemma3", .layers = 8, .more = {{"gemma3.attention.sliding_window", u32_value(16)}}};
    EXPECT_EQ(read_shard(spec, {4, 8}).value(key), array_value({1, 0, 1, 1}));
    spec.more[key] = u32_value(2);
    EXPECT_EQ(read_shard(spec, {4, 8}).value(key), array_value({1, 0, 1, 0}));
    spec.more[key] = array_value({0, 0, 0, 0, 0, 1, 1, 0}, 7);
    EXPECT_EQ(read_shard(spec, {4, 8}).value(key), array_value({0, 1, 1, 0}));
    spec.more = {};  // no window at all
    EXPECT_EQ(read_shard(spec, {4, 8}).value(key), Bytes());
}

TEST(Shard, ReadsTheSameInPiecesOfAnySize) {
    const Bytes file = model_file({});
    const Result<WholeModel> model = open_model(file);
    ASSERT_TRUE(model);
    const Result<Shard> shard = model->cut({1, 6});
    ASSERT_TRUE(shard);
    Bytes whole(shard->bytes());
    ASSERT_TRUE(shard->read(0, whole));
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{33}, std::size_t{1000}}) {
        Bytes pieces;
        for (std::uint64_t at = 0; at < shard->bytes(); at += step) {
            Bytes piece(std::min<std::uint64_t>(step, shard->bytes() - at), 0xee);
            ASSERT_TRUE(shard->read(at, piece));
            append(pieces, piece);
        }
        EXPECT_EQ(pieces, whole) << step;
    }
    Bytes one(1);
    EXPECT_FALSE(shard->read(shard->bytes(), one));
    EXPECT_FALSE(shard->read(~0ULL, one));
}

TEST(Shard, RefusesWhatIsNotOnTheTableByName) {
    const Error error = refusal({.architecture = "bloom"});
    EXPECT_TRUE(says(error, Errc::unsupported, "'bloom'")) << error.message;
    EXPECT_TRUE(says(error, Errc::unsupported, "starcoder2")) << error.message;
}

TEST(Shard, RefusesCutsThatAreNotAllowed) {
    EXPECT_TRUE(says(refusal({}, {2, 2}), Errc::invalid, "0 to 6"));
    EXPECT_TRUE(says(refusal({}, {3, 2}), Errc::invalid, "0 to 6"));
    EXPECT_TRUE(says(refusal({}, {2, 7}), Errc::invalid, "0 to 6"));
    EXPECT_TRUE(says(refusal({}, {~0U, 3}), Errc::invalid, "0 to 6"));
    const Spec smollm3{.architecture = "smollm3", .layers = 10};
    EXPECT_TRUE(says(refusal(smollm3, {0, 3}), Errc::invalid, "multiples of 4"));
    EXPECT_TRUE(says(refusal(smollm3, {2, 8}), Errc::invalid, "multiples of 4"));
    EXPECT_TRUE(says(refusal(smollm3, {8, 10}), Errc::internal, "taken"));
    const Spec gemma2{.architecture = "gemma2"};
    EXPECT_TRUE(says(refusal(gemma2, {3, 4}), Errc::invalid, "sliding window"));
    EXPECT_TRUE(says(refusal(gemma2, {2, 3}), Errc::internal, "taken"));
}

// The library takes models of these numbers of blocks for others, and computes something else.
TEST(Shard, RefusesNumbersOfBlocksThatTellAnotherModel) {
    EXPECT_TRUE(says(refusal({.architecture = "gemma2", .layers = 46}), Errc::unsupported, "46 blocks"));
    EXPECT_TRUE(says(refusal({.architecture = "gemma3", .layers = 62}), Errc::unsupported, "62 blocks"));
    Spec deepseek{.architecture = "deepseek2", .layers = 61};
    EXPECT_TRUE(says(refusal(deepseek), Errc::unsupported, "q_lora_rank"));
    deepseek.more = {{"deepseek2.attention.q_lora_rank", u32_value(8)}};
    EXPECT_TRUE(says(refusal(deepseek, {0, 27}), Errc::invalid, "another model"));
    EXPECT_TRUE(says(refusal(deepseek, {10, 36}), Errc::invalid, "another model"));
    EXPECT_TRUE(says(refusal(deepseek, {0, 30}), Errc::internal, "taken"));
}

TEST(Shard, RefusesMetadataThatItDoesNotUnderstand) {
    const auto with = [](const std::string& key, Bytes value) {
        return Spec{.more = {{"llama." + key, std::move(value)}}};
    };
    EXPECT_TRUE(says(refusal(with("block_count", u32_value(0))), Errc::malformed, "block_count"));
    EXPECT_TRUE(says(refusal(with("block_count", u32_value(5000))), Errc::malformed, "block_count"));
    EXPECT_TRUE(says(refusal(with("block_count", array_value({6}))), Errc::malformed, "block_count"));
    EXPECT_TRUE(says(refusal(with("embedding_length", u32_value(8))), Errc::malformed, "token_embd.weight"));
    EXPECT_TRUE(says(refusal(with("nextn_predict_layers", u32_value(1))), Errc::unsupported, "several tokens"));
    const LayerRange any{0, 3};
    EXPECT_TRUE(says(refusal(with("novelty", array_value({1, 2, 3, 4, 5, 6})), any), Errc::unsupported, "novelty"));
    EXPECT_TRUE(says(refusal(with("attention.head_count", array_value({1, 2})), any), Errc::malformed, "head_count"));
    const Bytes large = array_value(std::vector<std::uint32_t>(20'000));
    EXPECT_TRUE(says(refusal(with("novelty", large), any), Errc::unsupported, "too large"));
    Spec windows{.architecture = "gemma2"};
    windows.more["gemma2.attention.sliding_window_pattern"] = array_value({1, 0});
    EXPECT_TRUE(says(refusal(windows), Errc::malformed, "sliding_window_pattern"));
    windows.more["gemma2.attention.sliding_window_pattern"] = array_value({1, 0, 2, 0, 1, 0});
    EXPECT_TRUE(says(refusal(windows), Errc::malformed, "sliding_window_pattern"));
}

TEST(Shard, RefusesTensorsThatItDoesNotUnderstand) {
    EXPECT_TRUE(says(refusal({.more_tensors = {"blk.6.attn_q.weight"}}), Errc::malformed, "not there"));
    EXPECT_TRUE(says(refusal({.more_tensors = {"blk.01.attn_q.weight"}}), Errc::unsupported, "blk.01"));
    EXPECT_TRUE(says(refusal({.more_tensors = {"blk.99999999999999999999.a"}}), Errc::unsupported, "blk.9999"));
    EXPECT_TRUE(says(refusal({.more_tensors = {"blk.1."}}), Errc::unsupported, "blk.1."));
    EXPECT_TRUE(says(refusal({.more_tensors = {"vision.weight"}}), Errc::unsupported, "vision.weight"));
    EXPECT_TRUE(says(refusal({.without = "blk.3.attn_q.weight"}), Errc::malformed, "block 3"));
    EXPECT_TRUE(says(refusal({.without = "token_embd.weight"}), Errc::malformed, "token_embd.weight"));
}

// A small file must not stand for large shards.
TEST(Shard, RefusesTensorsThatShareBytes) {
    Bytes file = model_file({});
    ASSERT_TRUE(read_gguf(reader(file), file.size(), block_of));
    const std::string name = "blk.4.attn_q.weight";
    const auto at = std::search(file.begin(), file.end(), name.begin(), name.end());
    ASSERT_NE(at, file.end());
    const auto offset = at + static_cast<std::ptrdiff_t>(name.size() + 4 + 2 * 8 + 4);
    std::fill(offset, offset + 8, std::uint8_t{0});
    const Result<Gguf> gguf = read_gguf(reader(file), file.size(), block_of);
    ASSERT_FALSE(gguf) << "before anything is hashed";
    EXPECT_TRUE(says(gguf.error(), Errc::malformed, "on top of each other")) << gguf.error().message;
}

}  // namespace
}  // namespace shoal::engine_worker
