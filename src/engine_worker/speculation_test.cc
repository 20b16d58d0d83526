// A batcher with guesses over a backbone whose logits the test makes: no token changes, and the share of each is what
// it is without guesses.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/test_rng.h"
#include "engine_worker/batcher.h"
#include "engine_worker/test_chain.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

constexpr std::size_t words = 6;  // of the vocabulary that can be said
constexpr llama_token first_word = 300;

// What follows each word: logits. A prompt's end counts as word 0.
using Table = std::array<std::array<float, words>, words>;
Table random_table(std::uint64_t seed) {
    TestRng rng(seed);
    Table out;
    for (auto& row : out) {
        for (float& x : row) x = static_cast<float>(3 * rng.uniform());
    }
    return out;
}
std::size_t word_of(llama_token token) {
    return token >= first_word && token < first_word + static_cast<llama_token>(words)
               ? static_cast<std::size_t>(token - first_word)
               : 0;
}

// Logits of a row by the table and the row's token alone; checks that rows follow on from what is held.
class TableBackbone final : public Backbone {
public:
    TableBackbone(const Table& table, std::size_t vocabulary) : table_(table), logits_(vocabulary, -INFINITY) {}

    std::size_t steps_max() const override { return steps; }
    Status begin(std::span<const BatchRow> rows) override {
        Step step;
        for (const BatchRow& row : rows) {
            auto& held = held_[row.sequence];
            EXPECT_EQ(row.position, held.size());
            last_position = std::max(last_position, row.position);
            held.push_back(row.token);
            step.emplace_back(row.token);
            wanted += row.wanted ? 1 : 0;
        }
        most_wanted = std::max(most_wanted, std::exchange(wanted, 0));
        steps_.push_back(std::move(step));
        return ok();
    }
    void truncate(llama_seq_id sequence, std::uint32_t length) override {
        auto& held = held_[sequence];
        if (length == 0) said.push_back(held);
        held.resize(std::min<std::size_t>(held.size(), length));
    }
    void end(Batcher& batcher) {
        const Step step = std::move(steps_.front());
        steps_.pop_front();
        batcher.end_step([&](std::size_t row) {
            const auto& next = table_[word_of(step[row])];
            std::copy(next.begin(), next.end(), logits_.begin() + first_word);
            return logits_.data();
        });
    }

    std::size_t steps = 1;
    std::size_t most_wanted = 0;  // rows of a step: of tokens and of guesses, not of prompts
    std::uint32_t last_position = 0;
    std::vector<std::vector<llama_token>> said;  // of each sequence when it ended: all but its last token

private:
    using Step = std::vector<llama_token>;
    std::size_t wanted = 0;
    Table table_;
    std::vector<float> logits_;
    std::map<llama_seq_id, std::vector<llama_token>> held_;
    std::deque<Step> steps_;
};

// Draws from another table, with luck of its own or with that of the request.
class TableDrafter final : public Drafter {
public:
    TableDrafter(const Table& table, std::size_t vocabulary, bool same_noise)
        : table_(table), logits_(vocabulary, -INFINITY), same_noise_(same_noise) {}
    std::vector<llama_token> draft(llama_seq_id, std::span<const llama_token> tokens, std::size_t count,
                                   const Sampler& next) override {
        std::vector<llama_token> out;
        Sampling sampling;
        Sampler own(sampling, Noise({}, luck_++, {}));
        Sampler shared = next.fork();
        for (llama_token at = tokens.back(); out.size() < count; at = out.back()) {
            const auto& row = table_[word_of(at)];
            std::copy(row.begin(), row.end(), logits_.begin() + first_word);
            out.push_back((same_noise_ ? shared : own).next(logits_).value());
        }
        guesses += out.size();
        return out;
    }
    void forget(llama_seq_id) override {}
    std::size_t guesses = 0;

private:
    Table table_;
    std::vector<float> logits_;
    bool same_noise_;
    std::uint64_t luck_ = 1;
};

