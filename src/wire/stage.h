// Stage messages: hidden states on their way through the machines that hold one model. Format: protocol/stage.md;
// between the ranks of a hop: protocol/stage_group.md.
//
// A session runs one model over hops 1 to n, led by a coordinator; after hop n its results are the coordinator's again.
// Two kinds of channels: control, coordinator to each hop, and data, each hop to the one after it. What changes a hop's
// memory is an operation with a number, and operations are taken in the order of their numbers, each once.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "wire/kv_shape.h"

namespace shoal::wire {

using StageSessionId = ByteId<struct StageSessionIdTag, 16>;  // drawn by the coordinator; who knows it may join

// How hidden states travel. q8_0: blocks of 32, a half-precision scale and 32 signed bytes, as ggml has it.
enum class ActivationType : std::uint8_t { f32 = 0, f16 = 1, q8_0 = 2 };
inline constexpr std::uint8_t activation_type_max = 2;
// Bytes of one row; `width` is a multiple of 32.
std::size_t activation_row_bytes(ActivationType type, std::uint32_t width);

struct LayerRange {
    std::uint16_t first = 0;
    std::uint16_t end = 0;  // one behind the last
    friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

// Coordinator to hop, first on a control channel: hold these layers of this model for the session.
struct StageOpen {
    StageSessionId session;
    ModelId model;
    LayerRange layers;
    std::uint8_t hop = 1;  // 1 to limits::stage_hops_max
    ActivationType type = ActivationType::f16;
    std::uint32_t width = 0;
    std::uint32_t context = 0;    // positions of each sequence
    std::uint16_t sequences = 0;  // at once
    NodeId next;                  // the hop after it, or the coordinator
    // A hop of several nodes: each holds a part of every layer, and this one is `rank`. Empty: the hop is one node.
    std::vector<NodeId> ranks = {};  // 2 to limits::group_ranks_max, all different
    std::uint8_t rank = 0;
};
// The layers are loaded.
struct StageOpened {
    std::optional<KvShape> kv = std::nullopt;  // what they keep of a token, where it can be moved: of these layers
};
// First on a data channel, from the hop before (0: the coordinator). `hop` is the one that is joined.
struct StageJoin {
    StageSessionId session;
    std::uint8_t hop = 1;
};
// What the joined hop has: nothing (fresh), or everything up to the operation `received`.
struct StageJoined {
    bool fresh = true;
    std::uint64_t received = 0;
};

// Rows of one sequence at consecutive positions.
struct StagePart {
    std::uint16_t sequence = 0;
    std::uint32_t position = 0;
    std::uint16_t rows = 0;  // at least 1
    friend bool operator==(const StagePart&, const StagePart&) = default;
};
// Sorted by sequence, one each; 1 to limits::stage_rows_max rows in all. The tensor is the rows in that order.
struct StageRows {
    std::vector<StagePart> parts;
    Bytes tensor;
};
// Compute these rows. `settled`: the coordinator has the results of all operations up to this one.
struct StageStep {
    std::uint64_t number = 0;
    std::uint64_t settled = 0;
    StageRows rows;
};
// Forget what `sequence` has at and behind this position.
struct StageTruncate {
    std::uint64_t number = 0;
    std::uint64_t settled = 0;
    std::uint16_t sequence = 0;
    std::uint32_t length = 0;
};
// What some tokens of a sequence have left in the layers of the hop and in all behind them: for each token its row,
// which is the keys and values of these layers in their order.
struct StageKvRows {
    std::uint16_t sequence = 0;
    std::uint32_t position = 0;
    std::uint16_t rows = 0;  // 1 to limits::stage_rows_max
    Bytes tensor;            // empty behind the last hop
};
// Keep these in place of computing their tokens. Where a sequence is empty, or holds nothing but such ones.
struct StageFill {
    std::uint64_t number = 0;
    std::uint64_t settled = 0;
    StageKvRows rows;
};
// What is read of the first `tokens` of a sequence: the hashes of all layers (protocol/prefix.md), or rows of one.
enum class StageReadWhat : std::uint8_t { hashes = 0, keys = 1, values = 2 };
inline constexpr std::uint8_t stage_read_what_max = 2;
struct StageReadOf {
    std::uint16_t sequence = 0;
    std::uint32_t tokens = 0;
    StageReadWhat what = StageReadWhat::hashes;
    // Of rows: the layer, and which of the tokens; of hashes all 0.
    std::uint16_t layer = 0;
    std::uint32_t position = 0;
    std::uint16_t rows = 0;
    friend bool operator==(const StageReadOf&, const StageReadOf&) = default;
};
// Give it. On its way `bytes` grows by a hash for each layer of each hop, or is filled by the hop that has the layer.
struct StageRead {
    std::uint64_t number = 0;
    std::uint64_t settled = 0;
    StageReadOf of;
    Bytes bytes;
};
// As a REPLAY that is not final, before those of the sequence's own rows.
struct StageRefill {
    StageKvRows rows;
};
// To a fresh hop, before any operation: rows that it must remember and whose results nobody waits for. After the one
// that says `final` the hop is where the operation `settled` left the others.
struct StageReplay {
    std::uint64_t settled = 0;
    bool final = false;
    StageRows rows;  // may be empty when final
};
// Coordinator to hop: send to another node from now on.
struct StageReroute {
    NodeId next;
};
// Hop to coordinator: the operations up to this one were computed and handed on.
struct StageDone {
    std::uint64_t number = 0;
};
// Hop to coordinator, every stage_alive_interval while it computes.
struct StageAlive {};

enum class StageFaultCode : std::uint8_t {
    refused = 0,     // not for this coordinator, or not this model or range
    busy = 1,        // a limit is reached
    protocol = 2,    // what the hop before sent does not fit
    engine = 3,      // the layers cannot be computed
    not_finite = 4,  // the result holds NaN or infinity
    next_lost = 5,   // the hop after it cannot be reached
};
inline constexpr std::uint8_t stage_fault_code_max = 5;
// Hop to coordinator, last on its control channel unless it is next_lost: the session is over at this hop.
struct StageFault {
    StageFaultCode code = StageFaultCode::protocol;
    std::string text;  // plain, at most limits::stage_fault_bytes_max
};

// ---- between the ranks of a hop: rank r to rank r + 1, the last one to rank 0 --------------------------------------

// First on a ring channel. `rank` is the one that is joined.
struct GroupJoin {
    StageSessionId session;
    std::uint8_t hop = 1;
    std::uint8_t rank = 0;
};
// Answered at once by an echo with the same number: how far the next rank is.
struct GroupProbe {
    std::uint8_t number = 1;  // at most limits::group_probes_max
};
// Back on the channel that the probe came on.
struct GroupEcho {
    std::uint8_t number = 1;
};
// From rank 0 around to the last: compute these rows.
struct GroupCompute {
    std::uint64_t number = 0;  // from 1; of rank 0's own counting
    StageRows rows;
};
struct GroupTruncate {
    std::uint16_t sequence = 0;
    std::uint32_t length = 0;
};
// A chunk of a vector that is being summed (engine/ring.h).
struct ReducePart {
    std::uint64_t reduction = 0;  // from 1, of the session
    std::uint8_t step = 0;        // below 2 (group_ranks_max - 1)
    Bytes data;                   // f32s, at least one
    friend bool operator==(const ReducePart&, const ReducePart&) = default;
};
// From rank 1 around to rank 0: what all ranks so far have computed is this. BLAKE2b-256 of the tensor.
struct GroupAgree {
    std::uint64_t number = 0;
    ByteArray<32> digest{};
};
// Every stage_alive_interval while this rank computes.
struct GroupAlive {};

// Empty, or why this part can be of no reduction.
std::string_view reduce_part_fault(const ReducePart& part);
void put_reduce_part(Writer& out, const ReducePart& part);
// For a message that holds one: its end, and what reduce_part_fault says, are the caller's to check.
ReducePart read_reduce_part(Reader& in);

using StageMessage =
    std::variant<StageOpen, StageOpened, StageJoin, StageJoined, StageStep, StageTruncate, StageReplay, StageReroute,
                 StageDone, StageAlive, StageFault, GroupJoin, GroupProbe, GroupEcho, GroupCompute, GroupTruncate,
                 ReducePart, GroupAgree, GroupAlive, StageFill, StageRefill, StageRead>;

// The rows of a message. Errc::malformed, Errc::invalid: what stage_rows_fault says.
void put_stage_rows(Writer& out, const StageRows& rows);
Result<StageRows> read_stage_rows(Reader& in, bool may_be_empty = false);
// Empty, or why these rows are none of a session with this width, type and so on.
std::string_view stage_rows_fault(const StageRows& rows, bool may_be_empty);
// The same of keys and values.
void put_kv_rows(Writer& out, const StageKvRows& rows);
Result<StageKvRows> read_kv_rows(Reader& in);
std::string_view kv_rows_fault(const StageKvRows& rows);
// The same of what is read.
void put_read_of(Writer& out, const StageReadOf& of);
Result<StageReadOf> read_read_of(Reader& in);
std::string_view read_of_fault(const StageReadOf& of);
// Bytes of what is read, once all hops have it.
std::size_t read_bytes(const StageReadOf& of, const KvShape& shape);

// The fields must be such as decode_stage_message would give (ASSERT).
Bytes encode_stage_message(const StageMessage& message);
// Errc::malformed: does not parse; Errc::invalid: fields contradict each other or a limit. Whether a tensor has the
// size of its rows is known to the session, which knows the width.
Result<StageMessage> decode_stage_message(ByteView in);

}  // namespace shoal::wire
