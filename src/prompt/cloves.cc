#include "prompt/cloves.h"

#include <algorithm>

namespace shoal::prompt {

namespace {

// Cuts one fragment into its records; all but the last are full.
std::vector<wire::RecordBytes> cut(const crypto::Fragment& fragment, const crypto::SidaGeometry& geometry,
                                   std::uint16_t total) {
    std::vector<wire::RecordBytes> out;
    out.reserve(total);
    ByteView rest = fragment.bytes;
    const auto next = [&](std::size_t most) {
        const ByteView piece = rest.first(std::min(most, rest.size()));
        rest = rest.subspan(piece.size());
        return to_bytes(piece);
    };
    wire::CloveFirst first;
    first.k = geometry.k;
    first.n = geometry.n;
    first.index = fragment.index;
    first.message = geometry.message;
    first.total = total;
    first.ciphertext_bytes = geometry.ciphertext_bytes;
    first.share = fragment.share;
    first.fragment = next(limits::clove_first_fragment_bytes);
    out.push_back(wire::encode_record(first));
    for (std::uint16_t sequence = 1; sequence < total; ++sequence) {
        out.push_back(
            wire::encode_record(wire::CloveMore{fragment.index, sequence, next(limits::clove_more_fragment_bytes)}));
    }
    ASSERT(rest.empty());
    return out;
}

}  // namespace

Result<Cloves> make_cloves(const wire::Request& request, std::uint8_t k, std::uint8_t n, Rng& rng) {
    Bytes plain = wire::encode_request(request);
    const wire::Bucket bucket = TRY(wire::choose_bucket(plain.size(), k));
    plain.resize(bucket.padded_request_bytes);
    Cloves out;
    out.message = rng.id<MessageId>();
    out.bucket = bucket;
    const crypto::SidaSplit split = crypto::sida_split(plain, k, n, out.message, rng);
    wipe(plain.data(), plain.size());
    for (const crypto::Fragment& fragment : split.fragments) {
        out.records.push_back(cut(fragment, split.geometry, bucket.cells));
    }
    return out;
}

Status CloveReader::feed(const wire::CloveFirst& first) {
    if (started_) return fail(Errc::malformed, "prompt: a second clove on one stream");
    started_ = true;
    first_ = first;
    records_ = 1;
    fragment_ = std::move(first_.fragment);
    return ok();
}

Status CloveReader::feed(const wire::CloveMore& more) {
    if (!started_ || complete() || more.index != first_.index || more.sequence != records_) {
        return fail(Errc::malformed, "prompt: a piece of a clove out of order");
    }
    append(fragment_, more.fragment);
    ++records_;
    return ok();
}

crypto::Fragment CloveReader::take() {
    ASSERT(complete());
    return {first_.index, first_.share, std::move(fragment_)};
}

Gathering::Gathering(const wire::CloveFirst& first, Instant now)
    : geometry_{first.k, first.n, first.message, first.ciphertext_bytes}, total_(first.total), since_(now) {}

bool Gathering::fits(const wire::CloveFirst& first) const {
    return first.k == geometry_.k && first.n == geometry_.n && first.message == geometry_.message &&
           first.ciphertext_bytes == geometry_.ciphertext_bytes && first.total == total_;
}

void Gathering::add(crypto::Fragment fragment) {
    const bool known = std::any_of(fragments_.begin(), fragments_.end(),
                                   [&](const crypto::Fragment& f) { return f.index == fragment.index; });
    if (known) return;
    held_bytes_ += fragment.bytes.size();
    fragments_.push_back(std::move(fragment));
}

Result<wire::Request> Gathering::open() const {
    crypto::SidaMessage message = TRY(crypto::sida_combine(geometry_, fragments_));
    auto request = wire::decode_request(message.plaintext);
    wipe(message.plaintext.data(), message.plaintext.size());
    return request;
}

}  // namespace shoal::prompt
