#include "crypto/hash.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <algorithm>
#include <memory>

#include "base/assert.h"

namespace shoal::crypto {
namespace {

struct FreeDigest {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// libsodium's and OpenSSL's functions want a valid address even for nothing.
const std::uint8_t* address_of(ByteView view) {
    static constexpr std::uint8_t nothing = 0;
    return view.empty() ? &nothing : view.data();
}

// Fetched once: a look-up by name costs more than hashing a short input.
const EVP_MD* fetch(const char* name) {
    const EVP_MD* method = EVP_MD_fetch(nullptr, name, nullptr);
    ASSERT(method != nullptr);
    return method;
}

// SHA-2 and SHA-3 are OpenSSL's: it uses the processor's SHA instructions, and libsodium has no SHA-3.
std::unique_ptr<EVP_MD_CTX, FreeDigest> absorb(const EVP_MD* method, Parts parts) {
    std::unique_ptr<EVP_MD_CTX, FreeDigest> context(EVP_MD_CTX_new());
    ASSERT(context && EVP_DigestInit_ex2(context.get(), method, nullptr) == 1);
    for (const ByteView part : parts) ASSERT(EVP_DigestUpdate(context.get(), address_of(part), part.size()) == 1);
    return context;
}

ByteArray<32> digest_32(const EVP_MD* method, Parts parts) {
    const auto context = absorb(method, parts);
    ByteArray<32> out;
    unsigned size = 0;
    ASSERT(EVP_DigestFinal_ex(context.get(), out.data(), &size) == 1 && size == out.size());
    return out;
}

using Blake2bState = crypto_generichash_blake2b_state;
static_assert(sizeof(Blake2bState) == 384 && alignof(Blake2bState) <= 64);

Blake2bState* state_of(ByteArray<384>& storage) {
    return reinterpret_cast<Blake2bState*>(storage.data());
}

}  // namespace

void blake2b_into(ByteSpan out, ByteView key, Parts parts) {
    Blake2bState state;
    ASSERT(crypto_generichash_blake2b_init(&state, address_of(key), key.size(), out.size()) == 0);
    for (const ByteView part : parts) crypto_generichash_blake2b_update(&state, address_of(part), part.size());
    crypto_generichash_blake2b_final(&state, out.data(), out.size());
    wipe(&state, sizeof state);
}

Blake2b256::Blake2b256(ByteView key) {
    ASSERT(crypto_generichash_blake2b_init(state_of(state_), address_of(key), key.size(), 32) == 0);
}

Blake2b256::~Blake2b256() {
    wipe(state_.data(), state_.size());
}

void Blake2b256::update(ByteView more) {
    crypto_generichash_blake2b_update(state_of(state_), address_of(more), more.size());
}

ByteArray<32> Blake2b256::digest() const {
    Blake2b256 end = *this;
    ByteArray<32> out;
    crypto_generichash_blake2b_final(state_of(end.state_), out.data(), out.size());
    return out;
}

ByteArray<32> sha256(Parts parts) {
    static const EVP_MD* const method = fetch("SHA2-256");
    return digest_32(method, parts);
}

ByteArray<32> sha3_256(Parts parts) {
    static const EVP_MD* const method = fetch("SHA3-256");
    return digest_32(method, parts);
}

void shake256(ByteSpan out, Parts parts) {
    static const EVP_MD* const method = fetch("SHAKE256");
    const auto context = absorb(method, parts);
    ASSERT(EVP_DigestFinalXOF(context.get(), out.data(), out.size()) == 1);
}

ByteArray<32> hmac_sha256(ByteView key, Parts parts) {
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, address_of(key), key.size());
    for (const ByteView part : parts) crypto_auth_hmacsha256_update(&state, address_of(part), part.size());
    ByteArray<32> out;
    crypto_auth_hmacsha256_final(&state, out.data());
    wipe(&state, sizeof state);
    return out;
}

Key32 hkdf_extract(ByteView salt, Parts input_key) {
    ByteArray<32> raw = hmac_sha256(salt, input_key);
    Key32 out(raw);
    wipe(raw.data(), raw.size());
    return out;
}

void hkdf_expand(ByteSpan out, const Key32& pseudorandom_key, Parts info) {
    ASSERT(out.size() <= 255 * 32);
    Key32 block;  // T(i) = HMAC(prk, T(i-1) | info | i); T(0) is empty
    std::uint8_t number = 0;
    for (std::size_t done = 0; done < out.size();) {
        crypto_auth_hmacsha256_state state;
        crypto_auth_hmacsha256_init(&state, pseudorandom_key.expose().data(), 32);
        if (number > 0) crypto_auth_hmacsha256_update(&state, block.expose().data(), 32);
        for (const ByteView part : info) crypto_auth_hmacsha256_update(&state, address_of(part), part.size());
        ++number;
        crypto_auth_hmacsha256_update(&state, &number, 1);
        crypto_auth_hmacsha256_final(&state, block.expose().data());
        wipe(&state, sizeof state);
        const std::size_t take = std::min<std::size_t>(32, out.size() - done);
        std::memcpy(out.data() + done, block.expose().data(), take);
        done += take;
    }
}

bool equal_constant_time(ByteView a, ByteView b) {
    return a.size() == b.size() && (a.empty() || sodium_memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace shoal::crypto
