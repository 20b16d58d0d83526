#include "engine/fake_prefixes.h"

#include "base/limits.h"

namespace shoal::engine {
namespace {

constexpr std::uint32_t block = 16;

ByteArray<32> chain_of(const PrefixScope& scope, std::uint32_t tokens) {
    ByteArray<32> chain = scope.bytes();
    store_le<std::uint32_t>(chain.data(), load_le<std::uint32_t>(chain.data()) ^ tokens);
    return chain;
}

// No cryptography here: a change is seen, and nobody attacks a test.
ByteArray<32> digest_of(ByteView bytes) {
    ByteArray<32> digest{};
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
    for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100'0000'01b3;
    store_le<std::uint64_t>(digest.data(), hash);
    return digest;
}

}  // namespace

Bytes FakePrefixes::snapshot(const ByteArray<32>& chain, std::uint32_t tokens) const {
    Bytes out(std::size_t{tokens} * bytes_per_token_);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(chain[i % chain.size()] + i / 32);
    return out;
}

std::optional<KeptPrefix> FakePrefixes::keep(const PrefixScope& scope, std::uint32_t prompt) {
    const std::uint32_t tokens = prompt - prompt % block;
    if (tokens == 0) return std::nullopt;
    const ByteArray<32> chain = chain_of(scope, tokens);
    kept_.insert(chain);
    const Bytes bytes = snapshot(chain, tokens);
    return KeptPrefix{tokens, bytes.size(), digest_of(bytes)};
}

bool FakePrefixes::waits(const Job& job, std::uint32_t prompt, Duration recompute) {
    const auto& source = job.request.source;
    if (!source || source->kept.tokens >= prompt) return false;
    waiting_[job.id] = {*source, {}};
    events_.emplace_back(PrefixWanted{job.id, chain_of(*job.request.scope, source->kept.tokens), *source, recompute});
    return true;
}

void FakePrefixes::forget(JobId job) {
    waiting_.erase(job);
}

void FakePrefixes::clear() {
    kept_.clear();
    waiting_.clear();
    for (const auto& [read, bytes] : std::exchange(reads_, {})) events_.emplace_back(PrefixGone{read});
}

void FakePrefixes::give(Now now, JobId job, Bytes bytes, bool last) {
    const auto at = waiting_.find(job);
    if (at == waiting_.end()) return;
    append(at->second.bytes, bytes);
    if (!last) return;
    const Waiting done = std::move(at->second);
    waiting_.erase(at);
    const bool same = digest_of(done.bytes) == done.source.kept.digest;
    if (!same) events_.emplace_back(PrefixRefused{job, "other bytes than the digest says"});
    settled_(now, job, same ? done.source.kept.tokens : 0);
}

void FakePrefixes::give_up(Now now, JobId job) {
    if (waiting_.erase(job) > 0) settled_(now, job, 0);
}

void FakePrefixes::open(Now now, PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) {
    if (!kept_.contains(chain) || reads_.size() >= limits::prefix_reads_max) {
        events_.emplace_back(PrefixGone{read});
        return;
    }
    Read& begun = reads_[read];
    begun.bytes = snapshot(chain, tokens);
    if (alters_) begun.bytes[begun.bytes.size() / 2] ^= 1;
    more(now, read);
}

void FakePrefixes::more(Now, PrefixReadId id) {
    const auto at = reads_.find(id);
    if (at == reads_.end()) return;
    Read& read = at->second;
    const std::size_t size = std::min(limits::prefix_piece_bytes, read.bytes.size() - read.at);
    const bool last = read.at + size == read.bytes.size();
    events_.emplace_back(PrefixPiece{id, to_bytes(ByteView(read.bytes).subspan(read.at, size)), last});
    read.at += size;
    if (last) reads_.erase(at);
}

void FakePrefixes::close(Now, PrefixReadId read) {
    reads_.erase(read);
}

std::optional<PrefixEvent> FakePrefixes::poll_prefix() {
    if (events_.empty()) return std::nullopt;
    PrefixEvent next = std::move(events_.front());
    events_.pop_front();
    return next;
}

}  // namespace shoal::engine
