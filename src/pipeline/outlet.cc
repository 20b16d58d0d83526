#include "pipeline/outlet.h"

#include <algorithm>

namespace shoal::pipeline {

std::uint64_t number_of(const Operation& operation) {
    return std::visit([](const auto& op) { return op.number; }, operation);
}

std::uint64_t settled_by(const Operation& operation) {
    return std::visit([](const auto& op) { return op.settled; }, operation);
}

namespace {

// Of the rows that it holds.
std::size_t bytes_of(const Operation& operation) {
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) return step->rows.tensor.size();
    if (const auto* fill = std::get_if<wire::StageFill>(&operation)) return fill->rows.tensor.size();
    if (const auto* read = std::get_if<wire::StageRead>(&operation)) return read->bytes.size();
    return 0;
}

std::size_t rows_of_a_piece(std::size_t row_bytes) {
    return std::clamp<std::size_t>(limits::stage_piece_bytes / row_bytes, 1, limits::stage_rows_max);
}

wire::StageMessage as_message(const Operation& operation) {
    return std::visit([](const auto& op) -> wire::StageMessage { return op; }, operation);
}

}  // namespace

Outlet::Outlet(std::size_t row_bytes, std::size_t bytes_max, bool primed)
    : row_bytes_(row_bytes), bytes_max_(bytes_max), primed_(primed) {
    ASSERT(row_bytes > 0);
}

Status Outlet::add(Operation operation) {
    settle(settled_by(operation));
    if (open_.size() >= limits::stage_open_max) {
        return fail(Errc::exhausted, "pipeline: too many operations wait for a result");
    }
    bytes_ += bytes_of(operation);
    open_.push_back(std::move(operation));
    return ok();
}

Status Outlet::add_replay(const wire::StageReplay& replay) {
    ASSERT(!primed_);
    keep(replay.rows);
    if (replay.final) {
        primed_ = true;
        settled_ = std::max(settled_, replay.settled);
    }
    return within_bounds();
}

Status Outlet::add_refill(const wire::StageRefill& refill) {
    ASSERT(!primed_);
    keep(refill.rows);
    return within_bounds();
}

// Of a replay nothing may be dropped: who comes behind is being primed with it.
Status Outlet::within_bounds() const {
    return bytes_ <= bytes_max_ ? ok() : fail(Errc::exhausted, "pipeline: a replay is longer than what is kept");
}

const Operation* Outlet::unsettled(std::uint64_t number) const {
    const auto at = std::find_if(open_.begin(), open_.end(),
                                 [number](const Operation& operation) { return number_of(operation) == number; });
    return at == open_.end() ? nullptr : &*at;
}

void Outlet::settle(std::uint64_t number) {
    may_settle_ = std::max(may_settle_, number);
    settle_what_is();
}

void Outlet::settle_what_is() {
    if (replayed_) return;  // what was replayed must stay as it is until the operations follow
    while (!open_.empty() && number_of(open_.front()) <= may_settle_) {
        apply(open_.front());
        settled_ = number_of(open_.front());
        open_.pop_front();
    }
    if (bytes_ <= bytes_max_ || dropped_) return;
    for (const auto& [sequence, kept] : kept_) bytes_ -= kept.fills.size() + kept.rows.size();
    kept_.clear();
    dropped_ = true;
}

void Outlet::apply(const Operation& operation) {
    bytes_ -= bytes_of(operation);
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) {
        keep(step->rows);
    } else if (const auto* fill = std::get_if<wire::StageFill>(&operation)) {
        keep(fill->rows);
    } else if (const auto* truncate = std::get_if<wire::StageTruncate>(&operation)) {
        cut(truncate->sequence, truncate->length);
    }
}

void Outlet::keep(const wire::StageRows& rows) {
    if (dropped_) return;
    std::size_t at = 0;
    for (const wire::StagePart& part : rows.parts) {
        const std::size_t size = part.rows * row_bytes_;
        append(kept_[part.sequence].rows, ByteView(rows.tensor).subspan(at, size));
        bytes_ += size;
        at += size;
    }
}

