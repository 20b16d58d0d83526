#include "prompt/server.h"

#include <algorithm>

#include "crypto/hash.h"

namespace shoal::prompt {

using wire::CellCommand;
using wire::StreamEndReason;

namespace {
const ChatFault nobody_listens{AskFault::cancelled, "stopped: nobody was listening"};
}

struct Server::Answer {
    Handle handle;
    RequestId request;
    Key32 reply_key;
    Reply reply;
    std::vector<MessageId> messages;          // bounded: message_attempts_max; the cloves that brought it
    std::vector<std::uint64_t> orders;        // bounded: as messages; Stream::order of the streams of each
    std::uint64_t latest = 0;                 // the last order given
    std::vector<Key> streams;                 // bounded: streams_per_message_max
    std::vector<Key> copies;                  // bounded: reply_copies; those that carry the reply
    bool stopped = false;                     // the model was told to stop
    Instant alone_since = Instant::max();     // no stream since
    Instant finished_since = Instant::max();  // reply ended, and no record cut, since
    Instant said{};                           // the last record on any of its streams

    Answer(Handle h, RequestId r, Key32 key) : handle(h), request(r), reply_key(std::move(key)), reply(reply_key, r) {}
};

struct Server::Stream {
    Key key;
    // Two while it is not known which HPKE key the client used.
    std::vector<crypto::StreamSealer> sealers;  // bounded: 2
    std::uint32_t credit = limits::link_stream_window_cells;
    CloveReader clove;
    std::optional<MessageId> message;  // of its clove
    std::optional<Handle> answer;      // once accepted or resumed
    // Which attempt of the client it belongs to: 0 its first message; later ones and each RESUME count up.
    std::uint64_t order = 0;
    std::deque<wire::Record> control;  // bounded: GOT, ACCEPTED, PAD, ERROR; one of each
    bool end_after_control = false;
    std::uint32_t next_reply = 0;
    Instant since{};
    std::size_t reserved = 0;  // of gathering_bytes_, for the clove
};

Server::Server(ServerConfig config) : config_(config) {}
Server::~Server() = default;

void Server::set_hpke_keys(const crypto::KeyPair& current, const crypto::KeyPair* previous) {
    if (hpke_key_ && hpke_key_->public_key == current.public_key && (previous != nullptr) == bool(previous_hpke_key_)) {
        return;
    }
    hpke_key_ = current.clone();
    previous_hpke_key_.reset();
    if (previous != nullptr) previous_hpke_key_ = previous->clone();
}

// ---- streams -----------------------------------------------------------------------------------------------------

void Server::on_cell(Now now, LinkId link, const wire::Cell& cell) {
    const Key key{link, LinkStreamId(cell.id)};
    switch (cell.command) {
        case CellCommand::stream_open: return on_open(now, key, cell);
        case CellCommand::stream_data: return on_data(now, key, cell);
        case CellCommand::stream_end: return detach(now, key);
        case CellCommand::stream_sendme: {
            const auto at = streams_.find(key);
            const auto sendme = wire::decode_stream_sendme(cell.payload());
            if (at == streams_.end() || !sendme) return;
            // More than a window is more than the proxy can owe.
            at->second.credit =
                std::min<std::uint32_t>(at->second.credit + sendme->cells, limits::link_stream_window_cells);
            flush_stream(now, at->second);
            const auto stream = streams_.find(key);
            if (stream == streams_.end() || !stream->second.answer) return;
            if (const auto answer = answers_.find(*stream->second.answer); answer != answers_.end()) {
                flush(now, answer->second);
            }
            return;
        }
        default: return;
    }
}

void Server::on_open(Now now, const Key& key, const wire::Cell& cell) {
    const auto refuse = [&](StreamEndReason reason) {
        ++stats_.refused;
        out_.emplace_back(StreamCell{key.link, key.id, CellCommand::stream_end, wire::encode(reason)});
    };
    if (streams_.contains(key)) return end_stream(now, key, StreamEndReason::protocol);
    const auto on_link = streams_on_.find(key.link);
    const bool link_full = on_link != streams_on_.end() && on_link->second >= limits::link_streams_per_link_max;
    if (link_full || streams_.size() >= limits::prompt_streams_max) return refuse(StreamEndReason::busy);
    const auto open = wire::decode_stream_open(cell.payload());
    if (!open || open->protocol != wire::StreamProtocol::prompt) return refuse(StreamEndReason::refused);
    Stream stream;
    stream.key = key;
    stream.since = now.mono;
    const auto try_key = [&](const std::optional<crypto::KeyPair>& hpke) {
        if (!hpke) return;
        auto sealer = crypto::StreamSealer::server(config_.network, config_.self, *hpke, open->encapsulated);
        if (sealer) stream.sealers.push_back(std::move(sealer).value());
    };
    try_key(hpke_key_);
    try_key(previous_hpke_key_);
    if (stream.sealers.empty()) return refuse(StreamEndReason::refused);
    ++stats_.streams;
    streams_.emplace(key, std::move(stream));
    ++streams_on_[key.link];
}

std::optional<crypto::StreamRecord> Server::unseal(Stream& stream, const wire::Cell& cell) {
    const auto sealed = first_bytes<limits::sealed_record_bytes>(cell.payload());
    for (std::size_t i = 0; i < stream.sealers.size(); ++i) {
        auto record = stream.sealers[i].open(sealed);
        if (!record) continue;
        if (stream.sealers.size() > 1) {
            std::swap(stream.sealers[0], stream.sealers[i]);
            stream.sealers.erase(stream.sealers.begin() + 1, stream.sealers.end());
        }
        return *record;
    }
    return std::nullopt;
}

void Server::on_data(Now now, const Key& key, const wire::Cell& cell) {
    const auto at = streams_.find(key);
    if (at == streams_.end()) return;
    const auto bytes = unseal(at->second, cell);
    if (!bytes) {
        ++stats_.bad_seals;
        return end_stream(now, key, StreamEndReason::protocol);
    }
    auto record = wire::decode_record(*bytes);
    if (!record) {
        ++stats_.bad_records;
        return end_stream(now, key, StreamEndReason::protocol);
    }
    on_record(now, key, at->second, std::move(*record));
}

void Server::on_record(Now now, const Key& key, Stream& stream, wire::Record record) {
    Status done = fail(Errc::malformed, "prompt: a record that only a model node sends");
    if (const auto* first = std::get_if<wire::CloveFirst>(&record)) {
        done = stream.answer ? fail(Errc::malformed, "prompt: a clove on a stream that resumed")
                             : stream.clove.feed(*first);
        if (done) done = on_clove(now, stream);
    } else if (const auto* more = std::get_if<wire::CloveMore>(&record)) {
        done = stream.clove.feed(*more);
        if (done) done = on_clove(now, stream);
    } else if (const auto* resume = std::get_if<wire::Resume>(&record)) {
        done = on_resume(now, stream, *resume);
    } else if (const auto* cancel = std::get_if<wire::Cancel>(&record)) {
        done = on_cancel(now, stream, *cancel);
    } else if (std::holds_alternative<wire::Pad>(record)) {
        done = ok();
    }
    if (!done) {
        ++stats_.bad_records;
        end_stream(now, key, StreamEndReason::protocol);
    }
}

Status Server::on_clove(Now now, Stream& stream) {
    const wire::CloveFirst& first = stream.clove.first();
    if (!stream.message) {
        stream.message = first.message;
        const auto at = gathering_.find(first.message);
        const bool known = at != gathering_.end() || messages_.contains(first.message);
        if (at != gathering_.end() && !at->second.fits(first)) {
            return fail(Errc::malformed, "prompt: a clove that contradicts the others of its message");
        }
        const std::size_t size = wire::clove_bytes(first.total);
        const bool full = gathering_bytes_ + size > limits::gathering_bytes_max;
        if (known && full) {
            // Not an error, which would end the whole question: the others may suffice.
            ++stats_.refused;
            end_stream(now, stream.key, StreamEndReason::busy);
            return ok();
        }
        if (full || (!known && gathering_.size() >= limits::messages_gathering_max)) {
            ++stats_.refused;
            send(stream, wire::RecordError{AskFault::overloaded, "the node is gathering too many requests"});
            stream.end_after_control = true;
            flush_stream(now, stream);
            return ok();
        }
        stream.reserved = size;
        gathering_bytes_ += size;
        if (!known) {
            gathering_.emplace(first.message, Gathering(first, now.mono));
            arm(now.mono + limits::clove_gather_timeout);
        }
    }
    if (!stream.clove.complete()) return ok();
    const MessageId message = *stream.message;
    send(stream, wire::Got{first.index});
    const auto at = gathering_.find(message);
    if (at != gathering_.end()) {
        const std::size_t before = at->second.held_bytes();
        at->second.add(stream.clove.take());
        gathering_bytes_ += at->second.held_bytes() - before;
        release(stream);
        flush_stream(now, stream);
        if (at->second.enough()) open_message(now, message);
        return ok();
    }
    // A clove behind the first k: its stream joins the answer.
    (void)stream.clove.take();
    release(stream);
    const auto bound = messages_.find(message);
    if (bound == messages_.end()) return fail(Errc::malformed, "prompt: a clove of a message that is gone");
    accept(now, message, answers_.at(bound->second));
    return ok();
}

void Server::release(Stream& stream) {
    gathering_bytes_ -= std::exchange(stream.reserved, 0);
}

// ---- requests ----------------------------------------------------------------------------------------------------

void Server::open_message(Now now, MessageId message) {
    const auto at = gathering_.find(message);
    auto request = at->second.open();
    // Fragments that do not fit together: with another clove they may.
    if (!request && request.error().code == Errc::unauthenticated) return;
    gathering_bytes_ -= at->second.held_bytes();
    gathering_.erase(at);
    if (!request) return refuse_message(now, message, {AskFault::bad_request, request.error().message});
    auto admitted = admit(now, message, std::move(*request));
    if (const auto* error = std::get_if<wire::RecordError>(&admitted)) {
        ++stats_.refused;
        return refuse_message(now, message, *error);
    }
    accept(now, message, *std::get<Answer*>(admitted));
}

std::variant<Server::Answer*, wire::RecordError> Server::admit(Now now, MessageId message, wire::Request request) {
    const auto refuse = [](AskFault fault, const char* text) { return wire::RecordError{fault, text}; };
    if (const auto known = by_request_.find(request.id); known != by_request_.end()) {
        Answer& answer = answers_.at(known->second);
        const bool same = crypto::equal_constant_time(answer.reply_key.expose(), request.reply_key.expose());
        if (!same || answer.messages.size() >= limits::message_attempts_max) {
            ++stats_.replays;
            return refuse(AskFault::refused, "this request was seen before");
        }
        messages_.emplace(message, answer.handle);
        answer.messages.push_back(message);
        answer.orders.push_back(++answer.latest);
        return &answer;
    }
    if (seen_.contains(request.id)) {
        ++stats_.replays;
        return refuse(AskFault::refused, "this request was seen before");
    }
    if (request.expires <= now.wall) return refuse(AskFault::refused, "the request has expired: is the clock right?");
    const UnixTime issued = request.expires - std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
    if (issued > now.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew)) {
        return refuse(AskFault::refused, "the request is from the future: is the clock right?");
    }
    if (issued < config_.started) {
        // It may be new all the same: clocks differ, and clients try on while a node starts. Asked again it is taken.
        const bool perhaps_new =
            issued + std::chrono::duration_cast<std::chrono::seconds>(limits::clock_skew) >= config_.started;
        if (perhaps_new) return refuse(AskFault::overloaded, "the node has just started: ask again in a moment");
        return refuse(AskFault::refused, "the request is older than this node's start");
    }
    if (answers_.size() >= limits::replies_kept_max || seen_.size() >= limits::requests_seen_max ||
        !make_room(now, wire::reply_frame_bytes_max)) {
        return refuse(AskFault::overloaded, "the node keeps too many replies");
    }
    ++stats_.requests;
    const Handle handle(next_handle_++);
    seen_.emplace(request.id, request.expires);
    by_request_.emplace(request.id, handle);
    messages_.emplace(message, handle);
    Answer& answer = answers_.try_emplace(handle, handle, request.id, std::move(request.reply_key)).first->second;
    answer.messages.push_back(message);
    answer.orders.push_back(answer.latest);
    out_.emplace_back(Opened{handle, std::move(request)});
    return &answer;
}

