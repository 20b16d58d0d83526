// ChaCha20 and BLAKE2b of OpenSSL, by measurement (one core, 2.6 GHz): 0.47 against libsodium's 0.91 microseconds and
// 1.2 against 2.1 for the 1360 bytes, so 3.7 against 6.4 for a layer with its tweak.
#include "crypto/lioness.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/assert.h"
#include "crypto/hash.h"

namespace shoal::crypto {
namespace {

constexpr std::size_t left_bytes = 32;
constexpr std::size_t right_bytes = limits::cell_body_bytes - left_bytes;

const EVP_CIPHER* chacha20() {
    static const EVP_CIPHER* const fetched = EVP_CIPHER_fetch(nullptr, "ChaCha20", nullptr);
    ASSERT(fetched != nullptr);
    return fetched;
}

EVP_MAC* blake2b_mac() {
    static EVP_MAC* const fetched = EVP_MAC_fetch(nullptr, "BLAKE2BMAC", nullptr);
    ASSERT(fetched != nullptr);
    return fetched;
}

// dst ^= src, 32 bytes.
void xor_32(std::uint8_t* dst, const std::uint8_t* src) {
    for (std::size_t i = 0; i < left_bytes; ++i) dst[i] = static_cast<std::uint8_t>(dst[i] ^ src[i]);
}

}  // namespace

LayerKeys LayerKeys::from_bytes(std::span<const std::uint8_t, layer_keys_bytes> bytes) {
    LayerKeys out;
    for (std::size_t i = 0; i < 4; ++i) std::memcpy(out.round[i].expose().data(), bytes.data() + 32 * i, 32);
    std::memcpy(out.tweak_key.expose().data(), bytes.data() + 128, 32);
    std::memcpy(out.tweak.data(), bytes.data() + 160, 16);
    return out;
}

// Both contexts are set to another key at each use; OpenSSL wipes them when they are freed.
struct LayerCipher::Impl {
    LayerKeys keys;
    std::uint32_t cells = 0;  // since the last rekey
    EVP_CIPHER_CTX* stream = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX* hash = EVP_MAC_CTX_new(blake2b_mac());

    explicit Impl(LayerKeys from) : keys(std::move(from)) {
        ASSERT(stream != nullptr && hash != nullptr);
        ASSERT(EVP_EncryptInit_ex2(stream, chacha20(), nullptr, nullptr, nullptr) == 1);
        std::size_t size = left_bytes;
        const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                     OSSL_PARAM_construct_end()};
        ASSERT(EVP_MAC_CTX_set_params(hash, params) == 1);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        EVP_CIPHER_CTX_free(stream);
        EVP_MAC_CTX_free(hash);
        wipe(keys.tweak.data(), keys.tweak.size());
    }

    // R ^= ChaCha20(key XOR L, nonce = T[0..11], counter 0)
    void mix_right(const Key32& key, Block block) {
        Key32 mixed(key.expose());
        xor_32(mixed.expose().data(), block.data());
        std::uint8_t iv[16] = {};  // OpenSSL's form: counter u32 little-endian, then the nonce
        std::memcpy(iv + 4, keys.tweak.data(), 12);
        int written = 0;
        std::uint8_t* right = block.data() + left_bytes;
        ASSERT(EVP_EncryptInit_ex2(stream, nullptr, mixed.expose().data(), iv, nullptr) == 1);
        ASSERT(EVP_EncryptUpdate(stream, right, &written, right, static_cast<int>(right_bytes)) == 1);
    }
    // L ^= BLAKE2b-256(key, T | R)
    void mix_left(const Key32& key, Block block) {
        ByteArray<left_bytes> digest;
        std::size_t written = 0;
        ASSERT(EVP_MAC_init(hash, key.expose().data(), 32, nullptr) == 1);
        ASSERT(EVP_MAC_update(hash, keys.tweak.data(), keys.tweak.size()) == 1);
        ASSERT(EVP_MAC_update(hash, block.data() + left_bytes, right_bytes) == 1);
        ASSERT(EVP_MAC_final(hash, digest.data(), &written, digest.size()) == 1 && written == digest.size());
        xor_32(block.data(), digest.data());
    }

    void encrypt(Block block) {
        mix_right(keys.round[0], block);
        mix_left(keys.round[1], block);
        mix_right(keys.round[2], block);
        mix_left(keys.round[3], block);
    }
    void decrypt(Block block) {
        mix_left(keys.round[3], block);
        mix_right(keys.round[2], block);
        mix_left(keys.round[1], block);
        mix_right(keys.round[0], block);
    }

    // T <- BLAKE2b-128(Kt, T | chained), after which the keys may be due.
    void advance(ByteView chained) {
        keys.tweak = blake2b<16>(keys.tweak_key.expose(), {keys.tweak, chained});
        if (++cells < limits::layer_rekey_cells) return;
        cells = 0;
        for (Key32& key : keys.round) rekey(key);
        rekey(keys.tweak_key);
    }
    static void rekey(Key32& key) {
        const Key32 next(blake2b<32>(key.expose(), {as_bytes("rk")}));
        key.expose() = next.expose();
    }
};

LayerCipher::LayerCipher(LayerKeys keys) : impl_(std::make_unique<Impl>(std::move(keys))) {}
LayerCipher::LayerCipher(LayerCipher&&) noexcept = default;
LayerCipher& LayerCipher::operator=(LayerCipher&&) noexcept = default;
LayerCipher::~LayerCipher() = default;

void LayerCipher::client_forward(Block block) {
    const ByteArray<left_bytes> chained = first_bytes<left_bytes>(block);
    impl_->encrypt(block);
    impl_->advance(chained);
}

void LayerCipher::relay_forward(Block block) {
    impl_->decrypt(block);
    impl_->advance(block.first<left_bytes>());
}

void LayerCipher::relay_backward(Block block) {
    impl_->encrypt(block);
    impl_->advance(block.first<left_bytes>());
}

void LayerCipher::client_backward(Block block) {
    const ByteArray<left_bytes> chained = first_bytes<left_bytes>(block);
    impl_->decrypt(block);
    impl_->advance(chained);
}

const ByteArray<16>& LayerCipher::tweak() const {
    return impl_->keys.tweak;
}

}  // namespace shoal::crypto
