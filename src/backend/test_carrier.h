// Carries what a lead hands out through two stages on this machine. For tests.
#pragma once

#include <algorithm>
#include <array>
#include <deque>

#include "backend/stage_workers.h"
#include "backend/test_engine.h"

namespace shoal::backend {

// A session is one pair of workers.
class Carrier {
public:
    Carrier(Rig& lead, std::string model, EngineCommand command)
        : lead_(lead), stages_(lead.loop, lead.log, {std::move(model), std::move(command), 1}, [this] {
              lead_.loop.post([this] { run(); });
          }) {
        lead_.on_drained = [this, before = lead_.on_drained] {
            if (before) before();
            run();
        };
    }
    ~Carrier() { lead_.on_drained = nullptr; }

    bool open_session(std::uint16_t first, std::uint16_t cut, std::uint16_t end) {
        close_session();
        const engine::LeadShape& shape = *lead_.engine->shape();
        const std::array<wire::LayerRange, 2> ranges{{{first, cut}, {cut, end}}};
        for (std::size_t i = 0; i < 2; ++i) {
            handles_[i] = StageHandle(next_handle_++);
            stages_.open(
                lead_.loop.now(), handles_[i],
                {lead_.engine->model()->id, ranges[i], shape.type, shape.width, shape.context, shape.sequences});
        }
        return lead_.until([this] { return ready_ == 2 || !failure.empty(); }) && failure.empty();
    }
    void close_session() {
        for (const StageHandle handle : handles_) stages_.close(lead_.loop.now(), handle);
        behind_first_.clear();
        owed_.clear();
        held.clear();
        out = 0;
        ready_ = 0;
    }
    void let_go() {
        hold = false;
        for (Bytes& tensor : std::exchange(held, {})) give_back(std::move(tensor));
        run();
    }
    void run() {
        while (auto event = stages_.poll()) take(std::move(*event));
        while (ready_ == 2) {
            auto work = lead_.engine->next_work();
            if (!work) return;
            hand_over(std::move(*work));
        }
    }

    bool hold = false;       // what comes back
    std::deque<Bytes> held;  // in its order
    std::string failure;     // of a stage
    std::size_t out = 0;     // Forwards, not answered
    std::size_t most_out = 0;
    std::size_t fills = 0;
    std::size_t reads = 0;

private:
    using Parts = std::vector<wire::StagePart>;
    using StageHandle = engine::StageHandle;
    using Truncate = engine::Truncate;
    enum class Kind : std::uint8_t { rows, fill, read };
    struct Owed {
        Kind kind = Kind::rows;
        bool at_second = false;  // a read
        bool passed = false;     // a fill that both stages have, or a read that has been given
        Bytes bytes = {};
    };

