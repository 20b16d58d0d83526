#include "dialect/openai.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/limits.h"
#include "base/result.h"
#include "dialect/json.h"

namespace shoal::dialect {
namespace {

constexpr std::size_t quoted_bytes_max = 64;

ApiError wrong_type(const std::string& path, std::string_view wanted, const Json& found) {
    return invalid_request("invalid_type", path,
                           "`" + path + "` must be " + std::string(wanted) + ", not " + found.type_name());
}
ApiError out_of_range(const std::string& path, std::string_view rule) {
    return invalid_request("invalid_value", path, "`" + path + "` must be " + std::string(rule));
}
ApiError unsupported(const std::string& path, std::string_view why = "is not supported by this server") {
    return invalid_request("unsupported_parameter", path, "`" + path + "` " + std::string(why));
}
ApiError missing(const std::string& path) {
    return invalid_request("missing_parameter", path, "`" + path + "` is required");
}

std::string element(const std::string& path, std::size_t index) {
    return path + "[" + std::to_string(index) + "]";
}
// Keys are a stranger's: cut before they are repeated.
std::string member(const std::string& path, std::string_view key) {
    return path + "." + printable(key, quoted_bytes_max);
}

// ---- values ------------------------------------------------------------------------------------------------------

ApiResult<std::string> read_string(const Json& value, const std::string& path) {
    if (!value.is_string()) return wrong_type(path, "a string", value);
    return value.get<std::string>();
}

ApiResult<bool> read_bool(const Json& value, const std::string& path) {
    if (!value.is_boolean()) return wrong_type(path, "a boolean", value);
    return value.get<bool>();
}

ApiResult<std::int64_t> read_integer(const Json& value, const std::string& path, std::int64_t low, std::int64_t high) {
    const std::string rule = "an integer from " + std::to_string(low) + " to " + std::to_string(high);
    // What fits no 64-bit integer arrives as a float: it is out of range rather than of the wrong type.
    constexpr double beyond = 0x1p63;
    if (value.is_number_float() && std::abs(value.get<double>()) >= beyond) return out_of_range(path, rule);
    if (!value.is_number_integer()) return wrong_type(path, "an integer", value);
    constexpr auto signed_max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > signed_max) return out_of_range(path, rule);
    const auto number = value.get<std::int64_t>();
    if (number < low || number > high) return out_of_range(path, rule);
    return number;
}

struct Range {
    double low;
    double high;
    bool low_excluded = false;
};

ApiResult<float> read_number(const Json& value, const std::string& path, const Range& range, std::string_view rule) {
    if (!value.is_number()) return wrong_type(path, "a number", value);
    const auto wide = value.get<double>();
    const auto number = static_cast<float>(wide);
    // The lower bound is asked of the rounded number: 1e-60 is above 0, but not as a float.
    if (!(wide >= range.low && wide <= range.high)) return out_of_range(path, rule);
    if (range.low_excluded && static_cast<double>(number) <= range.low) return out_of_range(path, rule);
    return number;
}

// ---- messages ----------------------------------------------------------------------------------------------------

ApiResult<std::string> read_text_part(const Json& part, const std::string& path) {
    if (!part.is_object()) return wrong_type(path, "an object", part);
    const auto type = part.find("type");
    if (type == part.end()) return missing(path + ".type");
    if (TRY(read_string(*type, path + ".type")) != "text") {
        return unsupported(path + ".type", "must be \"text\": other kinds of content are not supported");
    }
    for (const auto& [key, value] : part.items()) {
        if (key != "type" && key != "text") return unsupported(member(path, key));
    }
    const auto text = part.find("text");
    if (text == part.end()) return missing(path + ".text");
    return read_string(*text, path + ".text");
}

ApiResult<Plaintext> read_content(const Json& content, const std::string& path) {
    if (content.is_string()) return Plaintext(content.get<std::string>());
    if (!content.is_array()) return wrong_type(path, "a string or an array of text parts", content);
    if (content.empty()) return out_of_range(path, "a string or at least one text part");
    Plaintext joined;
    for (std::size_t i = 0; i < content.size(); ++i) {
        const Plaintext part(TRY(read_text_part(content[i], element(path, i))));
        if (i > 0) joined.append("\n");
        joined.append(part.expose());
    }
    return joined;
}

ApiResult<Role> read_role(const Json& value, const std::string& path) {
    const std::string role = TRY(read_string(value, path));
    if (role == "system" || role == "developer") return Role::system;
    if (role == "user") return Role::user;
    if (role == "assistant") return Role::assistant;
    if (role == "tool" || role == "function") return unsupported(path, "may not be a tool: tools are not supported");
    return out_of_range(path, "\"system\", \"developer\", \"user\" or \"assistant\"");
}

// Fields of a message that OpenAI knows and this server does not; null in the replies of many servers.
constexpr std::array<std::string_view, 8> message_fields_null = {
    "name", "refusal", "tool_calls", "tool_call_id", "function_call", "audio", "annotations", "reasoning_content"};

ApiResult<ChatMessage> read_message(const Json& value, const std::string& path) {
    if (!value.is_object()) return wrong_type(path, "an object", value);
    for (const auto& [key, field] : value.items()) {
        if (key == "role" || key == "content") continue;
        const bool known =
            std::find(message_fields_null.begin(), message_fields_null.end(), key) != message_fields_null.end();
        if (!known || !field.is_null()) return unsupported(member(path, key));
    }
    const auto role = value.find("role");
    if (role == value.end()) return missing(path + ".role");
    const auto content = value.find("content");
    if (content == value.end()) return missing(path + ".content");
    ChatMessage message;
    message.role = TRY(read_role(*role, path + ".role"));
    message.content = TRY(read_content(*content, path + ".content"));
    return message;
}

// ---- parameters --------------------------------------------------------------------------------------------------

struct Fields {
    ParsedChat chat;
    std::optional<std::uint32_t> max_tokens;
    std::optional<std::uint32_t> max_completion_tokens;
    bool stream_options = false;
};

using Done = ApiResult<Unit>;

Done read_model(const Json& value, Fields& out) {
    out.chat.model = TRY(read_string(value, "model"));
    if (out.chat.model.empty()) return out_of_range("model", "the name of a model: GET /v1/models lists them");
    return Unit{};
}

Done read_messages(const Json& value, Fields& out) {
    if (!value.is_array()) return wrong_type("messages", "an array", value);
    if (value.empty() || value.size() > limits::chat_messages_max) {
        return out_of_range("messages", "1 to " + std::to_string(limits::chat_messages_max) + " messages");
    }
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < value.size(); ++i) {
        out.chat.request.messages.push_back(TRY(read_message(value[i], element("messages", i))));
        bytes += out.chat.request.messages.back().content.size();
    }
    if (bytes > limits::chat_body_bytes_max) {
        return invalid_request("context_length_exceeded", "messages",
                               "`messages` has " + std::to_string(bytes) +
                                   " bytes of text; this network carries at most " +
                                   std::to_string(limits::chat_body_bytes_max) + " in one request: shorten it");
    }
    return Unit{};
}

