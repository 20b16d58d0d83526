#include "model/prefix_holder.h"

#include <algorithm>

namespace shoal::model {

PrefixHolder::Reads::iterator PrefixHolder::find(PrefixChannelId channel) {
    return std::find_if(reads_.begin(), reads_.end(),
                        [channel](const auto& entry) { return entry.second.channel == channel; });
}

engine::Prefixes* PrefixHolder::engine_of(const ModelId& model) const {
    for (engine::Engine* engine : engines_) {
        const engine::ModelInfo* info = engine->model();
        if (info == nullptr || info->id != model) continue;
        return engine->health() == engine::Health::ready ? engine->prefixes() : nullptr;
    }
    return nullptr;
}

// ---- the other node's side ---------------------------------------------------------------------------------------

void PrefixHolder::on_message(Now now, PrefixChannelId channel, const NodeId& from,
                              const wire::PrefixMessage& message) {
    const auto* fetch = std::get_if<wire::PrefixFetch>(&message);
    if (fetch != nullptr && find(channel) == reads_.end()) return on_fetch(now, channel, from, *fetch);
    // Who asks says one thing, once.
    on_closed(now, channel);
    out_.emplace_back(PrefixClose{channel});
}

void PrefixHolder::on_fetch(Now now, PrefixChannelId channel, const NodeId& from, const wire::PrefixFetch& fetch) {
    if (!listed_ || !listed_(now, from, fetch.model)) return refuse(channel, wire::PrefixRefusal::stranger);
    engine::Prefixes* engine = engine_of(fetch.model);
    if (engine == nullptr) return refuse(channel, wire::PrefixRefusal::gone);
    if (reads_.size() >= limits::prefix_reads_max) return refuse(channel, wire::PrefixRefusal::busy);
    const PrefixReadId id(next_read_++);
    reads_.emplace(id, Read{channel, from, engine, fetch.tokens, now.mono, now.mono + limits::prefix_read_idle});
    out_.emplace_back(PrefixTook{channel});
    out_.emplace_back(PrefixSend{channel, wire::PrefixReading{}});
    engine->open(now, id, fetch.chain, fetch.tokens);
}

void PrefixHolder::refuse(PrefixChannelId channel, wire::PrefixRefusal reason) {
    out_.emplace_back(PrefixSend{channel, wire::PrefixRefused{reason}});
    out_.emplace_back(PrefixClose{channel});
}

void PrefixHolder::on_closed(Now now, PrefixChannelId channel) {
    const auto at = find(channel);
    if (at == reads_.end()) return;
    at->second.engine->close(now, at->first);
    reads_.erase(at);
}

std::optional<wire::PrefixMessage> PrefixHolder::next_data(Now now, PrefixChannelId channel) {
    const auto at = find(channel);
    if (at == reads_.end() || !at->second.ready) return std::nullopt;
    Read& read = at->second;
    wire::PrefixBytes piece = *std::exchange(read.ready, std::nullopt);
    read.given += piece.bytes.size();
    read.idle_until = now.mono + limits::prefix_read_idle;
    if (piece.last) {
        notes_.push_back(
            {PrefixNote::What::given, read.peer, read.tokens, read.given, now.mono - read.began, Duration::zero(), {}});
        out_.emplace_back(PrefixClose{channel});
        reads_.erase(at);
    } else {
        read.engine->more(now, at->first);
    }
    return wire::PrefixMessage(std::move(piece));
}

// ---- the engine's side -------------------------------------------------------------------------------------------

void PrefixHolder::on_piece(Now now, engine::PrefixPiece piece) {
    const auto at = reads_.find(piece.read);
    if (at == reads_.end()) return;  // closed meanwhile
    at->second.idle_until = now.mono + limits::prefix_read_idle;
    at->second.ready = wire::PrefixBytes{std::move(piece.bytes), piece.last};
    out_.emplace_back(PrefixHasData{at->second.channel});
}

void PrefixHolder::on_gone(Now, PrefixReadId id) {
    const auto at = reads_.find(id);
    if (at == reads_.end()) return;
    refuse(at->second.channel, wire::PrefixRefusal::gone);
    reads_.erase(at);
}

// ---- time --------------------------------------------------------------------------------------------------------

void PrefixHolder::on_tick(Now now) {
    for (auto at = reads_.begin(); at != reads_.end();) {
        const auto next = std::next(at);
        if (now.mono >= at->second.idle_until) {
            at->second.engine->close(now, at->first);
            out_.emplace_back(PrefixClose{at->second.channel});
            reads_.erase(at);
        }
        at = next;
    }
}

Instant PrefixHolder::next_deadline() const {
    Instant next = Instant::max();
    for (const auto& [id, read] : reads_) next = std::min(next, read.idle_until);
    return next;
}

std::optional<PrefixOutput> PrefixHolder::poll() {
    if (out_.empty()) return std::nullopt;
    PrefixOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::optional<PrefixNote> PrefixHolder::poll_note() {
    if (notes_.empty()) return std::nullopt;
    PrefixNote next = std::move(notes_.front());
    notes_.pop_front();
    return next;
}

}  // namespace shoal::model
