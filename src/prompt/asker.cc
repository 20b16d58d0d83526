#include "prompt/asker.h"

#include <algorithm>

namespace shoal::prompt {

using wire::StreamEndReason;

namespace {

// RESUMEs without a record of the reply between them.
constexpr unsigned resumes_max = limits::message_attempts_max * limits::reply_copies;

// A fault of this node, so that another may answer.
bool says_nothing_of_the_request(AskFault fault) {
    return fault == AskFault::engine_failed || fault == AskFault::overloaded || fault == AskFault::model_unknown ||
           fault == AskFault::refused;
}

}  // namespace

Asker::Asker(AskerConfig config, wire::Request request, Rng& rng)
    : config_(config), request_(std::move(request)), rng_(rng), sealer_(request_.reply_key, request_.id) {}

Result<Asker> Asker::start(Now now, AskerConfig config, wire::Request request, Rng& rng) {
    Asker asker(config, std::move(request), rng);
    TRY(asker.send_message(now));
    return asker;
}

// ---- sending -----------------------------------------------------------------------------------------------------

Duration Asker::got_timeout() const {
    const auto cells = static_cast<std::int64_t>(cloves_.bucket.cells) + 2;
    return std::max(limits::got_timeout_min, 2 * config_.round_trip) + cells * config_.cell_interval;
}

Status Asker::send_message(Now now) {
    cloves_ = TRY(make_cloves(request_, config_.k, config_.n, rng_));
    ++messages_sent_;
    resent_.clear();
    accept_due_ = now.mono + limits::accept_timeout + got_timeout();
    for (std::uint8_t index = 1; index <= config_.n; ++index) want_lane(index, false);
    return ok();
}

void Asker::want_lane(std::uint8_t index, bool resume) {
    if (lanes_.size() >= limits::streams_per_message_max) return;
    auto sealed = crypto::StreamSealer::client(config_.network, config_.node, config_.hpke_key, rng_);
    if (!sealed) return;  // the node's key is none; no lane will answer, and the timer says so
    const LaneId id(next_lane_++);
    lanes_.emplace(
        id,
        Lane{.index = index, .resume = resume, .message_number = messages_sent_, .sealer = std::move(sealed->sealer)});
    out_.emplace_back(LaneWanted{
        id, index, wire::Connect{config_.node, wire::StreamOpen{wire::StreamProtocol::prompt, sealed->encapsulated}}});
}

void Asker::on_lane_open(Now now, LaneId id) {
    const auto at = lanes_.find(id);
    if (at == lanes_.end()) return;
    at->second.open = true;
    if (!at->second.resume) return send_clove(now, id, at->second);
    const wire::Resume resume{request_.id, next_reply_, resume_proof(request_.reply_key, request_.id, next_reply_)};
    out_.emplace_back(LaneSend{id, at->second.sealer.seal(wire::encode_record(resume))});
    at->second.got_due = now.mono + got_timeout();  // of ACCEPTED, which comes at once
}

void Asker::send_clove(Now now, LaneId id, Lane& lane) {
    for (const wire::RecordBytes& record : cloves_.records[lane.index - 1U]) {
        out_.emplace_back(LaneSend{id, lane.sealer.seal(record)});
    }
    lane.got_due = now.mono + got_timeout();
}

void Asker::on_lane_failed(Now now, LaneId id) {
    lane_gone(now, id);
}

void Asker::on_lane_end(Now now, LaneId id, StreamEndReason reason) {
    if (reason == StreamEndReason::unknown_node && state_ == State::sending) {
        // The proxy's directory does not know the node. Another proxy's may be newer; if none knows it, it is gone.
        const auto at = lanes_.find(id);
        if (at == lanes_.end()) return;
        const bool first =
            !at->second.got && at->second.message_number == messages_sent_ && resent_.insert(at->second.index).second;
        const std::uint8_t index = at->second.index;
        lanes_.erase(at);
        if (first) return want_lane(index, false);
        if (lanes_.empty()) fail_sending(now, {AskFault::no_model_node, "the model node is not in the directory"});
        return;
    }
    lane_gone(now, id);
}

void Asker::lane_gone(Now now, LaneId id) {
    const auto at = lanes_.find(id);
    if (at == lanes_.end()) return;
    const Lane lane = std::move(at->second);
    lanes_.erase(at);
    if (state_ == State::over) return;
    if (state_ != State::sending) return resume_if_needed(now);
    if (!lane.got && lane.message_number == messages_sent_) retry_clove(now, lane.index);
}

void Asker::retry_clove(Now now, std::uint8_t index) {
    if (resent_.insert(index).second) return want_lane(index, false);
    // This clove failed twice. The message lives while k cloves are there or on their way.
    std::set<std::uint8_t> alive;
    for (const auto& [id, lane] : lanes_) {
        if (lane.message_number == messages_sent_ && !lane.resume) alive.insert(lane.index);
    }
    if (alive.size() < config_.k) accept_due_ = now.mono;
}

void Asker::fail_sending(Now now, ChatFault fault) {
    if (messages_sent_ >= limits::message_attempts_max || fault.fault != AskFault::timeout) {
        if (fault.fault == AskFault::timeout) fault.fault = AskFault::no_model_node;
        return finish(std::move(fault), true);
    }
    end_lanes();
    if (const Status sent = send_message(now); !sent)
        finish(ChatFault{AskFault::bad_request, sent.error().message}, false);
}

// ---- receiving ---------------------------------------------------------------------------------------------------

void Asker::on_lane_data(Now now, LaneId id, const crypto::SealedRecord& sealed) {
    const auto at = lanes_.find(id);
    if (at == lanes_.end() || state_ == State::over) return;
    const auto bytes = at->second.sealer.open(sealed);
    const auto record = bytes ? wire::decode_record(*bytes) : Result<wire::Record>(bytes.error());
    if (!record) {
        out_.emplace_back(LaneEnd{id});
        return lane_gone(now, id);
    }
    silence_due_ = now.mono + limits::silence_timeout;
    on_record(now, id, *record);
}

void Asker::on_record(Now now, LaneId id, const wire::Record& record) {
    Lane& lane = lanes_.at(id);
    if (const auto* got = std::get_if<wire::Got>(&record)) {
        if (got->index == lane.index) {
            lane.got = true;
            lane.got_due = Instant::max();
        }
    } else if (std::holds_alternative<wire::Accepted>(record)) {
        lane.accepted = true;
        lane.got_due = Instant::max();
        if (state_ == State::sending) {
            state_ = State::accepted;
            accept_due_ = Instant::max();
        }
    } else if (const auto* reply = std::get_if<wire::Reply>(&record)) {
        on_reply(now, *reply);
    } else if (const auto* error = std::get_if<wire::RecordError>(&record)) {
        if (lane.resume && state_ != State::sending) {
            // The reply is gone at the node, and asking again will not bring it back; other lanes may bring the rest.
            resumes_ = resumes_max;
            out_.emplace_back(LaneEnd{id});
            return lane_gone(now, id);
        }
        if (error->fault == AskFault::timeout && state_ == State::sending) {
            return fail_sending(now, {AskFault::timeout, error->text});
        }
        finish(ChatFault{error->fault, error->text},
               says_nothing_of_the_request(error->fault) && state_ != State::receiving);
    }
}

void Asker::on_reply(Now now, const wire::Reply& reply) {
    if (reply.sequence < next_reply_ || early_.contains(reply.sequence)) return;  // the other copy was first
    auto frames = sealer_.open(reply.sequence, reply.sealed);
    if (!frames) return finish(ChatFault{AskFault::node_lost, "the node's reply does not open"}, false);
    if (state_ != State::receiving) {
        state_ = State::receiving;
        accept_due_ = Instant::max();
    }
    if (reply.sequence > next_reply_) {
        if (early_.size() >= limits::reply_early_max) {
            return finish(ChatFault{AskFault::node_lost, "too much of the reply is missing"}, false);
        }
        early_.emplace(reply.sequence, std::move(*frames));
        if (gap_due_ == Instant::max()) gap_due_ = now.mono + got_timeout();
        return;
    }
    take_frames(now, *frames);
    while (state_ != State::over && !early_.empty() && early_.begin()->first == next_reply_) {
        const Bytes next = std::move(early_.begin()->second);
        early_.erase(early_.begin());
        take_frames(now, next);
    }
    gap_due_ = early_.empty() ? Instant::max() : now.mono + got_timeout();
}

void Asker::take_frames(Now, ByteView bytes) {
    ++next_reply_;
    resumes_ = 0;  // it makes progress
    auto frames = frames_.feed(bytes);
    if (!frames) return finish(ChatFault{AskFault::node_lost, "the node's reply is malformed"}, false);
    for (wire::ReplyFrame& frame : *frames) {
        if (auto* delta = std::get_if<ChatDelta>(&frame)) {
            out_.emplace_back(std::move(*delta));
        } else if (const auto* end = std::get_if<ChatEnd>(&frame)) {
            out_.emplace_back(*end);
            return finish(std::nullopt, false);
        } else {
            auto& fault = std::get<ChatFault>(frame);
            const bool elsewhere = next_reply_ == 1 && says_nothing_of_the_request(fault.fault);
            return finish(std::move(fault), elsewhere);
        }
    }
}

void Asker::resume_if_needed(Now now) {
    std::size_t bringing = 0;
    for (const auto& [id, lane] : lanes_) bringing += lane.accepted || lane.resume ? 1 : 0;
    if (bringing >= limits::reply_copies) return;
    if (++resumes_ > resumes_max) {
        if (bringing > 0) return;
        return finish(ChatFault{AskFault::node_lost, "the model node was lost"}, state_ == State::accepted);
    }
    // The new lane goes over the guard that brings less.
    std::size_t odd = 0;
    for (const auto& [id, lane] : lanes_) odd += lane.index % 2;
    want_lane(odd * 2 > lanes_.size() ? 2 : 1, true);
    silence_due_ = std::min(silence_due_, now.mono + limits::silence_timeout);
}

// ---- endings -----------------------------------------------------------------------------------------------------

void Asker::cancel(Now) {
    if (state_ == State::over) return;
    for (auto& [id, lane] : lanes_) {
        if (!lane.open) continue;
        out_.emplace_back(LaneSend{id, lane.sealer.seal(wire::encode_record(wire::Cancel{request_.id}))});
    }
    end_lanes();
    state_ = State::over;
}

void Asker::finish(std::optional<ChatFault> fault, bool moveable) {
    if (state_ == State::over) return;
    end_lanes();
    state_ = State::over;
    out_.emplace_back(Over{std::move(fault), moveable});
}

void Asker::end_lanes() {
    for (const auto& [id, lane] : lanes_) out_.emplace_back(LaneEnd{id});
    lanes_.clear();
}

void Asker::on_tick(Now now) {
    if (state_ == State::over) return;
    if (now.mono >= silence_due_) {
        return finish(ChatFault{AskFault::node_lost, "nothing was heard from the model node"},
                      state_ != State::receiving);
    }
    if (state_ == State::sending && now.mono >= accept_due_) {
        return fail_sending(now, {AskFault::timeout, "the model node does not answer"});
    }
    if (now.mono >= gap_due_) {
        gap_due_ = now.mono + got_timeout();
        if (resumes_ < resumes_max) want_lane(static_cast<std::uint8_t>(1 + resumes_++ % 2), true);
    }
    std::vector<LaneId> late;
    for (auto& [id, lane] : lanes_) {
        if (now.mono >= lane.got_due) late.push_back(id);
    }
    for (const LaneId id : late) {
        out_.emplace_back(LaneEnd{id});
        lane_gone(now, id);
        if (state_ == State::over) return;
    }
}

Instant Asker::next_deadline() const {
    if (state_ == State::over) return Instant::max();
    Instant next = std::min(silence_due_, gap_due_);
    if (state_ == State::sending) next = std::min(next, accept_due_);
    for (const auto& [id, lane] : lanes_) next = std::min(next, lane.got_due);
    return next;
}

std::optional<AskerOutput> Asker::poll() {
    if (out_.empty()) return std::nullopt;
    AskerOutput next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::prompt