void Server::accept(Now now, MessageId message, Answer& answer) {
    const auto known = std::find(answer.messages.begin(), answer.messages.end(), message);
    const std::uint64_t order = answer.orders.at(static_cast<std::size_t>(known - answer.messages.begin()));
    for (auto& [key, stream] : streams_) {
        if (stream.message != message || stream.answer || stream.end_after_control) continue;
        if (answer.streams.size() >= limits::streams_per_message_max) break;
        stream.answer = answer.handle;
        // A late stream of the first message starts where the reply is: what came before is on the others. Who sent
        // the request anew has given those up.
        stream.order = order;
        stream.next_reply = order == 0 ? answer.reply.records() : 0;
        answer.streams.push_back(key);
        send(stream, wire::Accepted{});
        flush_stream(now, stream);
    }
    if (!answer.reply.ended()) arm(now.mono + limits::reply_keepalive);
    if (!answer.streams.empty()) answer.alone_since = Instant::max();
    choose_copies(answer);
}

void Server::refuse_message(Now now, MessageId message, const wire::RecordError& error) {
    std::vector<Key> keys;
    for (auto& [key, stream] : streams_) {
        if (stream.message == message && !stream.answer) keys.push_back(key);
    }
    for (const Key& key : keys) {
        Stream& stream = streams_.at(key);
        send(stream, error);
        stream.end_after_control = true;
        flush_stream(now, stream);
    }
}

