#include "prompt/reply.h"

#include "crypto/hash.h"

namespace shoal::prompt {

ReplySealer::ReplySealer(const Key32& reply_key, RequestId request) : key_(reply_key), request_(request) {}

Bytes ReplySealer::seal(std::uint32_t sequence, ByteView frames) {
    return key_.seal(crypto::counter_nonce(sequence), request_.view(), frames);
}

Result<Bytes> ReplySealer::open(std::uint32_t sequence, ByteView sealed) {
    return key_.open(crypto::counter_nonce(sequence), request_.view(), sealed);
}

ByteArray<32> resume_proof(const Key32& reply_key, const RequestId& request, std::uint32_t next) {
    std::uint8_t raw[4];
    store_le<std::uint32_t>(raw, next);
    return crypto::blake2b<32>(reply_key.expose(), {as_bytes("resume"), request.view(), raw});
}

Reply::Reply(const Key32& reply_key, RequestId request) : sealer_(reply_key, request) {}

bool Reply::add(const wire::ReplyFrame& frame) {
    ASSERT(!ended_);
    const bool end = !std::holds_alternative<ChatDelta>(frame);
    const std::size_t before = uncut_.size();
    wire::append_reply_frame(uncut_, frame);
    const std::size_t added = uncut_.size() - before;
    // An end always fits: it is what tells the client that the rest does not.
    if (!end && bytes_ + added > limits::reply_bytes_max) {
        uncut_.resize(before);
        return false;
    }
    bytes_ += added;
    ended_ = end;
    return true;
}

void Reply::cut(Instant now) {
    ASSERT(!uncut_.empty());
    const std::size_t take = std::min(uncut_.size(), wire::reply_text_bytes_max);
    records_.push_back(sealer_.seal(records(), ByteView(uncut_).first(take)));
    wipe(uncut_.data(), take);
    uncut_.erase(uncut_.begin(), uncut_.begin() + static_cast<std::ptrdiff_t>(take));
    cut_after_ = now + limits::reply_flush;
}

wire::Reply Reply::record(std::uint32_t sequence) const {
    ASSERT(sequence < records_.size());
    return {sequence, complete() && sequence + 1 == records(), records_[sequence]};
}

}  // namespace shoal::prompt
