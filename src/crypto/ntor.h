// The circuit handshake: ntor-v3 (Tor proposal 332; CRYPTO 6.3), one message each way.
//
// The client knows the relay's identity and onion key from the directory and learns that the peer holds both; the relay
// learns nothing about the client. Forward secret from the moment that both ephemeral keys are gone. Both messages may
// carry a short text: the client's is encrypted to the onion key only (no forward secrecy, can be replayed within the
// key's life), the relay's to the new secret.
//
//     client   ID 32 | B 32 | X 32 | encrypted client message | MAC 32
//     relay    Y 32 | AUTH 32 | encrypted relay message
//
// What an attacker can do: replay a client's message (the relay keeps replay_id() for the life of the onion key and
// refuses), or make relays compute: one multiplication for a message whose MAC fails, three more for one that passes.
#pragma once

#include <string_view>

#include "base/ids.h"
#include "crypto/lioness.h"
#include "crypto/x25519.h"

namespace shoal::crypto {

// Both messages fit CREATE as well as EXTEND.
inline constexpr std::size_t ntor_message_bytes_max = limits::relay_data_bytes - 36;
inline constexpr std::size_t ntor_hello_overhead_bytes = 128;
inline constexpr std::size_t ntor_answer_overhead_bytes = 64;

// What both sides agree on beforehand. They differ: the handshake fails.
struct NtorProfile {
    std::string_view protocol_id = "sc1-ntor3-x25519-sha3_256-1";
    Bytes verification;

    // Of circuits: verification is "sc1-circ" | network id.
    static NtorProfile circuit(const NetworkId& network);
};

// 352 bytes of key stream, cut up.
struct CircuitKeys {
    LayerKeys forward;
    LayerKeys backward;
};

// The client's side, from its first message to the answer. Wipes itself.
class NtorClient {
public:
    // `message` is at most ntor_message_bytes_max - 128. Errc::invalid: the onion key is a point of small order.
    static Result<NtorClient> start(NtorProfile profile, const NodeId& relay, const PublicKey& onion_key,
                                    ByteView message, Rng& rng);
    const Bytes& hello() const { return hello_; }

    struct Outcome {
        Bytes message;  // the relay's
        CircuitKeys keys;
    };
    // Errc::malformed: too short or too long. Errc::unauthenticated: not from the relay that was meant, or changed.
    // The ephemeral key is used up by success only; a second answer may be tried.
    Result<Outcome> finish(ByteView answer) const;

private:
    NtorClient() = default;
    NtorProfile profile_;
    NodeId relay_;
    PublicKey onion_key_{};
    KeyPair ephemeral_;
    Key32 shared_;  // ephemeral secret times onion key
    Bytes hello_;
};

// A client's first message, cut up; the views look into what was parsed.
struct NtorHello {
    NodeId relay;
    PublicKey onion_key{};
    PublicKey client_key{};
    ByteView encrypted;
    ByteArray<32> mac{};

    // Errc::malformed: too short or too long.
    static Result<NtorHello> parse(ByteView in);
    // BLAKE2b-128 of the client's ephemeral key: seen before under this onion key, the message is a replay.
    ByteArray<16> replay_id() const;
};

struct NtorAnswer {
    Bytes client_message;
    Bytes answer;  // to be sent
    CircuitKeys keys;
};

// The relay's side. `previous` is the onion key before the last rotation while it is still honoured, or null.
// Errc::unauthenticated: meant for another node, or the MAC does not hold. Errc::expired: an onion key that is neither
// of the two. Errc::invalid: the client's key is a point of small order. On every error nothing is to be sent but a
// DESTROY without details.
Result<NtorAnswer> ntor_answer(const NtorProfile& profile, const NodeId& self, const KeyPair& current,
                               const KeyPair* previous, const NtorHello& hello, ByteView message, Rng& rng);

}  // namespace shoal::crypto