void Outlet::keep(const wire::StageKvRows& rows) {
    if (dropped_) return;
    Kept& kept = kept_[rows.sequence];
    append(kept.fills, rows.tensor);
    kept.filled += rows.rows;
    bytes_ += rows.tensor.size();
}

std::uint32_t Outlet::length(const Kept& kept) const {
    return kept.filled + static_cast<std::uint32_t>(kept.rows.size() / row_bytes_);
}

void Outlet::cut(std::uint16_t sequence, std::uint32_t length) {
    const auto at = kept_.find(sequence);
    if (at == kept_.end()) return;
    Kept& kept = at->second;
    const std::size_t before = kept.fills.size() + kept.rows.size();
    if (length < kept.filled) {
        kept.fills.resize(kept.fills.size() / kept.filled * length);
        kept.filled = length;
    }
    kept.rows.resize(std::min(kept.rows.size(), (length - kept.filled) * row_bytes_));
    bytes_ -= before - kept.fills.size() - kept.rows.size();
    if (length == 0) kept_.erase(at);
}

Status Outlet::attach(const wire::StageJoined& joined) {
    if (joined.fresh && dropped_) {
        return fail(Errc::exhausted, "pipeline: the rows that a new hop needs are not kept any more");
    }
    if (!joined.fresh && primed_ && joined.received < settled_) {
        return fail(Errc::invalid, "pipeline: the next hop has lost what it had");
    }
    attached_ = true;
    sent_ = joined.received;
    if (joined.fresh) replayed_.emplace();
    return ok();
}

void Outlet::detach() {
    attached_ = false;
    replayed_.reset();
    settle_what_is();
}

std::optional<wire::StageMessage> Outlet::poll() {
    if (!attached_) return std::nullopt;
    if (replayed_) return poll_replay();
    for (const Operation& operation : open_) {
        if (number_of(operation) <= sent_) continue;
        sent_ = number_of(operation);
        most_sent_ = std::max(most_sent_, sent_);
        return as_message(operation);
    }
    return std::nullopt;
}

std::optional<wire::StageMessage> Outlet::poll_replay() {
    if (auto fill = next_fill(*replayed_)) return *std::move(fill);
    wire::StageReplay piece;
    piece.rows = next_rows(*replayed_);
    const bool all = std::all_of(kept_.begin(), kept_.end(),
                                 [&](const auto& entry) { return (*replayed_)[entry.first] == length(entry.second); });
    piece.settled = settled_;
    piece.final = all && primed_;
    if (!piece.final && piece.rows.parts.empty()) return std::nullopt;  // more will come from the hop before
    if (piece.final) {
        replayed_.reset();
        sent_ = settled_;
        settle_what_is();
    }
    return piece;
}

std::optional<wire::StageRefill> Outlet::next_fill(Lengths& sent) const {
    for (const auto& [sequence, kept] : kept_) {
        std::uint32_t& from = sent[sequence];
        if (from >= kept.filled) continue;
        const std::size_t row = kept.fills.size() / kept.filled;
        const std::size_t room = row == 0 ? limits::stage_rows_max : rows_of_a_piece(row);
        const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(room, kept.filled - from));
        wire::StageRefill out{{sequence, from, static_cast<std::uint16_t>(count), {}}};
        append(out.rows.tensor, ByteView(kept.fills).subspan(from * row, count * row));
        from += count;
        return out;
    }
    return std::nullopt;
}

wire::StageRows Outlet::next_rows(Lengths& sent) const {
    wire::StageRows out;
    std::size_t room = rows_of_a_piece(row_bytes_);
    for (const auto& [sequence, kept] : kept_) {
        std::uint32_t& from = sent[sequence];
        const std::size_t count = std::min<std::size_t>(room, length(kept) - from);
        if (count == 0) continue;
        out.parts.push_back({sequence, from, static_cast<std::uint16_t>(count)});
        append(out.tensor, ByteView(kept.rows).subspan((from - kept.filled) * row_bytes_, count * row_bytes_));
        from += static_cast<std::uint32_t>(count);
        room -= count;
        if (room == 0) break;
    }
    return out;
}

}  // namespace shoal::pipeline
