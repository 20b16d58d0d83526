// Reply: what a model node has answered to one request so far, cut into numbered records.
//
// Rules
//   1. A record is cut once and never again: sequence s always seals the same bytes under (reply_key, nonce s).
//      Rationale: a second plaintext under one nonce would give both away.
//   2. Records are cut by the clock (limits::reply_flush) and by who can take them, never by token. What cannot leave
//      yet stays uncut and is merged into the next record. The end alone waits for no clock.
//
// One owner (prompt/server.h); pure.
#pragma once

#include <vector>

#include "crypto/aead.h"
#include "wire/chat.h"
#include "wire/record.h"

namespace shoal::prompt {

// AEAD of reply records, for both ends. The request id is the associated data.
class ReplySealer {
public:
    ReplySealer(const Key32& reply_key, RequestId request);
    Bytes seal(std::uint32_t sequence, ByteView frames);
    // Errc::unauthenticated.
    Result<Bytes> open(std::uint32_t sequence, ByteView sealed);

private:
    crypto::AeadKey key_;
    RequestId request_;
};

// The proof in a RESUME that its sender knows the reply key.
ByteArray<32> resume_proof(const Key32& reply_key, const RequestId& request, std::uint32_t next);

class Reply {
public:
    Reply(const Key32& reply_key, RequestId request);

    // False: the reply would pass limits::reply_bytes_max; nothing was added.
    [[nodiscard]] bool add(const wire::ReplyFrame& frame);
    // An end or fault was added: no more may come.
    bool ended() const { return ended_; }
    bool has_uncut() const { return !uncut_.empty(); }
    // When the next record may be cut.
    Instant cut_after() const { return cut_after_; }
    // One record from what is uncut.
    void cut(Instant now);
    // Every record is cut and the last one carries the end.
    bool complete() const { return ended_ && uncut_.empty(); }

    std::uint32_t records() const { return static_cast<std::uint32_t>(records_.size()); }
    wire::Reply record(std::uint32_t sequence) const;
    std::size_t bytes() const { return bytes_; }

private:
    ReplySealer sealer_;
    bool ended_ = false;
    Bytes uncut_;                 // bounded: reply_bytes_max
    std::vector<Bytes> records_;  // bounded: reply_bytes_max in all
    std::size_t bytes_ = 0;
    Instant cut_after_ = Instant::min();
};

}  // namespace shoal::prompt
