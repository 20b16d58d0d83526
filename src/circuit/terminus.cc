#include "circuit/terminus.h"

namespace shoal::circuit {

using wire::RelayCommand;
using wire::StreamEndReason;

Status Terminus::on_payload(const wire::RelayPayload& payload, const Tweak& tweak) {
    // Every cell of a client makes at most one answer; who does not take the answers gets no more.
    if (control_.size() >= limits::terminus_answers_max) return fail(Errc::exhausted, "circuit: answers not taken");
    switch (payload.command) {
        case RelayCommand::connect: return on_connect(payload);
        case RelayCommand::data: return on_data(payload, tweak);
        case RelayCommand::end: {
            const auto at = streams_.find(payload.stream);
            if (at == streams_.end()) return ok();  // crossed with ours
            const StreamEndReason reason = TRY(wire::decode_stream_end(payload.payload()));
            if (at->second.open) {
                out_.emplace_back(
                    LinkCell{at->second.link, wire::CellCommand::stream_end, at->second.id, wire::encode(reason)});
            }
            streams_.erase(at);
            return ok();
        }
        case RelayCommand::sendme: {
            const wire::Sendme sendme = TRY(wire::decode_sendme(payload.payload()));
            const auto at = streams_.find(payload.stream);
            if (at == streams_.end()) return ok();
            if (!at->second.to_client.on_sendme(sendme.tweak)) {
                return fail(Errc::unauthenticated, "circuit: SENDME for cells that were not received");
            }
            return ok();
        }
        default: return fail(Errc::malformed, "circuit: a command that ends no stream's business");
    }
}

Status Terminus::on_connect(const wire::RelayPayload& payload) {
    const wire::Connect connect = TRY(wire::decode_connect(payload.payload()));
    if (payload.stream.value() == 0) return fail(Errc::malformed, "circuit: CONNECT without a stream");
    if (streams_.contains(payload.stream)) return fail(Errc::malformed, "circuit: CONNECT on a stream that is open");
    if (streams_.size() >= limits::streams_per_circuit_max) {
        control_.push_back({RelayCommand::end, payload.stream, wire::encode(StreamEndReason::busy)});
        return ok();
    }
    Stream& stream = streams_[payload.stream];
    stream.node = connect.node;
    stream.request = connect.open;
    out_.emplace_back(WantLink{payload.stream, connect.node});
    return ok();
}

Status Terminus::on_data(const wire::RelayPayload& payload, const Tweak& tweak) {
    if (payload.length != limits::sealed_record_bytes) return fail(Errc::malformed, "circuit: DATA of another size");
    const auto at = streams_.find(payload.stream);
    if (at == streams_.end()) return ok();  // behind our END
    if (!at->second.from_client.received(tweak)) return fail(Errc::exhausted, "circuit: DATA past the window");
    if (at->second.open) {
        pass_forward(payload.stream, at->second, to_bytes(payload.payload()));
    } else {
        at->second.forward.push_back(to_bytes(payload.payload()));
    }
    return ok();
}

void Terminus::pass_forward(StreamId id, Stream& stream, Bytes sealed) {
    out_.emplace_back(LinkCell{stream.link, wire::CellCommand::stream_data, stream.id, std::move(sealed)});
    if (const auto due = stream.from_client.consumed()) {
        control_.push_back({RelayCommand::sendme, id, wire::encode(wire::Sendme{*due})});
    }
}

void Terminus::on_link_ready(StreamId id, LinkId link, LinkStreamId link_stream) {
    const auto at = streams_.find(id);
    ASSERT(at != streams_.end() && !at->second.open);
    Stream& stream = at->second;
    stream.open = true;
    stream.link = link;
    stream.id = link_stream;
    out_.emplace_back(LinkCell{link, wire::CellCommand::stream_open, link_stream, wire::encode(stream.request)});
    while (!stream.forward.empty()) {
        pass_forward(id, stream, std::move(stream.forward.front()));
        stream.forward.pop_front();
    }
}

void Terminus::on_link_failed(StreamId id, StreamEndReason reason) {
    if (streams_.erase(id) > 0) control_.push_back({RelayCommand::end, id, wire::encode(reason)});
}

void Terminus::on_link_data(StreamId id, ByteView sealed) {
    const auto at = streams_.find(id);
    if (at == streams_.end() || at->second.ended) return;
    Stream& stream = at->second;
    if (stream.back.size() + stream.back_taken >= limits::link_stream_window_cells) {
        // The node sends past its window: it is broken or hostile, and its stream is over.
        out_.emplace_back(
            LinkCell{stream.link, wire::CellCommand::stream_end, stream.id, wire::encode(StreamEndReason::protocol)});
        on_link_end(id, StreamEndReason::protocol);
        return;
    }
    stream.back.push_back(to_bytes(sealed));
}

void Terminus::on_link_end(StreamId id, StreamEndReason reason) {
    const auto at = streams_.find(id);
    if (at == streams_.end() || at->second.ended) return;
    at->second.ended = reason;
    at->second.open = false;  // the link's half is over
}

void Terminus::close(StreamEndReason reason) {
    for (auto& [id, stream] : streams_) {
        if (!stream.open) continue;
        out_.emplace_back(LinkCell{stream.link, wire::CellCommand::stream_end, stream.id, wire::encode(reason)});
    }
    streams_.clear();
    control_.clear();
}

bool Terminus::ready(const Stream& stream) const {
    return stream.back.empty() ? stream.ended.has_value() : stream.to_client.open();
}

std::size_t Terminus::waiting() const {
    std::size_t count = control_.size();
    for (const auto& [id, stream] : streams_) {
        // More than the window can not be told from here; the pacer asks again after each departure.
        if (ready(stream)) count += std::max<std::size_t>(stream.back.size(), 1);
    }
    return count;
}

BackItem Terminus::take() {
    if (!control_.empty()) {
        BackItem item = std::move(control_.front());
        control_.pop_front();
        return item;
    }
    // Streams take turns, so that a long reply does not hold up another.
    auto at = streams_.upper_bound(last_served_);
    for (std::size_t tried = 0; tried < streams_.size(); ++tried, ++at) {
        if (at == streams_.end()) at = streams_.begin();
        if (ready(at->second)) break;
    }
    if (at == streams_.end()) at = streams_.begin();
    ASSERT(at != streams_.end() && ready(at->second));
    const StreamId id = at->first;
    Stream& stream = at->second;
    last_served_ = id;
    if (stream.back.empty()) {
        BackItem item{RelayCommand::end, id, wire::encode(*stream.ended)};
        streams_.erase(at);
        return item;
    }
    BackItem item{RelayCommand::data, id, std::move(stream.back.front())};
    stream.back.pop_front();
    if (++stream.back_taken == limits::link_sendme_cells) {
        stream.back_taken = 0;
        if (stream.open) {
            out_.emplace_back(
                LinkCell{stream.link, wire::CellCommand::stream_sendme, stream.id, wire::encode(wire::StreamSendme{})});
        }
    }
    return item;
}

void Terminus::sent_data(StreamId id, const Tweak& tweak) {
    const auto at = streams_.find(id);
    if (at != streams_.end()) at->second.to_client.sent(tweak);
}

std::optional<Terminus::Output> Terminus::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

std::optional<StreamId> Terminus::find(LinkId link, LinkStreamId id) const {
    for (const auto& [stream_id, stream] : streams_) {
        if (stream.open && stream.link == link && stream.id == id) return stream_id;
    }
    return std::nullopt;
}

}  // namespace shoal::circuit
