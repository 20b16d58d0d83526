// Request: what the cloves of one message rebuild, opened only by the model node. Format: protocol/request.md.
#pragma once

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/time.h"

namespace shoal::wire {

inline constexpr std::uint8_t request_version = 1;
inline constexpr std::size_t request_header_bytes = 1 + 1 + 16 + 8 + 7 * 32 + 2 + 4;
inline constexpr std::size_t request_qc_bytes_max = 13 * 65;  // signatures of a committee of at most 13

struct Request {
    bool unpaid = false;             // hold fields are zero; the node's policy decides
    bool no_hand_over = false;       // the entry node must answer itself
    bool pipelines_allowed = false;  // the client accepts that stages see activations
    RequestId id;
    UnixTime expires{};
    ModelId model;
    ByteArray<32> hold{};
    ByteArray<32> session_key{};
    ByteArray<32> affinity{};  // zero: none
    ByteArray<32> client_seed{};
    Key32 reply_key;
    Bytes hold_certificate;  // at most request_qc_bytes_max
    Plaintext body;          // an encoded ChatRequest (wire/chat.h), at most chat_body_bytes_max
};

// Errc::invalid: unpaid with hold fields set.
Bytes encode_request(const Request& request);
// `in` may be followed by zeros (padding to the bucket). Errc::malformed, Errc::unsupported (version).
Result<Request> decode_request(ByteView in);

// The number of records a clove takes for a request of `request_bytes` at threshold k: the smallest bucket of
// limits::bucket_cells that holds it, and how many bytes the padded request then has. Errc::exhausted: too long.
struct Bucket {
    std::uint16_t cells = 1;
    std::size_t padded_request_bytes = 0;  // fills the bucket exactly: |C| = padded + tag <= k * fragment bytes
    std::size_t fragment_bytes = 0;
};
Result<Bucket> choose_bucket(std::size_t request_bytes, unsigned k);

}  // namespace shoal::wire
