// Replies in OpenAI's form. Every function is pure: the id and the time of a reply are in its head.
//
// A stream is: opening(), delta() for each piece of text, closing(), usage() if it was asked for, sse_done. Each gives
// whole server-sent events, ready to be written. Text from the network is escaped; bytes that are not UTF-8 become
// U+FFFD. `usage` is null in the chunks before the last where it was asked for, as OpenAI sends it.
//
// One field is ours, where replies of several nodes were compared: "shoal": {"agreed", "asked"}, in the whole reply or
// the chunk with the finish reason.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/chat.h"
#include "base/ids.h"
#include "base/rng.h"
#include "base/time.h"
#include "dialect/api_error.h"

namespace shoal::dialect {

// What all parts of one reply repeat.
struct ReplyHead {
    std::string id;           // completion_id()
    UnixTime created;         // when the request came
    std::string model;        // as the program named it
    std::string fingerprint;  // brief() of the model's id: another file of the same name has another
    bool include_usage = false;
};

// "chatcmpl-" and 24 letters and digits (142 bits).
std::string completion_id(Rng& rng);

// The whole answer of a request without `stream`. The text is wiped by its owner.
std::string write_completion(const ReplyHead& head, const Plaintext& text, const ChatEnd& end);

std::string sse_opening(const ReplyHead& head);
std::string sse_delta(const ReplyHead& head, const Plaintext& text);
std::string sse_closing(const ReplyHead& head, const ChatEnd& end);
std::string sse_usage(const ReplyHead& head, const Usage& usage);
// An error after the stream began: the program gets it as an event, and then the end of the stream without [DONE].
std::string sse_error(const ApiError& error);
inline constexpr std::string_view sse_done = "data: [DONE]\n\n";
// A comment: no event, but it shows every proxy and time-out between that the stream is alive.
inline constexpr std::string_view sse_keepalive = ": keep-alive\n\n";

// One line of GET /v1/models. `created` is always 0: the directory does not say when a model was made.
struct ModelCard {
    std::string name;  // what `model` takes
    ModelId id;
    std::uint32_t context_tokens = 0;
    std::size_t nodes = 0;
};
std::string write_model(const ModelCard& card);
std::string write_models(const std::vector<ModelCard>& cards);

// {"status": status}, and the reason where there is one.
std::string write_health(std::string_view status, std::string_view reason);

struct ReadyReport {
    bool ready = false;
    bool directory = false;
    std::size_t circuits = 0;
    std::size_t circuits_needed = 0;
    std::size_t model_nodes = 0;
    std::string reason;
};
std::string write_ready(const ReadyReport& report);

}  // namespace shoal::dialect