enum class Guessing { none, own_noise, same_noise };

class SpeculationTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() { load_library(); }
    SpeculationTest() : file_(fixture_path("spm")) {
        engine::pipe::Load load;
        load.context_tokens = 256;
        load.sequences = 8;
        load.threads = 1;
        auto ends = load_ends(open_whole_model(file_.descriptor(), [](double) {}).value(), load);
        EXPECT_TRUE(ends.has_value());
        model_ = std::make_unique<Model>(std::move(ends->model));
    }

    // Answers to `jobs` requests, each with luck of its own; what was said by all of them, job after job.
    std::vector<std::string> ask(std::size_t jobs, Guessing guessing, float temperature, std::uint64_t luck = 0) {
        const auto vocabulary = static_cast<std::size_t>(llama_vocab_n_tokens(model_->vocab()));
        backbone_ = std::make_unique<TableBackbone>(table_, vocabulary);
        backbone_->steps = steps_;
        Speculation speculation;
        if (guessing != Guessing::none) {
            speculation.add(std::make_unique<TableDrafter>(guesses_, vocabulary, guessing == Guessing::same_noise));
        }
        std::map<std::uint64_t, std::string> texts;
        std::map<std::uint64_t, Usage> usage;
        Batcher batcher(*model_, *backbone_, std::move(speculation), [&](const engine::pipe::FromWorker& event) {
            if (const auto* text = std::get_if<engine::Text>(&event)) texts[text->job.value()] += text->text.expose();
            if (const auto* end = std::get_if<engine::Finished>(&event)) usage[end->job.value()] = end->usage;
            if (const auto* failed = std::get_if<engine::Failed>(&event)) ADD_FAILURE() << failed->message;
        });
        for (std::size_t next = 0; next < jobs || batcher.busy();) {
            for (; next < jobs && next < usage.size() + 16; ++next) batcher.submit(job_of(next, temperature, luck));
            while (batcher.begin_step()) {
            }
            backbone_->end(batcher);
        }
        std::vector<std::string> out;
        for (const auto& [job, text] : texts) {
            EXPECT_EQ(usage[job].completion.value(), tokens_);
            // Neither guesses nor anything else goes beyond what was reserved.
            EXPECT_LT(backbone_->last_position, usage[job].prompt.value() + tokens_);
            out.push_back(text);
        }
        return out;
    }
    // How often each word followed each, in what was said last.
    std::array<std::array<double, words>, words> pairs() const {
        std::array<std::array<double, words>, words> out{};
        for (const auto& said : backbone_->said) {
            for (std::size_t i = 1; i < said.size(); ++i) {
                if (said[i - 1] >= first_word) out[word_of(said[i - 1])][word_of(said[i])] += 1;
            }
        }
        return out;
    }

    OpenFile file_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<TableBackbone> backbone_;
    Table table_ = random_table(1);
    Table guesses_ = random_table(2);
    std::uint32_t tokens_ = 60;
    std::size_t steps_ = 1;

private:
    engine::Job job_of(std::uint64_t id, float temperature, std::uint64_t luck) const {
        engine::Job job;
        job.id = JobId(id);
        job.request.messages.push_back({Role::user, Plaintext("say something")});
        job.request.completion_tokens_max = tokens_;
        job.request.sampling.temperature = temperature;
        store_le<std::uint64_t>(job.client_seed.data(), id);
        store_le<std::uint64_t>(job.client_seed.data() + 8, luck);
        return job;
    }
};

TEST_F(SpeculationTest, ChangesNoTokenGreedyOrSampled) {
    for (const std::size_t steps : {1, 4}) {
        steps_ = steps;
        for (const float temperature : {0.0F, 0.7F, 1.5F}) {
            const std::vector<std::string> plain = ask(40, Guessing::none, temperature);
            ASSERT_EQ(plain.size(), 40U);
            EXPECT_EQ(ask(40, Guessing::own_noise, temperature), plain) << temperature;
            EXPECT_EQ(ask(40, Guessing::same_noise, temperature), plain) << temperature;
        }
    }
}

