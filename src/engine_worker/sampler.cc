#include "engine_worker/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/codec.h"
#include "crypto/hash.h"

namespace shoal::engine_worker {
namespace {

// What is e^-40 as likely as the best token is taken as impossible: it is below the noise's 53 bits.
constexpr double exponent_min = -40.0;

double weight(double logit, double best, double temperature) {
    const double exponent = (logit - best) / temperature;
    return exponent < exponent_min ? 0.0 : std::exp(exponent);
}

// The largest finite logit. Sixteen lanes, so that the compiler can use wide registers; NaN compares false and is lost.
float largest(std::span<const float> logits) {
    constexpr std::size_t lanes = 16;
    float best[lanes];
    std::fill(std::begin(best), std::end(best), -INFINITY);
    std::size_t i = 0;
    for (; i + lanes <= logits.size(); i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j) best[j] = logits[i + j] > best[j] ? logits[i + j] : best[j];
    }
    for (; i < logits.size(); ++i) best[0] = logits[i] > best[0] ? logits[i] : best[0];
    return *std::max_element(std::begin(best), std::end(best));
}

}  // namespace

Noise::Noise(const ByteArray<32>& client_seed, std::optional<std::uint64_t> seed,
             std::span<const std::int32_t> prompt) {
    Writer tokens(prompt.size() * 4);
    for (std::int32_t token : prompt) tokens.u32(static_cast<std::uint32_t>(token));
    prompt_hash_ = crypto::blake2b<32>({tokens.view()});
    Bytes spent = tokens.take();
    wipe(spent.data(), spent.size());
    if (!seed) {
        seed_ = client_seed;
        return;
    }
    std::uint8_t number[8];
    store_le<std::uint64_t>(number, *seed);
    seed_ = crypto::blake2b<32>({as_bytes("sc1/seed"), number});
}

double Noise::at(std::uint64_t position) const {
    std::uint8_t number[8];
    store_le<std::uint64_t>(number, position);
    std::uint8_t out[8];
    crypto::shake256(out, {as_bytes("sc1/noise"), seed_, prompt_hash_, number});
    return static_cast<double>(load_le<std::uint64_t>(out) >> 11) * 0x1p-53;
}

std::optional<std::int32_t> Sampler::next(std::span<const float> logits) {
    const std::optional<std::int32_t> token = sampling_.temperature == 0.0F ? greedy(logits) : draw(logits);
    if (!token) return std::nullopt;
    ++position_;
    if (sampling_.presence_penalty != 0.0F || sampling_.frequency_penalty != 0.0F) ++counts_[*token];
    return token;
}

Sampler Sampler::fork() const {
    Sampler out(sampling_, noise_);
    out.position_ = position_;
    out.counts_ = counts_;
    return out;
}

float Sampler::penalty(std::int32_t id) const {
    const auto at = counts_.find(id);
    if (at == counts_.end()) return 0.0F;
    return sampling_.presence_penalty + sampling_.frequency_penalty * static_cast<float>(at->second);
}

std::optional<std::int32_t> Sampler::greedy(std::span<const float> logits) const {
    if (counts_.empty()) {
        const float best = largest(logits);
        if (!std::isfinite(best)) return std::nullopt;
        return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), best) - logits.begin());
    }
    std::optional<std::int32_t> token;
    float best = -INFINITY;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const float logit = logits[i] - penalty(static_cast<std::int32_t>(i));
        if (!(logit > best) || !std::isfinite(logit)) continue;
        best = logit;
        token = static_cast<std::int32_t>(i);
    }
    return token;
}

std::optional<std::int32_t> Sampler::draw(std::span<const float> logits) {
    candidates_.clear();
    candidates_.reserve(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (std::isfinite(logits[i])) candidates_.push_back({static_cast<std::int32_t>(i), logits[i]});
    }
    if (candidates_.empty()) return std::nullopt;
    for (Candidate& c : candidates_) {
        if (counts_.empty()) break;
        c.logit -= penalty(c.id);
    }
    keep_top_k();
    keep_top_p();
    keep_min_p();
    float best = -INFINITY;
    for (const Candidate& c : candidates_) best = std::max(best, c.logit);
    // In the order of ids, so that two tokens of nearly equal logits do not change places between machines.
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) {
        std::sort(candidates_.begin(), candidates_.end(), by_id);
    }
    double total = 0;
    for (const Candidate& c : candidates_) total += weight(c.logit, best, sampling_.temperature);
    const double target = noise_.at(position_) * total;
    double sum = 0;
    std::int32_t last = candidates_.front().id;
    for (const Candidate& c : candidates_) {
        const double w = weight(c.logit, best, sampling_.temperature);
        if (w == 0.0) continue;
        sum += w;
        last = c.id;
        if (sum > target) break;
    }
    return last;
}

namespace {
// Likelier first; of equals the lower id.
constexpr auto likelier = [](const auto& a, const auto& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
};
}  // namespace

void Sampler::keep_top_k() {
    const std::size_t k = sampling_.top_k;
    if (k == 0 || k >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k), candidates_.end(),
                     likelier);
    candidates_.resize(k);
}

// The fewest of the likeliest whose probabilities, before temperature, reach top_p together.
void Sampler::keep_top_p() {
    if (sampling_.top_p >= 1.0F) return;
    float best = -INFINITY;
    for (const Candidate& c : candidates_) best = std::max(best, c.logit);
    double total = 0;
    for (const Candidate& c : candidates_) total += weight(c.logit, best, 1.0);
    const double target = static_cast<double>(sampling_.top_p) * total;
    // Sorted a stretch at a time: the few likeliest are nearly always enough.
    double sum = 0;
    std::size_t sorted = 0;
    for (std::size_t stretch = 64; sorted < candidates_.size(); stretch *= 4) {
        const std::size_t end = std::min(candidates_.size(), sorted + stretch);
        std::partial_sort(candidates_.begin() + static_cast<std::ptrdiff_t>(sorted),
                          candidates_.begin() + static_cast<std::ptrdiff_t>(end), candidates_.end(), likelier);
        for (; sorted < end; ++sorted) {
            sum += weight(candidates_[sorted].logit, best, 1.0);
            if (sum < target) continue;
            candidates_.resize(sorted + 1);
            return;
        }
    }
}

// Those at least min_p times as likely, before temperature, as the likeliest.
void Sampler::keep_min_p() {
    if (sampling_.min_p <= 0.0F) return;
    float best = -INFINITY;
    for (const Candidate& c : candidates_) best = std::max(best, c.logit);
    const double floor = static_cast<double>(best) + std::log(static_cast<double>(sampling_.min_p));
    std::erase_if(candidates_, [floor](const Candidate& c) { return static_cast<double>(c.logit) < floor; });
}

}  // namespace shoal::engine_worker