Done read_stream(const Json& value, Fields& out) {
    out.chat.stream = TRY(read_bool(value, "stream"));
    return Unit{};
}

Done read_stream_options(const Json& value, Fields& out) {
    if (!value.is_object()) return wrong_type("stream_options", "an object", value);
    for (const auto& [key, field] : value.items()) {
        if (key != "include_usage") return unsupported(member("stream_options", key));
        if (!field.is_null()) out.chat.include_usage = TRY(read_bool(field, "stream_options.include_usage"));
    }
    out.stream_options = true;
    return Unit{};
}

ApiResult<std::uint32_t> read_token_limit(const Json& value, const std::string& path) {
    return static_cast<std::uint32_t>(TRY(read_integer(value, path, 1, limits::context_tokens_max)));
}

Done read_max_tokens(const Json& value, Fields& out) {
    out.max_tokens = TRY(read_token_limit(value, "max_tokens"));
    return Unit{};
}

Done read_max_completion_tokens(const Json& value, Fields& out) {
    out.max_completion_tokens = TRY(read_token_limit(value, "max_completion_tokens"));
    return Unit{};
}

ApiResult<std::string> read_stop_string(const Json& value, const std::string& path) {
    std::string text = TRY(read_string(value, path));
    if (text.empty() || text.size() > limits::stop_string_bytes_max) {
        return out_of_range(path, "a text of 1 to " + std::to_string(limits::stop_string_bytes_max) + " bytes");
    }
    return text;
}

Done read_stop(const Json& value, Fields& out) {
    auto& stop = out.chat.request.stop;
    if (value.is_string()) {
        stop.push_back(TRY(read_stop_string(value, "stop")));
        return Unit{};
    }
    if (!value.is_array()) return wrong_type("stop", "a string or an array of strings", value);
    if (value.size() > limits::stop_strings_max) {
        return out_of_range("stop", "at most " + std::to_string(limits::stop_strings_max) + " strings");
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
        stop.push_back(TRY(read_stop_string(value[i], element("stop", i))));
    }
    return Unit{};
}

Done read_seed(const Json& value, Fields& out) {
    constexpr auto low = std::numeric_limits<std::int64_t>::min();
    constexpr auto high = std::numeric_limits<std::int64_t>::max();
    out.chat.request.sampling.seed = static_cast<std::uint64_t>(TRY(read_integer(value, "seed", low, high)));
    return Unit{};
}

