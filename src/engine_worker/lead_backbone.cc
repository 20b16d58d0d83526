#include "engine_worker/lead_backbone.h"

#include <algorithm>
#include <numeric>

#include "engine_worker/activation.h"

namespace shoal::engine_worker {

LeadBackbone::LeadBackbone(Embedding embedding, std::unique_ptr<Head> head, wire::ActivationType type,
                           std::size_t steps, Hand hand, GiveUp give_up, std::unique_ptr<OwnLayers> own)
    : embedding_(std::move(embedding)),
      head_(std::move(head)),
      own_(std::move(own)),
      type_(type),
      steps_max_(steps),
      hand_(std::move(hand)),
      give_up_(std::move(give_up)) {}

Status LeadBackbone::begin(std::span<const BatchRow> rows) {
    ASSERT(!rows.empty() && steps_.size() < steps_max_);
    std::vector<std::size_t> order(rows.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return rows[a].sequence < rows[b].sequence; });
    Step step;
    step.rows = rows.size();
    step.place.resize(rows.size());
    std::vector<std::int32_t> tokens;
    wire::StageRows out;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const BatchRow& row = rows[order[i]];
        step.place[order[i]] = i;
        tokens.push_back(row.token);
        const auto sequence = static_cast<std::uint16_t>(row.sequence);
        if (out.parts.empty() || out.parts.back().sequence != sequence)
            out.parts.push_back({sequence, row.position, 0});
        ++out.parts.back().rows;
        lengths_[row.sequence] = row.position + 1;
        if (row.wanted) step.wanted.push_back(order[i]);
    }
    auto tensor = what_goes_out(tokens, out.parts);
    if (!tensor) {
        give_up_(tensor.error());
        return tensor.error();
    }
    out.tensor = std::move(*tensor);
    steps_.push_back(std::move(step));
    hand_(engine::Forward{std::move(out)});
    return ok();
}

Result<Bytes> LeadBackbone::what_goes_out(std::span<const std::int32_t> tokens,
                                          std::span<const wire::StagePart> parts) {
    std::vector<float> rows = TRY(embedding_.rows(tokens));
    if (own_) rows = TRY(own_->begin(rows, parts));
    return to_activation(type_, embedding_.width(), rows);
}

void LeadBackbone::set_kv(std::optional<KvShape> kv) {
    if (own_) return;
    kv_ = std::move(kv);
    // One token is the least that travels.
    if (kv_ && kv_->token_bytes() > limits::stage_tensor_bytes_max) kv_.reset();
}

std::uint32_t LeadBackbone::begin_place(llama_seq_id sequence, const KvCopy& copy, std::uint32_t from) {
    ASSERT(steps_.size() < steps_max_ && from < copy.tokens());
    if (from == 0) truncate(sequence, 0);
    const std::uint64_t fit = std::max<std::uint64_t>(limits::stage_piece_bytes / copy.shape().token_bytes(), 1);
    const auto count = static_cast<std::uint16_t>(
        std::min<std::uint64_t>({fit, limits::stage_rows_max, std::uint64_t{copy.tokens()} - from}));
    wire::StageKvRows out{static_cast<std::uint16_t>(sequence), from, count, {}};
    out.tensor.reserve(count * copy.shape().token_bytes());
    for (std::uint32_t i = 0; i < count; ++i) copy.append_token(out.tensor, from + i);
    lengths_[sequence] = filled_[sequence] = from + count;
    steps_.emplace_back();
    steps_.back().kind = Kind::fill;
    hand_(engine::Fill{std::move(out)});
    return count;
}

std::uint64_t LeadBackbone::moved_bytes_max() const {
    constexpr std::uint64_t one = limits::stage_history_bytes_max / 8, all = limits::stage_history_bytes_max / 4;
    std::uint64_t tokens = 0;
    for (const auto& [sequence, filled] : filled_) tokens += filled;
    const std::uint64_t bytes = kv_ ? tokens * kv_->token_bytes() : 0;
    return std::min(one, all - std::min(all, bytes));
}

