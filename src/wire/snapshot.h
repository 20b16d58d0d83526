// Snapshot: the directory of one epoch, signed by the committee; and the messages that carry directories over a link.
// Formats: protocol/snapshot.md.
#pragma once

#include <variant>
#include <vector>

#include "wire/descriptor.h"

namespace shoal::wire {

struct SnapshotEntry {
    Descriptor descriptor;
    std::uint32_t weight = 1;      // for path selection, of bandwidth; 0: not to be chosen
    std::uint16_t reputation = 0;  // thousandths
    friend bool operator==(const SnapshotEntry&, const SnapshotEntry&) = default;
};

struct Snapshot {
    NetworkId network;
    Epoch epoch;
    UnixTime valid_after{};
    UnixTime fresh_until{};
    UnixTime valid_until{};
    ByteArray<32> previous{};            // BLAKE2b-256 of the body before it; zero in epoch 1
    std::vector<SnapshotEntry> entries;  // strictly ascending by node
    friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

struct CommitteeSignature {
    std::uint8_t index = 0;  // of the verifier in network.toml
    ByteArray<64> signature{};
};

// Decoded but not verified: directory/verify gives a trusted one.
struct SignedSnapshot {
    Snapshot snapshot;
    Bytes body;                                  // the bytes that are signed and hashed, exactly as received
    std::vector<CommitteeSignature> signatures;  // strictly ascending by index
};

Bytes encode_snapshot_body(const Snapshot& s);
Bytes encode(const SignedSnapshot& m);
// Errc::malformed: order, limits, bytes left over, times that contradict each other.
Result<SignedSnapshot> decode_signed_snapshot(ByteView in);

// ---- directory messages over a link ----------------------------------------------------------------------------------
// One message is cut into DIRECTORY cells: first fragment u8 (1 or 0), kind u8, total u32 in the first, then bytes.
// One message at a time in each direction; a new first fragment while one is incomplete closes the link.

struct GetSnapshot {
    Epoch newer_than;  // answer NotNewer if there is none
};
struct NotNewer {
    Epoch have;
};
struct PublishDescriptor {
    SignedDescriptor descriptor;
};
struct PublishResult {
    bool accepted = false;
    std::string reason;  // at most 256 bytes
};
using DirectoryMessage = std::variant<GetSnapshot, NotNewer, SignedSnapshot, PublishDescriptor, PublishResult>;

Bytes encode_directory_message(const DirectoryMessage& m);
Result<DirectoryMessage> decode_directory_message(ByteView in);

// Cuts an encoded message into payloads of DIRECTORY cells.
std::vector<Bytes> fragment_directory(ByteView message);
// Puts them together again; memory grows with what has arrived, not with what is announced.
class DirectoryAssembler {
public:
    // A whole message, or nullopt: more is to come. Errc::malformed, Errc::exhausted (announced above `bytes_max`).
    explicit DirectoryAssembler(std::size_t bytes_max) : bytes_max_(bytes_max) {}
    Result<std::optional<Bytes>> feed(ByteView payload);

private:
    std::size_t bytes_max_;
    std::size_t expected_ = 0;
    Bytes buffer_;  // bounded: bytes_max_
};

}  // namespace shoal::wire
