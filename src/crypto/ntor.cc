#include "crypto/ntor.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/assert.h"
#include "crypto/hash.h"

namespace shoal::crypto {
namespace {

constexpr std::size_t key_bytes = 32;
constexpr std::size_t keystream_bytes = 2 * layer_keys_bytes;

// ENCAP(s) = u64be(|s|) | s: the length, to be put before the bytes. Each hash begins with ENCAP(protocol id |
// purpose).
class Length {
public:
    explicit Length(std::size_t length) {
        for (std::size_t i = 0; i < 8; ++i)
            bytes_[i] = static_cast<std::uint8_t>(std::uint64_t{length} >> (56 - 8 * i));
    }
    operator ByteView() const { return bytes_; }  // NOLINT(google-explicit-constructor): a part of a hash input

private:
    ByteArray<8> bytes_{};
};

// ENC: AES-256-CTR with a zero IV. Each key is used once.
Bytes aes_256_ctr(ByteView key, ByteView in) {
    ASSERT(key.size() == 32 && in.size() <= ntor_message_bytes_max);
    static const EVP_CIPHER* const method = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
    constexpr std::uint8_t zero_iv[16] = {};
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
    ASSERT(method != nullptr && context != nullptr);
    Bytes out(in.size());
    int written = 0;
    ASSERT(EVP_EncryptInit_ex2(context, method, key.data(), zero_iv, nullptr) == 1);
    if (!in.empty()) {
        ASSERT(EVP_EncryptUpdate(context, out.data(), &written, in.data(), static_cast<int>(in.size())) == 1);
    }
    EVP_CIPHER_CTX_free(context);
    return out;
}

// The names of CRYPTO 6.3: ID and B are the relay's identity and onion key, X and Y the ephemeral keys.
struct Names {
    const NtorProfile& profile;
    const NodeId& id;
    const PublicKey& B;
    const PublicKey& X;

    ByteView protocol() const { return as_bytes(profile.protocol_id); }
    Length tweak_length(std::string_view purpose) const { return Length(profile.protocol_id.size() + purpose.size()); }
    Length verification_length() const { return Length(profile.verification.size()); }
};

// EK1 | MK1, from the secret that the client's first message rests on (Bx at the client, Xb at the relay).
Sensitive<ByteArray<2 * key_bytes>> phase_1_keys(const Names& n, const Key32& shared) {
    constexpr std::string_view purpose = ":kdf_phase1";
    Sensitive<ByteArray<2 * key_bytes>> out;
    shake256(out.expose(), {n.tweak_length(purpose), n.protocol(), as_bytes(purpose), shared.expose(), n.id.view(), n.X,
                            n.B, n.protocol(), n.verification_length(), n.profile.verification});
    return out;
}

ByteArray<32> hello_mac(const Names& n, ByteView mac_key, ByteView encrypted) {
    constexpr std::string_view purpose = ":msg_mac";
    return sha3_256({n.tweak_length(purpose), n.protocol(), as_bytes(purpose), Length(mac_key.size()), mac_key,
                     n.id.view(), n.B, n.X, encrypted});
}

// What both sides derive once both ephemeral keys are known: `first` is x times Y, `second` is x times B.
struct Final {
    Key32 verify;
    Sensitive<ByteArray<key_bytes + keystream_bytes>> stream;  // EK2, then the circuit's keys

    Final(const Names& n, const PublicKey& Y, const Key32& first, const Key32& second) {
        const auto hash = [&](std::string_view purpose) {
            return Key32(
                sha3_256({n.tweak_length(purpose), n.protocol(), as_bytes(purpose), first.expose(), second.expose(),
                          n.id.view(), n.B, n.X, Y, n.protocol(), n.verification_length(), n.profile.verification}));
        };
        verify = hash(":verify");
        const Key32 seed = hash(":key_seed");
        constexpr std::string_view purpose = ":kdf_final";
        shake256(stream.expose(), {n.tweak_length(purpose), n.protocol(), as_bytes(purpose), seed.expose()});
    }

    ByteView message_key() const { return ByteView(stream.expose()).first(key_bytes); }

    ByteArray<32> auth(const Names& n, const PublicKey& Y, const ByteArray<32>& mac, ByteView encrypted) const {
        constexpr std::string_view purpose = ":auth_final";
        return sha3_256({n.tweak_length(purpose), n.protocol(), as_bytes(purpose), verify.expose(), n.id.view(), n.B, Y,
                         n.X, mac, Length(encrypted.size()), encrypted, n.protocol(), as_bytes("Server")});
    }

