#include "engine_worker/lead_server.h"

#include <unistd.h>

#include <algorithm>

#include "engine_worker/batcher.h"
#include "engine_worker/lead_backbone.h"
#include "engine_worker/worker_say.h"
#include "engine_worker/working_sign.h"
#include "wire/text.h"

namespace shoal::engine_worker {

namespace pipe = engine::pipe;

namespace {

class LeadServer {
public:
    LeadServer(Channel& channel, Model model, LeadBackbone backbone)
        : channel_(channel),
          model_(std::move(model)),
          backbone_(std::move(backbone)),
          batcher_(model_, backbone_, [this](const pipe::FromWorker& event) { say(channel_, event); }) {
        backbone_.while_computing(WorkingSign::beat_and_go_on, &sign_);
    }
    LeadServer(const LeadServer&) = delete;
    LeadServer& operator=(const LeadServer&) = delete;

    void handle(pipe::ToWorker message) {
        if (auto* job = std::get_if<engine::Job>(&message)) return batcher_.submit(std::move(*job));
        if (const auto* cancel = std::get_if<pipe::Cancel>(&message)) return batcher_.cancel(cancel->job);
        if (const auto* broken = std::get_if<pipe::Broken>(&message)) {
            backbone_.reset();
            batcher_.fail_all(broken->reason);
            return say(channel_, pipe::Cleared{});
        }
        const auto* returned = std::get_if<pipe::Returned>(&message);
        // A second load, or rows that nobody waits for.
        if (returned == nullptr || batcher_.under_way() == 0) Channel::end_at_bad_frame();
        if (const Status taken = backbone_.returned(returned->tensor); !taken) {
            say(channel_, pipe::Fatal{wire::plain_text(taken.error().message, pipe::reason_bytes_max), false});
            channel_.flush();
            _exit(1);
        }
        batcher_.end_step([this](std::size_t row) { return backbone_.logits(row); });
        sign_.beat();
    }

    [[noreturn]] void run() {
        for (;;) {
            // Each leaves before the next is computed: the hops need not wait for its first layers.
            while (batcher_.begin_step()) channel_.flush();
            channel_.flush();
            // What could be begun is under way: the next thing comes from the node.
            for (pipe::ToWorker& message : channel_.receive(true, pipe::decode_to_worker)) handle(std::move(message));
        }
    }

private:
    Channel& channel_;
    Model model_;
    LeadBackbone backbone_;
    Batcher batcher_;
    WorkingSign sign_{channel_, pipe::encode(pipe::FromWorker(pipe::Working{})).value()};
};

constexpr double share_of_ends = 0.4;  // of the time to load, where it has layers too

// nullptr: it keeps none.
Result<std::unique_ptr<OwnLayers>> load_own_layers(const EndsOfModel& ends, const pipe::Lead& lead,
                                                   const std::function<void(double)>& progress) {
    if (!lead.middle) return std::unique_ptr<OwnLayers>();
    // As the hops have them: the number of cells decides about positions (stage.h, rule 6).
    StageOptions options;
    options.cells = ends.model.info.context_tokens * ends.model.info.sequences;
    options.sequences = ends.model.info.sequences;
    options.rows_max = limits::stage_rows_max;
    options.threads = lead.load.threads;
    options.small_cache = lead.load.kv == pipe::KvType::q8_0;
    return OwnLayers::load(ends.whole, *lead.middle, options, progress);
}

// What was asked for cannot be had from this file: no use in trying again.
[[noreturn]] void refuse(Channel& channel, const Error& error) {
    say(channel, pipe::Fatal{wire::plain_text(error.message, pipe::reason_bytes_max), true});
    channel.flush();
    _exit(1);
}

}  // namespace

void serve_lead(Channel& channel, int file, const pipe::Lead& lead, std::vector<pipe::ToWorker> early) {
    auto progress = [&channel, shown = -1.0](double share) mutable {
        if (share - shown < 0.01) return;
        shown = share;
        say(channel, engine::Loading{static_cast<float>(std::clamp(share, 0.0, 1.0))});
        channel.flush();
    };
    const auto load = [&]() -> Result<std::unique_ptr<LeadServer>> {
        const double share = lead.middle ? share_of_ends : 1;
        EndsOfModel ends = TRY(load_ends(file, lead.load, [&](double part) { progress(part * share); }));
        auto own = load_own_layers(ends, lead, [&](double part) { progress(share + part * (1 - share)); });
        if (!own && own.error().code == Errc::invalid) refuse(channel, own.error());
        const auto hand = [&channel](const engine::LeadEngine::Work& work) {
            std::visit([&channel](const auto& each) { say(channel, each); }, work);
        };
        Embedding embedding = TRY(Embedding::open(ends.whole));
        std::unique_ptr<Head> head = TRY(Head::load(ends.whole, lead.load.threads));
        LeadBackbone backbone(
            std::move(embedding), std::move(head), lead.type, lead.steps, hand,
            [&channel](const Error& error) { give_up(channel, error); }, TRY(std::move(own)));
        say(channel, pipe::Ends{ends.whole.shape().width});
        say(channel, engine::Ready{ends.model.info});
        return std::make_unique<LeadServer>(channel, std::move(ends.model), std::move(backbone));
    };
    auto server = load();
    if (!server) give_up(channel, server.error());
    for (pipe::ToWorker& message : early) (*server)->handle(std::move(message));
    (*server)->run();
}

}  // namespace shoal::engine_worker