Status Server::on_resume(Now now, Stream& stream, const wire::Resume& resume) {
    if (stream.answer || stream.clove.started()) return fail(Errc::malformed, "prompt: RESUME behind other records");
    const auto known = by_request_.find(resume.request);
    Answer* answer = known == by_request_.end() ? nullptr : &answers_.at(known->second);
    if (answer == nullptr ||
        !crypto::equal_constant_time(resume_proof(answer->reply_key, resume.request, resume.next), resume.proof) ||
        resume.next > answer->reply.records() || answer->streams.size() >= limits::streams_per_message_max) {
        ++stats_.refused;
        send(stream, wire::RecordError{AskFault::node_lost, "there is no such reply here any more"});
        stream.end_after_control = true;
        flush_stream(now, stream);
        return ok();
    }
    ++stats_.resumes;
    stream.answer = answer->handle;
    stream.order = ++answer->latest;
    stream.next_reply = resume.next;
    answer->streams.push_back(stream.key);
    answer->alone_since = Instant::max();
    send(stream, wire::Accepted{});
    choose_copies(*answer);
    flush(now, *answer);
    return ok();
}

Status Server::on_cancel(Now now, Stream& stream, const wire::Cancel& cancel) {
    if (!stream.answer) {
        // Before it was accepted: nothing runs. The client ends its streams, and the cloves are dropped in time.
        return ok();
    }
    Answer& answer = answers_.at(*stream.answer);
    if (answer.request != cancel.request) return fail(Errc::malformed, "prompt: CANCEL of another request");
    stop(answer, nobody_listens);
    flush(now, answer);
    return ok();
}

