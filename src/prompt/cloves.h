// A request as cloves, and back. Sealing is not here: each clove travels as records of a sealed stream of its own.
// Formats: protocol/record.md, protocol/request.md. Pure functions and one small collector.
#pragma once

#include <map>
#include <vector>

#include "base/rng.h"
#include "crypto/sida.h"
#include "wire/record.h"
#include "wire/request.h"

namespace shoal::prompt {

struct Cloves {
    MessageId message;
    wire::Bucket bucket;
    std::vector<std::vector<wire::RecordBytes>> records;  // of clove index 1..n; bucket.cells each
};

// 1 <= k <= n <= limits::cloves_max. Errc::exhausted: the request is longer than the largest bucket.
Result<Cloves> make_cloves(const wire::Request& request, std::uint8_t k, std::uint8_t n, Rng& rng);

// One clove as it arrives over one stream: its first record, then the rest in order.
class CloveReader {
public:
    // Errc::malformed: out of order, too long, of another clove. The stream is then ended.
    Status feed(const wire::CloveFirst& first);
    Status feed(const wire::CloveMore& more);
    bool started() const { return started_; }
    bool complete() const { return started_ && records_ == first_.total; }
    const wire::CloveFirst& first() const { return first_; }
    // Only when complete; once.
    crypto::Fragment take();

private:
    bool started_ = false;
    wire::CloveFirst first_;
    std::uint16_t records_ = 0;
    Bytes fragment_;  // bounded: fragment_bytes_max
};

// The cloves of one message at the model node, until k are there.
class Gathering {
public:
    Gathering(const wire::CloveFirst& first, Instant now);
    // Another clove that says it belongs here must have the same geometry.
    bool fits(const wire::CloveFirst& first) const;
    // Ignores an index that is there already.
    void add(crypto::Fragment fragment);
    bool enough() const { return fragments_.size() >= geometry_.k; }
    // Errc::unauthenticated: the fragments do not belong together (more may help); Errc::malformed and those of
    // decode_request: they do, and the request in them is none.
    Result<wire::Request> open() const;
    Instant since() const { return since_; }
    // Of the fragments that are there.
    std::size_t held_bytes() const { return held_bytes_; }

private:
    crypto::SidaGeometry geometry_;
    std::uint16_t total_;
    std::vector<crypto::Fragment> fragments_;  // bounded: n
    std::size_t held_bytes_ = 0;
    Instant since_;
};

}  // namespace shoal::prompt
