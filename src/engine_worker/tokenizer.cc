#include "engine_worker/tokenizer.h"

#include <algorithm>

#include "base/assert.h"

namespace shoal::engine_worker {
namespace {

std::string token_bytes(const llama_vocab* vocab, llama_token token) {
    std::string out(32, '\0');
    int count = llama_token_to_piece(vocab, token, out.data(), static_cast<int>(out.size()), 0, false);
    if (count < 0) {
        out.resize(static_cast<std::size_t>(-count));
        count = llama_token_to_piece(vocab, token, out.data(), static_cast<int>(out.size()), 0, false);
    }
    out.resize(static_cast<std::size_t>(std::max(count, 0)));
    return out;
}

bool only_white(std::string_view text) {
    return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Where the first character of `text` ends; `text` is well-formed and not empty.
std::size_t first_character(std::string_view text) {
    std::size_t bytes = 1;
    while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) ++bytes;
    return bytes;
}

}  // namespace

Tokenizer::Tokenizer(const llama_vocab* vocab, const std::string& template_source) : vocab_(vocab) {
    const auto count = static_cast<std::size_t>(llama_vocab_n_tokens(vocab));
    special_.resize(count);
    pieces_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto token = static_cast<llama_token>(i);
        pieces_[i] = token_bytes(vocab, token);
        const std::string text = llama_vocab_get_text(vocab, token);
        const int attributes = llama_vocab_get_attr(vocab, token);
        const bool defined_by_user = (attributes & LLAMA_TOKEN_ATTR_USER_DEFINED) != 0;
        const bool marks_turns =
            defined_by_user && text.size() > 1 && !only_white(text) && template_source.find(text) != std::string::npos;
        special_[i] = (attributes & LLAMA_TOKEN_ATTR_CONTROL) != 0 || marks_turns || llama_vocab_is_eog(vocab, token);
        if (special_[i] && !text.empty()) specials_.push_back({text, token});
    }
    std::stable_sort(specials_.begin(), specials_.end(),
                     [](const Special& a, const Special& b) { return a.text.size() > b.text.size(); });
}

std::vector<llama_token> Tokenizer::call(std::string_view text, bool add_special, bool parse_special) const {
    std::vector<llama_token> out(text.size() + 8);
    const auto length = static_cast<std::int32_t>(text.size());
    int count = llama_tokenize(vocab_, text.data(), length, out.data(), static_cast<int>(out.size()), add_special,
                               parse_special);
    if (count < 0 && count != INT32_MIN) {
        out.resize(static_cast<std::size_t>(-count));
        count = llama_tokenize(vocab_, text.data(), length, out.data(), static_cast<int>(out.size()), add_special,
                               parse_special);
    }
    out.resize(static_cast<std::size_t>(std::max(count, 0)));
    return out;
}

// Longest first, and no two overlap. A match that holds a byte of a message is not ours.
std::vector<Tokenizer::Match> Tokenizer::find_matches(std::string_view text, const std::vector<bool>& content) const {
    std::vector<Match> out;
    std::vector<bool> taken(text.size());
    for (const Special& special : specials_) {
        for (std::size_t at = text.find(special.text); at != std::string_view::npos;
             at = text.find(special.text, at + 1)) {
            const std::size_t end = at + special.text.size();
            bool free = true, ours = true;
            for (std::size_t i = at; i < end; ++i) {
                free = free && !taken[i];
                ours = ours && !content[i];
            }
            if (!free) continue;
            for (std::size_t i = at; i < end; ++i) taken[i] = true;
            out.push_back({at, end, special.token, ours});
        }
    }
    std::sort(out.begin(), out.end(), [](const Match& a, const Match& b) { return a.from < b.from; });
    return out;
}

