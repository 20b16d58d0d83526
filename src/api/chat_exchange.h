// One chat request under way: events of the network in, an HTTP answer out.
//
//            on_delta                      on_end, on_fault
//   waiting ─────────▶ streaming ───────────────────────────▶ closed
//      └── without `stream`: text is gathered, on_end or on_fault answers ──▶ closed
//
// A stream's headers leave with its first event, or with the first keep-alive.
//   Rationale: what fails before the first token can still be a proper status that clients know how to retry; waiting
//   longer than limits::sse_keepalive would let them time out.
// After that a fault is an `error` event and the end of the stream, without [DONE].
// A program that does not read (write() says false) is treated as gone: the ask is cancelled.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/port.h"
#include "base/rng.h"
#include "dialect/openai_reply.h"

namespace shoal::api {

class ChatExchange final : public AskSink {
public:
    class Owner {
    public:
        virtual ~Owner() = default;
        // The answer is complete, or cannot be completed (`abandoned`: the network should stop). Comes once, from
        // inside a call of the exchange: the owner destroys it later, not now.
        virtual void on_closed(ExchangeId exchange, bool abandoned) = 0;
    };
    struct Setup {
        ExchangeId id;
        dialect::ReplyHead head;
        bool stream = false;
        std::string request_id;
        Instant now;
    };

    ChatExchange(Setup setup, std::unique_ptr<HttpResponder> responder, Owner& owner);

    void on_delta(const ChatDelta& delta) override;
    void on_end(const ChatEnd& end) override;
    void on_fault(const ChatFault& fault) override;

    // Keep-alive of a stream: a comment when nothing flowed for one to two limits::sse_keepalive.
    void on_tick(Instant now);
    std::optional<Instant> next_deadline() const;

    bool closed() const { return responder_ == nullptr; }
    std::size_t held_bytes() const { return gathered_.size(); }  // at most limits::reply_bytes_max

private:
    void begin();
    bool put(std::string events);
    void fail(const dialect::ApiError& error);
    void close(bool abandoned);

    Setup setup_;
    std::unique_ptr<HttpResponder> responder_;  // null: closed
    Owner& owner_;
    Plaintext gathered_;      // without `stream`
    bool streaming_ = false;  // the headers are out
    bool opened_ = false;     // the chunk with the role is out
    bool flowed_ = false;     // since the last tick
    Instant next_keepalive_;
};

// Headers of every answer: nothing is cached, nothing is guessed from content.
HttpResponder::Headers answer_headers(std::string_view content_type, const std::string& request_id);
// A complete answer: the error's status, Retry-After where it has one, and its body.
void send_error(HttpResponder& responder, const dialect::ApiError& error, const std::string& request_id,
                HttpResponder::Headers more = {});

}  // namespace shoal::api