    void hand_over(engine::LeadEngine::Work work) {
        const Now now = lead_.loop.now();
        if (auto* forward = std::get_if<engine::Forward>(&work)) {
            most_out = std::max(most_out, ++out);
            behind_first_.emplace_back(forward->rows.parts);
            owed_.emplace_back();
            return stages_.compute(now, handles_[0], forward->rows);
        }
        if (auto* fill = std::get_if<engine::Fill>(&work)) return hand_over(std::move(fill->rows));
        if (const auto* read = std::get_if<engine::Read>(&work)) return hand_over(read->of);
        const Truncate truncate = std::get<Truncate>(work);
        stages_.truncate(now, handles_[0], truncate.sequence, truncate.length);
        behind_first_.emplace_back(truncate);
        pass_on_what_is_next();
    }
    // Of each row the first stage's part, then the second one's.
    void hand_over(wire::StageKvRows rows) {
        const std::size_t own = kv_[0]->token_bytes(), all = rows.tensor.size() / rows.rows;
        wire::StageKvRows first{rows.sequence, rows.position, rows.rows, {}}, rest = first;
        for (std::size_t row = 0; row < rows.rows; ++row) {
            append(first.tensor, ByteView(rows.tensor).subspan(row * all, own));
            append(rest.tensor, ByteView(rows.tensor).subspan(row * all + own, all - own));
        }
        most_out = std::max(most_out, ++out);
        ++fills;
        stages_.fill(lead_.loop.now(), handles_[0], first);
        behind_first_.emplace_back(std::move(rest));
        owed_.push_back({.kind = Kind::fill});
        pass_on_what_is_next();
    }
    // At the second stage it comes behind the rows that were handed over before it.
    void pass_on_what_is_next() {
        for (; !behind_first_.empty() && !std::holds_alternative<Parts>(behind_first_.front());
             behind_first_.pop_front()) {
            const Now now = lead_.loop.now();
            if (const auto* of = std::get_if<wire::StageReadOf>(&behind_first_.front())) {
                if (is_of_first(*of)) return;  // it comes back from there
                next_read(false).at_second = true;
                stages_.read(now, handles_[1], *of);
                continue;
            }
            if (const auto* truncate = std::get_if<Truncate>(&behind_first_.front())) {
                stages_.truncate(now, handles_[1], truncate->sequence, truncate->length);
                continue;
            }
            stages_.fill(now, handles_[1], std::get<wire::StageKvRows>(behind_first_.front()));
            const auto first = std::find_if(owed_.begin(), owed_.end(),
                                            [](const Owed& owed) { return owed.kind == Kind::fill && !owed.passed; });
            first->passed = true;
            answer_what_passed();
        }
    }
    void answer_what_passed() {
        for (; !owed_.empty() && owed_.front().passed; owed_.pop_front()) {
            --out;
            if (owed_.front().kind == Kind::fill) {
                lead_.engine->filled(lead_.loop.now());
            } else {
                lead_.engine->given(lead_.loop.now(), std::move(owed_.front().bytes));
            }
        }
    }
    void hand_over(const wire::StageReadOf& of) {
        most_out = std::max(most_out, ++out);
        ++reads;
        owed_.push_back({.kind = Kind::read});
        behind_first_.emplace_back(of);
        if (is_of_first(of)) stages_.read(lead_.loop.now(), handles_[0], of);
        pass_on_what_is_next();
    }
    bool is_of_first(const wire::StageReadOf& of) const {
        return of.what == wire::StageReadWhat::hashes || of.layer < kv_[0]->layers.size();
    }
    Owed& next_read(bool at_second) {
        return *std::find_if(owed_.begin(), owed_.end(), [at_second](const Owed& owed) {
            return owed.kind == Kind::read && !owed.passed && owed.at_second == at_second;
        });
    }
    void take(engine::StageGiven given) {
        const bool second = given.handle == handles_[1];
        Owed& owed = next_read(second);
        append(owed.bytes, given.bytes);
        owed.passed = true;
        if (!second) {
            const auto of = std::get<wire::StageReadOf>(behind_first_.front());
            behind_first_.pop_front();
            if (of.what == wire::StageReadWhat::hashes) {
                owed.passed = false;
                owed.at_second = true;
                stages_.read(lead_.loop.now(), handles_[1], of);
            }
        }
        answer_what_passed();
        pass_on_what_is_next();
    }
    void take(engine::StageEvent event) {
        if (const auto* ready = std::get_if<engine::StageReady>(&event)) {
            kv_[ready->handle == handles_[0] ? 0 : 1] = ready->kv;
            if (++ready_ < 2 || !kv_[0] || !kv_[1]) return;
            wire::KvShape all = *kv_[0];
            all.layers.insert(all.layers.end(), kv_[1]->layers.begin(), kv_[1]->layers.end());
            lead_.engine->holds(lead_.loop.now(), all);
        } else if (auto* given = std::get_if<engine::StageGiven>(&event)) {
            take(std::move(*given));
        } else if (auto* computed = std::get_if<engine::StageComputed>(&event)) {
            if (computed->handle == handles_[1]) {
                if (!hold) return give_back(std::move(computed->tensor));
                held.push_back(std::move(computed->tensor));
                return;
            }
            Parts parts = std::get<Parts>(std::move(behind_first_.front()));
            behind_first_.pop_front();
            stages_.compute(lead_.loop.now(), handles_[1], {std::move(parts), std::move(computed->tensor)});
            pass_on_what_is_next();
        } else {
            failure = std::get<engine::StageFailed>(event).text;
        }
    }
    void give_back(Bytes tensor) {
        --out;
        owed_.pop_front();
        lead_.engine->returned(lead_.loop.now(), std::move(tensor));
        answer_what_passed();
    }

    Rig& lead_;
    StageWorkers stages_;
    std::array<StageHandle, 2> handles_{};
    std::uint64_t next_handle_ = 1;
    int ready_ = 0;
    std::array<std::optional<wire::KvShape>, 2> kv_;
    std::deque<Owed> owed_;  // what the lead waits for, in its order
    std::deque<std::variant<Parts, Truncate, wire::StageKvRows, wire::StageReadOf>>
        behind_first_;  // handed to the first stage, not to the second
};

}  // namespace shoal::backend