    CircuitKeys circuit_keys() const {
        const auto keys = std::span(stream.expose()).subspan<key_bytes>();
        return {LayerKeys::from_bytes(keys.first<layer_keys_bytes>()),
                LayerKeys::from_bytes(keys.last<layer_keys_bytes>())};
    }
};

}  // namespace

NtorProfile NtorProfile::circuit(const NetworkId& network) {
    constexpr std::string_view label = "sc1-circ";
    NtorProfile out;
    out.verification.reserve(label.size() + NetworkId::size);
    append(out.verification, as_bytes(label));
    append(out.verification, network.view());
    return out;
}

Result<NtorClient> NtorClient::start(NtorProfile profile, const NodeId& relay, const PublicKey& onion_key,
                                     ByteView message, Rng& rng) {
    ASSERT(message.size() + ntor_hello_overhead_bytes <= ntor_message_bytes_max);
    NtorClient out;
    out.profile_ = std::move(profile);
    out.relay_ = relay;
    out.onion_key_ = onion_key;
    out.ephemeral_ = KeyPair::generate(rng);
    out.shared_ = TRY(dh(out.ephemeral_.secret, onion_key));

    const Names names{out.profile_, out.relay_, out.onion_key_, out.ephemeral_.public_key};
    const auto keys = phase_1_keys(names, out.shared_);
    const ByteView both(keys.expose());
    const Bytes encrypted = aes_256_ctr(both.first(key_bytes), message);
    out.hello_.reserve(ntor_hello_overhead_bytes + message.size());
    append(out.hello_, relay.view());
    append(out.hello_, onion_key);
    append(out.hello_, out.ephemeral_.public_key);
    append(out.hello_, encrypted);
    append(out.hello_, hello_mac(names, both.subspan(key_bytes), encrypted));
    return out;
}

Result<NtorClient::Outcome> NtorClient::finish(ByteView answer) const {
    if (answer.size() < ntor_answer_overhead_bytes || answer.size() > ntor_message_bytes_max) {
        return fail(Errc::malformed, "circuit handshake: an answer of a length that none has");
    }
    const PublicKey Y = first_bytes<32>(answer);
    const ByteView auth = answer.subspan(32, 32);
    const ByteView encrypted = answer.subspan(ntor_answer_overhead_bytes);
    const ByteArray<32> mac = first_bytes<32>(ByteView(hello_).last(32));

    const Names names{profile_, relay_, onion_key_, ephemeral_.public_key};
    const Key32 first = TRY(dh(ephemeral_.secret, Y));
    const Final final(names, Y, first, shared_);
    if (!equal_constant_time(auth, final.auth(names, Y, mac, encrypted))) {
        return fail(Errc::unauthenticated, "circuit handshake: the answer is not from the relay that was asked");
    }
    return Outcome{aes_256_ctr(final.message_key(), encrypted), final.circuit_keys()};
}

Result<NtorHello> NtorHello::parse(ByteView in) {
    if (in.size() < ntor_hello_overhead_bytes || in.size() > ntor_message_bytes_max) {
        return fail(Errc::malformed, "circuit handshake: a first message of a length that none has");
    }
    NtorHello out;
    out.relay = NodeId(first_bytes<32>(in));
    out.onion_key = first_bytes<32>(in.subspan(32));
    out.client_key = first_bytes<32>(in.subspan(64));
    out.encrypted = in.subspan(96, in.size() - ntor_hello_overhead_bytes);
    out.mac = first_bytes<32>(in.last(32));
    return out;
}

ByteArray<16> NtorHello::replay_id() const {
    return blake2b<16>({client_key});
}

Result<NtorAnswer> ntor_answer(const NtorProfile& profile, const NodeId& self, const KeyPair& current,
                               const KeyPair* previous, const NtorHello& hello, ByteView message, Rng& rng) {
    ASSERT(message.size() + ntor_answer_overhead_bytes <= ntor_message_bytes_max);
    if (hello.relay != self) return fail(Errc::unauthenticated, "circuit handshake: meant for another node");
    const KeyPair* onion = nullptr;
    if (hello.onion_key == current.public_key) onion = &current;
    if (previous != nullptr && hello.onion_key == previous->public_key) onion = previous;
    if (onion == nullptr) return fail(Errc::expired, "circuit handshake: for an onion key that is no longer in use");

    const Names names{profile, self, onion->public_key, hello.client_key};
    const Key32 second = TRY(dh(onion->secret, hello.client_key));
    const auto keys = phase_1_keys(names, second);
    const ByteView both(keys.expose());
    if (!equal_constant_time(hello.mac, hello_mac(names, both.subspan(key_bytes), hello.encrypted))) {
        return fail(Errc::unauthenticated, "circuit handshake: the first message does not authenticate");
    }

    const KeyPair ephemeral = KeyPair::generate(rng);
    const Key32 first = TRY(dh(ephemeral.secret, hello.client_key));
    const Final final(names, ephemeral.public_key, first, second);
    const Bytes encrypted = aes_256_ctr(final.message_key(), message);
    NtorAnswer out{aes_256_ctr(both.first(key_bytes), hello.encrypted), {}, final.circuit_keys()};
    out.answer.reserve(ntor_answer_overhead_bytes + message.size());
    append(out.answer, ephemeral.public_key);
    append(out.answer, final.auth(names, ephemeral.public_key, hello.mac, encrypted));
    append(out.answer, encrypted);
    return out;
}

}  // namespace shoal::crypto
