#include "engine_worker/stage.h"

#include <arch_fixture.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "engine_worker/sandbox.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

using fixtures::Quantisation;

// The models that these tests share, made once.
class StageTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        load_library();
        for (const char* name : {"qwen2", "gemma3", "mamba2"}) {
            ASSERT_TRUE(fixtures::make_model(fixtures::variant(name), Quantisation::q8_0, path(name)));
        }
    }
    static void TearDownTestSuite() {
        for (const char* name : {"qwen2", "gemma3", "mamba2"}) std::filesystem::remove(path(name));
    }
    static std::string path(const std::string& name) { return fixture_path("stage-test-" + name); }
};

std::unique_ptr<Chain> chain_of(const std::string& path, std::uint32_t sequences = 1) {
    const StageOptions options{.cells = 256, .sequences = sequences, .rows_max = 64, .wanted_max = 64};
    Result<std::unique_ptr<Chain>> chain = Chain::make(path, {3}, options);
    EXPECT_TRUE(chain) << chain.error().message;
    return chain ? std::move(*chain) : nullptr;
}

// Tokens of one sequence from `position` on, every row wanted.
std::vector<float> feed(Chain& chain, const std::vector<std::int32_t>& tokens, std::int32_t position,
                        std::int32_t sequence = 0) {
    std::vector<Place> places;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        places.push_back({position + static_cast<std::int32_t>(i), sequence, true});
    }
    const Result<std::vector<float>> out = chain.run(tokens, places);
    EXPECT_TRUE(out) << out.error().message;
    return out ? *out : std::vector<float>();
}

TEST_F(StageTest, GoesBackToAnyTokenAndOnAsIfNothingHadBeen) {
    for (const char* name : {"qwen2", "gemma3"}) {
        const auto straight = chain_of(path(name)), winding = chain_of(path(name));
        const std::vector<std::int32_t> prompt = {5, 6, 7, 8, 9, 10, 11, 12}, wrong = {400, 401, 402}, right = {13, 14};
        feed(*straight, prompt, 0);
        feed(*winding, prompt, 0);
        feed(*winding, wrong, 8);
        for (const auto& stage : winding->stages) ASSERT_TRUE(stage->truncate(0, 8));
        EXPECT_EQ(feed(*straight, right, 8), feed(*winding, right, 8)) << name;
    }
}

TEST_F(StageTest, ARecurrentModelForgetsAllOrNothing) {
    const auto straight = chain_of(path("mamba2")), winding = chain_of(path("mamba2"));
    feed(*winding, {5, 6, 7, 8}, 0);
    const Status back = winding->stages[0]->truncate(0, 2);
    ASSERT_FALSE(back);
    EXPECT_EQ(back.error().code, Errc::unsupported);
    for (const auto& stage : winding->stages) ASSERT_TRUE(stage->truncate(0, 0));
    EXPECT_EQ(feed(*straight, {9, 10}, 0), feed(*winding, {9, 10}, 0));
}

// What each sequence gets must not depend on its company, nor on the order of rows in a call.
TEST_F(StageTest, SequencesInOneCallDoNotMix) {
    for (const char* name : {"qwen2", "gemma3", "mamba2"}) {
        const auto alone = chain_of(path(name), 3), together = chain_of(path(name), 3);
        const std::vector<std::vector<std::int32_t>> prompts = {{1, 2, 3, 4}, {50, 51}, {100, 101, 102}};
        std::vector<std::vector<float>> wanted;
        std::vector<std::int32_t> next = {7, 60, 110};
        for (std::int32_t s = 0; s < 3; ++s) {
            feed(*alone, prompts[s], 0, s);
            feed(*together, prompts[s], 0, s);
            wanted.push_back(feed(*alone, {next[s]}, static_cast<std::int32_t>(prompts[s].size()), s));
        }
        const std::vector<std::int32_t> order = {2, 0, 1};
        std::vector<std::int32_t> tokens;
        std::vector<Place> places;
        for (std::int32_t s : order) {
            tokens.push_back(next[s]);
            places.push_back({static_cast<std::int32_t>(prompts[s].size()), s, true});
        }
        const Result<std::vector<float>> out = together->run(tokens, places);
        ASSERT_TRUE(out) << out.error().message;
        const std::size_t width = together->vocabulary();
        for (std::size_t i = 0; i < order.size(); ++i) {
            double difference = 0;
            for (std::size_t k = 0; k < width; ++k) {
                difference =
                    std::max(difference, std::fabs(static_cast<double>((*out)[i * width + k] - wanted[order[i]][k])));
            }
            // Products of matrices add in another order for three rows than for one.
            EXPECT_LT(difference, 0.02) << name << " sequence " << order[i];
        }
    }
}

