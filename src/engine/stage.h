// The door to a stage: a range of layers that turns hidden states into hidden states and remembers what it has seen.
//
// Rules
//   1. Calls for one handle take effect in the order in which they are made, and each compute() gives one Computed and
//      each read() one Given, in that order, until a Failed, which is the last event of its handle. After close() no
//      event of it follows.
//   2. Rows of a sequence come at consecutive positions; truncate() sets the next one back.
//   3. fill() puts keys and values in place of computing their tokens: in the form that Ready named, from position 0
//      on, and not behind rows that were computed.
//
// Implementations: the fake (engine/fake_stage.h), the worker process. Thread: the one that owns the object.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "base/time.h"
#include "wire/stage.h"

namespace shoal::engine {

using StageHandle = StrongInt<struct StageHandleTag, std::uint64_t>;  // chosen by the caller, never used again

// Of a stage that several nodes divide among themselves: which part is computed here.
struct StageGroup {
    wire::StageSessionId session;
    std::uint8_t hop = 1;
    std::uint8_t rank = 0;
    std::vector<NodeId> ranks;  // 2 to limits::group_ranks_max
};

struct StageShape {
    ModelId model;
    wire::LayerRange layers;
    wire::ActivationType type = wire::ActivationType::f16;  // of what goes in and comes out
    std::uint32_t width = 0;
    std::uint32_t context = 0;
    std::uint16_t sequences = 0;
    std::optional<StageGroup> group = std::nullopt;
};

struct StageReady {
    StageHandle handle;
    std::optional<wire::KvShape> kv = std::nullopt;  // of its layers; nullopt: fill() is not for it
};
struct StageComputed {
    StageHandle handle;
    Bytes tensor;  // a row for each that went in, in that order
    Duration busy{};
};
// What read() asked for: a hash for each layer, or the rows.
struct StageGiven {
    StageHandle handle;
    Bytes bytes;
};
struct StageFailed {
    StageHandle handle;
    wire::StageFaultCode code = wire::StageFaultCode::engine;
    std::string text;  // one line
};
using StageEvent = std::variant<StageReady, StageComputed, StageGiven, StageFailed>;

class StageEngine {
public:
    virtual ~StageEngine() = default;

    // Loads the layers; StageReady or StageFailed follows. What is computed before waits for it.
    virtual void open(Now now, StageHandle handle, const StageShape& shape) = 0;
    virtual void compute(Now now, StageHandle handle, const wire::StageRows& rows) = 0;
    virtual void truncate(Now now, StageHandle handle, std::uint16_t sequence, std::uint32_t length) = 0;
    virtual void fill(Now now, StageHandle handle, const wire::StageKvRows& rows) = 0;
    // Where Ready said what is kept, and of a layer that is here.
    virtual void read(Now now, StageHandle handle, const wire::StageReadOf& of) = 0;
    virtual void close(Now now, StageHandle handle) = 0;
    virtual std::optional<StageEvent> poll() = 0;
};

// One that can also compute a rank's part (engine/ring.h). While it computes it gives parts of sums for the next rank
// and wants as many from the one before; those of a computation come before its Computed.
class RankEngine : public StageEngine {
public:
    struct Part {
        StageHandle handle;
        wire::ReducePart part;
    };

    virtual void reduce(Now now, StageHandle handle, wire::ReducePart part) = 0;
    virtual std::optional<Part> poll_part() = 0;
};

}  // namespace shoal::engine
