#include "pipeline/outlet.h"

#include <algorithm>

namespace shoal::pipeline {

std::uint64_t number_of(const Operation& operation) {
    return std::visit([](const auto& op) { return op.number; }, operation);
}

namespace {

std::uint64_t settled_by(const Operation& operation) {
    return std::visit([](const auto& op) { return op.settled; }, operation);
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
    if (open_.size() >= limits::stage_unsettled_max) {
        return fail(Errc::exhausted, "pipeline: too many operations wait for a result");
    }
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) bytes_ += step->rows.tensor.size();
    open_.push_back(std::move(operation));
    return ok();
}

void Outlet::add_replay(const wire::StageReplay& replay) {
    ASSERT(!primed_);
    keep(replay.rows);
    if (!replay.final) return;
    primed_ = true;
    settled_ = std::max(settled_, replay.settled);
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
    for (const auto& [sequence, rows] : rows_) bytes_ -= rows.size();
    rows_.clear();
    dropped_ = true;
}

void Outlet::apply(const Operation& operation) {
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) {
        bytes_ -= step->rows.tensor.size();
        keep(step->rows);
    } else {
        const auto& truncate = std::get<wire::StageTruncate>(operation);
        cut(truncate.sequence, truncate.length);
    }
}

void Outlet::keep(const wire::StageRows& rows) {
    if (dropped_) return;
    std::size_t at = 0;
    for (const wire::StagePart& part : rows.parts) {
        const std::size_t size = part.rows * row_bytes_;
        append(rows_[part.sequence], ByteView(rows.tensor).subspan(at, size));
        bytes_ += size;
        at += size;
    }
}

void Outlet::cut(std::uint16_t sequence, std::uint32_t length) {
    const auto at = rows_.find(sequence);
    if (at == rows_.end()) return;
    const std::size_t left = std::min(at->second.size(), length * row_bytes_);
    bytes_ -= at->second.size() - left;
    at->second.resize(left);
    if (left == 0) rows_.erase(at);
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
        return as_message(operation);
    }
    return std::nullopt;
}

std::optional<wire::StageMessage> Outlet::poll_replay() {
    wire::StageReplay piece;
    piece.rows = next_rows(*replayed_);
    const bool all = std::all_of(rows_.begin(), rows_.end(), [&](const auto& entry) {
        return (*replayed_)[entry.first] * row_bytes_ == entry.second.size();
    });
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

wire::StageRows Outlet::next_rows(Lengths& sent) const {
    wire::StageRows out;
    std::size_t room = std::min<std::size_t>(limits::stage_rows_max, limits::stage_tensor_bytes_max / row_bytes_);
    for (const auto& [sequence, rows] : rows_) {
        const std::uint32_t from = sent[sequence];
        const std::size_t count = std::min(room, rows.size() / row_bytes_ - from);
        if (count == 0) continue;
        out.parts.push_back({sequence, from, static_cast<std::uint16_t>(count)});
        append(out.tensor, ByteView(rows).subspan(from * row_bytes_, count * row_bytes_));
        sent[sequence] += static_cast<std::uint32_t>(count);
        room -= count;
        if (room == 0) break;
    }
    return out;
}

}  // namespace shoal::pipeline
