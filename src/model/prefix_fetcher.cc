#include "model/prefix_fetcher.h"

#include <algorithm>

#include "base/limits.h"

namespace shoal::model {

using What = PrefixNote::What;

namespace {

// Rules 2 to 5 of the header.
constexpr double check_share = 0.04;
constexpr double end_share = 0.6;
constexpr double rest_share = 0.8;

Duration share(double part, Duration whole) {
    return from_seconds(part * to_seconds(whole));
}

std::string text_of(wire::PrefixRefusal reason) {
    switch (reason) {
        case wire::PrefixRefusal::gone: return "it does not hold it any more";
        case wire::PrefixRefusal::busy: return "it gives to as many as it may";
        case wire::PrefixRefusal::stranger: return "it does not know this node as one that serves the model";
    }
    return "it refused";
}

}  // namespace

// ---- peers -------------------------------------------------------------------------------------------------------

PrefixPeers::Peer& PrefixPeers::at(Now now, const NodeId& node) {
    const auto ends = [](const Peer& peer) { return std::max(peer.shunned_until, peer.known_until); };
    if (!peers_.contains(node) && peers_.size() >= limits::prefix_peers_max) {
        std::erase_if(peers_, [&](const auto& entry) { return ends(entry.second) <= now.mono; });
        if (peers_.size() >= limits::prefix_peers_max) {
            peers_.erase(std::min_element(peers_.begin(), peers_.end(), [&](const auto& a, const auto& b) {
                return ends(a.second) < ends(b.second);
            }));
        }
    }
    return peers_[node];
}

void PrefixPeers::shun(Now now, const NodeId& node, Duration span) {
    Peer& peer = at(now, node);
    peer.shunned_until = std::max(peer.shunned_until, now.mono + span);
}

void PrefixPeers::measured(Now now, const NodeId& node, Pace pace) {
    Peer& peer = at(now, node);
    peer.pace = pace;
    peer.known_until = now.mono + limits::prefix_peer_memory;
}

bool PrefixPeers::shunned(Now now, const NodeId& node) const {
    const auto found = peers_.find(node);
    return found != peers_.end() && now.mono < found->second.shunned_until;
}

std::optional<PrefixPeers::Pace> PrefixPeers::pace(Now now, const NodeId& node) const {
    const auto found = peers_.find(node);
    if (found == peers_.end() || now.mono >= found->second.known_until) return std::nullopt;
    return found->second.pace;
}

// ---- the engine's side -------------------------------------------------------------------------------------------

std::string PrefixFetcher::why_not(Now now, const ModelId& model, const engine::PrefixWanted& wanted) const {
    const NodeId& node = wanted.source.node;
    if (!listed_ || node == self_ || !listed_(now, node, model)) return "the directory does not list it for the model";
    if (wanted.recompute < limits::prefix_recompute_min) return "the prompt is read sooner than it could answer";
    if (peers_.shunned(now, node)) return "it failed a short while ago";
    if (fetching() >= limits::prefix_fetches_max) return "as much is being fetched as may be";
    if (const auto pace = peers_.pace(now, node)) {
        const double seconds =
            to_seconds(pace->delay) + static_cast<double>(wanted.source.kept.bytes) / pace->bytes_per_second;
        if (seconds > end_share * to_seconds(wanted.recompute)) return "it would take longer, by what it gave before";
    }
    return {};
}

void PrefixFetcher::expected(Now now, const ModelId& model, const NodeId& source) {
    const bool asks = listed_ && source != self_ && listed_(now, source, model) && !peers_.shunned(now, source);
    if (asks) out_.emplace_back(PrefixExpect{source});
}

void PrefixFetcher::wanted(Now now, engine::Prefixes& engine, const ModelId& model,
                           const engine::PrefixWanted& wanted) {
    if (fetches_.contains(wanted.job)) return;  // it has been said
    Fetch fetch{&engine, model, wanted, next_token_++, now.mono};
    fetch.next_check = now.mono + share(check_share, wanted.recompute);
    if (std::string reason = why_not(now, model, wanted); !reason.empty()) {
        note(now, fetch, What::left, std::move(reason));
        return engine.give_up(now, wanted.job);
    }
    out_.emplace_back(PrefixConnect{fetch.token, wanted.source.node});
    fetches_.emplace(wanted.job, fetch);
}

void PrefixFetcher::refused(Now now, const engine::PrefixRefused& refused) {
    const auto at = fetches_.find(refused.job);
    if (at == fetches_.end()) return;
    // Also before all of it was there: the engine need not wait for the end to see that it is wrong.
    peers_.shun(now, at->second.wanted.source.node, limits::prefix_peer_shunned);
    note(now, at->second, What::tampered, refused.reason);
    if (at->second.channel) out_.emplace_back(PrefixClose{*at->second.channel});
    fetches_.erase(at);
}

void PrefixFetcher::job_ended(JobId job) {
    const auto at = fetches_.find(job);
    if (at == fetches_.end()) return;
    if (at->second.channel) out_.emplace_back(PrefixClose{*at->second.channel});
    fetches_.erase(at);
}

std::size_t PrefixFetcher::fetching() const {
    return static_cast<std::size_t>(
        std::count_if(fetches_.begin(), fetches_.end(), [](const auto& entry) { return !entry.second.given; }));
}

// ---- the other node's side ---------------------------------------------------------------------------------------

PrefixFetcher::Fetches::iterator PrefixFetcher::find(PrefixChannelId channel) {
    return std::find_if(fetches_.begin(), fetches_.end(),
                        [channel](const auto& entry) { return entry.second.channel == channel; });
}

void PrefixFetcher::on_connected(Now, std::uint64_t token, PrefixChannelId channel) {
    const auto at = std::find_if(fetches_.begin(), fetches_.end(),
                                 [token](const auto& entry) { return entry.second.token == token; });
    if (at == fetches_.end()) {  // given up meanwhile
        out_.emplace_back(PrefixClose{channel});
        return;
    }
    Fetch& fetch = at->second;
    fetch.channel = channel;
    out_.emplace_back(
        PrefixSend{channel, wire::PrefixFetch{fetch.model, fetch.wanted.chain, fetch.wanted.source.kept.tokens}});
}

void PrefixFetcher::on_connect_failed(Now now, std::uint64_t token) {
    const auto at = std::find_if(fetches_.begin(), fetches_.end(),
                                 [token](const auto& entry) { return entry.second.token == token; });
    if (at == fetches_.end()) return;
    peers_.shun(now, at->second.wanted.source.node, limits::node_shunned);
    give_up(now, at, "it cannot be reached");
}

void PrefixFetcher::on_message(Now now, PrefixChannelId channel, wire::PrefixMessage message) {
    const auto at = find(channel);
    if (at == fetches_.end()) return;
    Fetch& fetch = at->second;
    if (std::holds_alternative<wire::PrefixReading>(message)) {
        if (fetch.answered) return breach(now, at, "it answered twice");
        fetch.answered = now.mono;
        fetch.older = fetch.newer = {now.mono, 0};
        out_.emplace_back(PrefixTook{channel});
    } else if (auto* piece = std::get_if<wire::PrefixBytes>(&message)) {
        if (!fetch.answered) return breach(now, at, "it gave before it answered");
        on_piece(now, at, std::move(*piece));
    } else if (const auto* refusal = std::get_if<wire::PrefixRefused>(&message)) {
        give_up(now, at, text_of(refusal->reason));
    } else {
        breach(now, at, "it asked where it was asked");
    }
}

void PrefixFetcher::on_piece(Now now, Fetches::iterator at, wire::PrefixBytes piece) {
    Fetch& fetch = at->second;
    const std::uint64_t whole = fetch.wanted.source.kept.bytes;
    fetch.received += piece.bytes.size();
    if (fetch.received > whole || piece.last != (fetch.received == whole)) {
        return breach(now, at, "it gave another number of bytes than it had said");
    }
    if (!piece.last) {
        fetch.engine->give(now, at->first, std::move(piece.bytes), false);
        ++fetch.untaken;
        return take(fetch);
    }
    const double seconds = std::max(to_seconds(now.mono - *fetch.answered), 1e-6);
    peers_.measured(now, fetch.wanted.source.node,
                    {static_cast<double>(whole) / seconds, *fetch.answered - fetch.began});
    note(now, fetch, What::fetched, {});
    out_.emplace_back(PrefixClose{*fetch.channel});
    fetch.channel.reset();
    fetch.given = true;
    fetch.engine->give(now, at->first, std::move(piece.bytes), true);
}

void PrefixFetcher::take(Fetch& fetch) {
    for (; fetch.untaken > 0 && fetch.engine->takes(fetch.wanted.job); --fetch.untaken) {
        out_.emplace_back(PrefixTook{*fetch.channel});
    }
}

void PrefixFetcher::on_engine() {
    for (auto& [job, fetch] : fetches_) {
        if (fetch.channel) take(fetch);
    }
}

void PrefixFetcher::on_closed(Now now, PrefixChannelId channel) {
    const auto at = find(channel);
    if (at == fetches_.end()) return;
    at->second.channel.reset();
    peers_.shun(now, at->second.wanted.source.node, limits::node_shunned);
    give_up(now, at, "it broke off");
}

// ---- time --------------------------------------------------------------------------------------------------------

double PrefixFetcher::rate(Now now, const Fetch& fetch) {
    const double seconds = std::max(to_seconds(now.mono - fetch.older.at), 1e-6);
    return static_cast<double>(fetch.received - fetch.older.received) / seconds;
}

void PrefixFetcher::check(Now now, Fetches::iterator at) {
    Fetch& fetch = at->second;
    const NodeId& node = fetch.wanted.source.node;
    const bool first = fetch.older.at == fetch.newer.at;
    const double recompute = to_seconds(fetch.wanted.recompute);
    const double spent = first ? to_seconds(now.mono - fetch.began) : 0;
    const double bytes_per_second = rate(now, fetch);
    const double rest = static_cast<double>(fetch.wanted.source.kept.bytes - fetch.received);
    if (rest > bytes_per_second * ((first ? end_share : rest_share) * recompute - spent)) {
        if (bytes_per_second > 0) {
            peers_.measured(now, node, {bytes_per_second, *fetch.answered - fetch.began});
        } else {
            peers_.shun(now, node, limits::node_shunned);
        }
        return give_up(now, at, fetch.received == 0 ? "it gave nothing in time" : "it is too slow");
    }
    fetch.older = fetch.newer;
    fetch.newer = {now.mono, fetch.received};
    fetch.next_check = now.mono + share(check_share, fetch.wanted.recompute);
}

void PrefixFetcher::on_tick(Now now) {
    for (auto at = fetches_.begin(); at != fetches_.end();) {
        const auto next = std::next(at);
        if (!at->second.given && now.mono >= at->second.next_check) check(now, at);
        at = next;
    }
}

Instant PrefixFetcher::next_deadline() const {
    Instant next = Instant::max();
    for (const auto& [job, fetch] : fetches_) {
        if (!fetch.given) next = std::min(next, fetch.next_check);
    }
    return next;
}

void PrefixFetcher::breach(Now now, Fetches::iterator at, std::string reason) {
    peers_.shun(now, at->second.wanted.source.node, limits::prefix_peer_shunned);
    give_up(now, at, std::move(reason));
}

void PrefixFetcher::give_up(Now now, Fetches::iterator at, std::string reason) {
    const Fetch fetch = at->second;
    note(now, fetch, What::left, std::move(reason));
    if (fetch.channel) out_.emplace_back(PrefixClose{*fetch.channel});
    fetches_.erase(at);
    fetch.engine->give_up(now, fetch.wanted.job);
}

void PrefixFetcher::note(Now now, const Fetch& fetch, What what, std::string reason) {
    notes_.push_back({what, fetch.wanted.source.node, fetch.wanted.source.kept.tokens, fetch.received,
                      now.mono - fetch.began, fetch.wanted.recompute, std::move(reason)});
}

std::optional<PrefixOutput> PrefixFetcher::poll() {
    if (out_.empty()) return std::nullopt;
    PrefixOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::optional<PrefixNote> PrefixFetcher::poll_note() {
    if (notes_.empty()) return std::nullopt;
    PrefixNote next = std::move(notes_.front());
    notes_.pop_front();
    return next;
}

}  // namespace shoal::model
