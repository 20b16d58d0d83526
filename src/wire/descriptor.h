// Descriptor: what a node says of itself, signed by its identity. Format: protocol/descriptor.md.
#pragma once

#include <string>
#include <vector>

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/time.h"

namespace shoal::wire {

// Network address: 16 bytes (IPv4 as ::ffff:a.b.c.d), port, and a kind byte (1: TCP).
struct Address {
    ByteArray<16> ip{};
    std::uint16_t port = 0;
    friend auto operator<=>(const Address&, const Address&) = default;
    bool is_v4() const;
    // The network that path selection tells apart: /16 of IPv4, /32 of IPv6 (first two or four bytes, tagged).
    std::uint64_t subnet() const;
    // "127.1.2.3:9000" or "[2001:db8::1]:9000"
    std::string text() const;
};
// Whether a node may advertise it: a port, and no unspecified, multicast or broadcast address (the unspecified one
// would make whoever dials it dial itself). Loopback and private networks are allowed: a network may live there.
bool is_dialable(const Address& address);
// Errc::malformed. Numeric only: names are the configuration's business. Takes what a socket can be bound to as well,
// so also the unspecified address and port 0, which a descriptor may not carry.
Result<Address> parse_address(std::string_view text);

enum RoleBit : std::uint16_t {
    role_relay = 1 << 0,
    role_model = 1 << 1,
    role_verifier = 1 << 2,
    role_guard = 1 << 3,  // a relay that takes links with unknown client keys
    role_stage = 1 << 4,  // computes layers for leads that it was told of
    role_lead = 1 << 5,   // serves models whose layers are on stages; never together with role_model
};
inline constexpr std::uint16_t role_bits_all = 0x003F;

struct OfferedModel {
    ModelId model;
    std::uint8_t quantisation = 0;     // ggml file type
    std::uint32_t context_tokens = 0;  // 1 to limits::context_tokens_max
    ByteArray<32> price{};             // zero: unpaid
    std::string name;                  // what programs put into "model"; 1 to model_name_bytes_max of [A-Za-z0-9._:-]
    friend bool operator==(const OfferedModel&, const OfferedModel&) = default;
};
inline constexpr std::size_t model_name_bytes_max = 64;
bool is_model_name(std::string_view name);

struct Descriptor {
    NodeId node;
    ByteArray<32> onion_key{};
    ByteArray<32> hpke_key{};
    std::uint16_t roles = 0;
    std::uint16_t flags = 0;         // none is defined
    std::vector<Address> addresses;  // 1 to addresses_per_node_max, strictly ascending
    std::uint64_t sequence = 0;
    UnixTime valid_after{};
    UnixTime valid_until{};  // at most descriptor_age_max later
    std::uint64_t bond = 0;
    ByteArray<32> kem_key_hash{};  // reserved for the hybrid handshake: zero
    FamilyId family;
    std::vector<OfferedModel> models;  // only with role_model or role_lead; ascending by model
    friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

// The part that is signed (all but the signature); the domain and network are added by directory/. `d` must be such as
// decode_descriptor_body would give (ASSERT): a node builds its own from checked configuration.
Bytes encode_descriptor_body(const Descriptor& d);
// Whether the values of `d` fit together: known and non-zero roles, guard only with relay, 1 to 4 dialable addresses in
// ascending order, models only with role_model and ascending, names and contexts within limits, valid_until after
// valid_after and within descriptor_age_max, reserved fields zero. Errc::invalid, with the rule that is broken.
Status check_descriptor(const Descriptor& d);
// Reads one from the front of `in` and leaves the rest. Errc::malformed; Errc::unsupported: another version;
// Errc::invalid as check_descriptor. Whether it is valid now, and who signed it, is the caller's to ask.
Result<Descriptor> decode_descriptor_body(Reader& in);

struct SignedDescriptor {
    Descriptor descriptor;
    ByteArray<64> signature{};
};
Bytes encode(const SignedDescriptor& m);
Result<SignedDescriptor> decode_signed_descriptor(ByteView in);

}  // namespace shoal::wire
