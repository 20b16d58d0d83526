// The frames between a node and a process that computes a stage. Format: protocol/stage_pipe.md; framing as in pipe.h.
//
// Pure. What decodes, encodes to the same bytes.
#pragma once

#include <variant>

#include "engine/engine.h"
#include "engine/pipe.h"
#include "engine/stage.h"

namespace shoal::engine::stage_pipe {

inline constexpr std::size_t frame_bytes_max = limits::channel_message_bytes_max;

struct Load {
    wire::LayerRange layers;
    wire::ActivationType type = wire::ActivationType::f16;
    std::uint32_t width = 0;
    std::uint32_t context = 0;
    std::uint16_t sequences = 0;
    std::uint16_t threads = 0;  // 0: as in pipe::Load
    pipe::KvType kv = pipe::KvType::f16;
    bool pieces = false;  // the descriptor is a manifest, and its pieces are asked for
    std::uint8_t rank = 0;
    std::uint8_t ranks = 1;  // 1: the stage is not divided
};
struct Compute {
    wire::StageRows rows;
};
struct Truncate {
    std::uint16_t sequence = 0;
    std::uint32_t length = 0;
};
struct Fill {
    wire::StageKvRows rows;  // of these layers
};
struct Read {
    wire::StageReadOf of;  // its layer counts from the stage's first
};
struct Given {
    Bytes bytes;
};
struct Loaded {
    ModelId model;
    std::optional<wire::KvShape> kv = std::nullopt;
};
struct Computed {
    std::uint32_t busy_us = 0;
    Bytes tensor;
};
struct Failed {
    wire::StageFaultCode code = wire::StageFaultCode::engine;
    std::string text;  // one line; at most limits::stage_fault_bytes_max
};

using ToStage = std::variant<Load, Compute, Truncate, wire::ReducePart, pipe::PieceBytes, Fill, Read>;
using FromStage =
    std::variant<Loading, Loaded, Computed, Failed, pipe::Working, wire::ReducePart, pipe::Want, pipe::Placed, Given>;

// A whole frame, length included. The fields must be such as the decoder would give (ASSERT).
Bytes encode(const ToStage& message);
Bytes encode(const FromStage& message);

// `frame` is kind and body. Errc::malformed, Errc::invalid.
Result<ToStage> decode_to_stage(ByteView frame);
Result<FromStage> decode_from_stage(ByteView frame);

}  // namespace shoal::engine::stage_pipe
