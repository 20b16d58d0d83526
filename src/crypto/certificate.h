// The certificate that carries a node's identity into TLS (CRYPTO 7): X.509, Ed25519, signed by itself.
//
// Names, dates and authorities mean nothing here: the key is the identity, and the directory says what it may do.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "base/rng.h"
#include "crypto/sign.h"

namespace shoal::crypto {

// DER. The same key gives the same bytes, but for the serial number, which is drawn.
Bytes make_certificate(const SigningKey& key, Rng& rng);
// The private key as PKCS#8 DER, for the TLS library.
Sensitive<ByteArray<48>> private_key_pkcs8(const SigningKey& key);

// Ours have about 300 bytes; more than this is not looked at.
inline constexpr std::size_t certificate_bytes_max = 2048;

// Whose certificate it is. The caller still has to compare that with whom it wanted to speak to.
// Errc::malformed: not exactly one certificate in DER, or too long. Errc::unsupported: a key or signature other than
// Ed25519, or an extension marked critical (none is known here). Errc::unauthenticated: the signature does not hold.
Result<NodeId> certificate_identity(ByteView der);

}  // namespace shoal::crypto
