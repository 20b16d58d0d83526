// From segments to tokens, so that nobody can forge a turn.
//
// A special token (end of turn, start of a role, ...) is only ever made of the template's own text. What a person wrote
// is text, also when it spells one: it is broken apart until no special token is left in it.
// Rationale: whoever can place an end-of-turn token in a message can speak as the system or as the assistant.
//
// Special here: control and end-of-generation tokens, and user-defined tokens whose text stands in the
// template. Other user-defined tokens (runs of spaces, HTML tags) stay what they are, so that ordinary text is
// tokenized as everywhere else: text that spells no special token gives exactly the tokens of llama.cpp's own tools.
//
// O(length of the text x number of special tokens). One thread.
#pragma once

#include <llama.h>

#include <string>
#include <vector>

#include "base/secret.h"
#include "engine_worker/chat_template.h"

namespace shoal::engine_worker {

class Tokenizer {
public:
    // `vocab` must outlive it.
    Tokenizer(const llama_vocab* vocab, const std::string& template_source);

    TokenIds tokenize(const std::vector<Segment>& segments) const;
    // The bytes that a token stands for; empty for special ones.
    const std::string& piece(llama_token token) const { return pieces_[static_cast<std::size_t>(token)]; }
    bool ends_generation(llama_token token) const { return llama_vocab_is_eog(vocab_, token); }
    bool is_special(llama_token token) const { return special_[static_cast<std::size_t>(token)]; }

private:
    struct Special {
        std::string text;
        llama_token token;
    };
    // A stretch of the whole text that spells a special token.
    struct Match {
        std::size_t from = 0;
        std::size_t to = 0;
        llama_token token = 0;
        bool ours = false;  // wholly the template's
    };
    std::vector<Match> find_matches(std::string_view text, const std::vector<bool>& content) const;
    std::vector<llama_token> tokenize_apart(std::string_view text, const std::vector<Match>& matches,
                                            bool with_bos) const;
    void append_plain(std::string_view text, bool continues, std::vector<llama_token>& out) const;
    std::vector<llama_token> call_plain(std::string_view text, bool continues) const;
    std::vector<llama_token> call(std::string_view text, bool add_special, bool parse_special) const;

    const llama_vocab* vocab_;
    std::vector<Special> specials_;  // longer texts first
    std::vector<bool> special_;      // by token
    std::vector<std::string> pieces_;
};

}  // namespace shoal::engine_worker
