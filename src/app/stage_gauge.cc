#include "app/stage_gauge.h"

#include <algorithm>

#include "backend/worker_engine.h"

namespace shoal::app {
namespace {

constexpr std::uint32_t context_tokens = 256;
constexpr int rounds = 6;
constexpr std::uint32_t steps_per_round = 16;
static_assert(steps_per_round <= context_tokens);
// Where a first stage may end: after one layer, or after as many as the architecture asks for.
constexpr std::uint16_t short_stages[] = {1, 2, 3, 4, 6, 8};
constexpr std::uint16_t longer = 4;  // times as many layers

// A row of f16 numbers of ordinary size: half of them one, half minus one.
Bytes ordinary_row(std::uint32_t width) {
    Bytes out(wire::activation_row_bytes(wire::ActivationType::f16, width));
    for (std::size_t i = 0; i + 1 < out.size(); i += 2) out[i + 1] = (i / 2) % 3 == 0 ? 0xbc : 0x3c;
    return out;
}

}  // namespace

StageGauge::StageGauge(net::Loop& loop, Log& log, const std::string& model_path, std::uint16_t threads,
                       backend::EngineCommand command)
    : loop_(loop),
      log_(log),
      model_path_(model_path),
      threads_(threads),
      command_(command),
      workers_(loop, log, {.model_path = model_path, .command = std::move(command), .threads = threads},
               [this] { loop_.post([] {}); }) {}

Result<engine::StageShape> StageGauge::shape() {
    backend::WorkerOptions options;
    options.model_path = model_path_;
    options.command = command_;
    options.load.context_tokens = context_tokens;
    options.load.sequences = 1;
    options.load.threads = threads_;
    options.lead = backend::WorkerOptions::Lead{};
    backend::WorkerEngine ends(loop_, log_, options, [this] { loop_.post([] {}); });
    const auto settled = [&] {
        return ends.health() == engine::Health::ready || ends.health() == engine::Health::dead;
    };
    do {
        ends.on_tick(loop_.now());
        while (ends.poll()) {
        }
    } while (!loop_.run_until(settled, 250ms));
    if (ends.health() == engine::Health::dead) return fail(Errc::unsupported, ends.down_reason());
    engine::StageShape out;
    out.model = ends.model()->id;
    out.layers = {0, ends.shape()->layers};
    out.width = ends.shape()->width;
    out.context = context_tokens;
    out.sequences = 1;
    return out;
}

Result<engine::StageEvent> StageGauge::wait(engine::StageHandle handle) {
    std::optional<engine::StageEvent> out;
    const auto is_of = [&](const auto& event) { return event.handle == handle; };
    const auto came = [&] {
        while (!out) {
            auto event = workers_.poll();
            if (!event) return false;
            if (std::visit(is_of, *event)) out = std::move(event);
        }
        return true;
    };
    // A worker that says nothing is given up by its own owner, who then says Failed.
    while (!loop_.run_until(came, 250ms)) {
    }
    return std::move(*out);
}

Result<StageGauge::Stage> StageGauge::open(engine::StageShape shape, std::uint16_t layers) {
    shape.layers = {0, layers};
    Stage out;
    out.handle = engine::StageHandle(++last_handle_);
    out.layers = layers;
    workers_.open(loop_.now(), out.handle, shape);
    const auto event = TRY(wait(out.handle));
    if (const auto* failed = std::get_if<engine::StageFailed>(&event)) {
        return fail(Errc::unsupported, failed->text);
    }
    return out;
}

Status StageGauge::run(Stage& stage, const engine::StageShape& shape) {
    const Bytes row = ordinary_row(shape.width);
    if (stage.position + steps_per_round > context_tokens) {
        workers_.truncate(loop_.now(), stage.handle, 0, 0);
        stage.position = 0;
    }
    for (std::uint32_t i = 0; i < steps_per_round; ++i) {
        const Instant begin = loop_.now().mono;
        workers_.compute(loop_.now(), stage.handle, {{{0, stage.position++, 1}}, row});
        const auto event = TRY(wait(stage.handle));
        if (const auto* failed = std::get_if<engine::StageFailed>(&event)) {
            return fail(Errc::unavailable, "the engine failed: " + failed->text);
        }
        if (!std::holds_alternative<engine::StageComputed>(event)) continue;
        const Duration busy = std::get<engine::StageComputed>(event).busy;
        stage.busy = std::min(stage.busy, busy);
        stage.ways.push_back(loop_.now().mono - begin - busy);
    }
    return ok();
}

Result<StageFigures> StageGauge::measure() {
    const engine::StageShape whole = TRY(shape());
    std::optional<Stage> brief;
    Error why{Errc::unsupported, "it has no layers"};
    for (const std::uint16_t layers : short_stages) {
        if (brief || layers > whole.layers.end) break;
        auto opened = open(whole, layers);
        if (opened) {
            brief = *opened;
        } else {
            why = opened.error();
        }
    }
    if (!brief) return why;
    // Where the whole model is no longer than that, all that its worker does counts as overhead.
    const auto more = static_cast<std::uint16_t>(std::min<int>(longer * brief->layers, whole.layers.end));
    std::optional<Stage> full;
    if (more > brief->layers) full = TRY(open(whole, more));
    for (int round = 0; round < rounds; ++round) {
        TRY(run(*brief, whole));
        if (full) TRY(run(*full, whole));
    }
    const auto middle = brief->ways.begin() + static_cast<std::ptrdiff_t>(brief->ways.size() / 2);
    std::ranges::nth_element(brief->ways, middle);
    StageFigures out;
    if (full) out.layer = std::max(full->busy - brief->busy, Duration{}) / (full->layers - brief->layers);
    const Duration fixed = std::max(brief->busy - brief->layers * out.layer, Duration{});
    out.overhead = std::clamp<Duration>(*middle + fixed, 1us, limits::stage_overhead_max);
    return out;
}

}  // namespace shoal::app
