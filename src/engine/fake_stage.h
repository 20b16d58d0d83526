// Layers without a model: every row that comes out depends on every row that went in before it in its sequence, layer
// by layer, so that a plan that loses, repeats or reorders a row gives other results than one machine. For tests.
//
// A row carries eight bytes that count; the rest is zero. A compute() takes `time_per_row` a row and layer. What a
// layer keeps of a token are eight bytes as well, its digest after that token: four as keys, four as values.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "engine/stage.h"

namespace shoal::engine {

class FakeStageEngine final : public StageEngine {
public:
    explicit FakeStageEngine(Duration time_per_row = Duration::zero()) : time_per_row_(time_per_row) {}

    void open(Now now, StageHandle handle, const StageShape& shape) override;
    void compute(Now now, StageHandle handle, const wire::StageRows& rows) override;
    void truncate(Now now, StageHandle handle, std::uint16_t sequence, std::uint32_t length) override;
    void fill(Now now, StageHandle handle, const wire::StageKvRows& rows) override;
    void read(Now now, StageHandle handle, const wire::StageReadOf& of) override;
    void close(Now now, StageHandle handle) override;
    std::optional<StageEvent> poll() override;

    // Events are due from here on only when their time has come; next_deadline() says when that is.
    void on_tick(Now now) { now_ = now.mono; }
    std::optional<Instant> next_deadline() const;
    // Of each open() from now on.
    void load_takes(Duration time) { load_ = time; }
    // The next compute() fails with this code.
    void fail_next(wire::StageFaultCode code) { fail_next_ = code; }
    std::uint64_t rows_computed() const { return rows_computed_; }
    // What the layers keep of the first `tokens` of a sequence, as fill() takes it.
    Bytes kept(StageHandle handle, std::uint16_t sequence, std::uint32_t tokens) const;

private:
    struct Open {
        StageShape shape;
        // [sequence][layer]: what the layer has seen, as a running digest after each row.
        std::map<std::uint16_t, std::vector<std::vector<std::uint64_t>>> memory;
    };
    struct Due {
        Instant at;
        StageEvent event;
    };
    Instant busy_until(Now now) const { return due_.empty() ? now.mono : std::max(now.mono, due_.back().at); }

    Duration time_per_row_;
    Duration load_{};
    Instant now_ = Instant::min();
    std::map<StageHandle, Open> open_;  // bounded: by the test
    std::deque<Due> due_;               // bounded: as the calls
    std::optional<wire::StageFaultCode> fail_next_;
    std::uint64_t rows_computed_ = 0;
};

}  // namespace shoal::engine
