#include "dialect/openai_reply.h"

#include "dialect/json.h"

namespace shoal::dialect {
namespace {

const char* finish_name(FinishReason reason) {
    return reason == FinishReason::length ? "length" : "stop";
}

OrderedJson usage_json(const Usage& usage) {
    OrderedJson out;
    out["prompt_tokens"] = usage.prompt.value();
    out["completion_tokens"] = usage.completion.value();
    out["total_tokens"] = std::uint64_t{usage.prompt.value()} + usage.completion.value();
    out["prompt_tokens_details"] = {{"cached_tokens", usage.reused.value()}};
    return out;
}

OrderedJson head_json(const ReplyHead& head, const char* object) {
    OrderedJson out;
    out["id"] = head.id;
    out["object"] = object;
    out["created"] = unix_seconds(head.created);
    out["model"] = head.model;
    out["system_fingerprint"] = head.fingerprint;
    return out;
}

std::string event(const OrderedJson& value) {
    return "data: " + dump(value) + "\n\n";
}

void add_agreement(OrderedJson& out, const std::optional<Agreement>& agreement) {
    if (agreement) out["shoal"] = {{"agreed", agreement->agreed}, {"asked", agreement->asked}};
}

std::string chunk(const ReplyHead& head, OrderedJson delta, const OrderedJson& finish_reason,
                  const std::optional<Agreement>& agreement = {}) {
    OrderedJson choice;
    choice["index"] = 0;
    choice["delta"] = std::move(delta);
    choice["logprobs"] = nullptr;
    choice["finish_reason"] = finish_reason;
    OrderedJson out = head_json(head, "chat.completion.chunk");
    out["choices"] = OrderedJson::array();
    out["choices"].push_back(std::move(choice));
    if (head.include_usage) out["usage"] = nullptr;
    add_agreement(out, agreement);
    return event(out);
}

OrderedJson card_json(const ModelCard& card) {
    OrderedJson out;
    out["id"] = card.name;
    out["object"] = "model";
    out["created"] = 0;
    out["owned_by"] = "shoal";
    out["shoal"] = {{"model_id", card.id.hex()}, {"context_tokens", card.context_tokens}, {"nodes", card.nodes}};
    return out;
}

}  // namespace

std::string completion_id(Rng& rng) {
    constexpr std::string_view letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    std::string id = "chatcmpl-";
    for (int i = 0; i < 24; ++i) id += letters[rng.below(letters.size())];
    return id;
}

std::string write_completion(const ReplyHead& head, const Plaintext& text, const ChatEnd& end) {
    OrderedJson message;
    message["role"] = "assistant";
    message["content"] = text.expose();
    message["refusal"] = nullptr;
    OrderedJson choice;
    choice["index"] = 0;
    choice["message"] = std::move(message);
    choice["logprobs"] = nullptr;
    choice["finish_reason"] = finish_name(end.reason);
    OrderedJson out = head_json(head, "chat.completion");
    out["choices"] = OrderedJson::array();
    out["choices"].push_back(std::move(choice));
    out["usage"] = usage_json(end.usage);
    add_agreement(out, end.agreement);
    return dump(out);
}

std::string sse_opening(const ReplyHead& head) {
    OrderedJson delta;
    delta["role"] = "assistant";
    delta["content"] = "";
    return chunk(head, std::move(delta), nullptr);
}

std::string sse_delta(const ReplyHead& head, const Plaintext& text) {
    OrderedJson delta;
    delta["content"] = text.expose();
    return chunk(head, std::move(delta), nullptr);
}

std::string sse_closing(const ReplyHead& head, const ChatEnd& end) {
    return chunk(head, OrderedJson::object(), finish_name(end.reason), end.agreement);
}

std::string sse_usage(const ReplyHead& head, const Usage& usage) {
    OrderedJson out = head_json(head, "chat.completion.chunk");
    out["choices"] = OrderedJson::array();
    out["usage"] = usage_json(usage);
    return event(out);
}

std::string sse_error(const ApiError& error) {
    return "data: " + write_error(error) + "\n\n";
}

std::string write_model(const ModelCard& card) {
    return dump(card_json(card));
}

std::string write_models(const std::vector<ModelCard>& cards) {
    OrderedJson data = OrderedJson::array();
    for (const ModelCard& card : cards) data.push_back(card_json(card));
    OrderedJson out;
    out["object"] = "list";
    out["data"] = std::move(data);
    return dump(out);
}

std::string write_health(std::string_view status, std::string_view reason) {
    OrderedJson out;
    out["status"] = status;
    if (!reason.empty()) out["reason"] = reason;
    return dump(out);
}

std::string write_ready(const ReadyReport& report) {
    OrderedJson out;
    out["ready"] = report.ready;
    out["directory"] = report.directory;
    out["circuits"] = report.circuits;
    out["circuits_needed"] = report.circuits_needed;
    out["model_nodes"] = report.model_nodes;
    if (!report.ready) out["reason"] = report.reason;
    return dump(out);
}

}  // namespace shoal::dialect