void Server::stop(Answer& answer, const ChatFault& why) {
    if (answer.stopped || answer.reply.ended()) return;
    answer.stopped = true;
    // Who resumes it after all gets what there is, and this end.
    const bool added = add(answer, why);
    ASSERT(added);
    out_.emplace_back(Stopped{answer.handle});
}

// ---- replies -----------------------------------------------------------------------------------------------------

bool Server::reply(Now now, Handle handle, const wire::ReplyFrame& frame) {
    const auto at = answers_.find(handle);
    if (at == answers_.end() || at->second.stopped || at->second.reply.ended()) return false;
    Answer& answer = at->second;
    const auto* delta = std::get_if<ChatDelta>(&frame);
    if (delta != nullptr && !make_room(now, delta->text.size() + wire::reply_frame_header_bytes)) {
        stop(answer,
             {AskFault::overloaded, "the node has no room for the rest of this reply: ask again a little later"});
        flush(now, answer);
        return false;
    }
    if (!add(answer, frame)) return false;
    flush(now, answer);
    return true;
}

bool Server::may_go(const Answer& answer) const {
    if (!answer.reply.complete()) return answer.reply.ended() && answer.streams.empty();
    const auto has_all = [&](const Key& key) { return streams_.at(key).next_reply >= answer.reply.records(); };
    return answer.streams.empty() || std::any_of(answer.copies.begin(), answer.copies.end(), has_all);
}