TEST_F(StageTest, GivesLogitsOfWantedRowsOnly) {
    const auto chain = chain_of(path("qwen2"));
    const std::vector<std::int32_t> tokens = {1, 2, 3};
    const std::vector<float> all = feed(*chain, tokens, 0);
    for (const auto& stage : chain->stages) ASSERT_TRUE(stage->truncate(0, 0));
    const Result<std::vector<float>> last = chain->run(tokens, std::vector<Place>{{0, 0}, {1, 0}, {2, 0, true}});
    ASSERT_TRUE(last);
    ASSERT_EQ(last->size(), chain->vocabulary());
    EXPECT_TRUE(std::equal(last->begin(), last->end(), all.end() - chain->vocabulary()));
}

std::string reason(const Result<std::span<const float>>& result, Errc code = Errc::invalid) {
    EXPECT_FALSE(result);
    if (result) return "";
    EXPECT_EQ(result.error().code, code);
    return result.error().message;
}

TEST_F(StageTest, RefusesRowsThatCannotBe) {
    const auto chain = chain_of(path("qwen2"), 2);
    Stage& stage = *chain->stages[1];
    const std::vector<float> row(stage.width(), 0.5F);
    const std::vector<Place> here = {{0, 0, true}};
    EXPECT_NE(reason(stage.run({}, {})).find("1 to 64 rows"), std::string::npos);
    EXPECT_NE(reason(stage.run(std::span(row).first(8), here)).find("256 numbers"), std::string::npos);
    EXPECT_NE(reason(stage.run(row, std::vector<Place>{{0, 2}})).find("no such place"), std::string::npos);
    EXPECT_NE(reason(stage.run(row, std::vector<Place>{{0, -1}})).find("no such place"), std::string::npos);
    EXPECT_NE(reason(stage.run(row, std::vector<Place>{{-1, 0}})).find("no such place"), std::string::npos);
    EXPECT_NE(reason(stage.run(row, std::vector<Place>{{256, 0}})).find("no such place"), std::string::npos);
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
        std::vector<float> poisoned = row;
        poisoned[100] = bad;
        EXPECT_NE(reason(stage.run(poisoned, here)).find("none"), std::string::npos);
    }
    EXPECT_FALSE(stage.truncate(2, 0));
    EXPECT_FALSE(stage.truncate(0, -1));
    // None of this has left a trace.
    EXPECT_TRUE(stage.run(row, here));
}

TEST_F(StageTest, RefusesMoreLogitsThanAgreed) {
    const auto chain = Chain::make(path("qwen2"), {}, {.cells = 64, .rows_max = 4, .wanted_max = 1});
    ASSERT_TRUE(chain);
    Stage& stage = *(*chain)->stages[0];
    const std::vector<float> rows(2 * stage.width(), 0.5F);
    EXPECT_NE(reason(stage.run(rows, std::vector<Place>{{0, 0, true}, {1, 0, true}})).find("agreed"),
              std::string::npos);
}

TEST_F(StageTest, RefusesPositionsThatDoNotFollow) {
    const auto chain = chain_of(path("qwen2"));
    Stage& stage = *chain->stages[0];
    const std::vector<float> row(stage.width(), 0.5F);
    ASSERT_TRUE(stage.run(row, std::vector<Place>{{0, 0}}));
    EXPECT_NE(reason(stage.run(row, std::vector<Place>{{9, 0}})).find("do not follow"), std::string::npos);
}

