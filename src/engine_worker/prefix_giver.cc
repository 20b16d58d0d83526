#include "engine_worker/prefix_giver.h"

#include <algorithm>

namespace shoal::engine_worker {

PrefixGiver::PrefixGiver(const Backbone& backbone, PrefixCache& kept, Emit emit, std::uint64_t copies_bytes_max)
    : backbone_(backbone), kept_(kept), emit_(std::move(emit)), copies_bytes_max_(copies_bytes_max) {}

std::uint64_t PrefixGiver::copies_bytes() const {
    std::uint64_t out = 0;
    for (const Hashing& each : hashing_) out += each.hashing.rows().copy_bytes();
    for (const auto& [id, outlet] : reads_) out += outlet.copy_bytes();
    return out;
}

std::optional<SnapshotRows> PrefixGiver::copy(std::int32_t sequence, std::uint32_t tokens) const {
    const KvShape* shape = backbone_.kv_shape();
    if (shape == nullptr) return std::nullopt;
    if (copies_bytes() + snapshot_bytes(*shape, tokens) > copies_bytes_max_) return std::nullopt;
    Result<KvCopy> copy = backbone_.copy(sequence);
    if (!copy || copy->shape() != *shape || copy->tokens() < tokens) return std::nullopt;
    return SnapshotRows(std::move(*copy), tokens);
}

void PrefixGiver::finish(const engine::Finished& finished, const PrefixScope& scope,
                         std::span<const std::int32_t> prompt, std::int32_t sequence) {
    const std::size_t tokens = prompt.size() / prefix_block_tokens * prefix_block_tokens;
    std::optional<SnapshotRows> rows;
    if (tokens >= tokens_min) rows = copy(sequence, static_cast<std::uint32_t>(tokens));
    if (!rows) return emit_(finished);
    hashing_.push_back(
        {finished, prefix_chain(scope, prompt.first(tokens)), sequence, SnapshotHashing(std::move(*rows))});
}

void PrefixGiver::work(std::chrono::steady_clock::duration step) {
    const auto ms = static_cast<std::size_t>(std::chrono::duration_cast<std::chrono::milliseconds>(step).count());
    const std::size_t bytes = std::clamp(ms * work_bytes_per_ms, work_bytes, 16 * work_bytes);
    if (hashing_.empty() || !hashing_.front().hashing.work(bytes)) return;
    Hashing& done = hashing_.front();
    SnapshotHead head = done.hashing.head();
    const std::uint32_t tokens = done.hashing.rows().tokens();
    const KeptPrefix name{tokens, snapshot_bytes(done.hashing.rows().shape(), tokens), head.digest()};
    // It may have gone to another job, or had to make room.
    if (kept_.describe(done.sequence, done.chain, tokens, std::move(head.bytes))) done.finished.kept = name;
    emit_(done.finished);
    hashing_.pop_front();
}

bool PrefixGiver::knows(JobId job) const {
    return std::any_of(hashing_.begin(), hashing_.end(), [job](const Hashing& h) { return h.finished.job == job; });
}

bool PrefixGiver::hurry(JobId job) {
    for (auto at = hashing_.begin(); at != hashing_.end(); ++at) {
        if (at->finished.job != job) continue;
        emit_(at->finished);
        hashing_.erase(at);
        return true;
    }
    return false;
}

void PrefixGiver::open(PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) {
    if (reads_.contains(read.value())) return;  // an id names one read
    if (reads_.size() >= limits::prefix_reads_max) return emit_(engine::PrefixGone{read});
    const std::optional<PrefixCache::Described> found = kept_.find(chain, tokens);
    std::optional<SnapshotRows> rows;
    if (found) rows = copy(found->sequence, tokens);
    if (!rows) return emit_(engine::PrefixGone{read});
    SnapshotOutlet outlet(*found->head, std::move(*rows));
    if (give(read, outlet, engine::pipe::prefix_pieces_ahead)) reads_.emplace(read.value(), std::move(outlet));
}

void PrefixGiver::more(PrefixReadId read) {
    const auto at = reads_.find(read.value());
    if (at != reads_.end() && !give(read, at->second, 1)) reads_.erase(at);
}

bool PrefixGiver::give(PrefixReadId read, SnapshotOutlet& outlet, unsigned pieces) {
    for (; pieces > 0 && !outlet.ended(); --pieces) {
        Bytes bytes = outlet.next(limits::prefix_piece_bytes);
        engine::pipe::FromWorker piece = engine::PrefixPiece{read, std::move(bytes), outlet.ended()};
        emit_(piece);
        Bytes& spent = std::get<engine::PrefixPiece>(piece).bytes;
        wipe(spent.data(), spent.size());
    }
    return !outlet.ended();
}

}  // namespace shoal::engine_worker