bool Server::make_room(Now now, std::size_t more) {
    while (reply_bytes_ + more > config_.reply_bytes_max) {
        const Answer* oldest = nullptr;
        for (const auto& [handle, answer] : answers_) {
            if (!may_go(answer)) continue;
            if (oldest == nullptr || answer.finished_since < oldest->finished_since) oldest = &answer;
        }
        if (oldest == nullptr) return false;
        forget(now, oldest->handle);
    }
    return true;
}

void Server::keep_alive(Now now, Answer& answer) {
    if (answer.reply.ended() || answer.stopped) return;
    if (now.mono >= answer.said + limits::reply_keepalive) {
        answer.said = now.mono;
        const std::vector<Key> copies = answer.copies;  // flush_stream may end a stream
        for (const Key& key : copies) {
            const auto at = streams_.find(key);
            // Without credit nothing is queued: whoever gives none is not waiting.
            if (at == streams_.end() || at->second.credit == 0 || !at->second.control.empty()) continue;
            send(at->second, wire::Pad{});
            flush_stream(now, at->second);
        }
    }
    arm(answer.said + limits::reply_keepalive);
}

bool Server::add(Answer& answer, const wire::ReplyFrame& frame) {
    const std::size_t before = answer.reply.bytes();
    const bool added = answer.reply.add(frame);
    reply_bytes_ += answer.reply.bytes() - before;
    return added;
}

void Server::choose_copies(Answer& answer) {
    const auto stream = [&](const Key& key) -> const Stream& { return streams_.at(key); };
    std::erase_if(answer.copies, [&](const Key& key) { return !streams_.contains(key); });
    // What carries the reply already goes on, the furthest first: changing without need would leave gaps.
    std::stable_sort(answer.copies.begin(), answer.copies.end(),
                     [&](const Key& a, const Key& b) { return stream(a).next_reply > stream(b).next_reply; });
    std::vector<Key> copies;
    const auto add = [&](const Key& key) {
        const bool there = std::find(copies.begin(), copies.end(), key) != copies.end();
        if (copies.size() < limits::reply_copies && !there) copies.push_back(key);
    };
    // One of each parity if there is, else what there is.
    const auto add_all = [&](std::span<const Key> keys) {
        const auto alike = [&](const Key& key) {
            if (copies.empty() || !stream(key).clove.started() || !stream(copies.front()).clove.started()) return false;
            return stream(key).clove.first().index % 2 == stream(copies.front()).clove.first().index % 2;
        };
        for (const Key& key : keys) {
            if (!alike(key)) add(key);
        }
        for (const Key& key : keys) add(key);
    };
    // By a new attempt the client says that the streams before bring nothing, whatever they look like from here.
    std::vector<Key> order = answer.streams;
    std::stable_sort(order.begin(), order.end(),
                     [&](const Key& a, const Key& b) { return stream(a).order > stream(b).order; });
    auto at = order.begin();
    while (at != order.end() && stream(*at).order > 0) {
        const auto next =
            std::find_if(at, order.end(), [&](const Key& key) { return stream(key).order != stream(*at).order; });
        add_all({at, next});
        at = next;
    }
    for (const Key& key : answer.copies) add(key);
    add_all({at, order.end()});
    answer.copies = std::move(copies);
    spread_copies(answer);
}

