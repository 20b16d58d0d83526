#include "client/client.h"

#include <algorithm>

#include "crypto/hash.h"
#include "wire/chat.h"

namespace shoal::client {
namespace {

Result<Plaintext> body_of(const ChatRequest& request) {
    Bytes body = TRY(wire::encode_chat_request(request));
    Plaintext text{std::string(as_text(body))};
    wipe(body.data(), body.size());
    return text;
}

}  // namespace

Client::Client(ClientConfig config, Rng& rng)
    : config_(std::move(config)), rng_(rng), scopes_(rng), circuits_(config_.circuits, rng) {}

// ---- the network's side ------------------------------------------------------------------------------------------

void Client::on_directory(Now now, std::shared_ptr<const directory::View> view) {
    view_ = std::move(view);
    if (view_) circuits_.on_directory(now, *view_);
    drain_circuits(now);
}

void Client::on_guard_up(Now now, const NodeId& guard, LinkId link) {
    circuits_.on_guard_up(now, guard, link);
    drain_circuits(now);
}

void Client::on_guard_failed(Now now, const NodeId& guard) {
    circuits_.on_guard_failed(now, guard);
    drain_circuits(now);
}

void Client::on_cell(Now now, LinkId link, const wire::Cell& cell) {
    circuits_.on_cell(now, link, cell);
    drain_circuits(now);
}

void Client::on_send_refused(Now now, LinkId link, const wire::Cell& cell) {
    circuits_.on_send_refused(now, link, cell);
    drain_circuits(now);
}

void Client::drain_circuits(Now now) {
    do {
        // Who could not start before may start now, and what that sends must leave in this turn too.
        while (take_circuit_outputs(now)) {
            retry_pending(now);
            std::vector<AskId> waiting;
            for (const auto& [id, ask] : asks_) {
                if (!ask.asker) waiting.push_back(id);
            }
            for (const AskId id : waiting) try_start(now, id);
        }
    } while (circuits_.flush(now));
}

bool Client::take_circuit_outputs(Now now) {
    bool changed = false;
    while (auto output = circuits_.poll()) {
        if (auto* wanted = std::get_if<Circuits::GuardWanted>(&*output)) {
            out_.emplace_back(*wanted);  // NOLINT(bugprone-branch-clone): another type than the next branch's
        } else if (auto* send = std::get_if<Circuits::SendCell>(&*output)) {
            out_.emplace_back(std::move(*send));
        } else if (auto* data = std::get_if<Circuits::StreamData>(&*output)) {
            const auto lane = find_lane(data->circuit, data->stream);
            if (!lane) continue;
            asks_.at(lane->first).asker->on_lane_data(now, lane->second, data->sealed);
            drain(now, lane->first);
        } else if (auto* end = std::get_if<Circuits::StreamEnd>(&*output)) {
            on_stream_end(now, *end);
        } else {
            changed = true;
        }
    }
    return changed;
}

void Client::on_stream_end(Now now, const Circuits::StreamEnd& end) {
    const auto lane = find_lane(end.circuit, end.stream);
    if (!lane) return;
    by_stream_.erase({end.circuit, end.stream});
    Ask& ask = asks_.at(lane->first);
    ask.lanes.erase(lane->second);
    circuits_.release(end.circuit);  // carries nothing else of this question; its relays are then free for another lane
    ask.asker->on_lane_end(now, lane->second, end.reason);
    drain(now, lane->first);
}

std::optional<std::pair<AskId, prompt::LaneId>> Client::find_lane(CircuitNumber circuit, StreamId stream) const {
    const auto at = by_stream_.find({circuit, stream});
    if (at == by_stream_.end()) return std::nullopt;
    return at->second;
}

// ---- questions ---------------------------------------------------------------------------------------------------

std::variant<AskId, ChatFault> Client::ask(Now now, const ModelId& model, const ChatRequest& request,
                                           std::optional<Comparison> compare) {
    const Comparison rule = compare.value_or(config_.compare);
    make_room(now, rule.compares() ? rule.nodes() : 1);
    if (asks_.size() >= limits::asks_max) return ChatFault{AskFault::overloaded, "too many questions at once"};
    if (!view_ || !view_->running(now)) return ChatFault{AskFault::no_circuit, "no directory of the network yet"};
    const bool by_leads = config_.pipelines && !view_->leads_of(model).empty();
    if (view_->nodes_of(model).empty() && !by_leads)
        return ChatFault{AskFault::no_model_node, "no node serves this model"};
    ChatRequest scoped = request;
    // Nodes that are compared compute all of the question, each in the same way.
    if (config_.reuse && !rule.compares()) scoped.scope = scopes_.of(model, request);
    auto text = body_of(scoped);
    if (!text) return ChatFault{AskFault::bad_request, text.error().message};

    Ask ask = make_ask(now, model, scoped, std::move(*text));
    if (scoped.scope) add_source(ask, scoped);
    if (rule.compares()) return ask_several(now, std::move(ask), rule, request.completion_tokens_max);
    const AskId id(next_ask_++);
    asks_.emplace(id, std::move(ask));
    begin(now, {id});
    return id;
}

void Client::add_source(Ask& ask, const ChatRequest& request) {
    sources_.touch(*request.scope);
    const PrefixSource* source = sources_.find(*request.scope);
    if (source == nullptr) return;
    ChatRequest told = request;
    told.source = *source;
    auto body = body_of(told);
    if (!body) return;  // as long as a body may be without it
    ask.source = *source;
    ask.body_with_source = std::move(*body);
}

Client::Ask Client::make_ask(Now now, const ModelId& model, const ChatRequest& request, Plaintext body) {
    Ask ask;
    ask.model = model;
    ask.body = std::move(body);
    ask.scope = request.scope;
    if (request.sampling.seed) {
        std::uint8_t raw[8];
        store_le<std::uint64_t>(raw, *request.sampling.seed);
        ask.seed = crypto::blake2b<32>({as_bytes("sc1/seed"), raw});
    } else {
        ask.seed = rng_.array<32>();
    }
    ask.wait_until = now.mono + limits::circuits_wait;
    return ask;
}

void Client::begin(Now now, const std::vector<AskId>& ids) {
    for (const AskId id : ids) try_start(now, id);
    circuits_.set_waiting(now, waiting());
    drain_circuits(now);
}

std::optional<NodeId> Client::choose_node(Now now, const Ask& ask) {
    const std::vector<NodeId> whole = view_->nodes_of(ask.model);
    const std::vector<NodeId> leads = config_.pipelines ? view_->leads_of(ask.model) : std::vector<NodeId>();
    for (const bool suspects : {false, true}) {
        for (const bool shunned : {false, true}) {
            for (const std::vector<NodeId>* nodes : {&whole, &leads}) {
                const auto chosen = choose_among(now, *nodes, ask.tried, ask.scope, {suspects, shunned});
                if (chosen) return chosen;
            }
        }
    }
    return std::nullopt;
}

std::optional<NodeId> Client::choose_among(Now now, const std::vector<NodeId>& nodes, const std::vector<NodeId>& tried,
                                           const std::optional<PrefixScope>& scope, Which which) {
    std::vector<NodeId> from;
    for (const NodeId& node : nodes) {
        if (std::find(tried.begin(), tried.end(), node) != tried.end()) continue;
        if (!which.suspects && suspects_.suspected(now, node)) continue;
        const auto at = shunned_.find(node);
        if ((at != shunned_.end() && now.mono < at->second) == which.shunned) from.push_back(node);
    }
    if (from.empty()) return std::nullopt;
    if (!scope) return from[rng_.below(from.size())];
    const PrefixSource* source = sources_.find(*scope);
    if (source != nullptr && std::find(from.begin(), from.end(), source->node) != from.end()) return source->node;
    return home_of(*scope, from);
}

void Client::try_start(Now now, AskId id) {
    const auto at = asks_.find(id);  // gone, if what began before it ended its comparison
    if (at == asks_.end()) return;
    Ask& ask = at->second;
    if (ask.asker || !view_) return;
    const auto node = ask.next ? ask.next : choose_node(now, ask);
    if (node) ask.node = *node;
    if (!node || view_->find(*node) == nullptr) {
        const bool elsewhere = ask.next.has_value();  // it has left the directory since it was chosen
        return finish(now, id, {ChatFault{AskFault::no_model_node, "no further node serves this model"}, elsewhere});
    }
    auto set = circuits_.take_set(now, config_.profile.n, *node);
    if (!set) return;  // Changed, or the time-out, comes back to it
    ask.tried.push_back(*node);
    ask.circuits = *set;
    ask.unused = *set;

    prompt::AskerConfig config;
    config.network = config_.circuits.network;
    config.node = *node;
    config.hpke_key = view_->find(*node)->descriptor.hpke_key;
    config.n = config_.profile.n;
    config.k = config_.profile.k;
    config.round_trip = Duration::zero();
    for (const CircuitNumber circuit : *set)
        config.round_trip = std::max(config.round_trip, circuits_.round_trip(circuit));
    if (config_.circuits.pacer == PacerMode::shaped) {
        config.cell_interval = Duration(1s) / static_cast<int>(config_.circuits.rate);
    }
    wire::Request request;
    request.unpaid = true;  // credits come with their own row
    request.id = rng_.id<RequestId>();
    request.expires = now.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
    request.model = ask.model;
    request.client_seed = ask.seed;
    request.reply_key = Key32(rng_.array<32>());
    // What a suspect may have computed wrongly is computed anew.
    const bool tells = ask.source && ask.source->node != *node && !suspects_.suspected(now, ask.source->node);
    request.body = tells ? ask.body_with_source : ask.body;
    auto asker = prompt::Asker::start(now, config, std::move(request), rng_);
    if (!asker) return finish(now, id, {ChatFault{AskFault::bad_request, asker.error().message}, false});
    ask.asker = std::make_unique<prompt::Asker>(std::move(*asker));
    drain(now, id);
}

void Client::drain(Now now, AskId id) {
    for (auto at = asks_.find(id); at != asks_.end() && at->second.asker; at = asks_.find(id)) {
        auto output = at->second.asker->poll();
        if (!output) return;
        Ask& ask = at->second;
        if (const auto* wanted = std::get_if<prompt::LaneWanted>(&*output)) {
            place_lane(now, id, *wanted, now.mono + limits::circuits_wait);
        } else if (const auto* send = std::get_if<prompt::LaneSend>(&*output)) {
            if (const auto lane = ask.lanes.find(send->lane); lane != ask.lanes.end()) {
                circuits_.send(lane->second.circuit, lane->second.stream, send->sealed);
            }
        } else if (const auto* end = std::get_if<prompt::LaneEnd>(&*output)) {
            std::erase_if(ask.pending, [&](const Pending& p) { return p.wanted.lane == end->lane; });
            const auto lane = ask.lanes.find(end->lane);
            if (lane == ask.lanes.end()) continue;
            const Lane gone = lane->second;
            ask.lanes.erase(lane);
            by_stream_.erase({gone.circuit, gone.stream});
            circuits_.end_stream(gone.circuit, gone.stream);
            circuits_.release(gone.circuit);
        } else if (auto* delta = std::get_if<ChatDelta>(&*output)) {
            tell(now, id, std::move(*delta));
        } else if (const auto* done = std::get_if<ChatEnd>(&*output)) {
            tell(now, id, *done);
        } else {
            finish(now, id, std::get<prompt::Over>(*output));
        }
    }
}

void Client::place_lane(Now now, AskId id, const prompt::LaneWanted& wanted, Instant until) {
    Ask& ask = asks_.at(id);
    const std::size_t side = (wanted.index + 1U) % 2;  // odd cloves on side 0
    std::optional<CircuitNumber> circuit;
    if (!ask.unused.empty()) {
        auto best = std::find_if(ask.unused.begin(), ask.unused.end(),
                                 [&](CircuitNumber c) { return circuits_.side_of(c) == side; });
        if (best == ask.unused.end()) best = ask.unused.begin();
        circuit = *best;
        ask.unused.erase(best);
    } else {
        circuit = circuits_.take_one(now, ask.circuits, ask.node, side);
        if (circuit) ask.circuits.push_back(*circuit);
    }
    const auto stream = circuit ? circuits_.open_stream(*circuit, wanted.connect) : std::nullopt;
    if (!stream) {
        ask.pending.push_back({wanted, until});
        return;
    }
    ask.lanes[wanted.lane] = {*circuit, *stream};
    by_stream_[{*circuit, *stream}] = {id, wanted.lane};
    ask.asker->on_lane_open(now, wanted.lane);
}

void Client::retry_pending(Now now) {
    std::vector<AskId> ids;
    for (const auto& [id, ask] : asks_) {
        if (!ask.pending.empty()) ids.push_back(id);
    }
    for (const AskId id : ids) {
        const auto at = asks_.find(id);
        if (at == asks_.end()) continue;
        Ask& ask = at->second;
        for (const Pending& pending : std::exchange(ask.pending, {})) {
            if (now.mono < pending.until) {
                place_lane(now, id, pending.wanted, pending.until);
            } else {
                ask.asker->on_lane_failed(now, pending.wanted.lane);
            }
        }
        drain(now, id);
    }
}

void Client::finish(Now now, AskId id, const prompt::Over& over) {
    Ask& ask = asks_.at(id);
    release(ask);
    if (ask.group) return finish_in_group(now, id, over);
    if (over.fault && over.moveable && view_) {
        if (shunned_.size() < limits::snapshot_nodes_max) shunned_[ask.node] = now.mono + limits::node_shunned;
        if (ask.tried.size() < limits::nodes_per_ask_max && choose_node(now, ask)) {
            ask.asker.reset();
            ask.wait_until = now.mono + limits::circuits_wait;
            return try_start(now, id);
        }
    }
    if (over.fault) out_.emplace_back(Fault{id, *over.fault});
    asks_.erase(id);
}

void Client::release(Ask& ask) {
    for (const auto& [lane, place] : ask.lanes) by_stream_.erase({place.circuit, place.stream});
    ask.lanes.clear();
    ask.pending.clear();
    ask.unused.clear();
    for (const CircuitNumber circuit : std::exchange(ask.circuits, {})) circuits_.release(circuit);
}

void Client::cancel(Now now, AskId id) {
    if (groups_.contains(id)) {
        if (groups_.at(id).quorum.over()) return;  // that it still listens is its own business
        drop_asks(now, id, true);
        groups_.erase(id);
    } else {
        drop(now, id);
    }
    drain_circuits(now);
}

void Client::drop(Now now, AskId id) {
    auto at = asks_.find(id);
    if (at == asks_.end()) return;
    at->second.muted = true;
    if (at->second.asker) {
        at->second.asker->cancel(now);
        drain(now, id);
        at = asks_.find(id);
        if (at == asks_.end()) return;  // it was over
    }
    release(at->second);
    asks_.erase(at);
}

void Client::on_tick(Now now) {
    std::vector<AskId> ids;
    for (const auto& [id, ask] : asks_) ids.push_back(id);
    circuits_.set_waiting(now, waiting());
    circuits_.on_tick(now);
    drain_circuits(now);
    retry_pending(now);
    for (const AskId id : ids) {
        const auto at = asks_.find(id);
        if (at == asks_.end()) continue;
        if (at->second.asker) {
            at->second.asker->on_tick(now);
            drain(now, id);
        } else if (now.mono >= at->second.wait_until) {
            finish(now, id, {ChatFault{AskFault::no_circuit, "no circuits could be built in time"}, false});
        } else {
            try_start(now, id);
        }
    }
    std::erase_if(shunned_, [&](const auto& entry) { return now.mono >= entry.second; });
    suspects_.on_tick(now);
    end_late_groups(now);
    drain_circuits(now);
}

Instant Client::next_deadline() const {
    Instant next = circuits_.next_deadline();
    for (const auto& [id, ask] : asks_) {
        next = std::min(next, ask.asker ? ask.asker->next_deadline() : ask.wait_until);
        for (const Pending& pending : ask.pending) next = std::min(next, pending.until);
    }
    for (const auto& [id, group] : groups_) next = std::min(next, group.until);
    return next;
}

std::optional<Client::Output> Client::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::size_t Client::waiting() const {
    return static_cast<std::size_t>(
        std::count_if(asks_.begin(), asks_.end(), [](const auto& entry) { return !entry.second.asker; }));
}

std::size_t Client::model_nodes() const {
    if (!view_) return 0;
    const auto serves = [&](std::uint32_t index) { return !view_->entries()[index].descriptor.models.empty(); };
    const auto count = [&](std::span<const std::uint32_t> nodes) {
        return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(), serves));
    };
    return count(view_->model_nodes()) + (config_.pipelines ? count(view_->leads()) : 0);
}

}  // namespace shoal::client
