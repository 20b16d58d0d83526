#include "engine_worker/chat_template.h"

#include <minja/chat-template.hpp>

#include "wire/chat.h"
#include "wire/text.h"

namespace shoal::engine_worker {

struct ChatTemplate::Impl {
    minja::chat_template compiled;
};

namespace {

// U+F8D0 <number> U+F8D1, between two carriage returns: private-use characters and a white space that no template
// writes by itself, and that trimming takes away.
constexpr std::string_view marker_open = "\xef\xa3\x90";
constexpr std::string_view marker_close = "\xef\xa3\x91";
constexpr char marker_pad = '\r';
constexpr std::string_view white_space = " \t\r\n\v\f";
// A template is short; what it adds to a message is too.
constexpr std::size_t literal_bytes_max = 1 << 20;

std::string marker(std::size_t index) {
    return marker_pad + std::string(marker_open) + std::to_string(index) + std::string(marker_close) + marker_pad;
}

Error refused(std::string_view why) {
    return fail(Errc::invalid, "the model's chat template refuses the messages: " + wire::plain_text(why, 256));
}

// The message that the marker at the front of `text` stands for, and the marker's length without its padding.
struct Found {
    std::size_t index = 0;
    std::size_t bytes = 0;
};
std::optional<Found> read_marker(std::string_view text, std::size_t messages) {
    std::size_t at = marker_open.size();
    Found found;
    const std::size_t digits_from = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && at - digits_from < 6) {
        found.index = found.index * 10 + static_cast<std::size_t>(text[at++] - '0');
    }
    if (at == digits_from || text.substr(at, marker_close.size()) != marker_close || found.index >= messages) {
        return std::nullopt;
    }
    found.bytes = at + marker_close.size();
    return found;
}

std::string trimmed(std::string text, bool front, bool back) {
    if (front) text.erase(0, std::min(text.find_first_not_of(white_space), text.size()));
    if (back) text.erase(text.find_last_not_of(white_space) + 1);
    return text;
}

void add_literal(std::vector<Segment>& out, std::string_view text) {
    if (!text.empty()) out.push_back({std::string(text), false});
}

Result<std::vector<Segment>> put_messages_back(std::string_view rendered, const ChatRequest& request) {
    std::vector<Segment> out;
    std::vector<bool> seen(request.messages.size());
    for (;;) {
        const std::size_t at = rendered.find(marker_open);
        if (at == std::string_view::npos) break;
        const std::optional<Found> found = read_marker(rendered.substr(at), request.messages.size());
        if (!found) return refused("it takes messages apart in a way that is not supported");
        std::string_view before = rendered.substr(0, at);
        std::string_view after = rendered.substr(at + found->bytes);
        const bool padded_front = !before.empty() && before.back() == marker_pad;
        const bool padded_back = !after.empty() && after.front() == marker_pad;
        if (padded_front) before.remove_suffix(1);
        if (padded_back) after.remove_prefix(1);
        add_literal(out, before);
        std::string text = request.messages[found->index].content.expose();
        text = trimmed(std::move(text), !padded_front, !padded_back);
        if (!text.empty()) out.push_back({std::move(text), true});
        seen[found->index] = true;
        rendered = after;
    }
    add_literal(out, rendered);
    for (std::size_t i = 0; i < seen.size(); ++i) {
        if (!seen[i] && !request.messages[i].content.empty()) {
            return refused("it leaves out message " + std::to_string(i) + " (" +
                           wire::role_name(request.messages[i].role) + ")");
        }
    }
    return out;
}

std::vector<Segment> render_fallback(const ChatRequest& request) {
    std::vector<Segment> out;
    for (const ChatMessage& message : request.messages) {
        out.push_back({std::string(wire::role_name(message.role)) + ": ", false});
        if (!message.content.empty()) out.push_back({message.content.expose(), true});
        out.push_back({"\n", false});
    }
    out.push_back({"assistant:", false});
    return out;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, std::unique_ptr<Impl> impl)
    : source_(std::move(source)), impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(const std::string& source, const std::string& bos, const std::string& eos) {
    if (source.empty()) return ChatTemplate(source, nullptr);
    if (source.find(marker_open) != std::string::npos) {
        return fail(Errc::unsupported, "the chat template uses the private character U+F8D0");
    }
    try {
        return ChatTemplate(source, std::make_unique<Impl>(Impl{minja::chat_template(source, bos, eos)}));
    } catch (const std::exception& e) {
        return fail(Errc::unsupported,
                    std::string("the chat template does not parse: ") + wire::plain_text(e.what(), 256));
    }
}

Result<std::vector<Segment>> ChatTemplate::render(const ChatRequest& request) const {
    if (!impl_) return render_fallback(request);
    minja::chat_template_inputs inputs;
    inputs.messages = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < request.messages.size(); ++i) {
        const ChatMessage& message = request.messages[i];
        inputs.messages.push_back({{"role", wire::role_name(message.role)},
                                   {"content", message.content.empty() ? std::string() : marker(i)}});
    }
    // The stand-ins for tools would quote messages as JSON: a template without tools shall say so itself.
    minja::chat_template_options options;
    options.polyfill_tools = options.polyfill_tool_calls = options.polyfill_tool_responses = false;
    std::string rendered;
    try {
        rendered = impl_->compiled.apply(inputs, options);
    } catch (const std::exception& e) {
        return refused(e.what());
    }
    if (rendered.size() > literal_bytes_max) return refused("it makes too much text of them");
    return put_messages_back(rendered, request);
}

}  // namespace shoal::engine_worker