Done read_temperature(const Json& value, Fields& out) {
    out.chat.request.sampling.temperature =
        TRY(read_number(value, "temperature", {.low = 0, .high = 2}, "from 0 to 2"));
    return Unit{};
}

Done read_top_p(const Json& value, Fields& out) {
    out.chat.request.sampling.top_p =
        TRY(read_number(value, "top_p", {.low = 0, .high = 1, .low_excluded = true}, "above 0 and at most 1"));
    return Unit{};
}

Done read_top_k(const Json& value, Fields& out) {
    out.chat.request.sampling.top_k =
        static_cast<std::uint32_t>(TRY(read_integer(value, "top_k", 0, limits::top_k_max)));
    return Unit{};
}

Done read_min_p(const Json& value, Fields& out) {
    out.chat.request.sampling.min_p = TRY(read_number(value, "min_p", {.low = 0, .high = 1}, "from 0 to 1"));
    return Unit{};
}

Done read_presence_penalty(const Json& value, Fields& out) {
    out.chat.request.sampling.presence_penalty =
        TRY(read_number(value, "presence_penalty", {.low = -2, .high = 2}, "from -2 to 2"));
    return Unit{};
}

Done read_frequency_penalty(const Json& value, Fields& out) {
    out.chat.request.sampling.frequency_penalty =
        TRY(read_number(value, "frequency_penalty", {.low = -2, .high = 2}, "from -2 to 2"));
    return Unit{};
}

Done read_n(const Json& value, Fields&) {
    if (TRY(read_integer(value, "n", 1, std::numeric_limits<std::int64_t>::max())) != 1) {
        return unsupported("n", "must be 1: several choices are not supported");
    }
    return Unit{};
}

Done read_compare(const Json& value, Fields& out) {
    auto read = Comparison::parse(TRY(read_string(value, "compare")));
    if (!read) return invalid_request("invalid_value", "compare", "`compare` " + read.error().message);
    out.chat.compare = *read;
    return Unit{};
}

Done read_user(const Json& value, Fields&) {
    (void)TRY(read_string(value, "user"));  // it names a person: it must not travel
    return Unit{};
}

struct Parameter {
    std::string_view name;
    Done (*read)(const Json&, Fields&);
    bool required = false;
};

constexpr std::array<Parameter, 17> parameters = {{
    {"model", read_model, true},
    {"messages", read_messages, true},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"max_tokens", read_max_tokens},
    {"max_completion_tokens", read_max_completion_tokens},
    {"stop", read_stop},
    {"seed", read_seed},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
    {"min_p", read_min_p},
    {"presence_penalty", read_presence_penalty},
    {"frequency_penalty", read_frequency_penalty},
    {"n", read_n},
    {"compare", read_compare},
    {"user", read_user},
}};

// Rules between parameters, once each is read.
Done settle(Fields& fields) {
    if (fields.stream_options && !fields.chat.stream) {
        return invalid_request("invalid_value", "stream_options",
                               "`stream_options` is only allowed when `stream` is true");
    }
    if (fields.max_tokens && fields.max_completion_tokens && *fields.max_tokens != *fields.max_completion_tokens) {
        return invalid_request("invalid_value", "max_tokens",
                               "`max_tokens` and `max_completion_tokens` differ: send one of them");
    }
    const auto& limit = fields.max_completion_tokens ? fields.max_completion_tokens : fields.max_tokens;
    fields.chat.request.completion_tokens_max = limit.value_or(0);
    return Unit{};
}

}  // namespace

ApiResult<ParsedChat> parse_chat_request(std::string_view body) {
    if (body.size() > limits::http_body_bytes_max) {
        ApiError error =
            invalid_request("request_too_large", {},
                            "the body has more than " + std::to_string(limits::http_body_bytes_max) + " bytes");
        error.status = 413;
        return error;
    }
    const Document document = TRY(Document::parse(body));
    const Json& root = document.root();
    if (!root.is_object()) return invalid_request("invalid_type", {}, "the body must be a JSON object");

    for (const auto& [key, value] : root.items()) {
        const auto named = [&name = key](const Parameter& parameter) { return parameter.name == name; };
        if (std::none_of(parameters.begin(), parameters.end(), named)) {
            return unsupported(printable(key, quoted_bytes_max));
        }
    }
    Fields fields;
    for (const Parameter& parameter : parameters) {
        const auto at = root.find(parameter.name);
        const bool absent = at == root.end() || at->is_null();
        if (absent && parameter.required) return missing(std::string(parameter.name));
        if (!absent) (void)TRY(parameter.read(*at, fields));
    }
    (void)TRY(settle(fields));
    return std::move(fields.chat);
}

}  // namespace shoal::dialect
