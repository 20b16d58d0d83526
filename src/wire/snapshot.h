// Snapshot: the directory of one epoch, signed by the committee; and the messages that carry directories over a link.
// Formats: protocol/snapshot.md.
#pragma once

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "wire/descriptor.h"

namespace shoal::wire {

struct SnapshotEntry {
    Descriptor descriptor;
    std::uint32_t weight = 1;      // for path selection, of bandwidth; 0: not to be chosen
    std::uint16_t reputation = 0;  // thousandths, at most 1000
    friend bool operator==(const SnapshotEntry&, const SnapshotEntry&) = default;
};

struct Snapshot {
    NetworkId network;
    Epoch epoch;  // from 1
    UnixTime valid_after{};
    UnixTime fresh_until{};
    UnixTime valid_until{};
    ByteArray<32> previous{};            // BLAKE2b-256 of the body before it; zero in epoch 1
    std::vector<SnapshotEntry> entries;  // strictly ascending by node
    friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

struct CommitteeSignature {
    std::uint8_t index = 0;  // of the verifier in network.toml; below limits::committee_max
    ByteArray<64> signature{};
};

// Decoded but not verified: directory/verify gives a trusted one.
struct SignedSnapshot {
    Snapshot snapshot;
    Bytes body;                                  // the bytes that are signed and hashed, exactly as received
    std::vector<CommitteeSignature> signatures;  // strictly ascending by index
};

// Entries must be such as the decoder would give (ASSERT). What comes out may exceed snapshot_bytes_max if nodes offer
// much: who makes snapshots asks size() and leaves entries out.
Bytes encode_snapshot_body(const Snapshot& s);
// `body` as it stands, then the signatures. The maker of a snapshot sets body = encode_snapshot_body(snapshot).
Bytes encode(const SignedSnapshot& m);
// Errc::malformed: order, limits, bytes left over, times that contradict each other (valid_after < fresh_until <=
// valid_until <= valid_after + snapshot_valid). Errc::unsupported: another version. Errc::invalid: an entry that
// check_descriptor refuses.
Result<SignedSnapshot> decode_signed_snapshot(ByteView in);

// ---- directory messages over a link ------------------------------------------------------------------------------
// A message is kind u8, then its fields. It is cut into DIRECTORY cells: first u8 (1 or 0), total u32 in the first,
// then bytes, every cell full but the last. One message at a time in each direction; a new first fragment while one is
// incomplete closes the link.

struct GetSnapshot {
    Epoch newer_than;  // answer NotNewer if there is none
};
struct NotNewer {
    Epoch have;
};
struct PublishDescriptor {
    SignedDescriptor descriptor;
};
inline constexpr std::size_t publish_reason_bytes_max = 256;
struct PublishResult {
    bool accepted = false;
    std::string reason;  // plain text, at most publish_reason_bytes_max: cut and cleaned when encoded
};
using DirectoryMessage = std::variant<GetSnapshot, NotNewer, SignedSnapshot, PublishDescriptor, PublishResult>;

Bytes encode_directory_message(const DirectoryMessage& m);
// The same message as for a SignedSnapshot, from its encoded form: who serves it does not take it apart again.
Bytes encode_snapshot_message(ByteView encoded_snapshot);
// Errc::malformed, Errc::unsupported, Errc::invalid, as the parts say.
Result<DirectoryMessage> decode_directory_message(ByteView in);

inline constexpr std::size_t directory_first_bytes = limits::cell_body_bytes - 5;
inline constexpr std::size_t directory_more_bytes = limits::cell_body_bytes - 1;
// Cuts an encoded message, which is never empty, into payloads of DIRECTORY cells.
std::vector<Bytes> fragment_directory(ByteView message);
// Puts them together again; memory grows with what has arrived, not with what is announced. One thread.
class DirectoryAssembler {
public:
    explicit DirectoryAssembler(std::size_t bytes_max) : bytes_max_(bytes_max) {}
    // A whole message, or nullopt: more is to come. Errc::malformed: a fragment out of place, not full though not the
    // last, or beyond what was announced; Errc::exhausted: announced above `bytes_max`. What was held is then dropped.
    Result<std::optional<Bytes>> feed(ByteView payload);
    // From now on.
    void allow(std::size_t bytes_max) { bytes_max_ = std::max(bytes_max_, bytes_max); }
    // Memory held for the message under way.
    std::size_t bytes_held() const { return buffer_.capacity(); }

private:
    std::size_t bytes_max_;
    std::size_t expected_ = 0;  // zero: no message is under way
    Bytes buffer_;              // bounded: bytes_max_
};

}  // namespace shoal::wire
