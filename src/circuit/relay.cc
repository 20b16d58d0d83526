#include "circuit/relay.h"

#include "crypto/hash.h"

namespace shoal::circuit {

using wire::CellCommand;
using wire::DestroyReason;
using wire::RelayCommand;
using wire::StreamEndReason;

namespace {
constexpr std::uint32_t initiator_bit = 0x8000'0000;
}

struct Relay::Circuit {
    enum class State { last, extending, middle };
    State state = State::last;
    LinkId previous;
    std::uint32_t previous_id = 0;
    LinkId next;
    std::uint32_t next_id = 0;
    wire::Handshake pending_handshake;  // while extending
    crypto::LayerCipher forward;
    crypto::LayerCipher backward;
    std::uint32_t early_cells = 0;
    std::uint32_t cells = 0;
    Instant last_used;
    Instant due = Instant::max();  // of the pacer; the key in due_
    std::optional<Pacer> pacer;    // always there; replaced by PAD_NEGOTIATE
    Terminus terminus;

    Circuit(crypto::CircuitKeys keys, Rng& rng)
        : forward(std::move(keys.forward)),
          backward(std::move(keys.backward)),
          pacer(std::in_place, PacerMode::fast, PacerClass::twenty, rng) {}
};

Relay::Relay(RelayConfig config, Rng& rng) : config_(config), rng_(rng) {}
Relay::~Relay() = default;

void Relay::set_onion_keys(const crypto::KeyPair& current, const crypto::KeyPair* previous) {
    const bool same_previous = previous == nullptr
                                   ? !previous_onion_key_
                                   : previous_onion_key_ && previous_onion_key_->public_key == previous->public_key;
    if (onion_key_ && onion_key_->public_key == current.public_key && same_previous) return;
    // A message is bound to the onion key that it was made for, so records of keys that are gone can go.
    std::erase_if(seen_, [&](const auto& entry) {
        return entry.first != current.public_key && (previous == nullptr || entry.first != previous->public_key);
    });
    onion_key_ = current.clone();
    previous_onion_key_.reset();
    if (previous != nullptr) previous_onion_key_ = previous->clone();
}

// ---- links -------------------------------------------------------------------------------------------------------

void Relay::on_link_up(LinkId link, bool we_dialled) {
    links_[link].we_dialled = we_dialled;
}

void Relay::on_link_down(Now, LinkId link) {
    const auto at = links_.find(link);
    if (at == links_.end()) return;
    const Link gone = std::move(at->second);
    links_.erase(at);
    for (const auto& [id, circuit] : gone.circuits) {
        const bool towards_client = circuit->previous == link && circuit->previous_id == id;
        if (towards_client) {
            destroy(*circuit, std::nullopt, DestroyReason::link_lost);
        } else {
            destroy(*circuit, DestroyReason::link_lost, std::nullopt);
        }
    }
    for (const auto& [id, place] : gone.streams) {
        if (!circuits_.contains(place.circuit)) continue;
        place.circuit->terminus.on_link_end(place.stream, StreamEndReason::link_lost);
        queue_flush(*place.circuit);
    }
}

bool Relay::uses_link(LinkId link) const {
    const auto at = links_.find(link);
    return at != links_.end() && !(at->second.circuits.empty() && at->second.streams.empty());
}

std::uint64_t Relay::want(Waiting waiting, NodeId node, LinkPurpose purpose) {
    const std::uint64_t token = next_token_++;
    waiting_.emplace(token, waiting);
    out_.emplace_back(WantLink{token, node, purpose});
    return token;
}

void Relay::on_link_ready(Now now, std::uint64_t token, LinkId link) {
    const auto at = waiting_.find(token);
    if (at == waiting_.end()) return;  // the circuit is gone
    const Waiting waiting = at->second;
    waiting_.erase(at);
    if (!links_.contains(link)) {
        waiting_.emplace(token, waiting);
        on_link_failed(now, token, DestroyReason::unreachable);
        return;
    }
    if (waiting.stream) {
        connect_to(now, *waiting.circuit, *waiting.stream, link);
    } else {
        extend_to(now, *waiting.circuit, link);
    }
}

void Relay::on_link_failed(Now, std::uint64_t token, DestroyReason reason) {
    const auto at = waiting_.find(token);
    if (at == waiting_.end()) return;
    const Waiting waiting = at->second;
    waiting_.erase(at);
    Circuit& c = *waiting.circuit;
    if (waiting.stream) {
        const auto why =
            reason == DestroyReason::protocol ? StreamEndReason::unknown_node : StreamEndReason::unreachable;
        c.terminus.on_link_failed(*waiting.stream, why);
        queue_flush(c);
    } else {
        c.state = Circuit::State::last;
        send_back(c, RelayCommand::error, StreamId(0), wire::encode(reason));
    }
}

void Relay::on_send_refused(Now, LinkId link, const wire::Cell& cell) {
    const auto at = links_.find(link);
    if (at == links_.end()) return;
    if (const auto circuit = at->second.circuits.find(cell.id); circuit != at->second.circuits.end()) {
        Circuit& c = *circuit->second;
        const bool towards_client = c.previous == link && c.previous_id == cell.id;
        // The full side cannot be told; it will see the circuit's other cells as noise or the link as dead.
        destroy(c, towards_client ? std::nullopt : std::optional(DestroyReason::busy),
                towards_client ? std::optional(DestroyReason::busy) : std::nullopt);
    } else if (const auto stream = at->second.streams.find(cell.id); stream != at->second.streams.end()) {
        const StreamPlace place = stream->second;
        at->second.streams.erase(stream);
        place.circuit->terminus.on_link_end(place.stream, StreamEndReason::busy);
        queue_flush(*place.circuit);
    }
}

// ---- cells -------------------------------------------------------------------------------------------------------

void Relay::on_cell(Now now, LinkId from, const wire::Cell& cell) {
    switch (cell.command) {
        case CellCommand::create: on_create(now, from, cell); break;
        case CellCommand::relay:
        case CellCommand::relay_early: on_relay(now, from, cell); break;
        case CellCommand::destroy: on_destroy(now, from, cell); break;
        case CellCommand::created: {
            const auto link = links_.find(from);
            if (link == links_.end()) break;
            const auto at = link->second.circuits.find(cell.id);
            if (at != link->second.circuits.end()) on_created(now, *at->second, cell);
            break;
        }
        case CellCommand::stream_data:
        case CellCommand::stream_end: on_stream_cell(now, from, cell); break;
        default: ++stats_.protocol_errors; break;
    }
}

void Relay::on_create(Now now, LinkId from, const wire::Cell& cell) {
    const auto link = links_.find(from);
    if (link == links_.end()) return;
    const auto refuse = [&](DestroyReason reason) {
        ++stats_.creates_refused;
        emit(from, CellCommand::destroy, cell.id, wire::encode(reason));
    };
    const bool theirs = ((cell.id & initiator_bit) != 0) != link->second.we_dialled;
    if (cell.id == 0 || !theirs || link->second.circuits.contains(cell.id)) return refuse(DestroyReason::protocol);
    if (link->second.circuits.size() >= limits::circuits_per_link_max) return refuse(DestroyReason::busy);
    if (!onion_key_) return refuse(DestroyReason::stopping);
    const auto handshake = wire::decode_handshake(cell.payload());
    if (!handshake || handshake->type != wire::handshake_ntor3) return refuse(DestroyReason::handshake);
    const auto hello = crypto::NtorHello::parse(handshake->data);
    if (!hello) return refuse(DestroyReason::handshake);

    HandshakesSeen& seen =
        seen_[hello->onion_key == onion_key_->public_key || !previous_onion_key_ ? onion_key_->public_key
                                                                                 : previous_onion_key_->public_key];
    const HandshakeId replay_id(hello->replay_id());
    if (seen.contains(replay_id)) {
        ++stats_.creates_replayed;
        return refuse(DestroyReason::handshake);
    }
    if (seen.size() >= limits::create_replays_max) return refuse(DestroyReason::busy);
    ++stats_.public_key_operations;
    auto answer = crypto::ntor_answer(crypto::NtorProfile::circuit(config_.network), config_.self, *onion_key_,
                                      previous_onion_key_ ? &*previous_onion_key_ : nullptr, *hello, {}, rng_);
    if (!answer) return refuse(DestroyReason::handshake);
    seen.insert(replay_id);
    ++stats_.creates;
    auto circuit = std::make_unique<Circuit>(std::move(answer->keys), rng_);
    circuit->previous = from;
    circuit->previous_id = cell.id;
    circuit->last_used = now.mono;
    link->second.circuits.emplace(cell.id, circuit.get());
    circuits_.emplace(circuit.get(), std::move(circuit));
    emit(from, CellCommand::created, cell.id,
         wire::encode(wire::Handshake{wire::handshake_ntor3, std::move(answer->answer)}));
}

void Relay::on_relay(Now now, LinkId from, const wire::Cell& cell) {
    const auto link = links_.find(from);
    if (link == links_.end()) return;
    const auto at = link->second.circuits.find(cell.id);
    if (at == link->second.circuits.end()) {
        // Cells that crossed with our DESTROY; the peer knows by now.
        return;
    }
    Circuit& c = *at->second;
    c.last_used = now.mono;
    if (++c.cells > limits::circuit_cells_max * 2) return destroy(c, DestroyReason::expired, DestroyReason::expired);
    if (c.previous == from && c.previous_id == cell.id) {
        on_forward(now, c, cell);
    } else {
        on_backward(now, c, cell);
    }
}

void Relay::on_forward(Now now, Circuit& c, const wire::Cell& cell) {
    const bool early = cell.command == CellCommand::relay_early;
    if (early && ++c.early_cells > limits::relay_early_per_circuit_max) {
        ++stats_.protocol_errors;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    wire::RelayBlock block = cell.body;
    c.forward.relay_forward(block);
#ifdef SHOAL_TAP
    if (peel_observer_ != nullptr) peel_observer_->on_peeled(c.previous, true, block);
#endif
    if (!wire::relay_recognised(block)) {
        if (c.state == Circuit::State::middle) {
            ++stats_.cells_forwarded;
            return emit_block(c.next, cell.command, c.next_id, block);
        }
        ++stats_.bad_cells;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    const auto payload = wire::decode_relay(block);
    if (!payload) {
        ++stats_.protocol_errors;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    on_command(now, c, *payload, early);
}

void Relay::on_backward(Now, Circuit& c, const wire::Cell& cell) {
    if (c.state != Circuit::State::middle || cell.command != CellCommand::relay) {
        ++stats_.protocol_errors;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    wire::RelayBlock block = cell.body;
    c.backward.relay_backward(block);
    ++stats_.cells_forwarded;
    emit_block(c.previous, CellCommand::relay, c.previous_id, block);
}

void Relay::on_command(Now now, Circuit& c, const wire::RelayPayload& payload, bool early) {
    Status done = ok();
    switch (payload.command) {
        case RelayCommand::drop: break;
        case RelayCommand::extend: done = on_extend(c, payload, early); break;
        case RelayCommand::pad_negotiate: {
            const auto wanted = wire::decode_pad_negotiate(payload.payload());
            if (!wanted) {
                done = wanted.error();
            } else {
                c.pacer.emplace(wanted->mode, wanted->rate, rng_);
            }
            break;
        }
        default: done = c.terminus.on_payload(payload, c.forward.tweak()); break;
    }
    if (!done) {
        ++stats_.protocol_errors;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    drain_terminus(now, c);
    queue_flush(c);
}

Status Relay::on_extend(Circuit& c, const wire::RelayPayload& payload, bool early) {
    if (!early) return fail(Errc::malformed, "circuit: EXTEND outside RELAY_EARLY");
    if (c.state != Circuit::State::last || c.terminus.streams() > 0) {
        return fail(Errc::malformed, "circuit: EXTEND where the circuit goes on already");
    }
    wire::Extend extend = TRY(wire::decode_extend(payload.payload()));
    if (extend.node == config_.self) return fail(Errc::invalid, "circuit: EXTEND to this node itself");
    c.state = Circuit::State::extending;
    c.pending_handshake = std::move(extend.handshake);
    want({&c, std::nullopt}, extend.node, LinkPurpose::extend);
    return ok();
}

void Relay::extend_to(Now, Circuit& c, LinkId link) {
    Link& next = links_.at(link);
    if (next.circuits.size() >= limits::circuits_per_link_max) {
        c.state = Circuit::State::last;
        return send_back(c, RelayCommand::error, StreamId(0), wire::encode(DestroyReason::busy));
    }
    c.next = link;
    c.next_id = draw_id(next);
    next.circuits.emplace(c.next_id, &c);
    emit(link, CellCommand::create, c.next_id, wire::encode(c.pending_handshake));
    c.pending_handshake = {};
}

void Relay::on_created(Now, Circuit& c, const wire::Cell& cell) {
    if (c.state != Circuit::State::extending || c.next_id != cell.id) {
        ++stats_.protocol_errors;
        return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    }
    const auto handshake = wire::decode_handshake(cell.payload());
    if (!handshake) return destroy(c, DestroyReason::protocol, DestroyReason::protocol);
    c.state = Circuit::State::middle;
    reschedule(c, Instant::max());
    send_back(c, RelayCommand::extended, StreamId(0), wire::encode(*handshake));
}

void Relay::on_destroy(Now, LinkId from, const wire::Cell& cell) {
    const auto link = links_.find(from);
    if (link == links_.end()) return;
    const auto at = link->second.circuits.find(cell.id);
    if (at == link->second.circuits.end()) return;
    Circuit& c = *at->second;
    const DestroyReason reason =
        wire::decode_destroy(cell.payload()) ? *wire::decode_destroy(cell.payload()) : DestroyReason::protocol;
    if (c.previous == from && c.previous_id == cell.id) return destroy(c, std::nullopt, reason);
    if (c.state == Circuit::State::extending) {
        // The next hop refused the handshake: this hop stays, and the client may try another.
        link->second.circuits.erase(at);
        c.state = Circuit::State::last;
        c.next_id = 0;
        return send_back(c, RelayCommand::error, StreamId(0), wire::encode(reason));
    }
    destroy(c, reason, std::nullopt);
}

// ---- streams -----------------------------------------------------------------------------------------------------

void Relay::connect_to(Now now, Circuit& c, StreamId stream, LinkId link) {
    Link& to = links_.at(link);
    if (to.streams.size() >= limits::link_streams_per_link_max) {
        c.terminus.on_link_failed(stream, StreamEndReason::busy);
    } else {
        const std::uint32_t id = draw_id(to);
        to.streams.emplace(id, StreamPlace{&c, stream});
        c.terminus.on_link_ready(stream, link, LinkStreamId(id));
    }
    drain_terminus(now, c);
    queue_flush(c);
}

void Relay::on_stream_cell(Now now, LinkId from, const wire::Cell& cell) {
    const auto link = links_.find(from);
    if (link == links_.end()) return;
    const auto at = link->second.streams.find(cell.id);
    if (at == link->second.streams.end()) return;
    const StreamPlace place = at->second;
    Circuit& c = *place.circuit;
    if (cell.command == CellCommand::stream_data) {
        c.terminus.on_link_data(place.stream, cell.payload());
    } else {
        const auto reason = wire::decode_stream_end(cell.payload());
        link->second.streams.erase(at);
        c.terminus.on_link_end(place.stream, reason ? *reason : StreamEndReason::protocol);
    }
    drain_terminus(now, c);
    queue_flush(c);
}

void Relay::drain_terminus(Now, Circuit& c) {
    while (auto output = c.terminus.poll()) {
        if (const auto* wanted = std::get_if<Terminus::WantLink>(&*output)) {
            want({&c, wanted->stream}, wanted->node, LinkPurpose::connect);
            continue;
        }
        const auto& cell = std::get<Terminus::LinkCell>(*output);
        emit(cell.link, cell.command, cell.id.value(), cell.payload);
        if (cell.command == CellCommand::stream_end) {
            if (const auto link = links_.find(cell.link); link != links_.end())
                link->second.streams.erase(cell.id.value());
        }
    }
}

void Relay::flush(Now now, Circuit& c) {
    if (c.state == Circuit::State::middle) return;
    const Pacer::Departure go = c.pacer->poll(now.mono, c.terminus.waiting());
    for (std::size_t i = 0; i < go.data + go.padding; ++i) {
        if (i >= go.data || c.terminus.waiting() == 0) {
            if (c.pacer->mode() == PacerMode::fast) break;
            send_back(c, RelayCommand::drop, StreamId(0), {});
            continue;
        }
        const BackItem item = c.terminus.take();
        send_back(c, item.command, item.stream, item.data);
        if (item.command == RelayCommand::data) c.terminus.sent_data(item.stream, c.backward.tweak());
    }
    drain_terminus(now, c);
    queue_flush(c);
}

void Relay::queue_flush(Circuit& c) {
    if (c.state == Circuit::State::middle) return;
    reschedule(c, c.pacer->next_deadline(c.terminus.waiting()).value_or(Instant::max()));
}

void Relay::reschedule(Circuit& c, Instant due) {
    if (c.due == due) return;
    if (c.due != Instant::max()) due_.erase({c.due, &c});
    if (due != Instant::max()) due_.insert({due, &c});
    c.due = due;
}

void Relay::send_back(Circuit& c, RelayCommand command, StreamId stream, ByteView data) {
    wire::RelayBlock block = wire::encode_relay(command, stream, data);
    c.backward.relay_backward(block);
    emit_block(c.previous, CellCommand::relay, c.previous_id, block);
}

// ---- life --------------------------------------------------------------------------------------------------------

void Relay::destroy(Circuit& c, std::optional<DestroyReason> back, std::optional<DestroyReason> on) {
    c.terminus.close(StreamEndReason::link_lost);
    drain_terminus({}, c);
    if (const auto link = links_.find(c.previous); link != links_.end()) {
        link->second.circuits.erase(c.previous_id);
        if (back) emit(c.previous, CellCommand::destroy, c.previous_id, wire::encode(*back));
    }
    if (c.next_id != 0) {
        if (const auto link = links_.find(c.next); link != links_.end()) {
            link->second.circuits.erase(c.next_id);
            if (on) emit(c.next, CellCommand::destroy, c.next_id, wire::encode(*on));
        }
    }
    std::erase_if(waiting_, [&](const auto& entry) { return entry.second.circuit == &c; });
    reschedule(c, Instant::max());
    circuits_.erase(&c);
}

void Relay::on_tick(Now now) {
    if (now.mono >= next_sweep_) {
        next_sweep_ = now.mono + sweep_interval;
        std::vector<Circuit*> old;
        for (const auto& [at, circuit] : circuits_) {
            if (now.mono - circuit->last_used >= limits::relay_circuit_idle) old.push_back(at);
        }
        for (Circuit* circuit : old) destroy(*circuit, DestroyReason::expired, DestroyReason::expired);
    }
    flush(now);
}

void Relay::flush(Now now) {
    while (!due_.empty() && due_.begin()->first <= now.mono) flush(now, *due_.begin()->second);
}

Instant Relay::next_deadline() const {
    return due_.empty() ? next_sweep_ : std::min(next_sweep_, due_.begin()->first);
}

std::optional<RelayOutput> Relay::poll() {
    if (out_.empty()) return std::nullopt;
    RelayOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::uint32_t Relay::draw_id(const Link& link) {
    for (;;) {
        std::uint32_t id = static_cast<std::uint32_t>(rng_.u64()) & ~initiator_bit;
        if (link.we_dialled) id |= initiator_bit;
        if ((id & ~initiator_bit) != 0 && !link.circuits.contains(id) && !link.streams.contains(id)) return id;
    }
}

void Relay::emit(LinkId link, CellCommand command, std::uint32_t id, ByteView payload) {
    if (!links_.contains(link)) return;
    out_.emplace_back(SendCell{link, wire::make_cell(command, id, payload, rng_)});
}

void Relay::emit_block(LinkId link, CellCommand command, std::uint32_t id, const wire::RelayBlock& block) {
    if (!links_.contains(link)) return;
    SendCell& send = std::get<SendCell>(out_.emplace_back(SendCell{link, {}}));
    send.cell.id = id;
    send.cell.command = command;
    send.cell.length = limits::cell_body_bytes;
    send.cell.body = block;
}

std::size_t Relay::circuits() const {
    return circuits_.size();
}

bool Relay::check() const {
    for (const auto& [id, link] : links_) {
        for (const auto& [circuit_id, circuit] : link.circuits) {
            if (!circuits_.contains(circuit)) return false;
            const bool mine = (circuit->previous == id && circuit->previous_id == circuit_id) ||
                              (circuit->next == id && circuit->next_id == circuit_id);
            if (!mine) return false;
        }
        for (const auto& [stream_id, place] : link.streams) {
            if (!circuits_.contains(place.circuit)) return false;
            if (place.circuit->terminus.find(id, LinkStreamId(stream_id)) != place.stream) return false;
        }
    }
    for (const auto& [token, waiting] : waiting_) {
        if (!circuits_.contains(waiting.circuit)) return false;
    }
    return true;
}

}  // namespace shoal::circuit