void LeadBackbone::begin_read(const wire::StageReadOf& of) {
    ASSERT(steps_.size() < steps_max_);
    steps_.emplace_back();
    steps_.back().kind = Kind::read;
    hand_(engine::Read{of});
}

bool LeadBackbone::ends(Kind kind) {
    if (steps_.empty() || steps_.front().kind != kind) return false;
    steps_.pop_front();
    return true;
}

void LeadBackbone::truncate(llama_seq_id sequence, std::uint32_t length) {
    std::uint32_t& held = lengths_[sequence];
    if (held <= length) return;
    held = length;
    if (const auto at = filled_.find(sequence); at != filled_.end()) at->second = std::min(at->second, length);
    if (own_) {
        const Status truncated = own_->truncate(sequence, static_cast<std::int32_t>(length));
        if (!truncated) give_up_(truncated.error());
    }
    hand_(engine::Truncate{static_cast<std::uint16_t>(sequence), length});
}

std::uint32_t LeadBackbone::kept_tokens_max() const {
    const std::size_t row_bytes = wire::activation_row_bytes(type_, embedding_.width());
    return static_cast<std::uint32_t>(limits::stage_history_bytes_max / 2 / row_bytes);
}

bool LeadBackbone::holds(llama_seq_id sequence, std::uint32_t length) const {
    const auto at = lengths_.find(sequence);
    return at != lengths_.end() && at->second == length;
}

void LeadBackbone::reset() {
    steps_.clear();
    lengths_.clear();
    filled_.clear();
    if (!own_) return;
    if (const Status cleared = own_->clear(); !cleared) give_up_(cleared.error());
}

void LeadBackbone::while_computing(ggml_abort_callback callback, void* data) {
    if (own_) own_->while_computing(callback, data);
}

Result<std::vector<float>> LeadBackbone::wanted_states(const Step& step, ByteView tensor) {
    const std::uint32_t width = embedding_.width();
    if (own_) {
        // All rows go through: each leaves its keys and values behind.
        const std::vector<float> returned = TRY(from_activation(type_, width, tensor));
        const std::vector<float> rows = TRY(own_->finish(returned));
        std::vector<float> wanted;
        for (const std::size_t row : step.wanted) {
            const auto at = rows.begin() + static_cast<std::ptrdiff_t>(step.place[row] * width);
            wanted.insert(wanted.end(), at, at + width);
        }
        return wanted;
    }
    if (step.wanted.empty()) return std::vector<float>();
    const std::size_t row_bytes = wire::activation_row_bytes(type_, width);
    Bytes wanted;
    for (const std::size_t row : step.wanted) append(wanted, tensor.subspan(step.place[row] * row_bytes, row_bytes));
    return from_activation(type_, width, wanted);
}

Status LeadBackbone::returned(ByteView tensor) {
    ASSERT(!steps_.empty());
    const Step step = std::move(steps_.front());
    steps_.pop_front();
    if (step.kind != Kind::rows) return fail(Errc::invalid, "the stages gave rows that were none");
    if (tensor.size() != step.rows * wire::activation_row_bytes(type_, embedding_.width())) {
        return fail(Errc::invalid, "the stages gave rows of another shape");
    }
    logits_.clear();
    logits_of_ = step.wanted;
    const std::vector<float> hidden = TRY(wanted_states(step, tensor));
    if (!hidden.empty()) logits_ = TRY(head_->logits(hidden));
    return ok();
}

const float* LeadBackbone::logits(std::size_t row) const {
    const auto at = std::find(logits_of_.begin(), logits_of_.end(), row);
    if (at == logits_of_.end()) return nullptr;
    return logits_.data() + static_cast<std::size_t>(at - logits_of_.begin()) * head_->vocabulary();
}

}  // namespace shoal::engine_worker
