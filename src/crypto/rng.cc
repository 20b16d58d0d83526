#include "crypto/rng.h"

#include <pthread.h>
#include <sodium.h>

#include <algorithm>
#include <atomic>

#include "base/assert.h"
#include "crypto/init.h"

namespace shoal::crypto {
namespace {

std::atomic<std::uint64_t> forks{0};

// Counts forks in the child, so that a buffer filled before is not used after. Cheaper than asking for the process id
// at each request.
void watch_forks() {
    static const bool watching = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); }) == 0;
    ASSERT(watching);
}

// Gives the first bytes that are left in the buffer and wipes them there.
template <std::size_t N>
std::size_t take(ByteArray<N>& buffer, std::size_t& used, ByteSpan out) {
    const std::size_t count = std::min(out.size(), N - used);
    if (count == 0) return 0;
    std::memcpy(out.data(), buffer.data() + used, count);
    wipe(buffer.data() + used, count);
    used += count;
    return count;
}

}  // namespace

OsRng::OsRng() {
    init();
    watch_forks();
}

OsRng::~OsRng() {
    wipe(buffer_.data(), buffer_.size());
}

void OsRng::refill() {
    randombytes_buf(buffer_.data(), buffer_.size());
    used_ = 0;
    forks_ = forks.load();
}

void OsRng::fill(ByteSpan out) {
    if (out.size() > buffer_.size() / 4) {
        randombytes_buf(out.data(), out.size());
        return;
    }
    if (forks_ != forks.load()) used_ = buffer_.size();
    while (!out.empty()) {
        if (used_ == buffer_.size()) refill();
        out = out.subspan(take(buffer_, used_, out));
    }
}

SeededRng::SeededRng(std::uint64_t seed) {
    store_le<std::uint64_t>(seed_.expose().data(), seed);
}

void SeededRng::refill() {
    static constexpr std::uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {};
    buffer_.fill(0);
    crypto_stream_chacha20_xor_ic(buffer_.data(), buffer_.data(), buffer_.size(), nonce, block_, seed_.expose().data());
    block_ += buffer_.size() / 64;
    used_ = 0;
}

void SeededRng::fill(ByteSpan out) {
    while (!out.empty()) {
        if (used_ == buffer_.size()) refill();
        out = out.subspan(take(buffer_, used_, out));
    }
}

}  // namespace shoal::crypto
