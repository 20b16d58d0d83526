// OpenSSL's implementation, by measurement (one core, 2.6 GHz, AVX-512): 0.9 against libsodium's 1.4 microseconds for
// 1354 bytes, 1.5 against 4.0 for 6 KB; at 64 bytes they are even.
#include "crypto/aead.h"

#include <openssl/evp.h>

#include "base/assert.h"

namespace shoal::crypto {
namespace {

constexpr std::size_t tag_bytes = limits::aead_tag_bytes;

const EVP_CIPHER* method() {
    static const EVP_CIPHER* const fetched = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
    ASSERT(fetched != nullptr);
    return fetched;
}

int length(std::size_t bytes) {
    ASSERT(bytes <= INT32_MAX - 64);
    return static_cast<int>(bytes);
}

}  // namespace

// The context keeps the key; each message only sets direction and nonce. Its memory is wiped by OpenSSL when freed.
struct AeadKey::Impl {
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();

    explicit Impl(const Key32& key) {
        ASSERT(context != nullptr);
        ASSERT(EVP_CipherInit_ex2(context, method(), key.expose().data(), nullptr, 1, nullptr) == 1);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { EVP_CIPHER_CTX_free(context); }

    void begin(const Nonce& nonce, ByteView associated, bool seal) {
        ASSERT(EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), seal ? 1 : 0, nullptr) == 1);
        update(nullptr, associated);
    }
    void update(std::uint8_t* out, ByteView in) {
        if (in.empty()) return;
        int written = 0;
        ASSERT(EVP_CipherUpdate(context, out, &written, in.data(), length(in.size())) == 1);
        ASSERT(written == length(in.size()));
    }
    bool finish() {
        std::uint8_t nothing[16];
        int written = 0;
        return EVP_CipherFinal_ex(context, nothing, &written) == 1;
    }
};

Nonce counter_nonce(std::uint64_t counter) {
    Nonce out{};
    store_le<std::uint64_t>(out.data() + 4, counter);
    return out;
}

AeadKey::AeadKey(const Key32& key) : impl_(std::make_unique<Impl>(key)) {}
AeadKey::AeadKey(AeadKey&&) noexcept = default;
AeadKey& AeadKey::operator=(AeadKey&&) noexcept = default;
AeadKey::~AeadKey() = default;

void AeadKey::seal_into(const Nonce& nonce, ByteView associated, ByteView plain, ByteSpan out) {
    ASSERT(out.size() == plain.size() + tag_bytes);
    impl_->begin(nonce, associated, true);
    impl_->update(out.data(), plain);
    ASSERT(impl_->finish());
    ASSERT(EVP_CIPHER_CTX_ctrl(impl_->context, EVP_CTRL_AEAD_GET_TAG, tag_bytes, out.data() + plain.size()) == 1);
}

Status AeadKey::open_into(const Nonce& nonce, ByteView associated, ByteView sealed, ByteSpan out) {
    ASSERT(sealed.size() == out.size() + tag_bytes);
    ByteArray<tag_bytes> tag = first_bytes<tag_bytes>(sealed.subspan(out.size()));
    impl_->begin(nonce, associated, false);
    ASSERT(EVP_CIPHER_CTX_ctrl(impl_->context, EVP_CTRL_AEAD_SET_TAG, tag_bytes, tag.data()) == 1);
    impl_->update(out.data(), sealed.first(out.size()));
    if (!impl_->finish()) {
        wipe(out.data(), out.size());
        return fail(Errc::unauthenticated, "the sealed bytes were changed, or are not meant for this key and nonce");
    }
    return ok();
}

Bytes AeadKey::seal(const Nonce& nonce, ByteView associated, ByteView plain) {
    Bytes out(plain.size() + tag_bytes);
    seal_into(nonce, associated, plain, out);
    return out;
}

Result<Bytes> AeadKey::open(const Nonce& nonce, ByteView associated, ByteView sealed) {
    if (sealed.size() < tag_bytes) return fail(Errc::unauthenticated, "sealed bytes shorter than their tag");
    Bytes out(sealed.size() - tag_bytes);
    TRY(open_into(nonce, associated, sealed, out));
    return out;
}

}  // namespace shoal::crypto
