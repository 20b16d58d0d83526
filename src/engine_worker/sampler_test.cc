#include "engine_worker/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "crypto/hash.h"

namespace shoal::engine_worker {
namespace {

const std::vector<std::int32_t> prompt = {1, 5, 9};

Noise noise(std::uint8_t seed = 1) {
    return Noise(ByteArray<32>{seed}, std::nullopt, prompt);
}

Sampling with_temperature(float temperature) {
    Sampling s;
    s.temperature = temperature;
    return s;
}

// Draws once with each of many seeds; how often each token came.
std::map<std::int32_t, int> histogram(const Sampling& sampling, const std::vector<float>& logits, int draws) {
    std::map<std::int32_t, int> counts;
    for (int i = 0; i < draws; ++i) {
        ByteArray<32> seed{};
        store_le<std::uint32_t>(seed.data(), static_cast<std::uint32_t>(i));
        Sampler sampler(sampling, Noise(seed, std::nullopt, prompt));
        ++counts[*sampler.next(logits)];
    }
    return counts;
}

TEST(Sampler, NoiseIsTheWrittenFormula) {
    std::uint8_t tokens[12] = {1, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0};
    std::uint8_t position[8] = {7};
    const auto prompt_hash = crypto::blake2b<32>({tokens});
    std::uint8_t out[8];
    crypto::shake256(out, {as_bytes("sc1/noise"), ByteArray<32>{1}, prompt_hash, position});
    EXPECT_EQ(noise().at(7), static_cast<double>(load_le<std::uint64_t>(out) >> 11) / 9007199254740992.0);
}

TEST(Sampler, NoiseIsThatOfTheVectors) {
    std::ifstream file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/sampling.json");
    const auto vectors = nlohmann::json::parse(file);
    ASSERT_GT(vectors.size(), 10U);
    for (const auto& v : vectors) {
        const auto client = first_bytes<32>(from_hex(v["client_seed"].get<std::string>()).value());
        std::optional<std::uint64_t> seed;
        if (v.contains("seed")) seed = v["seed"].get<std::uint64_t>();
        const auto tokens = v["prompt"].get<std::vector<std::int32_t>>();
        EXPECT_EQ(Noise(client, seed, tokens).at(v["position"].get<std::uint64_t>()), v["noise"].get<double>());
    }
}

TEST(Sampler, ASeedTakesThePlaceOfTheClientsSeed) {
    const Noise a(ByteArray<32>{1}, 42, prompt), b(ByteArray<32>{2}, 42, prompt), c(ByteArray<32>{1}, 43, prompt);
    EXPECT_EQ(a.at(0), b.at(0));
    EXPECT_NE(a.at(0), c.at(0));
}

TEST(Sampler, NoiseDependsOnPromptAndPosition) {
    const std::vector<std::int32_t> other = {1, 5, 8};
    EXPECT_NE(noise().at(0), noise().at(1));
    EXPECT_NE(noise().at(0), Noise(ByteArray<32>{1}, std::nullopt, other).at(0));
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
    Sampler sampler(with_temperature(0), noise());
    EXPECT_EQ(sampler.next(std::vector<float>{1, 3, 3, 2}), 1);
}

TEST(Sampler, GreedyFindsTheBestAnywhere) {
    for (std::size_t at = 0; at < 100; ++at) {
        std::vector<float> logits(100, -5.0F);
        logits[at] = 4.0F;
        Sampler sampler(with_temperature(0), noise());
        EXPECT_EQ(sampler.next(logits), static_cast<std::int32_t>(at));
    }
}

TEST(Sampler, RefusesLogitsWithoutAFiniteOne) {
    for (float temperature : {0.0F, 1.0F}) {
        Sampler sampler(with_temperature(temperature), noise());
        EXPECT_FALSE(sampler.next(std::vector<float>{NAN, -INFINITY}));
        EXPECT_FALSE(sampler.next(std::vector<float>{}));
    }
}

TEST(Sampler, IgnoresNotANumber) {
    for (float temperature : {0.0F, 1.0F}) {
        Sampler sampler(with_temperature(temperature), noise());
        EXPECT_EQ(sampler.next(std::vector<float>{NAN, 1, -INFINITY}), 1);
    }
}

TEST(Sampler, DrawsByProbability) {
    const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
    const auto counts = histogram(with_temperature(1), logits, 20'000);
    EXPECT_NEAR(counts.at(0) / 20'000.0, 0.5, 0.02);
    EXPECT_NEAR(counts.at(1) / 20'000.0, 0.3, 0.02);
    EXPECT_NEAR(counts.at(2) / 20'000.0, 0.2, 0.02);
}

TEST(Sampler, TemperatureSharpens) {
    const std::vector<float> logits = {std::log(0.6F), std::log(0.4F)};
    const auto counts = histogram(with_temperature(0.5F), logits, 10'000);
    EXPECT_NEAR(counts.at(0) / 10'000.0, 0.36 / (0.36 + 0.16), 0.02);
}

TEST(Sampler, TopKKeepsTheLikeliest) {
    Sampling s = with_temperature(2);
    s.top_k = 2;
    const auto counts = histogram(s, {1, 2, 3, 0}, 500);
    EXPECT_EQ(counts.size(), 2U);
    EXPECT_TRUE(counts.contains(1) && counts.contains(2));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
    Sampling s = with_temperature(1);
    s.top_p = 0.7F;
    const auto counts = histogram(s, {std::log(0.5F), std::log(0.3F), std::log(0.2F)}, 500);
    EXPECT_EQ(counts.size(), 2U);
    EXPECT_FALSE(counts.contains(2));
}

TEST(Sampler, TopPIsTakenBeforeTemperature) {
    Sampling s = with_temperature(2);  // flattened, the first alone would not reach 0.85
    s.top_p = 0.85F;
    EXPECT_EQ(histogram(s, {std::log(0.9F), std::log(0.1F)}, 200).size(), 1U);
}

TEST(Sampler, MinPKeepsWhatIsLikelyEnough) {
    Sampling s = with_temperature(1);
    s.min_p = 0.5F;
    const auto counts = histogram(s, {std::log(0.5F), std::log(0.3F), std::log(0.2F)}, 500);
    EXPECT_EQ(counts.size(), 2U);
    EXPECT_FALSE(counts.contains(2));
}

TEST(Sampler, FrequencyPenaltyGrowsWithEachUse) {
    Sampling s = with_temperature(0);
    s.frequency_penalty = 1.0F;
    Sampler sampler(s, noise());
    const std::vector<float> logits = {3.5F, 2.0F};
    std::vector<std::int32_t> got;
    for (int i = 0; i < 4; ++i) got.push_back(*sampler.next(logits));
    EXPECT_EQ(got, (std::vector<std::int32_t>{0, 0, 1, 0}));  // 3.5, 2.5, 1.5 against 2.0, then 1.5 against 1.0
}

TEST(Sampler, PresencePenaltyCountsOnce) {
    Sampling s = with_temperature(0);
    s.presence_penalty = 1.0F;
    Sampler sampler(s, noise());
    const std::vector<float> logits = {3.5F, 2.0F};
    for (int i = 0; i < 4; ++i) EXPECT_EQ(*sampler.next(logits), 0);
}

RC_GTEST_PROP(Sampler, TheSameSeedGivesTheSameTokens, (std::uint64_t seed)) {
    std::vector<float> logits(64);
    for (float& l : logits) l = static_cast<float>(*rc::gen::inRange(-400, 400)) / 100.0F;
    Sampling s = with_temperature(0.8F);
    s.top_k = *rc::gen::inRange(0U, 70U);
    s.top_p = static_cast<float>(*rc::gen::inRange(1, 101)) / 100.0F;
    s.min_p = static_cast<float>(*rc::gen::inRange(0, 101)) / 100.0F;
    s.seed = seed;
    Sampler a(s, Noise({}, s.seed, prompt)), b(s, Noise({}, s.seed, prompt));
    for (int i = 0; i < 20; ++i) {
        const auto token = a.next(logits);
        RC_ASSERT(token.has_value());
        RC_ASSERT(token == b.next(logits));
    }
}

}  // namespace
}  // namespace shoal::engine_worker
