// Which sequences still hold the tokens of a job that has ended, and how much of a new prompt one of them begins with.
//
// Rules
//   1. What is kept is found by the hashes of its blocks of tokens: h_0 is zero, h_i = BLAKE2b-256 of h_i-1 and the
//      tokens of block i (u32 each) with the scope as key. A reuse is a number of whole blocks.
//      Rationale: equal hashes are equal prefixes, and no copy of the tokens or the scope stays here.
//   2. Nothing is found under another scope, however equal the tokens.
//      Rationale: how soon the first token comes would tell one user what another has asked.
//   3. At least the last token of a prompt is left over: its logits are wanted.
//   4. What was kept first goes first. Whatever is used again is taken out and kept anew.
//   5. Another engine finds a beginning by its last hash and its length, once its snapshot has been described: who can
//      say the hash knows the scope and the tokens, or was told by one who does.
//
// Pure: it only says what a batcher should do with its sequences. At most limits::engine_sequences_max entries.
// Cost: a hash a block; a comparison a block that an entry has in common. One thread.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace shoal::engine_worker {

inline constexpr std::uint32_t prefix_block_tokens = 16;

// h of the last of so many tokens (rule 1); they are whole blocks.
ByteArray<32> prefix_chain(const PrefixScope& scope, std::span<const std::int32_t> tokens);

class PrefixCache {
public:
    // A sequence that is not kept any more.
    struct Taken {
        std::int32_t sequence = 0;
        std::uint32_t held = 0;    // tokens that it was kept with
        std::uint32_t common = 0;  // that the prompt begins with; whole blocks
    };

    // Keeps the sequence, which holds `tokens`; gives how many of them are kept: whole blocks, from the first. 0: too
    // few for one, nothing is kept.
    std::uint32_t keep(const PrefixScope& scope, std::span<const std::int32_t> tokens, std::int32_t sequence);
    // The sequence with the longest beginning of the prompt; of equal ones, that kept last.
    std::optional<Taken> take(const PrefixScope& scope, std::span<const std::int32_t> prompt);
    // That kept first; nullopt: there is none.
    std::optional<Taken> take_oldest();

    // Of the sequence, if it is still kept and begins so: the head of a snapshot of so many tokens (kv_snapshot.h). It
    // takes the place of one that was described before. False: it is not.
    bool describe(std::int32_t sequence, const ByteArray<32>& chain, std::uint32_t tokens, Bytes head);
    // Whether it is kept, and begins so.
    bool holds(std::int32_t sequence, const ByteArray<32>& chain, std::uint32_t tokens) const;
    // Rule 5.
    struct Described {
        std::int32_t sequence = 0;
        const Bytes* head = nullptr;  // until the next call that changes the cache
    };
    std::optional<Described> find(const ByteArray<32>& chain, std::uint32_t tokens) const;

    // Of all that is kept.
    std::uint32_t tokens() const { return tokens_; }
    bool empty() const { return entries_.empty(); }

private:
    struct Entry {
        std::int32_t sequence = 0;
        std::vector<ByteArray<32>> blocks;  // bounded: limits::context_tokens_max / prefix_block_tokens
        std::uint32_t described = 0;        // tokens of the snapshot whose head it is; 0: none
        Bytes head;
        bool begins(const ByteArray<32>& chain, std::uint32_t tokens) const;
        std::uint32_t held() const { return static_cast<std::uint32_t>(blocks.size()) * prefix_block_tokens; }
    };
    Taken take_at(std::size_t index);

    std::vector<Entry> entries_;  // bounded: limits::engine_sequences_max; that kept first stands first
    std::uint32_t tokens_ = 0;
};

}  // namespace shoal::engine_worker
