#include "dialect/api_error.h"

#include "base/limits.h"
#include "dialect/json.h"

namespace shoal::dialect {
namespace {

struct FaultForm {
    int status;
    const char* type;
    const char* code;
    std::optional<std::chrono::seconds> retry_after;
    const char* fallback;  // said when the fault brings no message
};

FaultForm form_of(AskFault fault) {
    switch (fault) {
        case AskFault::bad_request:
            return {400, "invalid_request_error", "bad_request", {}, "the model node refuses this request"};
        case AskFault::context_exceeded:
            return {400,
                    "invalid_request_error",
                    "context_length_exceeded",
                    {},
                    "the prompt does not fit the model's context: shorten `messages`"};
        case AskFault::model_unknown:
            return {400, "invalid_request_error", "model_not_found", {}, "no node of this network has this model"};
        case AskFault::overloaded:
            return {503, "server_error", "overloaded", limits::retry_after_busy, "every slot is taken: try again"};
        case AskFault::no_circuit:
            return {503, "server_error", "no_circuit", limits::retry_after_busy, "no circuit is ready yet"};
        case AskFault::no_model_node:
            return {503, "server_error", "no_model_node", limits::retry_after_absent,
                    "no node with this model answers"};
        case AskFault::engine_failed:
            // A worker is started again within seconds.
            return {503, "server_error", "engine_failed", limits::retry_after_busy,
                    "the engine failed and the request could not be moved"};
        case AskFault::node_lost:
            return {502, "server_error", "node_lost", {}, "the model node was lost while it answered"};
        case AskFault::refused:
            return {403, "permission_error", "refused_by_node", {}, "the model node's policy refuses this request"};
        case AskFault::cancelled: return {503, "server_error", "cancelled", {}, "the request was cancelled"};
        case AskFault::timeout: return {504, "server_error", "timeout", {}, "the network did not answer in time"};
        case AskFault::disagreed:
            return {502, "server_error", "replies_disagree", {}, "the nodes that were compared disagree"};
    }
    // A value outside the enum is a bug of the room that made it, not a reason to stop serving.
    return {502, "server_error", "failed", {}, "the request failed"};
}

std::optional<std::string> param_of(AskFault fault) {
    if (fault == AskFault::model_unknown) return "model";
    if (fault == AskFault::context_exceeded) return "messages";
    return std::nullopt;
}

}  // namespace

ApiError invalid_request(std::string code, std::optional<std::string> param, std::string message) {
    return {.status = 400,
            .type = "invalid_request_error",
            .code = std::move(code),
            .param = std::move(param),
            .message = std::move(message),
            .retry_after = {}};
}

ApiError from_fault(const ChatFault& fault) {
    const FaultForm form = form_of(fault.fault);
    return {.status = form.status,
            .type = form.type,
            .code = form.code,
            .param = param_of(fault.fault),
            .message = fault.message.empty() ? form.fallback : printable(fault.message, limits::error_text_bytes_max),
            .retry_after = form.retry_after};
}

std::string write_error(const ApiError& error) {
    OrderedJson inner;
    inner["message"] = error.message;
    inner["type"] = error.type;
    inner["param"] = error.param ? OrderedJson(*error.param) : OrderedJson(nullptr);
    inner["code"] = error.code;
    OrderedJson outer;
    outer["error"] = std::move(inner);
    return dump(outer);
}

std::string printable(std::string_view text, std::size_t bytes_max) {
    const bool cut = text.size() > bytes_max;
    std::size_t length = cut ? bytes_max : text.size();
    // Continuation bytes are 10xxxxxx: step back to the first byte of the character that does not fit.
    while (cut && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) --length;
    std::string out(text.substr(0, length));
    for (char& c : out) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F) c = ' ';
    }
    if (cut) out += "...";
    return out;
}

}  // namespace shoal::dialect
