#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>

#include "crypto/certificate.h"
#include "crypto/sign.h"

namespace shoal::net {

namespace {

// "\x05sc1/1": a list of one name, each with its length before it (RFC 7301).
constexpr ByteArray<6> alpn_list = {5, 's', 'c', '1', '/', '1'};
static_assert(tls_alpn.size() == alpn_list[0] && alpn_list.size() == tls_alpn.size() + 1);

std::string openssl_reason() {
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    return reason != nullptr ? reason : "no reason given";
}

Error cannot_set_up(const char* what) {
    return fail(Errc::internal, std::string("TLS cannot be set up: OpenSSL refuses ") + what + " (" + openssl_reason() +
                                    "); a build of OpenSSL 3.0 or later with Ed25519 is needed");
}

}  // namespace

// What OpenSSL calls. The session is found through the BIO's data or the SSL's application data.
struct TlsCallbacks {
    static int bio_read(BIO* bio, char* out, std::size_t room, std::size_t* count) {
        auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        *count = std::min(room, session.input_.size());
        if (*count == 0) {
            BIO_set_retry_read(bio);
            return 0;
        }
        std::memcpy(out, session.input_.data(), *count);
        session.input_ = session.input_.subspan(*count);
        return 1;
    }

    static int bio_write(BIO* bio, const char* bytes, std::size_t size, std::size_t* count) {
        auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        if (size > session.output_bytes_max_ - std::min(session.output_bytes_max_, session.output_.size())) return 0;
        session.output_.push({reinterpret_cast<const std::uint8_t*>(bytes), size});
        *count = size;
        return 1;
    }

    static long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

    static BIO_METHOD* bio_method() {
        static BIO_METHOD* const method = [] {
            BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shoal session");
            ASSERT(made != nullptr);
            BIO_meth_set_read_ex(made, bio_read);
            BIO_meth_set_write_ex(made, bio_write);
            BIO_meth_set_ctrl(made, bio_control);
            return made;
        }();
        return method;
    }

    // In place of X.509's own path building, which knows names, dates and authorities and not what a node id is.
    static int verify_certificate(X509_STORE_CTX* store, void*) {
        auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
        auto& session = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
        session.refusal_ = refusal(session, store);
        if (session.refusal_.empty()) return 1;
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }

    // Empty: the certificate is good and `session` knows the peer.
    static std::string refusal(TlsSession& session, X509_STORE_CTX* store) {
        const STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(store);
        if (sent == nullptr || sk_X509_num(sent) != 1) return "the peer sent more than one certificate";
        X509* leaf = X509_STORE_CTX_get0_cert(store);
        const int size = leaf == nullptr ? 0 : i2d_X509(leaf, nullptr);
        if (size <= 0) return "the peer's certificate does not parse";
        Bytes der(static_cast<std::size_t>(size));
        std::uint8_t* at = der.data();
        i2d_X509(leaf, &at);
        const Result<NodeId> id = crypto::certificate_identity(der);
        if (!id) return "the peer's certificate: " + id.error().message;
        if (session.expected_ && *session.expected_ != *id) {
            return "it is node " + id->brief() + " and not " + session.expected_->brief();
        }
        session.peer_ = *id;
        return {};
    }

    static int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                           unsigned int offered_size, void*) {
        unsigned char* chosen = nullptr;
        const int found =
            SSL_select_next_proto(&chosen, out_size, alpn_list.data(), alpn_list.size(), offered, offered_size);
        if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
    }
};

// ---- the profile -------------------------------------------------------------------------------------------------

namespace {

Status load_identity(SSL_CTX* context, const crypto::SigningKey& key, ByteView certificate) {
    if (SSL_CTX_use_certificate_ASN1(context, static_cast<int>(certificate.size()), certificate.data()) != 1) {
        return cannot_set_up("the certificate");
    }
    const auto pkcs8 = crypto::private_key_pkcs8(key);
    const std::uint8_t* at = pkcs8.expose().data();
    EVP_PKEY* private_key = d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(pkcs8.expose().size()));
    if (private_key == nullptr) return cannot_set_up("the private key");
    const int used = SSL_CTX_use_PrivateKey(context, private_key);
    EVP_PKEY_free(private_key);
    if (used != 1 || SSL_CTX_check_private_key(context) != 1) return cannot_set_up("the private key");
    return ok();
}

Result<SslCtx> make_context(const SSL_METHOD* method, const crypto::SigningKey& key, ByteView certificate) {
    ERR_clear_error();
    SslCtx made(SSL_CTX_new(method));
    if (!made) return cannot_set_up("a context");
    SSL_CTX* context = made.get();
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1) {
        return cannot_set_up("TLS 1.3");
    }
    std::string groups = "X25519";  // OpenSSL's macros want a char*, which they do not change
    std::string signatures = "ed25519";
    if (SSL_CTX_set1_groups_list(context, groups.data()) != 1) return cannot_set_up("X25519");
    if (SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1) {
        return cannot_set_up("the cipher suites");
    }
    if (SSL_CTX_set1_sigalgs_list(context, signatures.data()) != 1) return cannot_set_up("Ed25519 signatures");
    if (SSL_CTX_set_alpn_protos(context, alpn_list.data(), alpn_list.size()) != 0) return cannot_set_up("ALPN");
    SSL_CTX_set_alpn_select_cb(context, TlsCallbacks::select_alpn, nullptr);

    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    if (SSL_CTX_set_num_tickets(context, 0) != 1) return cannot_set_up("no tickets");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(context, 0);
    SSL_CTX_set_recv_max_early_data(context, 0);
    // One certificate exactly, whatever the machine's stores would add; idle links give their buffers back.
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(context, 2 * static_cast<long>(crypto::certificate_bytes_max));
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(context, TlsCallbacks::verify_certificate, nullptr);
    TRY(load_identity(context, key, certificate));
    return made;
}

}  // namespace

