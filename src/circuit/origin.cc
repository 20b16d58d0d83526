#include "circuit/origin.h"

namespace shoal::circuit {

using wire::CellCommand;
using wire::DestroyReason;
using wire::RelayCommand;

Origin::Origin(Now now, OriginConfig config, Rng& rng)
    : config_(std::move(config)), rng_(rng), started_(now.mono), pacer_(config_.pacer, config_.rate, rng) {
    layers_.reserve(limits::hops);
    begin_handshake(now);
}

// ---- building ----------------------------------------------------------------------------------------------------

void Origin::begin_handshake(Now) {
    const Hop& hop = config_.path[layers_.size()];
    auto started =
        crypto::NtorClient::start(crypto::NtorProfile::circuit(config_.network), hop.node, hop.onion_key, {}, rng_);
    // The directory lists an onion key that cannot be one: this hop is as good as not there.
    if (!started) return close(DestroyReason::handshake, !layers_.empty());
    handshake_ = std::move(started).value();
    const wire::Handshake handshake{wire::handshake_ntor3, handshake_->hello()};
    if (layers_.empty()) {
        cells_out_.push_back(wire::make_cell(CellCommand::create, config_.id.value(), wire::encode(handshake), rng_));
    } else {
        send_relay(layers_.size() - 1, RelayCommand::extend, StreamId(0),
                   wire::encode(wire::Extend{hop.node, handshake}), true);
    }
}

void Origin::on_handshake_reply(Now now, ByteView reply) {
    const auto handshake = wire::decode_handshake(reply);
    if (!handshake || handshake->type != wire::handshake_ntor3 || !handshake_) {
        return close(DestroyReason::protocol, true);
    }
    auto outcome = handshake_->finish(handshake->data);
    handshake_.reset();
    if (!outcome) return close(DestroyReason::handshake, true);
    layers_.push_back({crypto::LayerCipher(std::move(outcome->keys.forward)),
                       crypto::LayerCipher(std::move(outcome->keys.backward))});
    if (layers_.size() < limits::hops) return begin_handshake(now);
    become_ready(now);
}

void Origin::become_ready(Now now) {
    state_ = State::ready;
    ready_since_ = now.mono;
    const Duration life = rng_.between(limits::circuit_idle_lifetime_min, limits::circuit_idle_lifetime_max);
    retire_at_ = now.mono + life;
    send_relay(limits::hops - 1, RelayCommand::pad_negotiate, StreamId(0),
               wire::encode(wire::PadNegotiate{config_.pacer, config_.rate}), false);
    events_.emplace_back(Ready{});
}

// ---- from the network --------------------------------------------------------------------------------------------

void Origin::on_cell(Now now, const wire::Cell& cell) {
    if (state_ == State::closed) return;
    switch (cell.command) {
        case CellCommand::created:
            if (!layers_.empty()) return close(DestroyReason::protocol, true);
            return on_handshake_reply(now, cell.payload());
        case CellCommand::destroy: {
            const auto reason = wire::decode_destroy(cell.payload());
            return close(reason ? *reason : DestroyReason::protocol, false);
        }
        case CellCommand::relay: break;
        default: return close(DestroyReason::protocol, true);
    }
    wire::RelayBlock block = cell.body;
    for (std::size_t hop = 0; hop < layers_.size(); ++hop) {
        layers_[hop].backward.client_backward(block);
        if (!wire::relay_recognised(block)) continue;
        const auto payload = wire::decode_relay(block);
        if (!payload) return close(DestroyReason::protocol, true);
        return on_payload(now, hop, *payload);
    }
    close(DestroyReason::protocol, true);  // tampered with on its way
}

void Origin::on_payload(Now now, std::size_t hop, const wire::RelayPayload& payload) {
    const bool from_last = hop + 1 == layers_.size();
    switch (payload.command) {
        case RelayCommand::drop: return;
        case RelayCommand::extended:
            if (state_ != State::building || !from_last) break;
            return on_handshake_reply(now, payload.payload());
        case RelayCommand::error: {
            const auto reason = wire::decode_destroy(payload.payload());
            return close(reason ? *reason : DestroyReason::protocol, true);
        }
        case RelayCommand::data:
            if (state_ == State::building || !from_last) break;
            return on_stream_data(now, payload);
        case RelayCommand::end: {
            if (!from_last) break;
            const auto reason = wire::decode_stream_end(payload.payload());
            if (streams_.erase(payload.stream) > 0) {
                events_.emplace_back(StreamEnd{payload.stream, reason ? *reason : wire::StreamEndReason::protocol});
            }
            return;
        }
        case RelayCommand::sendme: {
            const auto sendme = wire::decode_sendme(payload.payload());
            const auto at = streams_.find(payload.stream);
            if (at == streams_.end()) return;
            if (!from_last || !sendme || !at->second.to_node.on_sendme(sendme->tweak)) break;
            return flush(now);
        }
        default: break;
    }
    close(DestroyReason::protocol, true);
}

void Origin::on_stream_data(Now now, const wire::RelayPayload& payload) {
    if (payload.length != limits::sealed_record_bytes) return close(DestroyReason::protocol, true);
    const auto at = streams_.find(payload.stream);
    if (at == streams_.end()) return;  // behind our END
    if (!at->second.from_node.received(layers_.back().backward.tweak())) return close(DestroyReason::protocol, true);
    StreamData event{payload.stream, {}};
    std::memcpy(event.sealed.data(), payload.data.data(), event.sealed.size());
    events_.emplace_back(event);
    if (const auto due = at->second.from_node.consumed()) {
        control_.push_back({payload.stream, {RelayCommand::sendme, wire::encode(wire::Sendme{*due})}});
        flush(now);
    }
}

void Origin::on_link_down(Now) {
    close(DestroyReason::link_lost, false);
}

// ---- to the network ----------------------------------------------------------------------------------------------

std::optional<StreamId> Origin::open_stream(const wire::Connect& connect) {
    if (state_ != State::ready || streams_.size() >= limits::streams_per_circuit_max) return std::nullopt;
    // Ids are not used again in one circuit; it is retired long before they run out.
    if (next_stream_ == UINT16_MAX) return std::nullopt;
    const StreamId id(next_stream_++);
    streams_[id].queue.push_back({RelayCommand::connect, wire::encode(connect)});
    return id;
}

bool Origin::send(StreamId stream, ByteView sealed) {
    ASSERT(sealed.size() == limits::sealed_record_bytes);
    const auto at = streams_.find(stream);
    if (at == streams_.end()) return false;
    at->second.queue.push_back({RelayCommand::data, to_bytes(sealed)});
    return true;
}

void Origin::end_stream(StreamId stream) {
    const auto at = streams_.find(stream);
    if (at == streams_.end()) return;
    // What was queued before still goes: a CANCEL in front of the END must arrive.
    for (Item& item : at->second.queue) control_.push_back({stream, std::move(item)});
    streams_.erase(at);
    control_.push_back({stream, {RelayCommand::end, wire::encode(wire::StreamEndReason::done)}});
}

std::size_t Origin::waiting() const {
    std::size_t count = control_.size();
    for (const auto& [id, stream] : streams_) {
        if (!stream.queue.empty() && stream.to_node.open()) count += stream.queue.size();
    }
    return count;
}

bool Origin::send_next() {
    const std::size_t last = limits::hops - 1;
    if (!control_.empty()) {
        auto [stream, item] = std::move(control_.front());
        control_.pop_front();
        send_relay(last, item.command, stream, item.data, false);
        return true;
    }
    auto at = streams_.upper_bound(last_served_);
    for (std::size_t tried = 0; tried < streams_.size(); ++tried, ++at) {
        if (at == streams_.end()) at = streams_.begin();
        Stream& stream = at->second;
        if (stream.queue.empty() || !stream.to_node.open()) continue;
        last_served_ = at->first;
        const Item item = std::move(stream.queue.front());
        stream.queue.pop_front();
        send_relay(last, item.command, at->first, item.data, false);
        if (item.command == RelayCommand::data) stream.to_node.sent(layers_.back().forward.tweak());
        return true;
    }
    return false;
}

void Origin::flush(Now now) {
    if (state_ != State::ready && state_ != State::retired) return;
    const Pacer::Departure go = pacer_.poll(now.mono, waiting());
    for (std::size_t i = 0; i < go.data; ++i) {
        if (send_next()) continue;
        if (pacer_.mode() == PacerMode::fast) break;
        send_relay(limits::hops - 1, RelayCommand::drop, StreamId(0), {}, false);
    }
    for (std::size_t i = 0; i < go.padding; ++i) {
        send_relay(limits::hops - 1, RelayCommand::drop, StreamId(0), {}, false);
    }
}

void Origin::send_relay(std::size_t hop, RelayCommand command, StreamId stream, ByteView data, bool early) {
    wire::Cell cell;
    cell.id = config_.id.value();
    cell.command = early ? CellCommand::relay_early : CellCommand::relay;
    cell.length = limits::cell_body_bytes;
    cell.body = wire::encode_relay(command, stream, data);
    for (std::size_t i = hop + 1; i-- > 0;) layers_[i].forward.client_forward(cell.body);
    cells_out_.push_back(cell);
    if (++cells_ >= limits::circuit_cells_max) retire();
}

// ---- life --------------------------------------------------------------------------------------------------------

void Origin::retire() {
    if (state_ == State::ready) state_ = State::retired;
}

void Origin::destroy(DestroyReason reason) {
    if (state_ == State::closed) return;
    close(reason, true);
    events_.clear();
}

void Origin::close(DestroyReason reason, bool tell_guard) {
    if (state_ == State::closed) return;
    state_ = State::closed;
    if (tell_guard) {
        cells_out_.push_back(
            wire::make_cell(CellCommand::destroy, config_.id.value(), wire::encode(DestroyReason::none), rng_));
    }
    for (const auto& [id, stream] : streams_) {
        events_.emplace_back(StreamEnd{id, wire::StreamEndReason::link_lost});
    }
    streams_.clear();
    control_.clear();
    events_.emplace_back(Closed{reason, layers_.size()});
    layers_.clear();  // keys are wiped at once
    handshake_.reset();
}

void Origin::on_tick(Now now) {
    switch (state_) {
        case State::building:
            if (now.mono - started_ >= config_.build_timeout) close(DestroyReason::unreachable, true);
            return;
        case State::ready:
            if ((streams_.empty() && now.mono >= retire_at_) || now.mono - ready_since_ >= limits::circuit_lifetime) {
                retire();
            }
            break;
        case State::retired: break;
        case State::closed: return;
    }
    flush(now);
}

Instant Origin::next_deadline() const {
    switch (state_) {
        case State::building: return started_ + config_.build_timeout;
        case State::closed: return Instant::max();
        case State::ready:
        case State::retired: break;
    }
    Instant next = Instant::max();
    if (state_ == State::ready) {
        next = ready_since_ + limits::circuit_lifetime;
        if (streams_.empty()) next = std::min(next, retire_at_);
    }
    if (const auto due = pacer_.next_deadline(waiting())) next = std::min(next, *due);
    return next;
}

std::vector<wire::Cell> Origin::take_cells() {
    return std::exchange(cells_out_, {});
}

std::optional<Origin::Event> Origin::poll() {
    if (events_.empty()) return std::nullopt;
    Event next = std::move(events_.front());
    events_.pop_front();
    return next;
}

}  // namespace shoal::circuit
