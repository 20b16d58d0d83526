#include "engine/fake_stage.h"

#include <algorithm>

namespace shoal::engine {
namespace {

// One step of splitmix64 over both: enough to tell any two histories apart in a test.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    std::uint64_t x = a * 0x9E37'79B9'7F4A'7C15 + b + 0x632B'E59B'D9B4'E019;
    x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9;
    x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EB;
    return x ^ (x >> 31);
}

// Whatever the bits, each half or float of them is a number.
constexpr std::uint64_t numbers = 0xBFFF'BFFF'BFFF'BFFF;

}  // namespace

void FakeStageEngine::open(Now now, StageHandle handle, const StageShape& shape) {
    open_[handle] = {shape, {}};
    const wire::KvRows half{wire::KvRowType::f16, 4};
    const std::size_t layers = shape.layers.end - std::size_t{shape.layers.first};
    due_.push_back({busy_until(now) + load_, StageReady{handle, wire::KvShape{{layers, {half, half}}, 0, 0}}});
}

void FakeStageEngine::compute(Now now, StageHandle handle, const wire::StageRows& rows) {
    const auto at = open_.find(handle);
    if (at == open_.end()) return;
    const Instant begin = busy_until(now);
    if (fail_next_) {
        due_.push_back({begin, StageFailed{handle, *std::exchange(fail_next_, std::nullopt), "told to fail"}});
        open_.erase(at);
        return;
    }
    Open& open = at->second;
    const std::size_t row_bytes = wire::activation_row_bytes(open.shape.type, open.shape.width);
    const std::size_t layers = open.shape.layers.end - std::size_t{open.shape.layers.first};
    StageComputed out{handle, Bytes(rows.tensor.size()), {}};
    std::size_t row = 0;
    for (const wire::StagePart& part : rows.parts) {
        auto& memory = open.memory[part.sequence];
        memory.resize(layers);
        for (std::size_t i = 0; i < part.rows; ++i, ++row) {
            ASSERT(memory[0].size() == part.position + i);  // the caller keeps rule 2
            auto value = load_le<std::uint64_t>(rows.tensor.data() + row * row_bytes);
            for (std::size_t layer = 0; layer < layers; ++layer) {
                const std::uint64_t before = memory[layer].empty() ? 0 : memory[layer].back();
                memory[layer].push_back(mix(before, value));
                value = mix(open.shape.layers.first + layer, memory[layer].back()) & numbers;
            }
            store_le<std::uint64_t>(out.tensor.data() + row * row_bytes, value);
        }
    }
    rows_computed_ += row;
    out.busy = time_per_row_ * static_cast<std::int64_t>(row * layers);
    due_.push_back({begin + out.busy, std::move(out)});
}

void FakeStageEngine::truncate(Now, StageHandle handle, std::uint16_t sequence, std::uint32_t length) {
    const auto at = open_.find(handle);
    if (at == open_.end()) return;
    for (auto& layer : at->second.memory[sequence]) layer.resize(std::min<std::size_t>(layer.size(), length));
}

void FakeStageEngine::fill(Now, StageHandle handle, const wire::StageKvRows& rows) {
    const auto at = open_.find(handle);
    if (at == open_.end()) return;
    const std::size_t layers = at->second.shape.layers.end - std::size_t{at->second.shape.layers.first};
    ASSERT(rows.tensor.size() == rows.rows * layers * 8);
    auto& memory = at->second.memory[rows.sequence];
    memory.resize(layers);
    for (std::size_t i = 0; i < rows.rows; ++i) {
        ASSERT(memory[0].size() == rows.position + i);  // the caller keeps rules 2 and 3
        for (std::size_t layer = 0; layer < layers; ++layer) {
            memory[layer].push_back(load_le<std::uint64_t>(rows.tensor.data() + (i * layers + layer) * 8));
        }
    }
}

// As hashes of layers serve sums of what they have seen.
void FakeStageEngine::read(Now now, StageHandle handle, const wire::StageReadOf& of) {
    const auto at = open_.find(handle);
    if (at == open_.end()) return;
    const auto& memory = at->second.memory.at(of.sequence);
    Bytes out;
    if (of.what == wire::StageReadWhat::hashes) {
        for (const auto& layer : memory) {
            Bytes sum(32);
            store_le<std::uint64_t>(sum.data(), layer.at(of.tokens - 1));
            append(out, sum);
        }
    } else {
        const auto& layer = memory.at(of.layer - at->second.shape.layers.first);
        for (std::uint32_t i = 0; i < of.rows; ++i) {
            Bytes digest(8);
            store_le<std::uint64_t>(digest.data(), layer.at(of.position + i));
            append(out, ByteView(digest).subspan(of.what == wire::StageReadWhat::keys ? 0 : 4, 4));
        }
    }
    due_.push_back({busy_until(now), StageGiven{handle, std::move(out)}});
}

Bytes FakeStageEngine::kept(StageHandle handle, std::uint16_t sequence, std::uint32_t tokens) const {
    const auto& memory = open_.at(handle).memory.at(sequence);
    Bytes out;
    for (std::uint32_t token = 0; token < tokens; ++token) {
        for (const auto& layer : memory) {
            Bytes digest(8);
            store_le<std::uint64_t>(digest.data(), layer.at(token));
            append(out, digest);
        }
    }
    return out;
}

void FakeStageEngine::close(Now, StageHandle handle) {
    open_.erase(handle);
    std::erase_if(due_, [&](const Due& due) {
        return std::visit([&](const auto& event) { return event.handle == handle; }, due.event);
    });
}

std::optional<Instant> FakeStageEngine::next_deadline() const {
    if (due_.empty()) return std::nullopt;
    return due_.front().at;
}

std::optional<StageEvent> FakeStageEngine::poll() {
    if (due_.empty() || due_.front().at > now_) return std::nullopt;
    StageEvent event = std::move(due_.front().event);
    due_.pop_front();
    return event;
}

}  // namespace shoal::engine
