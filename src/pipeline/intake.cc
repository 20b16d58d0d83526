#include "pipeline/intake.h"

namespace shoal::pipeline {

Intake::Intake(std::size_t row_bytes, std::uint32_t context, std::uint16_t sequences, bool primed)
    : row_bytes_(row_bytes), context_(context), sequences_(sequences), primed_(primed) {}

Status Intake::take(const wire::StageReplay& replay) {
    if (primed_) return fail(Errc::invalid, "pipeline: REPLAY to a hop that is not fresh");
    TRY(fits(replay.rows));
    grow(replay.rows);
    if (replay.final) {
        primed_ = true;
        last_ = replay.settled;
    }
    return ok();
}

Status Intake::take(const Operation& operation) {
    if (!primed_) return fail(Errc::invalid, "pipeline: an operation before the last REPLAY");
    if (number_of(operation) != last_ + 1) return fail(Errc::invalid, "pipeline: an operation out of order");
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) {
        TRY(fits(step->rows));
        grow(step->rows);
    } else {
        const auto& truncate = std::get<wire::StageTruncate>(operation);
        if (truncate.sequence >= sequences_) return fail(Errc::invalid, "pipeline: a sequence that is not there");
        const auto at = lengths_.find(truncate.sequence);
        if (truncate.length > (at == lengths_.end() ? 0 : at->second)) {
            return fail(Errc::invalid, "pipeline: a truncation that would lengthen");
        }
        if (at != lengths_.end()) at->second = truncate.length;
    }
    ++last_;
    return ok();
}

void Intake::start_over() {
    ASSERT(!primed_);
    lengths_.clear();
}

Status Intake::fits(const wire::StageRows& rows) const {
    std::size_t count = 0;
    for (const wire::StagePart& part : rows.parts) {
        if (part.sequence >= sequences_) return fail(Errc::invalid, "pipeline: a sequence that is not there");
        const auto at = lengths_.find(part.sequence);
        const std::uint32_t length = at == lengths_.end() ? 0 : at->second;
        if (part.position != length) return fail(Errc::invalid, "pipeline: rows that do not follow on");
        if (context_ - length < part.rows) return fail(Errc::invalid, "pipeline: rows beyond the context");
        count += part.rows;
    }
    if (rows.tensor.size() != count * row_bytes_) return fail(Errc::invalid, "pipeline: a tensor of another shape");
    return ok();
}

void Intake::grow(const wire::StageRows& rows) {
    for (const wire::StagePart& part : rows.parts) lengths_[part.sequence] += part.rows;
}

}  // namespace shoal::pipeline