// The library puts a space before each text of a sentence-piece vocabulary. In the middle of a text there is none: a
// line feed, which is always a token of its own there, goes first and is taken away again.
std::vector<llama_token> Tokenizer::call_plain(std::string_view text, bool continues) const {
    if (!continues || llama_vocab_type(vocab_) != LLAMA_VOCAB_TYPE_SPM) return call(text, false, false);
    const std::vector<llama_token> lead = call("\n", false, false);
    std::vector<llama_token> both = call("\n" + std::string(text), false, false);
    if (both.size() < lead.size() || !std::equal(lead.begin(), lead.end(), both.begin()))
        return call(text, false, false);
    both.erase(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(lead.size()));
    return both;
}

// Text that is no special token, whatever it spells. What the vocabulary still makes special (a merge can end in such
// a token) is cut in half until it is not. `continues`: text, not a special token, stands before it.
void Tokenizer::append_plain(std::string_view text, bool continues, std::vector<llama_token>& out) const {
    if (text.empty()) return;
    const std::vector<llama_token> tokens = call_plain(text, continues);
    if (std::none_of(tokens.begin(), tokens.end(), [this](llama_token t) { return is_special(t); })) {
        out.insert(out.end(), tokens.begin(), tokens.end());
        return;
    }
    std::size_t half = first_character(text);
    while (half < text.size() / 2) half += first_character(text.substr(half));
    if (half >= text.size()) return;  // one character that is itself special: it is left out
    append_plain(text.substr(0, half), continues, out);
    append_plain(text.substr(half), true, out);
}

TokenIds Tokenizer::tokenize(const std::vector<Segment>& segments) const {
    std::string text;
    for (const Segment& segment : segments) text += segment.text;
    std::vector<bool> content;
    content.reserve(text.size());
    for (const Segment& segment : segments) content.insert(content.end(), segment.text.size(), segment.content);

    // A template that writes the beginning token itself must not get a second one.
    const llama_token bos = llama_vocab_bos(vocab_);
    if (bos != LLAMA_TOKEN_NULL && llama_vocab_get_add_bos(vocab_)) {
        const std::string_view spelt = llama_vocab_get_text(vocab_, bos);
        if (!segments.empty() && !segments[0].content && !spelt.empty() && segments[0].text.starts_with(spelt)) {
            text.erase(0, spelt.size());
            content.erase(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(spelt.size()));
        }
    }
    const std::vector<Match> matches = find_matches(text, content);
    // What the library adds at both ends.
    const std::size_t added = call("", true, true).size();
    const auto special = [this](llama_token token) { return is_special(token); };
    std::vector<llama_token> out;
    if (std::all_of(matches.begin(), matches.end(), [](const Match& m) { return m.ours; }))
        out = call(text, true, true);
    const auto specials = static_cast<std::size_t>(std::count_if(out.begin(), out.end(), special));
    // Empty: somebody spelt a special token. More of them than were spelt: the vocabulary merged one from text.
    if (out.empty() || specials > matches.size() + added) out = tokenize_apart(text, matches, added > 0);
    wipe(text.data(), text.size());
    return TokenIds(std::vector<std::int32_t>(out.begin(), out.end()));
}

// Stretch by stretch; the template's own special tokens are put between by hand.
std::vector<llama_token> Tokenizer::tokenize_apart(std::string_view text, const std::vector<Match>& matches,
                                                   bool with_bos) const {
    std::vector<llama_token> out;
    if (with_bos && llama_vocab_get_add_bos(vocab_)) out.push_back(llama_vocab_bos(vocab_));
    std::size_t at = 0;
    bool continues = false;
    for (const Match& match : matches) {
        // A forged one is cut after its first character: neither half spells it.
        const std::size_t cut = match.ours ? match.from : match.from + first_character(text.substr(match.from));
        append_plain(text.substr(at, cut - at), continues, out);
        at = match.ours ? match.to : cut;
        continues = !match.ours;
        if (match.ours) out.push_back(match.token);
    }
    append_plain(text.substr(at), continues, out);
    return out;
}

}  // namespace shoal::engine_worker