void Server::spread_copies(Answer& answer) {
    if (answer.copies.size() < 2) return;
    const Stream& front = streams_.at(answer.copies.front());
    const Stream& back = streams_.at(answer.copies.back());
    const auto first = [](const Stream& stream) { return stream.order == 0 && stream.clove.started(); };
    const auto odd = [](const Stream& stream) { return stream.clove.first().index % 2; };
    if (!first(front) || !first(back) || odd(front) != odd(back)) return;
    for (const Key& key : answer.streams) {
        Stream& other = streams_.at(key);
        if (!first(other) || odd(other) == odd(front)) continue;
        other.next_reply = back.next_reply;  // what `back` was given already is on its way
        answer.copies.back() = key;
        return;
    }
}

void Server::flush(Now now, Answer& answer) {
    bool cut = false;
    for (;;) {
        bool someone_waits = false;
        const std::vector<Key> copies = answer.copies;  // flush_stream may end a stream
        for (const Key& key : copies) {
            if (const auto at = streams_.find(key); at != streams_.end()) flush_stream(now, at->second);
            const auto at = streams_.find(key);
            if (at == streams_.end()) continue;
            const Stream& stream = at->second;
            someone_waits = someone_waits || (stream.credit > 0 && stream.next_reply >= answer.reply.records());
        }
        // Cut only for somebody who could take it now; else text waits and is merged.
        if (!someone_waits || !answer.reply.has_uncut()) break;
        // The end waits for no clock: that the reply is over shows anyway, and nothing follows that it could be told
        // from.
        if (!answer.reply.ended() && now.mono < answer.reply.cut_after()) {
            arm(answer.reply.cut_after());
            break;
        }
        answer.reply.cut(now.mono);
        cut = true;
    }
    // Kept from the end on, whether or not somebody takes it, else what nobody fetches would stay forever; and again
    // from each record that is cut, since that is progress of somebody slow.
    if (answer.reply.ended() && (cut || answer.finished_since == Instant::max())) {
        answer.finished_since = now.mono;
        arm(now.mono + limits::reply_kept);
    }
}

void Server::flush_stream(Now now, Stream& stream) {
    while (stream.credit > 0 && !stream.control.empty()) {
        const wire::Record record = std::move(stream.control.front());
        stream.control.pop_front();
        --stream.credit;
        const auto sealed = stream.sealers.front().seal(wire::encode_record(record));
        out_.emplace_back(StreamCell{stream.key.link, stream.key.id, CellCommand::stream_data, to_bytes(sealed)});
        if (const auto at = stream.answer ? answers_.find(*stream.answer) : answers_.end(); at != answers_.end()) {
            at->second.said = now.mono;
        }
    }
    if (stream.control.empty() && stream.end_after_control) return end_stream(now, stream.key, StreamEndReason::done);
    if (!stream.answer || !stream.control.empty()) return;
    const auto at = answers_.find(*stream.answer);
    if (at == answers_.end()) return;
    Answer& answer = at->second;
    if (std::find(answer.copies.begin(), answer.copies.end(), stream.key) == answer.copies.end()) return;
    while (stream.credit > 0 && stream.next_reply < answer.reply.records()) {
        --stream.credit;
        answer.said = now.mono;
        const auto sealed = stream.sealers.front().seal(wire::encode_record(answer.reply.record(stream.next_reply++)));
        out_.emplace_back(StreamCell{stream.key.link, stream.key.id, CellCommand::stream_data, to_bytes(sealed)});
    }
}

