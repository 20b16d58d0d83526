#include "engine_worker/offload.h"

#include <gtest/gtest.h>

#include "engine_worker/gguf_writer.h"

namespace shoal::engine_worker {
namespace {

constexpr std::uint64_t mib = 1 << 20;

// Ten layers of 100 MiB, a head of 50, buffers of 30.
GpuSizes ten_layers() {
    return {std::vector<std::uint64_t>(10, 100 * mib), 50 * mib, 30 * mib};
}
// Free memory of which `room` can be used: a sixteenth and 128 MiB are left to others.
std::uint64_t free_for(std::uint64_t room) {
    return (room + 128 * mib) * 16 / 15 + 1;
}

TEST(Offload, AsManyLayersAsFitBesideHeadAndBuffers) {
    EXPECT_EQ(gpu_layers(ten_layers(), free_for(80 * mib + 1000 * mib)), 10U);
    EXPECT_EQ(gpu_layers(ten_layers(), free_for(80 * mib + 1000 * mib) - 2 * mib), 9U);
    EXPECT_EQ(gpu_layers(ten_layers(), free_for(80 * mib + 300 * mib)), 3U);
    EXPECT_EQ(gpu_layers(ten_layers(), free_for(80 * mib + 100 * mib)), 1U);
    EXPECT_EQ(gpu_layers(ten_layers(), free_for(80 * mib + 99 * mib)), 0U);
    EXPECT_EQ(gpu_layers(ten_layers(), 0), 0U);
    EXPECT_EQ(gpu_layers(ten_layers(), UINT64_MAX), 10U);
}

// The last ones go there, so it is their size that counts.
TEST(Offload, CountsFromTheLastLayer) {
    GpuSizes sizes = ten_layers();
    sizes.layers[0] = 5000 * mib;
    EXPECT_EQ(gpu_layers(sizes, free_for(80 * mib + 950 * mib)), 9U);
    sizes.layers[9] = 5000 * mib;
    EXPECT_EQ(gpu_layers(sizes, free_for(80 * mib + 950 * mib)), 0U);
}

TEST(Offload, GivesWhatWasAskedForOrTheFigures) {
    Offload offload{nullptr, "Vulkan0", 4, 0};
    const auto place = [&offload](std::uint64_t free_bytes) {
        offload.free_bytes = free_bytes;
        return place_layers(offload, ten_layers());
    };
    EXPECT_EQ(place(free_for(80 * mib + 400 * mib)).value(), 4U);
    EXPECT_EQ(place(free_for(2000 * mib)).value(), 4U);

    const auto small = place(free_for(80 * mib + 250 * mib));
    ASSERT_FALSE(small);
    EXPECT_EQ(small.error().code, Errc::invalid);
    for (const char* words : {"4 layers do not fit", "480 MiB", "330 MiB", "Vulkan0", "2 would fit"}) {
        EXPECT_NE(small.error().message.find(words), std::string::npos) << small.error().message;
    }
    offload.layers = 11;
    const auto many = place(free_for(9000 * mib));
    ASSERT_FALSE(many);
    EXPECT_NE(many.error().message.find("only 10 are computed here"), std::string::npos) << many.error().message;

    offload.layers.reset();
    EXPECT_EQ(place(free_for(80 * mib + 250 * mib)).value(), 2U);
    const auto none = place(free_for(100 * mib));
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::invalid);
    for (const char* words : {"not one layer fits", "180 MiB", "100 MiB", "Vulkan0"}) {
        EXPECT_NE(none.error().message.find(words), std::string::npos) << none.error().message;
    }
}

BlockSize block_of(std::uint32_t type) {
    return type == 0 ? BlockSize{1, 4} : BlockSize{};
}

struct Header {
    Bytes file;
    Gguf gguf;
    ReadAt read() const {
        return [this](std::uint64_t offset, ByteSpan out) {
            if (offset > file.size() || out.size() > file.size() - offset) return false;
            std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
            return true;
        };
    }
};

// Two layers of unlike size, width 64, 4 heads of which 2 have keys of their own.
Header model(
    bool tied, const std::function<void(GgufWriter&)>& more = [](GgufWriter&) {}) {
    GgufWriter out;
    out.text("general.architecture", "llama");
    out.u32("llama.block_count", 2);
    out.u32("llama.embedding_length", 64);
    out.u32("llama.attention.head_count", 4);
    out.u32("llama.attention.head_count_kv", 2);
    more(out);
    std::vector<std::pair<std::string, std::vector<std::uint64_t>>> tensors = {
        {"token_embd.weight", {64, 100}},  {"output_norm.weight", {64}},       {"blk.0.attn_q.weight", {64, 64}},
        {"blk.1.attn_q.weight", {64, 64}}, {"blk.1.ffn_up.weight", {64, 256}}, {"blk.10.stray.weight", {64, 64}},
        {"blk.nothing.weight", {64}}};
    if (!tied) tensors.push_back({"output.weight", {64, 100}});
    std::uint64_t bytes = 0;
    for (const auto& [name, dims] : tensors) {
        const std::uint64_t size = 4 * dims[0] * (dims.size() > 1 ? dims[1] : 1);
        out.tensor(name, 0, dims, size);
        bytes += size;
    }
    Header header;
    header.file = out.finish();
    header.file.resize(header.file.size() + bytes);
    header.gguf = read_gguf(header.read(), header.file.size(), block_of).value();
    return header;
}

TEST(Offload, CountsEachLayersTensorsAndItsCache) {
    const Header header = model(false);
    // Keys and values: 2 heads of 16 each, two bytes a number.
    EXPECT_EQ(cache_bytes_per_token(header.gguf, header.read(), false), 2U * 2 * 2 * 16 * 2);
    EXPECT_EQ(cache_bytes_per_token(header.gguf, header.read(), true), 2U * 2 * 34);
    const auto sizes = gpu_sizes(header.gguf, header.read(), {.cells = 1000, .sequences = 1, .rows = 8, .outputs = 1});
    ASSERT_TRUE(sizes);
    const std::uint64_t cache = 1000 * 128;
    EXPECT_EQ(sizes->layers, (std::vector<std::uint64_t>{64 * 64 * 4 + cache, 64 * 64 * 4 + 64 * 256 * 4 + cache}));
    // The head, the last norm, and what has no layer's number.
    EXPECT_EQ(sizes->head, 64U * 100 * 4 + 64 * 4 + 64 * 4);
    EXPECT_GE(sizes->buffers, 4U * (8 * 64 + 100) + 8 * 1000 * 4);
}

TEST(Offload, AnEmbeddingThatIsTheHeadIsThereOnceMore) {
    const Header apart = model(false), tied = model(true);
    const ContextSizes context{.cells = 10, .sequences = 1, .rows = 1, .outputs = 1};
    EXPECT_EQ(gpu_sizes(apart.gguf, apart.read(), context)->head, gpu_sizes(tied.gguf, tied.read(), context)->head);
}

TEST(Offload, TakesTheLargestOfAnArrayAndCutsTheAbsurd) {
    const Header header = model(false, [](GgufWriter& out) {
        out.u32s("llama.attention.head_count_kv", {1, 4});
        out.u32("llama.attention.key_length", UINT32_MAX);
        out.f32("llama.attention.value_length", 16);  // no whole number
        out.u32("llama.ssm.state_size", UINT32_MAX);
        out.u32("llama.ssm.inner_size", UINT32_MAX);
        out.u32("llama.ssm.group_count", UINT32_MAX);
        out.u32("llama.ssm.conv_kernel", UINT32_MAX);
    });
    EXPECT_EQ(number_of(header.gguf, header.read(), "attention.head_count_kv", 0), 4U);
    EXPECT_EQ(number_of(header.gguf, header.read(), "attention.value_length", 7), 7U);
    EXPECT_EQ(number_of(header.gguf, header.read(), "no_such", 7), 7U);
    const auto sizes =
        gpu_sizes(header.gguf, header.read(), {.cells = 1 << 26, .sequences = 256, .rows = 512, .outputs = 512});
    ASSERT_TRUE(sizes);
    // So much that it fits nowhere, and no wrap to something small.
    for (const std::uint64_t layer : sizes->layers) EXPECT_GT(layer, 1ULL << 48);
    EXPECT_EQ(gpu_layers(*sizes, 1ULL << 47), 0U);
}

TEST(Offload, RefusesAModelWithoutLayers) {
    for (const std::uint32_t layers : {0U, 513U}) {
        const Header header = model(false, [layers](GgufWriter& out) { out.u32("llama.block_count", layers); });
        const auto sizes = gpu_sizes(header.gguf, header.read(), {});
        ASSERT_FALSE(sizes);
        EXPECT_EQ(sizes.error().code, Errc::malformed);
    }
}

}  // namespace
}  // namespace shoal::engine_worker
