// Records: the plaintext inside a sealed stream between client and model node. Format: protocol/record.md.
//
// Always 1354 bytes: kind, flags, length, body, zeros. Sealed they are 1370, the data of one relay cell. Nothing of a
// record is visible outside the seal, so a proxy sees neither which message a stream serves nor how much it carries.
#pragma once

#include <variant>

#include "base/chat.h"
#include "base/codec.h"
#include "base/ids.h"
#include "base/limits.h"

namespace shoal::wire {

using RecordBytes = ByteArray<limits::record_bytes>;

// The bytes of a clove over `total` records, all of them full.
constexpr std::size_t clove_bytes(std::uint16_t total) {
    return limits::clove_first_fragment_bytes + (total - std::size_t{1}) * limits::clove_more_fragment_bytes;
}

// First record of a clove. `total` counts the records of this clove, this one included, and is one of
// limits::bucket_cells. Requests are padded until k cloves fill their records to the last byte (choose_bucket), so
// every number here follows from k and total; one that does not is refused before anything is gathered.
struct CloveFirst {
    std::uint8_t k = 0;      // cloves needed, 1..n
    std::uint8_t n = 0;      // cloves made, 1..cloves_max
    std::uint8_t index = 0;  // 1..n
    MessageId message;
    std::uint16_t total = 1;
    std::uint32_t ciphertext_bytes = 0;  // of the whole message: k * clove_bytes(total)
    ByteArray<32> share{};
    Bytes fragment;  // clove_first_fragment_bytes exactly
};
struct CloveMore {
    std::uint8_t index = 0;      // 1..cloves_max
    std::uint16_t sequence = 1;  // 1..bucket_cells.back() - 1; the gatherer compares with the clove's own total
    Bytes fragment;              // clove_more_fragment_bytes exactly
};
// Model node to client: clove `index` is here.
struct Got {
    std::uint8_t index = 0;
};
// k cloves are here and the request is taken; generation follows.
struct Accepted {};
// One slice of the reply, AEAD(reply_key, nonce = sequence, AD = request id) over reply frames (wire/chat.h).
struct Reply {
    std::uint32_t sequence = 0;
    bool last = false;
    Bytes sealed;  // aead_tag_bytes to reply_sealed_bytes_max, tag included
};
inline constexpr std::size_t reply_sealed_bytes_max = limits::record_body_bytes - 4;
inline constexpr std::size_t reply_text_bytes_max = reply_sealed_bytes_max - limits::aead_tag_bytes;
// First record of a stream that picks a running reply up again. `next` is the lowest sequence not yet received; the
// proof is BLAKE2b-256(key = reply_key, "resume" | request id | next), since a request id alone may have been seen.
struct Resume {
    RequestId request;
    std::uint32_t next = 0;
    ByteArray<32> proof{};
};
struct Cancel {
    RequestId request;
};
struct Pad {};
// The request ends here; no reply will come. Text is for people (plain_text), at most record_error_bytes_max: what is
// longer is cut, what is not plain is replaced.
inline constexpr std::size_t record_error_bytes_max = 512;
struct RecordError {
    AskFault fault = AskFault::refused;
    std::string text;
};

using Record = std::variant<CloveFirst, CloveMore, Got, Accepted, Reply, Resume, Cancel, Pad, RecordError>;

// The fields must be such as decode_record would give (ASSERT).
RecordBytes encode_record(const Record& record);
// Errc::malformed: unknown kind, a flag that the kind does not have, a length that does not fit, a clove whose numbers
// contradict each other, bytes behind the length not zero. Errc::unsupported: RECEIPT, reserved for credits.
Result<Record> decode_record(const RecordBytes& in);

}  // namespace shoal::wire
