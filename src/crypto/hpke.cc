#include "crypto/hpke.h"

#include "crypto/hash.h"

namespace shoal::crypto {
namespace {

constexpr std::uint8_t kem_suite[] = {'K', 'E', 'M', 0x00, 0x20};
constexpr std::uint8_t hpke_suite[] = {'H', 'P', 'K', 'E', 0x00, 0x20, 0x00, 0x01, 0x00, 0x03};
constexpr std::string_view version = "HPKE-v1";

Key32 labeled_extract(ByteView suite, ByteView salt, std::string_view label, ByteView input_key) {
    return hkdf_extract(salt, {as_bytes(version), suite, as_bytes(label), input_key});
}

void labeled_expand(ByteSpan out, ByteView suite, const Key32& prk, std::string_view label, Parts info) {
    ASSERT(info.size() <= 3);
    ByteView part[3];
    std::copy(info.begin(), info.end(), part);
    const std::uint8_t length[2] = {static_cast<std::uint8_t>(out.size() >> 8), static_cast<std::uint8_t>(out.size())};
    hkdf_expand(out, prk, {length, as_bytes(version), suite, as_bytes(label), part[0], part[1], part[2]});
}

// DHKEM: what both ends compute from the Diffie-Hellman result.
Key32 kem_secret(const Key32& shared, const PublicKey& encapsulated, const PublicKey& receiver) {
    const Key32 prk = labeled_extract(kem_suite, {}, "eae_prk", shared.expose());
    Key32 out;
    labeled_expand(out.expose(), kem_suite, prk, "shared_secret", {encapsulated, receiver});
    return out;
}

}  // namespace

// RFC 9180, 5.1: mode base, so the pre-shared key and its id are empty.
struct HpkeSchedule {
    Key32 key;
    Nonce base_nonce{};
    Key32 exporter;

    HpkeSchedule(const Key32& shared_secret, ByteView info) {
        constexpr std::uint8_t mode_base[] = {0};
        const Key32 psk_id_hash = labeled_extract(hpke_suite, {}, "psk_id_hash", {});
        const Key32 info_hash = labeled_extract(hpke_suite, {}, "info_hash", info);
        const Key32 secret = labeled_extract(hpke_suite, shared_secret.expose(), "secret", {});
        const auto expand = [&](ByteSpan out, std::string_view label) {
            labeled_expand(out, hpke_suite, secret, label, {mode_base, psk_id_hash.expose(), info_hash.expose()});
        };
        expand(key.expose(), "key");
        expand(base_nonce, "base_nonce");
        expand(exporter.expose(), "exp");
    }

    template <typename Context>
    Context make() {
        return Context(AeadKey(key), base_nonce, std::move(exporter));
    }
};

Nonce NonceSequence::current() const {
    Nonce out = base_;
    for (std::size_t i = 0; i < 8; ++i) out[11 - i] ^= static_cast<std::uint8_t>(sequence_ >> (8 * i));
    return out;
}

Status NonceSequence::check() const {
    if (sequence_ == UINT64_MAX)
        return fail(Errc::exhausted, "every nonce of this HPKE context is used; set up another");
    return ok();
}

Status NonceSequence::advance() {
    TRY(check());
    ++sequence_;
    return ok();
}

Key32 HpkeContext::export_secret(ByteView context) const {
    Key32 out;
    labeled_expand(out.expose(), hpke_suite, exporter_, "sec", {context});
    return out;
}

Result<HpkeSender::Setup> HpkeSender::setup(const PublicKey& receiver, ByteView info, Rng& rng) {
    const KeyPair ephemeral = KeyPair::generate(rng);
    const Key32 shared = TRY(dh(ephemeral.secret, receiver));
    HpkeSchedule schedule(kem_secret(shared, ephemeral.public_key, receiver), info);
    return Setup{ephemeral.public_key, schedule.make<HpkeSender>()};
}

Result<Bytes> HpkeSender::seal(ByteView associated, ByteView plain) {
    TRY(nonces_.check());
    Bytes out = key_.seal(nonces_.current(), associated, plain);
    TRY(nonces_.advance());
    return out;
}

Result<HpkeReceiver> HpkeReceiver::setup(const KeyPair& self, const PublicKey& encapsulated, ByteView info) {
    const Key32 shared = TRY(dh(self.secret, encapsulated));
    HpkeSchedule schedule(kem_secret(shared, encapsulated, self.public_key), info);
    return schedule.make<HpkeReceiver>();
}

Result<Bytes> HpkeReceiver::open(ByteView associated, ByteView sealed) {
    TRY(nonces_.check());
    Bytes out = TRY(key_.open(nonces_.current(), associated, sealed));
    TRY(nonces_.advance());
    return out;
}

}  // namespace shoal::crypto
