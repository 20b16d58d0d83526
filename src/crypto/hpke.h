// HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, ChaCha20-Poly1305 0x0003.
//
// The sender needs only the receiver's public key; the receiver learns nothing about who sends. Each set-up is a fresh
// context with a fresh ephemeral key. Cost: two scalar multiplications for the sender, one for the receiver.
#pragma once

#include "crypto/aead.h"
#include "crypto/x25519.h"

namespace shoal::crypto {

// The nonces of one context: base_nonce XOR sequence number, big-endian. Gives each once.
class NonceSequence {
public:
    explicit NonceSequence(const Nonce& base, std::uint64_t first = 0) : base_(base), sequence_(first) {}
    Nonce current() const;
    // Errc::exhausted when the last number is reached: one more would begin again at the first.
    Status advance();
    // Errc::exhausted when no message may be sealed or opened any more.
    Status check() const;

private:
    Nonce base_;
    std::uint64_t sequence_;
};

// What both ends hold. The secret exporter gives further keys, bound to this context and to a label.
class HpkeContext {
public:
    Key32 export_secret(ByteView context) const;

protected:
    friend struct HpkeSchedule;
    HpkeContext(AeadKey key, const Nonce& base_nonce, Key32 exporter)
        : key_(std::move(key)), nonces_(base_nonce), exporter_(std::move(exporter)) {}
    AeadKey key_;
    NonceSequence nonces_;
    Key32 exporter_;
};

class HpkeSender final : public HpkeContext {
public:
    struct Setup;
    // Errc::invalid: the receiver's key is a point of small order.
    static Result<Setup> setup(const PublicKey& receiver, ByteView info, Rng& rng);
    // Errc::exhausted after 2^64 - 1 messages.
    Result<Bytes> seal(ByteView associated, ByteView plain);

private:
    using HpkeContext::HpkeContext;
    friend struct HpkeSchedule;
};
struct HpkeSender::Setup {
    PublicKey encapsulated{};  // `enc`: goes to the receiver
    HpkeSender sender;
};

class HpkeReceiver final : public HpkeContext {
public:
    // Errc::invalid: `encapsulated` is a point of small order.
    static Result<HpkeReceiver> setup(const KeyPair& self, const PublicKey& encapsulated, ByteView info);
    // Opens the next message. Errc::unauthenticated: it is not the next, or was changed; the sequence then stays.
    Result<Bytes> open(ByteView associated, ByteView sealed);

private:
    using HpkeContext::HpkeContext;
    friend struct HpkeSchedule;
};

}  // namespace shoal::crypto