TEST_F(SpeculationTest, KeepsWithinTheRowsOfAStep) {
    guesses_ = table_;  // all guesses right
    ask(40, Guessing::same_noise, 1.0F);
    EXPECT_GT(backbone_->most_wanted, 40U);
    EXPECT_LE(backbone_->most_wanted, 8 + guess_rows_max);
}

using Pairs = std::array<std::array<double, words>, words>;

// Chi-square of two samples that ought to be of one distribution; (words - 1) degrees of freedom for each word before.
double chi_square(const Pairs& a, const Pairs& b) {
    double out = 0;
    for (std::size_t i = 0; i < words; ++i) {
        double of_a = 0, of_b = 0;
        for (std::size_t j = 0; j < words; ++j) {
            of_a += a[i][j];
            of_b += b[i][j];
        }
        for (std::size_t j = 0; j < words; ++j) {
            const double difference = std::sqrt(of_b / of_a) * a[i][j] - std::sqrt(of_a / of_b) * b[i][j];
            out += difference * difference / (a[i][j] + b[i][j]);
        }
    }
    return out;
}
// Of 30 degrees of freedom, exceeded with p = .01.
constexpr double chi_square_30_01 = 50.89;
static_assert(words * (words - 1) == 30);

double count(const Pairs& pairs) {
    double out = 0;
    for (const auto& row : pairs) {
        for (const double x : row) out += x;
    }
    return out;
}

// The rule that is often written down and wrong: keep a guess with min(1, p/q), and else draw from p itself.
Pairs biased_twin(const Table& model, const Table& draft, std::size_t samples) {
    TestRng rng(9);
    const auto shares = [](const std::array<float, words>& logits) {
        std::array<double, words> out{};
        double total = 0;
        for (std::size_t i = 0; i < words; ++i) total += out[i] = std::exp(static_cast<double>(logits[i]));
        for (double& x : out) x /= total;
        return out;
    };
    const auto draw = [&rng](const std::array<double, words>& p) {
        double left = rng.uniform();
        for (std::size_t i = 0; i + 1 < words; ++i) {
            if ((left -= p[i]) < 0) return i;
        }
        return words - 1;
    };
    Pairs out{};
    std::size_t at = 0;
    for (std::size_t i = 0; i < samples; ++i) {
        const auto p = shares(model[at]), q = shares(draft[at]);
        const std::size_t guess = draw(q);
        const std::size_t next = rng.uniform() < p[guess] / q[guess] ? guess : draw(p);
        out[at][next] += 1;
        at = next;
    }
    return out;
}

TEST_F(SpeculationTest, SamplesAsWithoutGuessesAndABiasedTwinDoesNot) {
    constexpr std::size_t jobs = 1800;  // 58 pairs each
    ask(jobs, Guessing::none, 1.0F, 1);
    const Pairs plain = pairs();
    ASSERT_GE(count(plain), 1e5);
    for (const Guessing guessing : {Guessing::own_noise, Guessing::same_noise}) {
        ask(jobs, guessing, 1.0F, 2);
        const Pairs guessed = pairs();
        ASSERT_GE(count(guessed), 1e5);
        const double found = chi_square(plain, guessed);
        std::printf("  chi-square %.1f of 30 degrees of freedom (p = .01: %.1f)\n", found, chi_square_30_01);
        EXPECT_LT(found, chi_square_30_01);
    }
    const double twin = chi_square(plain, biased_twin(table_, guesses_, static_cast<std::size_t>(count(plain))));
    std::printf("  of the biased twin %.0f\n", twin);
    EXPECT_GT(twin, 10 * chi_square_30_01);
}

}  // namespace
}  // namespace shoal::engine_worker
