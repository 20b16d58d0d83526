#include "engine_worker/stage_server.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <list>
#include <map>

#include "base/secret.h"
#include "engine/ring.h"
#include "engine_worker/activation.h"
#include "engine_worker/asked_pieces.h"
#include "engine_worker/inbox.h"
#include "engine_worker/kv_snapshot.h"
#include "engine_worker/stage.h"
#include "engine_worker/worker_say.h"
#include "engine_worker/working_sign.h"
#include "wire/text.h"

namespace shoal::engine_worker {

namespace pipe = engine::stage_pipe;
using wire::StageFaultCode;

namespace {

constexpr double share_of_hashing = 0.4;

[[noreturn]] void end(Channel& channel, StageFaultCode code, const std::string& text) {
    channel.send(
        pipe::encode(pipe::FromStage(pipe::Failed{code, wire::plain_text(text, limits::stage_fault_bytes_max)})));
    channel.flush();
    _exit(1);
}

StageFaultCode code_of(const Error& error) {
    return error.code == Errc::invalid || error.code == Errc::unsupported ? StageFaultCode::refused
                                                                          : StageFaultCode::engine;
}

class StageServer {
public:
    StageServer(Channel& channel, const pipe::Load& load, Offload offload)
        : channel_(channel), load_(load), offload_(std::move(offload)) {
        if (load.ranks > 1) ring_.emplace(load.rank, load.ranks);
    }

    Status open(int file) {
        if (load_.pieces) {
            const auto ask = [this](const engine::pipe::Want& want) {
                return inbox_.ask(pipe::encode(pipe::FromStage(want)));
            };
            pieces_ = TRY(AskedPieces::open(file, ask));
        }
        const OpenedModel whole = TRY(pieces_ ? pieces_->model() : open_whole_model(file, show_hashing()));
        if (whole.model.shape().width != load_.width) {
            return fail(Errc::invalid, "the model's width is " + std::to_string(whole.model.shape().width) + ", not " +
                                           std::to_string(load_.width));
        }
        const Shard shard =
            TRY(whole.model.cut_rank({load_.layers.first, load_.layers.end}, {load_.rank, load_.ranks}));
        if (pieces_) TRY(pieces_->check(shard.extents(), show_hashing()));
        StageOptions options;
        options.cells = load_.context * load_.sequences;
        options.sequences = load_.sequences;
        options.rows_max = limits::stage_rows_max;
        options.threads = load_.threads;
        options.small_cache = load_.kv == engine::pipe::KvType::q8_0;
        options.offload = offload_;
        stage_ = TRY(Stage::load(shard, options,
                                 [this](double share) { show_(share_of_hashing + share * (1 - share_of_hashing)); }));
        if (ring_) stage_->sum_with([this](std::span<float> values) { return sum(values); });
        stage_->while_computing(WorkingSign::beat_and_go_on, &sign_);
        if (const std::uint32_t on_gpu = stage_->on_gpu(); on_gpu > 0) {
            say(engine::pipe::Placed{static_cast<std::uint16_t>(on_gpu), static_cast<std::uint16_t>(stage_->layers())});
        }
        say(pipe::Loaded{whole.id, stage_->kv()});
        return ok();
    }

    // sum() takes what comes while something is computed.
    pipe::ToStage next() { return inbox_.next(); }

    void handle(const pipe::ToStage& message) {
        if (const auto* compute = std::get_if<pipe::Compute>(&message)) return on_compute(compute->rows);
        if (const auto* fill = std::get_if<pipe::Fill>(&message)) return on_fill(fill->rows);
        if (const auto* read = std::get_if<pipe::Read>(&message)) return on_read(read->of);
        const auto* truncate = std::get_if<pipe::Truncate>(&message);
        // A second load, a piece that nobody asked for, or a part of no sum.
        if (truncate == nullptr) Channel::end_at_bad_frame();
        forget_copy(truncate->sequence, truncate->length);
        if (const auto at = fills_.find(truncate->sequence); at != fills_.end()) {
            const std::size_t left = truncate->length * stage_->kv()->token_bytes();
            at->second.resize(std::min(at->second.size(), left));
            if (at->second.empty()) fills_.erase(at);
            return;
        }
        const auto length = static_cast<std::int32_t>(truncate->length);
        if (const Status done = stage_->truncate(truncate->sequence, length); !done) {
            end(channel_, StageFaultCode::engine, done.error().message);
        }
    }

private:
    std::function<void(double)> show_hashing() {
        return [this](double share) { show_(share * share_of_hashing); };
    }
    void say(const pipe::FromStage& message) {
        channel_.send(pipe::encode(message));
        channel_.flush();
    }
    wire::ReducePart next_part() {
        for (;;) {
            std::optional<pipe::ToStage> message = inbox_.next_within(limits::engine_working_interval);
            sign_.beat();  // another rank may be slow
            if (!message) continue;
            auto* part = std::get_if<wire::ReducePart>(&*message);
            if (part == nullptr) Channel::end_at_bad_frame();
            return std::move(*part);
        }
    }
    // With the other ranks, in the middle of the graph.
    Status sum(std::span<float> values) {
        std::optional<wire::ReducePart> next = ring_->begin(values);
        while (!ring_->done()) {
            if (next) say(std::move(*next));
            next = TRY(ring_->take(next_part()));
        }
        return ok();
    }

