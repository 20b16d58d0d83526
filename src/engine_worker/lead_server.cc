#include "engine_worker/lead_server.h"

#include <unistd.h>

#include <algorithm>

#include "engine_worker/asked_pieces.h"
#include "engine_worker/batcher.h"
#include "engine_worker/drafters.h"
#include "engine_worker/inbox.h"
#include "engine_worker/lead_backbone.h"
#include "engine_worker/worker_say.h"
#include "engine_worker/working_sign.h"
#include "wire/text.h"

namespace shoal::engine_worker {

namespace pipe = engine::pipe;

namespace {

using Progress = std::function<void(double)>;

class LeadServer {
public:
    LeadServer(Channel& channel, Model model, LeadBackbone backbone, Speculation speculation)
        : channel_(channel),
          model_(std::move(model)),
          backbone_(std::move(backbone)),
          batcher_(model_, backbone_, std::move(speculation),
                   [this](const pipe::FromWorker& event) { say(channel_, event); }) {
        backbone_.while_computing(WorkingSign::beat_and_go_on, &sign_);
    }
    LeadServer(const LeadServer&) = delete;
    LeadServer& operator=(const LeadServer&) = delete;

    void handle(pipe::ToWorker message) {
        if (auto* job = std::get_if<engine::Job>(&message)) return batcher_.submit(std::move(*job));
        if (const auto* cancel = std::get_if<pipe::Cancel>(&message)) return batcher_.cancel(cancel->job);
        if (const auto* broken = std::get_if<pipe::Broken>(&message)) {
            backbone_.reset();
            if (broken->for_good) {
                batcher_.fail_all(broken->reason);
                batcher_.fail_waiting(broken->reason);
            } else {
                batcher_.start_over(broken->reason);
            }
            return say(channel_, pipe::Cleared{});
        }
        if (auto* holds = std::get_if<pipe::Holds>(&message)) return backbone_.set_kv(std::move(holds->kv));
        if (const auto* give = std::get_if<pipe::PrefixGive>(&message)) {
            return batcher_.give(give->job, give->bytes, give->last);
        }
        if (const auto* give_up = std::get_if<pipe::PrefixGiveUp>(&message)) return batcher_.give_up(give_up->job);
        if (const auto* open = std::get_if<pipe::PrefixOpen>(&message)) {
            return batcher_.far_giver().open(open->read, open->chain, open->tokens);
        }
        if (const auto* more = std::get_if<pipe::PrefixMore>(&message)) return batcher_.far_giver().more(more->read);
        if (const auto* close = std::get_if<pipe::PrefixClose>(&message)) {
            return batcher_.far_giver().close(close->read);
        }
        if (std::holds_alternative<pipe::Filled>(message)) {
            if (!backbone_.filled()) Channel::end_at_bad_frame();
            return batcher_.end_step([](std::size_t) { return nullptr; });
        }
        if (auto* given = std::get_if<pipe::Given>(&message)) {
            if (!backbone_.given()) Channel::end_at_bad_frame();
            batcher_.end_step([](std::size_t) { return nullptr; });
            return batcher_.far_giver().given(std::move(given->bytes));
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

    [[noreturn]] void run(Inbox<pipe::ToWorker>& inbox) {
        for (;;) {
            // Each leaves before the next is computed: the hops need not wait for its first layers.
            while (batcher_.begin_step()) channel_.flush();
            channel_.flush();
            // What could be begun is under way: the next thing comes from the node.
            do {
                // A job that waits for a prefix computes nothing, and is no reason to take this process for hung.
                std::optional<pipe::ToWorker> message;
                while (!message && batcher_.waits()) {
                    message = inbox.next_within(limits::engine_working_interval);
                    sign_.beat();
                    channel_.flush();
                }
                handle(message ? std::move(*message) : inbox.next());
            } while (inbox.any());
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

// All that a lead reads of its model behind the header.
Result<std::vector<Shard::Extent>> what_is_read(const WholeModel& whole, const pipe::Lead& lead) {
    std::vector<Shard::Extent> out = whole.ends();
    const auto add = [&out](const Shard& shard) {
        out.insert(out.end(), shard.extents().begin(), shard.extents().end());
    };
    if (lead.middle) {
        const OwnLayers::Cut own = TRY(OwnLayers::cut(whole, *lead.middle));
        add(own.first);
        add(own.last);
    }
    const wire::LayerRange skipped = lead.load.drafts.skipped;
    if (skipped.end > 0) add(TRY(whole.cut_skipping({skipped.first, skipped.end})));
    return out;
}

// nullptr: it keeps none.
Result<std::unique_ptr<OwnLayers>> load_own_layers(const EndsOfModel& ends, const pipe::Lead& lead,
                                                   const Offload& offload, const Progress& progress) {
    if (!lead.middle && offload) return fail(Errc::invalid, "a lead without layers has nothing for a GPU");
    if (!lead.middle) return std::unique_ptr<OwnLayers>();
    // As the hops have them: the number of cells decides about positions (stage.h, rule 6).
    StageOptions options;
    options.cells = ends.model.info.context_tokens * ends.model.info.sequences;
    options.sequences = ends.model.info.sequences;
    options.rows_max = limits::stage_rows_max;
    options.threads = lead.load.threads;
    options.small_cache = lead.load.kv == pipe::KvType::q8_0;
    options.offload = offload;
    return OwnLayers::load(ends.whole, *lead.middle, options, progress);
}

// `pieces`: nullptr where `file` is the model.
Result<std::unique_ptr<LeadServer>> load_lead(Channel& channel, int file, const AskedPieces* pieces, int draft_file,
                                              const pipe::Lead& lead, const Offload& offload,
                                              const Progress& progress) {
    const double share = lead.middle ? share_of_ends : 1;
    const auto hashed = [&](double part) { progress(part * share); };
    OpenedModel opened = TRY(pieces != nullptr ? pieces->model() : open_whole_model(file, hashed));
    if (pieces != nullptr) {
        const std::vector<Shard::Extent> read = TRY(what_is_read(opened.model, lead));
        TRY(pieces->check(read, hashed));
    }
    if (const std::uint32_t width = opened.model.shape().width; width % 32 != 0) {
        return fail(Errc::unsupported, "rows of " + std::to_string(width) +
                                           " numbers do not travel: a model over "
                                           "stages has a multiple of 32");
    }
    EndsOfModel ends = TRY(load_ends(std::move(opened), lead.load));
    std::unique_ptr<OwnLayers> own =
        TRY(load_own_layers(ends, lead, offload, [&](double part) { progress(share + part * (1 - share)); }));
    if (own) say_placed(channel, own->on_gpu(), own->layers());
    const auto hand = [&channel](const engine::LeadEngine::Work& work) {
        std::visit([&channel](const auto& each) { say(channel, each); }, work);
    };
    Embedding embedding = TRY(Embedding::open(ends.whole));
    std::unique_ptr<Head> head = TRY(Head::load(ends.whole, lead.load.threads));
    Speculation speculation = TRY(load_drafters(lead.load.drafts, ends.model, ends.whole.gguf(), ends.whole.read(),
                                                draft_file, [&progress](double) { progress(1); }));
    LeadBackbone backbone(
        std::move(embedding), std::move(head), lead.type, lead.steps, hand,
        [&channel](const Error& error) { give_up(channel, error); }, std::move(own));
    const ModelShape& shape = ends.whole.shape();
    const std::uint32_t layers = lead.middle ? lead.middle->end : shape.layers;
    say(channel, pipe::Ends{shape.width, static_cast<std::uint16_t>(layers)});
    say(channel, engine::Ready{ends.model.info});
    return std::make_unique<LeadServer>(channel, std::move(ends.model), std::move(backbone), std::move(speculation));
}

}  // namespace

void serve_lead(Channel& channel, int file, int draft_file, const pipe::Lead& lead, const Offload& offload,
                std::vector<pipe::ToWorker> early) {
    LoadingShare share([&channel](const engine::Loading& done) {
        say(channel, done);
        channel.flush();
    });
    const auto progress = [&share](double part) { share(part); };
    Inbox<pipe::ToWorker> inbox(channel, pipe::decode_to_worker, std::move(early));
    std::unique_ptr<AskedPieces> pieces;
    const auto load = [&]() -> Result<std::unique_ptr<LeadServer>> {
        if (lead.pieces) {
            const auto ask = [&inbox](const pipe::Want& want) {
                return inbox.ask(pipe::encode(pipe::FromWorker(want)).value());
            };
            pieces = TRY(AskedPieces::open(file, ask));
        }
        return load_lead(channel, file, pieces.get(), draft_file, lead, offload, progress);
    };
    auto server = load();
    if (!server) give_up(channel, server.error());
    (*server)->run(inbox);
}

}  // namespace shoal::engine_worker
