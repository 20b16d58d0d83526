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

Status Intake::take(const wire::StageRefill& refill) {
    if (primed_) return fail(Errc::invalid, "pipeline: REFILL to a hop that is not fresh");
    TRY(fits(refill.rows));
    grow(refill.rows);
    return ok();
}

Status Intake::take(const Operation& operation) {
    if (!primed_) return fail(Errc::invalid, "pipeline: an operation before the last REPLAY");
    if (number_of(operation) != last_ + 1) return fail(Errc::invalid, "pipeline: an operation out of order");
    if (const auto* step = std::get_if<wire::StageStep>(&operation)) {
        TRY(fits(step->rows));
        grow(step->rows);
    } else if (const auto* fill = std::get_if<wire::StageFill>(&operation)) {
        TRY(fits(fill->rows));
        grow(fill->rows);
    } else if (const auto* read = std::get_if<wire::StageRead>(&operation)) {
        TRY(fits(read->of));
        lengths_[read->of.sequence].filling = false;
    } else {
        const auto& truncate = std::get<wire::StageTruncate>(operation);
        if (truncate.sequence >= sequences_) return fail(Errc::invalid, "pipeline: a sequence that is not there");
        const auto at = lengths_.find(truncate.sequence);
        if (truncate.length > (at == lengths_.end() ? 0 : at->second.all)) {
            return fail(Errc::invalid, "pipeline: a truncation that would lengthen");
        }
        if (at != lengths_.end()) at->second = {truncate.length, false};
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
        const std::uint32_t length = at == lengths_.end() ? 0 : at->second.all;
        if (part.position != length) return fail(Errc::invalid, "pipeline: rows that do not follow on");
        if (context_ - length < part.rows) return fail(Errc::invalid, "pipeline: rows beyond the context");
        count += part.rows;
    }
    if (rows.tensor.size() != count * row_bytes_) return fail(Errc::invalid, "pipeline: a tensor of another shape");
    return ok();
}

Status Intake::fits(const wire::StageKvRows& rows) const {
    if (rows.sequence >= sequences_) return fail(Errc::invalid, "pipeline: a sequence that is not there");
    const auto at = lengths_.find(rows.sequence);
    const Length length = at == lengths_.end() ? Length{} : at->second;
    if (length.all > 0 && !length.filling) return fail(Errc::invalid, "pipeline: keys and values behind rows");
    if (rows.position != length.all) return fail(Errc::invalid, "pipeline: rows that do not follow on");
    if (context_ - length.all < rows.rows) return fail(Errc::invalid, "pipeline: rows beyond the context");
    return ok();
}

Status Intake::fits(const wire::StageReadOf& of) const {
    const auto at = lengths_.find(of.sequence);
    const std::uint32_t length = at == lengths_.end() ? 0 : at->second.all;
    return of.tokens <= length ? ok() : fail(Errc::invalid, "pipeline: more is read than a sequence holds");
}

void Intake::grow(const wire::StageRows& rows) {
    for (const wire::StagePart& part : rows.parts) {
        Length& length = lengths_[part.sequence];
        length = {length.all + part.rows, false};
    }
}

void Intake::grow(const wire::StageKvRows& rows) {
    Length& length = lengths_[rows.sequence];
    length = {length.all + rows.rows, true};
}

}  // namespace shoal::pipeline
