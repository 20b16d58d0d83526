// From a conversation to the text that a model was trained on, by the template that its GGUF carries.
//
// Rules
//   1. Message text never enters the template: a marker stands in its place, and the result is a list of segments that
//      says which text is the template's and which a person's. Rationale: only the first may hold special tokens
//      (tokenizer.h), and no template can be made to run what a user wrote.
//   2. Where the template trims a message, the message is trimmed: the marker wears white space that tells.
//   3. A template that looks inside messages (to cut out thinking, say) sees the marker; it cuts nothing.
//   4. A GGUF without a template gets the fallback: "<role>: <text>" lines and a last "assistant:" line.
//
// Only file that sees minja and nlohmann is the .cc. One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/chat.h"
#include "base/result.h"

namespace shoal::engine_worker {

struct Segment {
    std::string text;
    bool content = false;  // from a message, not from the template
    friend bool operator==(const Segment&, const Segment&) = default;
};

class ChatTemplate {
public:
    // An empty source gives the fallback. Errc::unsupported: the template does not parse.
    static Result<ChatTemplate> parse(const std::string& source, const std::string& bos, const std::string& eos);
    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // Errc::invalid: the template refuses the conversation; the message is its own words.
    Result<std::vector<Segment>> render(const ChatRequest& request) const;
    // What the template says in its own text: where markers of turns stand.
    const std::string& source() const { return source_; }

private:
    struct Impl;
    ChatTemplate(std::string source, std::unique_ptr<Impl> impl);
    std::string source_;
    std::unique_ptr<Impl> impl_;  // null: the fallback
};

}  // namespace shoal::engine_worker