void Server::send(Stream& stream, const wire::Record& record) {
    stream.control.push_back(record);
}

// ---- endings -----------------------------------------------------------------------------------------------------

void Server::end_stream(Now now, Key key, StreamEndReason reason) {
    out_.emplace_back(StreamCell{key.link, key.id, CellCommand::stream_end, wire::encode(reason)});
    detach(now, key);
}

void Server::detach(Now now, Key key) {
    const auto at = streams_.find(key);
    if (at == streams_.end()) return;
    const auto handle = at->second.answer;
    release(at->second);
    streams_.erase(at);
    if (const auto on_link = streams_on_.find(key.link); --on_link->second == 0) streams_on_.erase(on_link);
    if (!handle) return;
    const auto found = answers_.find(*handle);
    if (found == answers_.end()) return;
    Answer& answer = found->second;
    std::erase(answer.streams, key);
    choose_copies(answer);
    if (answer.streams.empty()) {
        answer.alone_since = now.mono;
        arm(now.mono + limits::orphan_decode);
    } else {
        flush(now, answer);
    }
}

void Server::on_link_down(Now now, LinkId link) {
    std::vector<Key> gone;
    for (const auto& [key, stream] : streams_) {
        if (key.link == link) gone.push_back(key);
    }
    for (const Key& key : gone) detach(now, key);
}

void Server::forget(Now now, Handle handle) {
    const auto at = answers_.find(handle);
    for (const MessageId& message : at->second.messages) messages_.erase(message);
    by_request_.erase(at->second.request);
    reply_bytes_ -= at->second.reply.bytes();
    const std::vector<Key> streams = at->second.streams;
    answers_.erase(at);
    for (const Key& key : streams) end_stream(now, key, StreamEndReason::done);
}

void Server::on_tick(Now now) {
    deadline_ = Instant::max();
    for (auto at = gathering_.begin(); at != gathering_.end();) {
        const Instant due = at->second.since() + limits::clove_gather_timeout;
        if (now.mono >= due) {
            const MessageId message = at->first;
            gathering_bytes_ -= at->second.held_bytes();
            at = gathering_.erase(at);
            refuse_message(now, message, {AskFault::timeout, "too few parts of the request arrived"});
        } else {
            arm(due);
            ++at;
        }
    }
    std::vector<Handle> over;
    for (auto& [handle, answer] : answers_) {
        if (answer.alone_since != Instant::max() && !answer.reply.ended() && !answer.stopped) {
            if (now.mono >= answer.alone_since + limits::orphan_decode) {
                stop(answer, nobody_listens);
            } else {
                arm(answer.alone_since + limits::orphan_decode);
            }
        }
        flush(now, answer);
        keep_alive(now, answer);
        if (answer.finished_since == Instant::max()) continue;
        if (now.mono >= answer.finished_since + limits::reply_kept) {
            over.push_back(handle);
        } else {
            arm(answer.finished_since + limits::reply_kept);
        }
    }
    for (const Handle handle : over) forget(now, handle);
    if (now.mono >= next_sweep_) {
        next_sweep_ = now.mono + limits::reply_kept;
        std::erase_if(seen_, [&](const auto& entry) { return entry.second < now.wall; });
        std::vector<Key> idle;
        for (const auto& [key, stream] : streams_) {
            const bool unused = !stream.answer && now.mono - stream.since >= 2 * limits::clove_gather_timeout;
            if (unused) idle.push_back(key);
        }
        for (const Key& key : idle) end_stream(now, key, StreamEndReason::done);
    }
}

Instant Server::next_deadline() const {
    return std::min(deadline_, next_sweep_);
}

std::optional<ServerOutput> Server::poll() {
    if (out_.empty()) return std::nullopt;
    ServerOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

Server::Usage Server::usage() const {
    return {streams_.size(), gathering_.size(), gathering_bytes_, answers_.size(), reply_bytes_};
}

bool Server::uses_link(LinkId link) const {
    return streams_on_.contains(link);
}

}  // namespace shoal::prompt
