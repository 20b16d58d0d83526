// An engine whose layers are elsewhere: it turns a conversation into rows of the embedding, and rows of the hidden
// state behind the last layer into text. Who owns it carries the rows through the layers.
//
// Rules, beside those of engine.h
//   1. Each Forward is answered by one returned(), in their order, with as many rows of the same type and width. At
//      most `steps` of the shape are out at once.
//   2. Rows of a sequence follow on; Truncate sets it back, and Fill gives keys and values in place of rows, where
//      holds() said what is kept. All take effect in the order in which next_work() gives them. Each Fill is answered
//      by one filled(), each Read of what is kept by one given(); both count as a Forward does.
//   3. broken() says that what was out counts as never sent, and all sequences as empty. Jobs that have said nothing
//      yet end with engine_failed: somebody else may answer sooner. The others compute what they have again, by the
//      next Forwards, and go on; jobs that had not begun wait. BrokenFor::good ends these and those as well.
//
// Thread: the one that owns the object.
#pragma once

#include "engine/engine.h"
#include "wire/stage.h"

namespace shoal::engine {

// What a session of stages must be opened with. Known when the model is.
struct LeadShape {
    wire::ActivationType type = wire::ActivationType::f16;
    std::uint32_t width = 0;
    std::uint16_t layers = 0;   // where those that are elsewhere end
    std::uint32_t context = 0;  // of each sequence
    std::uint16_t sequences = 0;
};
struct Forward {
    wire::StageRows rows;
};
struct Truncate {
    std::uint16_t sequence = 0;
    std::uint32_t length = 0;  // that it holds from then on
};

enum class BrokenFor : std::uint8_t { now, good };

struct Fill {
    wire::StageKvRows rows;  // of all layers
};
struct Read {
    wire::StageReadOf of;
};

class LeadEngine : public Engine {
public:
    using Work = std::variant<Forward, Truncate, Fill, Read>;

    // nullptr until the first Ready.
    virtual const LeadShape* shape() const = 0;
    virtual std::optional<Work> next_work() = 0;
    virtual void returned(Now now, Bytes tensor) = 0;
    virtual void filled(Now now) = 0;
    virtual void given(Now now, Bytes bytes) = 0;
    // What the layers that are together keep of a token; nullopt: it cannot be filled in.
    virtual void holds(Now now, const std::optional<wire::KvShape>& kv) = 0;
    virtual void broken(Now now, const std::string& why, BrokenFor how_long) = 0;
};

}  // namespace shoal::engine
