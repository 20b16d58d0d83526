// An error as an OpenAI client expects it: an HTTP status and {"error":{"message","type","param","code"}}.
//
// Which status an AskFault becomes (docs/api.md has the same table for users):
//   bad_request        400 bad_request                 refused         403 refused_by_node
//   context_exceeded   400 context_length_exceeded     timeout         504 timeout
//   model_unknown      400 model_not_found             engine_failed   503 engine_failed     (*)
//   overloaded         503 overloaded        (*)       node_lost       502 node_lost
//   no_circuit         503 no_circuit        (*)       cancelled       503 cancelled
//   no_model_node      503 no_model_node     (*)       disagreed       502 replies_disagree
// (*) with Retry-After: the same request may well succeed a little later.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "base/chat.h"
#include "base/time.h"

namespace shoal::dialect {

struct ApiError {
    int status = 400;
    std::string type;
    std::string code;
    std::optional<std::string> param;  // path of the offending field, as messages[2].content[0].text
    std::string message;
    std::optional<std::chrono::seconds> retry_after;
    friend bool operator==(const ApiError&, const ApiError&) = default;
};

// As Result, but the reason is one that the asking program is shown. Works with TRY.
template <typename T>
class [[nodiscard]] ApiResult {
public:
    ApiResult(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    ApiResult(ApiError error) : state_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return state_.index() == 0; }
    T& value() & {
        ASSERT(state_.index() == 0);
        return *std::get_if<0>(&state_);
    }
    T&& value() && { return std::move(value()); }
    const ApiError& error() const {
        ASSERT(state_.index() == 1);
        return *std::get_if<1>(&state_);
    }
    T* operator->() { return &value(); }
    T& operator*() & { return value(); }

private:
    std::variant<T, ApiError> state_;
};

// A 400 of type invalid_request_error.
ApiError invalid_request(std::string code, std::optional<std::string> param, std::string message);
// The message comes from a stranger's node: it is cut to limits::error_text_bytes_max and cleaned (printable()).
ApiError from_fault(const ChatFault& fault);

// The body. Any bytes are escaped; what is not UTF-8 becomes U+FFFD.
std::string write_error(const ApiError& error);

// `text` fit to be quoted in a message: control characters become spaces, at most `bytes_max` bytes and then "...".
// Never cut inside a character.
std::string printable(std::string_view text, std::size_t bytes_max);

}  // namespace shoal::dialect
