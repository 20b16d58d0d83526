// What is asked and what comes back, between the API and the engine. Everything between them carries it sealed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/secret.h"

namespace shoal {

enum class Role : std::uint8_t { system, user, assistant, tool };

struct ChatMessage {
    Role role = Role::user;
    Plaintext content;
    friend bool operator==(const ChatMessage&, const ChatMessage&) = default;
};

// Ranges are those of the OpenAI interface where it has the parameter; wire/chat.h refuses what is outside.
struct Sampling {
    float temperature = 1.0F;           // [0, 2]; 0 is greedy
    float top_p = 1.0F;                 // (0, 1]
    std::uint32_t top_k = 0;            // 0: off
    float min_p = 0.0F;                 // [0, 1]
    float presence_penalty = 0.0F;      // [-2, 2]
    float frequency_penalty = 0.0F;     // [-2, 2]
    std::optional<std::uint64_t> seed;  // none: the client draws one, so that a reply can always be re-checked
    friend bool operator==(const Sampling&, const Sampling&) = default;
};

// What a node holds of a conversation and would hand to another node of the same model (protocol/prefix.md). Its digest
// was said in the reply to the client, who tells it to the node that it asks next: so what is fetched is what was
// meant.
struct KeptPrefix {
    std::uint32_t tokens = 0;  // whole blocks, from the first token of the prompt; at least one
    std::uint64_t bytes = 0;   // of the snapshot; at least 1
    ByteArray<32> digest{};    // of the snapshot
    friend bool operator==(const KeptPrefix&, const KeptPrefix&) = default;
};
struct PrefixSource {
    NodeId node;
    KeptPrefix kept;
    friend bool operator==(const PrefixSource&, const PrefixSource&) = default;
};

struct ChatRequest {
    std::vector<ChatMessage> messages;  // 1 to limits::chat_messages_max
    Sampling sampling;
    std::uint32_t completion_tokens_max = 0;  // 0: as many as the context leaves
    std::vector<std::string> stop;            // at most limits::stop_strings_max
    // What an engine computed of earlier requests with the same scope may be reused; none: nothing is kept or reused.
    std::optional<PrefixScope> scope = std::nullopt;  // never zero
    // Who holds it, where that is another node than the one that is asked; only with a scope.
    std::optional<PrefixSource> source = std::nullopt;
    friend bool operator==(const ChatRequest&, const ChatRequest&) = default;
};

enum class FinishReason : std::uint8_t { stop, length };

struct Usage {
    TokenCount prompt;
    TokenCount completion;
    TokenCount reused{};  // of the prompt: computed for an earlier request, at most `prompt`
    friend bool operator==(const Usage&, const Usage&) = default;
};

// Why a request ended without an answer, as the asking program learns it.
enum class AskFault : std::uint8_t {
    bad_request,       // the node refuses the request; the message names the parameter
    context_exceeded,  // the prompt does not fit the model's context
    model_unknown,
    overloaded,     // every slot and queue place is taken
    no_circuit,     // no circuits are ready
    no_model_node,  // no node serves the model, or none answers
    engine_failed,  // the engine died and the request could not be moved
    node_lost,      // the node was lost after the first token
    refused,        // the node's policy (unpaid, expired, replayed)
    cancelled,
    timeout,
    disagreed,  // too few of the nodes that were asked gave the same reply; said by the client, never on the wire
};

struct ChatDelta {
    Plaintext text;
};
// How many of the nodes that were asked gave this reply, where replies are compared.
struct Agreement {
    std::uint8_t agreed = 0;
    std::uint8_t asked = 0;
    friend bool operator==(const Agreement&, const Agreement&) = default;
};
struct ChatEnd {
    FinishReason reason = FinishReason::stop;
    Usage usage;
    std::optional<Agreement> agreement = {};  // the client's own; never on the wire
    std::optional<KeptPrefix> kept = {};      // of a request with a scope, where the engine can hand it on
};
struct ChatFault {
    AskFault fault = AskFault::engine_failed;
    std::string message;
};

}  // namespace shoal
