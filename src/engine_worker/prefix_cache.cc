#include "engine_worker/prefix_cache.h"

#include <algorithm>

#include "base/assert.h"
#include "base/limits.h"
#include "crypto/hash.h"

namespace shoal::engine_worker {
namespace {

std::vector<ByteArray<32>> hash_blocks(const PrefixScope& scope, std::span<const std::int32_t> tokens) {
    std::vector<ByteArray<32>> out;
    out.reserve(tokens.size() / prefix_block_tokens);
    ByteArray<32> before{};
    ByteArray<4 * prefix_block_tokens> block;
    for (; tokens.size() >= prefix_block_tokens; tokens = tokens.subspan(prefix_block_tokens)) {
        for (std::size_t i = 0; i < prefix_block_tokens; ++i) {
            store_le<std::uint32_t>(block.data() + 4 * i, static_cast<std::uint32_t>(tokens[i]));
        }
        before = crypto::blake2b<32>(scope.view(), {before, block});
        out.push_back(before);
    }
    wipe(block.data(), block.size());
    return out;
}

}  // namespace

ByteArray<32> prefix_chain(const PrefixScope& scope, std::span<const std::int32_t> tokens) {
    ASSERT(!tokens.empty() && tokens.size() % prefix_block_tokens == 0);
    return hash_blocks(scope, tokens).back();
}

std::uint32_t PrefixCache::keep(const PrefixScope& scope, std::span<const std::int32_t> tokens, std::int32_t sequence) {
    Entry entry;
    entry.sequence = sequence;
    entry.blocks = hash_blocks(scope, tokens);
    const std::uint32_t held = entry.held();
    if (held == 0) return 0;
    ASSERT(entries_.size() < limits::engine_sequences_max);
    entries_.push_back(std::move(entry));
    tokens_ += held;
    return held;
}

std::optional<PrefixCache::Taken> PrefixCache::take(const PrefixScope& scope, std::span<const std::int32_t> prompt) {
    if (prompt.empty()) return std::nullopt;
    prompt = prompt.first(prompt.size() - 1);
    const std::vector<ByteArray<32>> wanted = hash_blocks(scope, prompt);
    std::size_t best = 0, most = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        const std::vector<ByteArray<32>>& blocks = entries_[i].blocks;
        const auto end = std::mismatch(wanted.begin(), wanted.end(), blocks.begin(), blocks.end()).first;
        const auto common = static_cast<std::size_t>(end - wanted.begin());
        if (common == 0 || common < most) continue;
        best = i;
        most = common;
    }
    if (most == 0) return std::nullopt;
    Taken out = take_at(best);
    out.common = static_cast<std::uint32_t>(most) * prefix_block_tokens;
    return out;
}

std::optional<PrefixCache::Taken> PrefixCache::take_oldest() {
    if (entries_.empty()) return std::nullopt;
    return take_at(0);
}

bool PrefixCache::Entry::begins(const ByteArray<32>& chain, std::uint32_t tokens) const {
    if (tokens == 0 || tokens % prefix_block_tokens != 0 || tokens > held()) return false;
    return crypto::equal_constant_time(blocks[tokens / prefix_block_tokens - 1], chain);
}

bool PrefixCache::describe(std::int32_t sequence, const ByteArray<32>& chain, std::uint32_t tokens, Bytes head) {
    for (Entry& entry : entries_) {
        if (entry.sequence != sequence || !entry.begins(chain, tokens)) continue;
        entry.described = tokens;
        entry.head = std::move(head);
        return true;
    }
    return false;
}

bool PrefixCache::holds(std::int32_t sequence, const ByteArray<32>& chain, std::uint32_t tokens) const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return entry.sequence == sequence && entry.begins(chain, tokens); });
}

std::optional<PrefixCache::Described> PrefixCache::find(const ByteArray<32>& chain, std::uint32_t tokens) const {
    for (const Entry& entry : entries_) {
        if (entry.described != tokens) continue;
        if (entry.begins(chain, tokens)) return Described{entry.sequence, &entry.head};
    }
    return std::nullopt;
}

PrefixCache::Taken PrefixCache::take_at(std::size_t index) {
    const auto at = entries_.begin() + static_cast<std::ptrdiff_t>(index);
    const Taken out{at->sequence, at->held(), 0};
    entries_.erase(at);
    tokens_ -= out.held;
    return out;
}

}  // namespace shoal::engine_worker
