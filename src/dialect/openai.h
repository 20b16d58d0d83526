// The body of POST /v1/chat/completions, as OpenAI defines it, to a ChatRequest.
//
// Nothing is dropped in silence: a parameter that is not in the list below is refused by name, even when its value is
// null, because an answer that ignores it would be an answer to another question. Exceptions: `user` is read and
// dropped (it names a person), and the fields that OpenAI's own replies carry inside a message (refusal, tool_calls,
// audio, annotations ...) may be null, so that a reply can be sent back as history.
//
//   model                  string, not empty
//   messages               1 to limits::chat_messages_max of {role, content}; role system, developer (read as system),
//                          user or assistant; content a string or an array of {"type":"text","text":string}, whose
//                          texts are joined by newlines
//   stream                 boolean; stream_options.include_usage boolean, only with stream
//   max_completion_tokens, max_tokens (its old name)   1 to limits::context_tokens_max; both: must be equal
//   stop                   string or array of at most limits::stop_strings_max strings of 1 to stop_string_bytes_max
//                          bytes
//   seed                   any 64-bit signed integer; a negative one is taken as its two's complement
//   temperature [0, 2], top_p (0, 1], min_p [0, 1], presence_penalty and frequency_penalty [-2, 2]: numbers
//   top_k                  0 (off) to limits::top_k_max
//   n                      1
//   compare                "K/M", base/comparison.h; ours, not OpenAI's
// null stands for "absent" in all of them but model and messages.
//
// Errors, all with `param` where a field is to blame: invalid_json (json.h), request_too_large (413),
// missing_parameter, invalid_type, invalid_value, unsupported_parameter, context_length_exceeded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/chat.h"
#include "base/comparison.h"
#include "dialect/api_error.h"

namespace shoal::dialect {

struct ParsedChat {
    std::string model;
    ChatRequest request;
    bool stream = false;
    bool include_usage = false;
    std::optional<Comparison> compare;  // none: as the node is configured
};

// The text may be anything. Linear in its length, at most limits::http_body_bytes_max. The caller wipes the text.
ApiResult<ParsedChat> parse_chat_request(std::string_view body);

}  // namespace shoal::dialect
