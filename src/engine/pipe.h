// The frames between a node and its engine process, over a stream socket pair. Format: protocol/pipe.md.
//
// Either side may be hostile to the other: the worker runs a parser of files from strangers, and the node forwards what
// strangers ask. So both ends bound every length before they hold it, and a decoder gives a value that cannot be
// invalid, or a reason. A worker that meets a bad frame ends; a node that meets one kills the worker.
//
// A worker that holds the ends of a model speaks the same frames and a few more; those of hidden states may be as long
// as a message of a channel. Where the model is in pieces it asks for them, as a stage does (stage_pipe.h).
//
// Pure. Decoding is linear in the frame's length, and encoding is canonical: what decodes, encodes to the same bytes.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "base/codec.h"
#include "base/limits.h"
#include "engine/lead.h"
#include "engine/prefixes.h"
#include "wire/shard.h"

namespace shoal::engine::pipe {

inline constexpr std::size_t architecture_bytes_max = 64;
inline constexpr std::size_t name_bytes_max = 128;
inline constexpr std::size_t reason_bytes_max = 512;
// Text of one frame; the same as a reply frame's (protocol/chat.md), so that it is handed on without being cut.
inline constexpr std::size_t text_bytes_max = 8192;
inline constexpr std::uint16_t threads_max = 1024;

// Pieces of one read that a worker sends before it is asked for more.
inline constexpr unsigned prefix_pieces_ahead = 16;

inline constexpr std::size_t lead_frame_bytes_max = limits::channel_message_bytes_max;
// Of a piece that is asked for at once: the node's loop reads no longer.
inline constexpr std::uint32_t piece_bytes_max = 256 * 1024;

enum class KvType : std::uint8_t { f16 = 0, q8_0 = 1 };

// Who guesses tokens ahead, to be computed together and kept where they are right (protocol/pipe.md).
struct Drafts {
    bool repeats = false;      // what the conversation repeats
    bool model = false;        // another model, an open descriptor as well
    wire::LayerRange skipped;  // the model without these layers; {0, 0}: not so. Not beside `model`
    bool any() const { return repeats || model || skipped.end > 0; }
    friend bool operator==(const Drafts&, const Drafts&) = default;
};

// The first frame to a worker. The model itself is an open descriptor (protocol/pipe.md): the worker opens no path.
struct Load {
    std::uint32_t context_tokens = 0;  // of one sequence; 0: what the model was trained for, at most 4096
    std::uint16_t sequences = 16;      // 1 to limits::engine_sequences_max
    std::uint16_t threads = 0;         // 0: the machine's hardware threads less one, at least one
    std::uint32_t cells = 0;           // tokens that all sequences hold together; 0: context_tokens for each
    KvType kv = KvType::f16;
    Drafts drafts;
    friend bool operator==(const Load&, const Load&) = default;
};
// The first frame to a worker that holds the ends of the model only (engine/lead.h).
struct Lead {
    Load load;
    wire::ActivationType type = wire::ActivationType::f16;
    std::uint16_t steps = 1;  // under way at once, at most limits::stage_unsettled_max
    // The layers that are elsewhere, when it keeps the first and the last ones: 1 <= first < end < its layers.
    std::optional<wire::LayerRange> middle = std::nullopt;
    bool pieces = false;  // the descriptor is a manifest, and its pieces are asked for
};
struct Cancel {
    JobId job;
};
// The rows of the oldest Forward, behind the last layer.
struct Returned {
    Bytes tensor;
};
// The oldest Fill is in its place.
struct Filled {};
// What the oldest Read asked for.
struct Given {
    Bytes bytes;
};
// What the layers that are elsewhere keep of a token (engine/lead.h, rule 2).
struct Holds {
    std::optional<wire::KvShape> kv;
};
// Rows that were handed out will not come (engine/lead.h, rule 3).
struct Broken {
    bool for_good = false;
    std::string reason;  // one line
};
// The answer to Broken: what a lead said before it belongs to what was broken.
struct Cleared {};
// Bytes of a piece of the model (wire/shard.h).
struct Want {
    wire::PieceId piece;
    std::uint64_t offset = 0;
    std::uint32_t bytes = 0;  // 1 to piece_bytes_max
};
// The answer to it. Empty: not here, or shorter.
struct PieceBytes {
    Bytes bytes;  // at most piece_bytes_max
};
// Of a lead, before Ready.
struct Ends {
    std::uint32_t width = 0;
    std::uint16_t layers = 0;
};
// Of a worker that was started with --gpu, before Ready: how many of the layers that it computes are on the GPU.
struct Placed {
    std::uint16_t layers = 0;
    std::uint16_t all = 0;
};
// Jobs are being computed, and there was nothing else to say for a while.
struct Working {};
// Of engine/prefixes.h, as it has them.
struct PrefixGive {
    JobId job;
    Bytes bytes;  // at most limits::prefix_piece_bytes; none only in the last
    bool last = false;
};
struct PrefixGiveUp {
    JobId job;
};
struct PrefixOpen {
    PrefixReadId read;
    ByteArray<32> chain{};
    std::uint32_t tokens = 0;
};
struct PrefixMore {
    PrefixReadId read;
};
struct PrefixClose {
    PrefixReadId read;
};
// The node knows the source that the job named.
struct PrefixAsk {
    JobId job;
    ByteArray<32> chain{};
    Duration recompute{};  // whole microseconds on the pipe
};
// The worker cannot go on and ends after it.
struct Fatal {
    std::string reason;      // one line, for people
    bool permanent = false;  // the model file is at fault: do not start again
};

using ToWorker = std::variant<Load, Lead, Job, Cancel, Returned, Broken, PrefixGive, PrefixGiveUp, PrefixOpen,
                              PrefixMore, PrefixClose, PieceBytes, Filled, Holds, Given>;
using FromWorker =
    std::variant<Loading, Ready, Started, Text, Finished, Failed, Fatal, Working, Ends, Forward, Truncate, Cleared,
                 PrefixAsk, PrefixRefused, PrefixPiece, PrefixGone, Placed, Want, Fill, Read>;

// A whole frame, length included. Errc::invalid: a field is outside what the page gives (for a Job: what
// wire::check_chat_request says); Errc::exhausted: the request is longer than limits::chat_body_bytes_max.
Result<Bytes> encode(const ToWorker& message);
Result<Bytes> encode(const FromWorker& message);

// `frame` is kind and body, as Frames gives it. Errc::malformed, Errc::invalid.
Result<ToWorker> decode_to_worker(ByteView frame);
Result<FromWorker> decode_from_worker(ByteView frame);

// What is wrong with it, for both pipes; empty: nothing.
std::string_view placed_fault(const Placed& placed);
// The bodies of Want and PieceBytes, for both pipes. A fault is why a message can be none; empty: it can.
void put_want(Writer& out, const Want& want);
void put_piece(Writer& out, const PieceBytes& piece);
Want read_want(Reader& in);
PieceBytes read_piece(Reader& in);
std::string_view want_fault(const Want& want);

// The frame around a kind and its body.
Bytes frame_of(ByteView kind_and_body);

// Cuts the byte stream into frames; holds at most one incomplete frame, and wipes what it drops.
class Frames {
public:
    explicit Frames(std::size_t frame_bytes_max = limits::engine_frame_bytes_max) : most_(frame_bytes_max) {}
    // Every frame that is complete now, in order. Errc::malformed: a length of zero or above the most; the object is
    // then spent.
    Result<std::vector<Bytes>> feed(ByteView bytes);
    bool at_boundary() const { return pending_.empty(); }

private:
    std::size_t most_;
    Bytes pending_;
};

}  // namespace shoal::engine::pipe
