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

void Outlet::add(Operation operation) {
    settle(settled_by(operation));
    const bool wanted = successor_ && (successor_->fresh || number_of(operation) > successor_->received);
    if (wanted) out_.push_back(as_message(operation));
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) bytes_ += step->rows.tensor.size();
    open_.push_back(std::move(operation));
}

void Outlet::add_replay(wire::StageReplay replay) {
    keep(replay.rows);
    if (replay.final) {
        primed_ = true;
        settled_ = replay.settled;
    }
    if (successor_ && successor_->fresh) out_.emplace_back(std::move(replay));
}

void Outlet::settle(std::uint64_t number) {
    while (!open_.empty() && number_of(open_.front()) <= number) {
        apply(open_.front());
        open_.pop_front();
    }
    settled_ = std::max(settled_, number);
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
    successor_ = joined;
    if (joined.fresh) replay_all();
    for (const Operation& operation : open_) {
        if (joined.fresh || number_of(operation) > joined.received) out_.push_back(as_message(operation));
    }
    return ok();
}

void Outlet::detach() {
    successor_.reset();
    out_.clear();
}

void Outlet::replay_all() {
    std::map<std::uint16_t, std::uint32_t> sent;
    for (;;) {
        wire::StageReplay piece = next_piece(sent);
        const bool last = std::all_of(rows_.begin(), rows_.end(), [&](const auto& entry) {
            return sent[entry.first] * row_bytes_ == entry.second.size();
        });
        piece.settled = settled_;
        piece.final = last && primed_;
        if (piece.final || !piece.rows.parts.empty()) out_.emplace_back(std::move(piece));
        if (last) return;
    }
}

wire::StageReplay Outlet::next_piece(std::map<std::uint16_t, std::uint32_t>& sent) const {
    wire::StageReplay piece;
    std::size_t room = std::min<std::size_t>(wire::stage_rows_max, wire::stage_tensor_bytes_max / row_bytes_);
    for (const auto& [sequence, rows] : rows_) {
        const std::uint32_t from = sent[sequence];
        const std::size_t count = std::min(room, rows.size() / row_bytes_ - from);
        if (count == 0) continue;
        piece.rows.parts.push_back({sequence, from, static_cast<std::uint16_t>(count)});
        append(piece.rows.tensor, ByteView(rows).subspan(from * row_bytes_, count * row_bytes_));
        sent[sequence] += static_cast<std::uint32_t>(count);
        room -= count;
        if (room == 0) break;
    }
    return piece;
}

std::optional<wire::StageMessage> Outlet::poll() {
    if (out_.empty()) return std::nullopt;
    wire::StageMessage next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::pipeline