    // The library takes a sequence as a whole, so the pieces wait for the first row behind them.
    void on_fill(const wire::StageKvRows& rows) {
        const std::size_t row = stage_->kv() ? stage_->kv()->token_bytes() : 0;
        Bytes& held = fills_[rows.sequence];
        forget_copy(rows.sequence, 0);
        const bool fits = row > 0 && rows.sequence < load_.sequences && rows.tensor.size() == rows.rows * row &&
                          held.size() == rows.position * row && rows.position + rows.rows <= load_.context;
        if (!fits) end(channel_, StageFaultCode::protocol, "these layers do not keep what is to be filled in");
        append(held, rows.tensor);
    }
    void place(std::uint16_t sequence) {
        const auto at = fills_.find(sequence);
        if (at == fills_.end()) return;
        const KvCopy copy = KvCopy::of_tokens(*stage_->kv(), at->second);
        wipe(at->second.data(), at->second.size());
        fills_.erase(at);
        if (const Status placed = stage_->place(sequence, copy); !placed) {
            end(channel_, StageFaultCode::engine, placed.error().message);
        }
    }

    // Of what the sequence holds, made when it is first read; what is computed behind it changes none of it.
    const KvCopy& copy_of(const wire::StageReadOf& of) {
        place(of.sequence);
        const auto at = std::find_if(copies_.begin(), copies_.end(),
                                     [&](const Copied& each) { return each.sequence == of.sequence; });
        if (at != copies_.end() && at->copy.tokens() >= of.tokens) return at->copy;
        forget_copy(of.sequence, 0);
        Result<KvCopy> copy = stage_->copy(of.sequence);
        if (!copy) end(channel_, StageFaultCode::engine, copy.error().message);
        const bool fits = copy->shape() == *stage_->kv() && copy->tokens() >= of.tokens;
        if (!fits) end(channel_, StageFaultCode::protocol, "more is read than is held");
        if (copies_.size() == limits::prefix_reads_max) copies_.pop_front();
        copies_.push_back({of.sequence, std::move(*copy)});
        return copies_.back().copy;
    }
    // One that has rows behind `length`.
    void forget_copy(std::uint16_t sequence, std::uint32_t length) {
        copies_.remove_if([&](const Copied& each) { return each.sequence == sequence && length < each.copy.tokens(); });
    }
    void on_read(const wire::StageReadOf& of) {
        if (of.sequence >= load_.sequences || !stage_->kv()) Channel::end_at_bad_frame();
        const std::size_t all = wire::read_bytes(of, *stage_->kv());
        if (all == 0) Channel::end_at_bad_frame();
        const KvCopy& copy = copy_of(of);
        Bytes out;
        bool last = true;  // of what is named most is never read
        if (of.what == wire::StageReadWhat::hashes) {
            out = layer_hashes(copy, of.tokens);
        } else {
            const KvSide side = of.what == wire::StageReadWhat::keys ? KvSide::keys : KvSide::values;
            while (out.size() < all) {
                const auto token = static_cast<std::uint32_t>(of.position + out.size() / (all / of.rows));
                const ByteView rows = copy.rows(of.layer, side, token);
                append(out, rows.first(std::min(rows.size(), all - out.size())));
            }
            last = of.layer + 1U == stage_->kv()->layers.size() && of.position + of.rows == of.tokens &&
                   (side == KvSide::values || stage_->kv()->layers.back().values.bytes == 0);
        }
        if (last) forget_copy(of.sequence, 0);
        say(pipe::Given{std::move(out)});
    }

    void on_compute(const wire::StageRows& rows) {
        const auto begin = std::chrono::steady_clock::now();
        std::vector<Place> places;
        for (const wire::StagePart& part : rows.parts) {
            place(part.sequence);
            for (std::uint32_t i = 0; i < part.rows; ++i) {
                places.push_back({static_cast<std::int32_t>(part.position + i), part.sequence, false});
            }
        }
        const auto in = from_activation(load_.type, load_.width, rows.tensor);
        if (!in) end(channel_, StageFaultCode::not_finite, in.error().message);
        const auto out = stage_->run(*in, places);
        if (!out) {
            end(channel_, out.error().code == Errc::invalid ? StageFaultCode::protocol : StageFaultCode::engine,
                out.error().message);
        }
        auto tensor = to_activation(load_.type, load_.width, *out);
        if (!tensor) end(channel_, StageFaultCode::not_finite, tensor.error().message);
        const auto busy =
            std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
        say(pipe::Computed{static_cast<std::uint32_t>(std::min<std::int64_t>(busy.count(), UINT32_MAX)),
                           std::move(*tensor)});
    }

    Channel& channel_;
    pipe::Load load_;
    Offload offload_;
    WorkingSign sign_{channel_, pipe::encode(pipe::FromStage(engine::pipe::Working{}))};
    Inbox<pipe::ToStage> inbox_{channel_, pipe::decode_to_stage};
    std::unique_ptr<AskedPieces> pieces_;  // where the model is in pieces
    std::unique_ptr<Stage> stage_;
    struct Copied {
        std::uint16_t sequence;
        KvCopy copy;
    };
    std::list<Copied> copies_;              // bounded: limits::prefix_reads_max; what is being read
    std::map<std::uint16_t, Bytes> fills_;  // bounded: the sequences, of a context each; not with the library yet
    std::optional<engine::Ring> ring_;
    LoadingShare show_{[this](const engine::Loading& loading) { say(loading); }};
};

}  // namespace

void serve_stage(Channel& channel, int file, const pipe::Load& load, const Offload& offload) {
    StageServer server(channel, load, offload);
    if (const Status opened = server.open(file); !opened) end(channel, code_of(opened.error()), opened.error().message);
    for (;;) server.handle(server.next());
}

}  // namespace shoal::engine_worker
