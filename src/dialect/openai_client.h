// The asking side of the OpenAI language: what `shoal ask`, tests and upstream servers need. The bytes are those of any
// server that speaks it, so every reader is bounded and takes nothing for granted; unknown fields are skipped, as the
// language grows.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/chat.h"
#include "base/comparison.h"
#include "base/result.h"
#include "dialect/api_error.h"
#include "dialect/sse.h"

namespace shoal::dialect {

struct AskOptions {
    bool stream = true;
    bool include_usage = true;               // only with stream
    std::optional<Comparison> compare = {};  // of this network only
};

// A body that parse_chat_request() reads back to the same request. Sampling that is at its default is left out.
// The text has the prompt: the caller wipes it when it is sent.
std::string write_chat_request(std::string_view model, const ChatRequest& request, const AskOptions& options);

// One chunk of a stream; any of the three may be absent.
struct ChatChunk {
    Plaintext text;
    std::optional<FinishReason> finish;
    std::optional<Usage> usage;
};
struct StreamDone {};
using StreamItem = std::variant<ChatChunk, ApiError, StreamDone>;

// The data of one event of a stream. Errc::malformed: not what the language allows.
Result<StreamItem> parse_stream_data(std::string_view data);

struct ChatReply {
    Plaintext text;
    FinishReason finish = FinishReason::stop;
    std::optional<Usage> usage;
};
// The body of a 200 without stream. Errc::malformed.
Result<ChatReply> parse_completion(std::string_view body);

// The names in a body of GET /v1/models, at most limits::models_listed_max. Errc::malformed.
Result<std::vector<std::string>> parse_model_names(std::string_view body);

// The error in the body of any status but 200. A body that is not in OpenAI's form gives code "http_<status>" and the
// beginning of the body as the message. Texts are printable().
ApiError parse_error_body(int status, std::string_view body);

}  // namespace shoal::dialect
