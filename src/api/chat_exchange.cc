#include "api/chat_exchange.h"

#include <utility>

#include "base/limits.h"

namespace shoal::api {

using dialect::ApiError;

ChatExchange::ChatExchange(Setup setup, std::unique_ptr<HttpResponder> responder, Owner& owner)
    : setup_(std::move(setup)),
      responder_(std::move(responder)),
      owner_(owner),
      next_keepalive_(setup_.now + limits::sse_keepalive) {}

void ChatExchange::on_delta(const ChatDelta& delta) {
    if (closed() || delta.text.empty()) return;
    if (setup_.stream) {
        std::string events = std::exchange(opened_, true) ? "" : dialect::sse_opening(setup_.head);
        events += dialect::sse_delta(setup_.head, delta.text);
        put(std::move(events));
        return;
    }
    if (gathered_.size() + delta.text.size() > limits::reply_bytes_max) {
        fail(dialect::from_fault({AskFault::node_lost, "the reply is longer than any that is allowed"}));
        close(true);
        return;
    }
    gathered_.append(delta.text.expose());
}

void ChatExchange::on_end(const ChatEnd& end) {
    if (closed()) return;
    if (setup_.stream) {
        std::string events = std::exchange(opened_, true) ? "" : dialect::sse_opening(setup_.head);
        events += dialect::sse_closing(setup_.head, end);
        if (setup_.head.include_usage) events += dialect::sse_usage(setup_.head, end.usage);
        events += dialect::sse_done;
        if (!put(std::move(events))) return;
        responder_->finish();
    } else {
        responder_->send(200, answer_headers("application/json", setup_.request_id),
                         dialect::write_completion(setup_.head, gathered_, end));
    }
    close(false);
}

void ChatExchange::on_fault(const ChatFault& fault) {
    if (closed()) return;
    fail(dialect::from_fault(fault));
    if (!closed()) close(false);
}

void ChatExchange::on_tick(Instant now) {
    if (closed() || !setup_.stream || now < next_keepalive_) return;
    next_keepalive_ = now + limits::sse_keepalive;
    if (!std::exchange(flowed_, false)) put(std::string(dialect::sse_keepalive));
    flowed_ = false;  // a comment is no flow: the next one is due in one interval, not two
}

std::optional<Instant> ChatExchange::next_deadline() const {
    if (closed() || !setup_.stream) return std::nullopt;
    return next_keepalive_;
}

void ChatExchange::begin() {
    auto headers = answer_headers("text/event-stream", setup_.request_id);
    headers.emplace_back("X-Accel-Buffering", "no");  // a proxy in front must not gather events
    responder_->begin_stream(200, std::move(headers));
    streaming_ = true;
}

// False: the program does not read; the exchange is then closed.
bool ChatExchange::put(std::string events) {
    if (!streaming_) begin();
    flowed_ = true;
    const bool taken = responder_->write(events);
    wipe(events.data(), events.size());
    if (!taken) close(true);
    return taken;
}

void ChatExchange::fail(const ApiError& error) {
    if (!streaming_) {
        send_error(*responder_, error, setup_.request_id);
    } else if (put(dialect::sse_error(error))) {
        responder_->finish();
    }
}

void ChatExchange::close(bool abandoned) {
    responder_.reset();
    gathered_.clear();
    owner_.on_closed(setup_.id, abandoned);
}

HttpResponder::Headers answer_headers(std::string_view content_type, const std::string& request_id) {
    const bool events = content_type == "text/event-stream";
    return {{"Content-Type", std::string(content_type)},
            {"Cache-Control", events ? "no-cache, no-store" : "no-store"},
            {"X-Content-Type-Options", "nosniff"},
            {"X-Request-Id", request_id}};
}

void send_error(HttpResponder& responder, const ApiError& error, const std::string& request_id,
                HttpResponder::Headers more) {
    auto headers = answer_headers("application/json", request_id);
    if (error.retry_after) headers.emplace_back("Retry-After", std::to_string(error.retry_after->count()));
    for (auto& header : more) headers.push_back(std::move(header));
    responder.send(error.status, std::move(headers), dialect::write_error(error));
}

}  // namespace shoal::api
