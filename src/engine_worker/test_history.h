// For this room's tests: a backbone whose logits are made of all that a sequence holds, so what is reused wrongly
// changes the answer.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <map>

#include "base/test_rng.h"
#include "engine_worker/batcher.h"

namespace shoal::engine_worker {

inline constexpr std::size_t words = 6;  // of the vocabulary that can be said
inline constexpr llama_token first_word = 300;

class HistoryBackbone final : public Backbone {
public:
    HistoryBackbone(std::size_t vocabulary, std::size_t steps, std::uint32_t cells)
        : steps_(steps), cells_(cells), logits_(vocabulary, -INFINITY) {}

    std::size_t steps_max() const override { return steps_; }
    Status begin(std::span<const BatchRow> rows) override {
        if (std::exchange(fail_next, false)) {
            held_.clear();
            return fail(Errc::internal, "the backbone lost everything");
        }
        std::vector<std::uint64_t> step;
        for (const BatchRow& row : rows) {
            auto& held = held_[row.sequence];
            EXPECT_EQ(row.position, held.size());
            held.push_back(row.token);
            ++computed;
            std::uint64_t hash = 14695981039346656037ULL;
            for (const llama_token token : held) hash = (hash ^ static_cast<std::uint64_t>(token)) * 1099511628211ULL;
            step.push_back(hash);
        }
        std::size_t all = 0;
        for (const auto& [sequence, held] : held_) all += held.size();
        EXPECT_LE(all, cells_);
        steps_under_way_.push_back(std::move(step));
        return ok();
    }
    void truncate(llama_seq_id sequence, std::uint32_t length) override {
        auto& held = held_[sequence];
        held.resize(std::min<std::size_t>(held.size(), length));
    }
    std::uint32_t kept_tokens_max() const override { return kept_max; }
    std::uint32_t beside_tokens_max() const override { return beside_max; }
    bool holds(llama_seq_id sequence, std::uint32_t length) const override {
        return !lies && held_.contains(sequence) && held_.at(sequence).size() == length;
    }
    // A row begins with the token, in the keys of the only layer; in the values with its position.
    const KvShape* kv_shape() const override { return shape ? &*shape : nullptr; }
    Result<KvCopy> copy(llama_seq_id sequence) const override {
        const auto& held = held_.at(sequence);
        KvCopy out = KvCopy::blank(*shape, static_cast<std::uint32_t>(held.size()));
        const std::size_t row = shape->layers[0].keys.bytes;
        for (std::uint32_t i = 0; i < held.size(); ++i) {
            const auto token = static_cast<std::uint32_t>(held[i]);
            store_le<std::uint32_t>(out.rows_to_fill(0, KvSide::keys).data() + row * i, token);
            store_le<std::uint32_t>(out.rows_to_fill(0, KvSide::values).data() + row * i, i);
        }
        return out;
    }
    Status place(llama_seq_id sequence, const KvCopy& copy) override {
        auto& held = held_[sequence];
        held.clear();
        ++placed;
        if (no_place) return fail(Errc::exhausted, "no room");
        for (std::uint32_t i = 0; i < copy.tokens(); ++i) {
            held.push_back(static_cast<llama_token>(load_le<std::uint32_t>(copy.rows(0, KvSide::keys, i).data())));
            EXPECT_EQ(load_le<std::uint32_t>(copy.rows(0, KvSide::values, i).data()), i);
        }
        return ok();
    }
    void end(Batcher& batcher) {
        const std::vector<std::uint64_t> step = std::move(steps_under_way_.front());
        steps_under_way_.pop_front();
        batcher.end_step([&](std::size_t row) {
            TestRng rng(step[row]);
            for (std::size_t i = 0; i < words; ++i) {
                logits_[first_word + i] = not_finite_next ? NAN : static_cast<float>(3 * rng.uniform());
            }
            not_finite_next = false;
            return logits_.data();
        });
    }
    void forget_under_way() { steps_under_way_.clear(); }

    std::uint32_t kept_max = UINT32_MAX;
    std::uint32_t beside_max = UINT32_MAX;
    bool lies = false;             // sequences turn out to hold something else
    bool fail_next = false;        // and lose what all sequences hold
    bool not_finite_next = false;  // logits
    std::size_t computed = 0;      // rows
    std::size_t placed = 0;        // sequences of other engines
    bool no_place = false;         // for them
    std::optional<KvShape> shape = KvShape{{{{KvRowType::f16, 4}, {KvRowType::f16, 4}}}};

private:
    std::size_t steps_;
    std::uint32_t cells_;
    std::vector<float> logits_;
    std::map<llama_seq_id, std::vector<llama_token>> held_;
    std::deque<std::vector<std::uint64_t>> steps_under_way_;
};

}  // namespace shoal::engine_worker
