#include "dialect/openai_client.h"

#include <bit>

#include "base/limits.h"
#include "dialect/json.h"
#include "wire/chat.h"

namespace shoal::dialect {
namespace {

Error malformed(std::string_view what) {
    return fail(Errc::malformed, "the server's answer: " + std::string(what));
}

// The field, or null where it is absent or its parent is no object.
const Json& field(const Json& parent, const char* name) {
    static const Json none;
    if (!parent.is_object()) return none;
    const auto at = parent.find(name);
    return at == parent.end() ? none : *at;
}

Result<TokenCount> read_count(const Json& value) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > UINT32_MAX) {
        return malformed("`usage` has a count that is no number of tokens");
    }
    return TokenCount(value.get<std::uint32_t>());
}

Result<std::optional<Usage>> read_usage(const Json& value) {
    if (value.is_null()) return std::optional<Usage>();
    Usage usage;
    usage.prompt = TRY(read_count(field(value, "prompt_tokens")));
    usage.completion = TRY(read_count(field(value, "completion_tokens")));
    // Servers that reuse nothing leave it out.
    const Json& reused = field(field(value, "prompt_tokens_details"), "cached_tokens");
    if (!reused.is_null()) usage.reused = TRY(read_count(reused));
    if (usage.reused > usage.prompt) return malformed("`usage` has more cached tokens than the prompt has");
    return std::optional<Usage>(usage);
}

Result<std::optional<FinishReason>> read_finish(const Json& value) {
    if (value.is_null()) return std::optional<FinishReason>();
    if (value == "stop") return std::optional<FinishReason>(FinishReason::stop);
    if (value == "length") return std::optional<FinishReason>(FinishReason::length);
    return malformed("`finish_reason` is neither \"stop\" nor \"length\"");
}

Result<Plaintext> read_text(const Json& holder) {
    const Json& content = field(holder, "content");
    if (content.is_null()) return Plaintext();
    if (!content.is_string()) return malformed("`content` is no string");
    return Plaintext(content.get<std::string>());
}

// choices[0]; null where `choices` is empty, as in a chunk that brings only the usage.
Result<const Json*> first_choice(const Json& root) {
    static const Json none;
    const Json& choices = field(root, "choices");
    if (!choices.is_array()) return malformed("`choices` is missing");
    if (choices.empty()) return &none;
    if (!choices[0].is_object()) return malformed("`choices[0]` is no object");
    return &choices[0];
}

std::string text_of(const Json& value, std::string_view fallback) {
    return printable(value.is_string() ? value.get_ref<const std::string&>() : std::string(fallback),
                     limits::error_text_bytes_max);
}

// Some servers give {"error": "text"}.
ApiError read_error(int status, const Json& error) {
    ApiError out;
    out.status = status;
    out.message = text_of(error.is_object() ? field(error, "message") : error, "the server gives no reason");
    out.type = text_of(field(error, "type"), "");
    out.code = text_of(field(error, "code"), "http_" + std::to_string(status));
    if (field(error, "param").is_string()) out.param = text_of(field(error, "param"), "");
    return out;
}

void write_sampling(const Sampling& sampling, OrderedJson& out) {
    const Sampling usual;
    const auto number = [&out](const char* name, float value, float at_rest) {
        if (value != at_rest) out[name] = static_cast<double>(value);
    };
    number("temperature", sampling.temperature, usual.temperature);
    number("top_p", sampling.top_p, usual.top_p);
    if (sampling.top_k != usual.top_k) out["top_k"] = sampling.top_k;
    number("min_p", sampling.min_p, usual.min_p);
    number("presence_penalty", sampling.presence_penalty, usual.presence_penalty);
    number("frequency_penalty", sampling.frequency_penalty, usual.frequency_penalty);
    // JSON has the signed half of the 64 bits; parse_chat_request() takes the same way back.
    if (sampling.seed) out["seed"] = std::bit_cast<std::int64_t>(*sampling.seed);
}

}  // namespace

std::string write_chat_request(std::string_view model, const ChatRequest& request, const AskOptions& options) {
    OrderedJson out;
    out["model"] = model;
    OrderedJson messages = OrderedJson::array();
    for (const ChatMessage& message : request.messages) {
        messages.push_back({{"role", wire::role_name(message.role)}, {"content", message.content.expose()}});
    }
    out["messages"] = std::move(messages);
    write_sampling(request.sampling, out);
    if (request.completion_tokens_max > 0) out["max_completion_tokens"] = request.completion_tokens_max;
    if (!request.stop.empty()) out["stop"] = request.stop;
    out["stream"] = options.stream;
    if (options.stream && options.include_usage) out["stream_options"] = {{"include_usage", true}};
    if (options.compare) out["compare"] = options.compare->text();
    std::string text = dump(out);
    for (OrderedJson& message : out["messages"]) {
        auto& content = message["content"].get_ref<std::string&>();
        wipe(content.data(), content.size());
    }
    return text;
}

Result<StreamItem> parse_stream_data(std::string_view data) {
    if (data == "[DONE]") return StreamItem(StreamDone{});
    auto document = Document::parse(data);
    if (!document) return malformed(document.error().message);
    const Json& root = document->root();
    if (!field(root, "error").is_null()) return StreamItem(read_error(0, field(root, "error")));
    ChatChunk chunk;
    const Json& choice = *TRY(first_choice(root));
    chunk.text = TRY(read_text(field(choice, "delta")));
    chunk.finish = TRY(read_finish(field(choice, "finish_reason")));
    chunk.usage = TRY(read_usage(field(root, "usage")));
    return StreamItem(std::move(chunk));
}

Result<ChatReply> parse_completion(std::string_view body) {
    auto document = Document::parse(body);
    if (!document) return malformed(document.error().message);
    const Json& choice = *TRY(first_choice(document->root()));
    const auto finish = TRY(read_finish(field(choice, "finish_reason")));
    if (!finish) return malformed("`finish_reason` is missing");
    ChatReply reply;
    reply.text = TRY(read_text(field(choice, "message")));
    reply.finish = *finish;
    reply.usage = TRY(read_usage(field(document->root(), "usage")));
    return reply;
}

Result<std::vector<std::string>> parse_model_names(std::string_view body) {
    auto document = Document::parse(body);
    if (!document) return malformed(document.error().message);
    const Json& data = field(document->root(), "data");
    if (!data.is_array()) return malformed("`data` is missing");
    if (data.size() > limits::models_listed_max) return malformed("too many models");
    std::vector<std::string> names;
    for (const Json& model : data) {
        const Json& id = field(model, "id");
        if (!id.is_string()) return malformed("a model without `id`");
        names.push_back(id.get<std::string>());
    }
    return names;
}

ApiError parse_error_body(int status, std::string_view body) {
    auto document = Document::parse(body);
    if (document && !field(document->root(), "error").is_null()) {
        return read_error(status, field(document->root(), "error"));
    }
    ApiError out = read_error(status, Json(std::string(printable(body, limits::error_text_bytes_max))));
    if (body.empty()) out.message = "the server gives no reason";
    return out;
}

}  // namespace shoal::dialect