TEST_F(StageTest, SaysThatItsCellsAreFull) {
    const StageOptions options{.cells = 256, .sequences = 2, .rows_max = 200};
    const auto chain = Chain::make(path("qwen2"), {}, options);
    ASSERT_TRUE(chain);
    Stage& stage = *(*chain)->stages[0];
    const std::vector<float> rows(200 * stage.width(), 0.5F);
    std::vector<Place> first, second;
    for (std::int32_t i = 0; i < 200; ++i) {
        first.push_back({i, 0});
        second.push_back({i, 1});
    }
    ASSERT_TRUE(stage.run(rows, first));
    EXPECT_NE(reason(stage.run(rows, second), Errc::exhausted).find("full"), std::string::npos);
}

// What is written is what would be read, and the library takes the file as any other.
TEST_F(StageTest, AShardCanBeWrittenToAFile) {
    const OpenFile file(path("gemma3"));
    const Result<WholeModel> whole = open_whole(file);
    ASSERT_TRUE(whole);
    const Result<Shard> shard = whole->cut({3, 8});
    ASSERT_TRUE(shard);
    const std::string written = path("written");
    const int out = open(written.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const Status status = write_shard(*shard, file.descriptor(), out);
    EXPECT_TRUE(status) << status.error().message;
    close(out);
    Bytes expected(shard->bytes());
    ASSERT_TRUE(shard->read(0, expected));
    std::ifstream in(written, std::ios::binary);
    EXPECT_EQ(Bytes(std::istreambuf_iterator<char>(in), {}), expected);
    const std::unique_ptr<llama_model, LlamaDelete> model(
        llama_model_load_from_file(written.c_str(), llama_model_default_params()));
    EXPECT_NE(model, nullptr);
    std::filesystem::remove(written);
}

// A stage is loaded and computed by a process that may open nothing and write nowhere.
TEST_F(StageTest, LoadsAndComputesBehindTheWalls) {
    const OpenFile file(path("gemma3"));
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        alarm(60);
        if (!enter_sandbox()) _exit(2);
        const Result<WholeModel> whole = open_whole(file);
        if (!whole) _exit(3);
        const Result<Shard> shard = whole->cut({0, 4});
        if (!shard) _exit(4);
        const auto stage = Stage::load(*shard, {.cells = 64, .rows_max = 16}, [](double) {});
        if (!stage) _exit(5);
        const std::vector<float> row((*stage)->width(), 0.5F);
        _exit((*stage)->run(row, std::vector<Place>{{0, 0}}) ? 0 : 6);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

std::uint64_t resident_bytes() {
    std::ifstream status("/proc/self/statm");
    std::uint64_t pages = 0;
    status >> pages >> pages;
    return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

// The bar of the issue: 1.15 times its weights, and its cache.
TEST_F(StageTest, HoldsItsWeightsOnce) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
    const fixtures::Variant wide{
        .name = "wide", .architecture = "llama", .layers = 5, .width = 1024, .heads = 16, .kv_heads = 4, .inner = 2816};
    const std::string at = path("wide");
    ASSERT_TRUE(fixtures::make_model(wide, Quantisation::q8_0, at));
    {
        const OpenFile file(at);
        const Result<WholeModel> whole = open_whole(file);
        ASSERT_TRUE(whole);
        const Result<Shard> shard = whole->cut({0, 4});
        ASSERT_TRUE(shard);
        EXPECT_LT(shard->bytes(), shard->weight_bytes() * 102 / 100);
        malloc_trim(0);  // what was freed before must not hide what is taken now
        const std::uint64_t before = resident_bytes();
        const auto stage = Stage::load(*shard, {.cells = 256, .rows_max = 16}, [](double) {});
        ASSERT_TRUE(stage) << stage.error().message;
        const std::uint64_t cache = 256ULL * 4 * 2 * 4 * 64 * 2;  // cells, blocks, keys and values, heads, head, f16
        const double share =
            static_cast<double>(resident_bytes() - before - cache) / static_cast<double>(shard->weight_bytes());
        std::printf("  a stage of %.1f MB of weights takes %.3f times that\n",
                    static_cast<double>(shard->weight_bytes()) / 1e6, share);
        EXPECT_LT(share, 1.15);
    }
    std::filesystem::remove(at);
}

}  // namespace
}  // namespace shoal::engine_worker
