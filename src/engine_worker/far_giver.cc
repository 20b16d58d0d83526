#include "engine_worker/far_giver.h"

#include <algorithm>

#include "base/secret.h"
#include "engine_worker/prefix_giver.h"

namespace shoal::engine_worker {

namespace {

// A row goes into a piece.
bool rows_fit(const KvShape& shape) {
    return std::all_of(shape.layers.begin(), shape.layers.end(), [](const KvLayer& layer) {
        return std::max(layer.keys.bytes, layer.values.bytes) <= limits::prefix_piece_bytes;
    });
}

}  // namespace

void FarGiver::finish(const engine::Finished& finished, const PrefixScope& scope, std::span<const std::int32_t> prompt,
                      std::int32_t sequence) {
    const std::size_t tokens = prompt.size() / prefix_block_tokens * prefix_block_tokens;
    const KvShape* shape = backbone_.kv_shape();
    const bool names = shape != nullptr && rows_fit(*shape) && tokens >= PrefixGiver::tokens_min &&
                       snapshot_bytes(*shape, static_cast<std::uint32_t>(tokens)) <= backbone_.moved_bytes_max();
    if (!names) return emit_(finished);
    naming_.push_back(
        {finished, prefix_chain(scope, prompt.first(tokens)), sequence, static_cast<std::uint32_t>(tokens)});
}

bool FarGiver::knows(JobId job) const {
    return std::any_of(naming_.begin(), naming_.end(), [job](const Naming& n) { return n.finished.job == job; });
}

bool FarGiver::hurry(JobId job) {
    for (auto at = naming_.begin(); at != naming_.end(); ++at) {
        if (at->finished.job != job) continue;
        emit_(at->finished);
        naming_.erase(at);
        return true;
    }
    return false;
}

void FarGiver::open(PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) {
    if (reads_.contains(read.value())) return;  // an id names one read
    const auto found = kept_.find(chain, tokens);
    if (reads_.size() >= limits::prefix_reads_max || !found || backbone_.kv_shape() == nullptr) {
        return emit_(engine::PrefixGone{read});
    }
    reads_[read.value()] = {chain, tokens, *backbone_.kv_shape(), engine::pipe::prefix_pieces_ahead - 1};
    emit_(engine::PrefixPiece{read, *found->head, false});
}

void FarGiver::more(PrefixReadId read) {
    const auto at = reads_.find(read.value());
    if (at != reads_.end()) ++at->second.wanted;
}

bool FarGiver::begin() {
    return ask_hashes() || ask_rows();
}

bool FarGiver::ask_hashes() {
    for (auto at = naming_.begin(); at != naming_.end();) {
        if (at->asked) {
            ++at;
            continue;
        }
        // It may have gone to another job, or had to make room.
        if (backbone_.kv_shape() == nullptr || !kept_.holds(at->sequence, at->chain, at->tokens)) {
            emit_(at->finished);
            at = naming_.erase(at);
            continue;
        }
        at->asked = true;
        asked_.push_back({.naming = at->finished.job});
        backbone_.begin_read({static_cast<std::uint16_t>(at->sequence), at->tokens});
        return true;
    }
    return false;
}

bool FarGiver::ask_rows() {
    for (std::size_t left = reads_.size(); left > 0; --left) {
        auto at = reads_.upper_bound(last_read_);
        if (at == reads_.end()) at = reads_.begin();
        last_read_ = at->first;
        Reading& reading = at->second;
        const KvShape* shape = backbone_.kv_shape();
        const auto found = kept_.find(reading.chain, reading.tokens);
        if (!found || shape == nullptr || *shape != reading.shape) {
            emit_(engine::PrefixGone{PrefixReadId(at->first)});
            reads_.erase(at);
            continue;
        }
        if (reading.wanted == 0 || reading.layer == shape->layers.size()) continue;
        --reading.wanted;
        const KvLayer& layer = shape->layers[reading.layer];
        const bool keys = reading.side == KvSide::keys;
        const std::uint32_t row = (keys ? layer.keys : layer.values).bytes;
        const auto count = static_cast<std::uint16_t>(
            std::min<std::size_t>({std::max<std::size_t>(limits::prefix_piece_bytes / row, 1), limits::stage_rows_max,
                                   std::size_t{reading.tokens} - reading.position}));
        const wire::StageReadOf of{static_cast<std::uint16_t>(found->sequence),
                                   reading.tokens,
                                   keys ? wire::StageReadWhat::keys : wire::StageReadWhat::values,
                                   static_cast<std::uint16_t>(reading.layer),
                                   reading.position,
                                   count};
        reading.position += count;
        if (reading.position == reading.tokens) {
            reading.position = 0;
            reading.side = keys && layer.values.bytes > 0 ? KvSide::values : KvSide::keys;
            if (reading.side == KvSide::keys) ++reading.layer;
        }
        asked_.push_back({.naming = {}, .read = at->first, .last = reading.layer == shape->layers.size()});
        backbone_.begin_read(of);
        return true;
    }
    return false;
}

void FarGiver::given(Bytes bytes) {
    ASSERT(!asked_.empty());
    const Asked asked = asked_.front();
    asked_.pop_front();
    if (asked.naming) {
        const auto at = std::find_if(naming_.begin(), naming_.end(),
                                     [&](const Naming& each) { return each.finished.job == *asked.naming; });
        if (at == naming_.end()) return;  // it was in a hurry
        name(*at, bytes);
        emit_(at->finished);
        naming_.erase(at);
        return;
    }
    if (!reads_.contains(asked.read)) return;
    engine::pipe::FromWorker piece = engine::PrefixPiece{PrefixReadId(asked.read), std::move(bytes), asked.last};
    emit_(piece);
    Bytes& spent = std::get<engine::PrefixPiece>(piece).bytes;
    wipe(spent.data(), spent.size());
    if (asked.last) reads_.erase(asked.read);
}

void FarGiver::name(Naming& naming, ByteView hashes) {
    const KvShape* shape = backbone_.kv_shape();
    if (shape == nullptr || hashes.size() != 32 * shape->layers.size()) return;
    SnapshotHead head = head_of_hashes(*shape, naming.tokens, hashes);
    const KeptPrefix name{naming.tokens, snapshot_bytes(*shape, naming.tokens), head.digest()};
    if (kept_.describe(naming.sequence, naming.chain, naming.tokens, std::move(head.bytes)))
        naming.finished.kept = name;
}

void FarGiver::lost() {
    asked_.clear();
    for (const Naming& each : std::exchange(naming_, {})) emit_(each.finished);
    for (const auto& [read, reading] : std::exchange(reads_, {})) emit_(engine::PrefixGone{PrefixReadId(read)});
}

}  // namespace shoal::engine_worker
