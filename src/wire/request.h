// Request: what the cloves of one message rebuild, opened only by the model node. Format: protocol/request.md.
#pragma once

#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/time.h"

namespace shoal::wire {

inline constexpr std::uint8_t request_version = 1;
inline constexpr std::size_t request_header_bytes = 1 + 1 + 16 + 8 + 6 * 32 + 2 + 4;
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

// The request without padding. Its limits are the caller's to keep, and unpaid means that hold, session_key and
// hold_certificate are empty (ASSERT).
Bytes encode_request(const Request& request);
// `in` may be followed by zeros (padding to the bucket), by nothing else. Errc::malformed; Errc::unsupported: another
// version; Errc::invalid: unpaid with hold fields set. Whether it has expired is the caller's to ask.
Result<Request> decode_request(ByteView in);

// What a request of `request_bytes` is padded to at threshold k: the smallest bucket of limits::bucket_cells that holds
// it. Every clove of one bucket has the same number of full records, so that its size tells the bucket and no more:
//     fragment_bytes = clove_first_fragment_bytes + (cells - 1) * clove_more_fragment_bytes
//     padded_request_bytes = k * fragment_bytes - aead_tag_bytes
// Errc::exhausted: too long for the largest bucket. Errc::invalid: k is not 1 to cloves_max.
struct Bucket {
    std::uint16_t cells = 1;               // records of each clove
    std::size_t padded_request_bytes = 0;  // the ciphertext is aead_tag_bytes longer: k * fragment_bytes exactly
    std::size_t fragment_bytes = 0;
};
Result<Bucket> choose_bucket(std::size_t request_bytes, unsigned k);

}  // namespace shoal::wire