Result<LocalIdentity> LocalIdentity::make(const crypto::SigningKey& key, Rng& rng) {
    const Bytes certificate = crypto::make_certificate(key, rng);
    auto impl = std::make_shared<Impl>();  // shared by the copies of the identity; nobody changes it afterwards
    impl->id = key.node_id();
    impl->client = TRY(make_context(TLS_client_method(), key, certificate));
    impl->server = TRY(make_context(TLS_server_method(), key, certificate));
    return LocalIdentity(std::move(impl));
}

const NodeId& LocalIdentity::id() const {
    return impl_->id;
}

// ---- one session -------------------------------------------------------------------------------------------------

void OutBuffer::push(ByteView more) {
    // A reader that is always a little behind would never let the buffer start afresh.
    if (head_ > 0 && head_ >= size()) {
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
        head_ = 0;
    }
    append(bytes_, more);
}

void OutBuffer::consume(std::size_t count) {
    // An idle link keeps no more than this.
    constexpr std::size_t kept_bytes_max = 2 * tls_record_bytes;
    head_ += count;
    ASSERT(head_ <= bytes_.size());
    if (head_ < bytes_.size()) return;
    head_ = 0;
    if (bytes_.capacity() > kept_bytes_max) {
        bytes_ = Bytes();
    } else {
        bytes_.clear();
    }
}

TlsSession::TlsSession(std::shared_ptr<const LocalIdentity::Impl> identity, bool initiator,
                       std::optional<NodeId> expected, std::size_t output_bytes_max)
    : identity_(std::move(identity)),
      ssl_(SSL_new(initiator ? identity_->client.get() : identity_->server.get())),
      expected_(expected),
      output_bytes_max_(output_bytes_max) {
    BIO* bio = BIO_new(TlsCallbacks::bio_method());
    ASSERT(ssl_ != nullptr && bio != nullptr);  // out of memory
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_app_data(ssl_.get(), this);
    if (initiator) {
        SSL_set_connect_state(ssl_.get());
    } else {
        SSL_set_accept_state(ssl_.get());
    }
}

TlsSession::~TlsSession() = default;

void TlsSession::handshake() {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) return finish_handshake();
    const int reason = SSL_get_error(ssl_.get(), done);
    if (reason != SSL_ERROR_WANT_READ) fail_with(reason);
}

void TlsSession::finish_handshake() {
    // A peer that offers no ALPN at all is not caught by select_alpn, nor is a listener that does not answer it.
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    if (as_text({name, size}) != tls_alpn) {
        error_ = fail(Errc::unauthenticated, "the peer does not speak " + std::string(tls_alpn));
        state_ = State::failed;
        return;
    }
    state_ = State::up;
}

std::size_t TlsSession::receive(ByteView sealed, ByteSpan plain) {
    ASSERT(plain.size() >= sealed.size() + tls_record_bytes);
    input_ = sealed;
    if (state_ == State::handshaking) handshake();
    const std::size_t count = state_ == State::up ? read_all(plain) : 0;
    input_ = {};
    return count;
}

std::size_t TlsSession::read_all(ByteSpan plain) {
    std::size_t filled = 0;
    while (filled < plain.size()) {
        std::size_t count = 0;
        ERR_clear_error();
        const int got = SSL_read_ex(ssl_.get(), plain.data() + filled, plain.size() - filled, &count);
        filled += count;
        if (got == 1) continue;
        const int reason = SSL_get_error(ssl_.get(), got);
        if (reason == SSL_ERROR_ZERO_RETURN) {
            state_ = State::closed;
        } else if (reason != SSL_ERROR_WANT_READ) {
            fail_with(reason);
        }
        break;
    }
    return filled;
}

bool TlsSession::seal(ByteView plain) {
    while (state_ == State::up && !plain.empty()) {
        const ByteView record = plain.first(std::min(plain.size(), tls_record_bytes));
        if (++records_ % rekey_records_ == 0) SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
        std::size_t count = 0;
        ERR_clear_error();
        const int put = SSL_write_ex(ssl_.get(), record.data(), record.size(), &count);
        if (put != 1) fail_with(SSL_get_error(ssl_.get(), put));
        plain = plain.subspan(count);
    }
    return state_ == State::up;
}

void TlsSession::say_goodbye() {
    ERR_clear_error();
    if (state_ == State::up || state_ == State::closed) SSL_shutdown(ssl_.get());
}

void TlsSession::fail_with(int ssl_error) {
    const bool was_up = state_ == State::up;
    state_ = State::failed;
    if (!refusal_.empty()) {
        error_ = fail(Errc::unauthenticated, "refused: " + refusal_);
    } else if (ssl_error == SSL_ERROR_SSL) {
        error_ = fail(was_up ? Errc::io : Errc::unauthenticated, "TLS ended it: " + openssl_reason());
    } else {
        error_ = fail(Errc::exhausted, "the peer makes this side answer and does not read");
    }
}

std::optional<ByteArray<32>> TlsSession::channel_binding() const {
    if (state_ != State::up) return std::nullopt;
    ByteArray<32> out;
    const int made = SSL_export_keying_material(ssl_.get(), out.data(), out.size(), tls_channel_label.data(),
                                                tls_channel_label.size(), nullptr, 0, 0);
    if (made != 1) return std::nullopt;
    return out;
}

}  // namespace shoal::net
