// Where random bytes come from. Both classes belong to one thread each.
#pragma once

#include "base/rng.h"
#include "base/secret.h"

namespace shoal::crypto {

// The operating system's source (getrandom), for everything that is real.
//
// Small requests are served from a buffer, because a system call for four bytes costs more than most of what the bytes
// are for. What was handed out is wiped from the buffer at once, so a later look into memory does not find it. A child
// of fork() throws the buffer away and draws its own; parent and child never give the same bytes.
class OsRng final : public Rng {
public:
    OsRng();
    OsRng(const OsRng&) = delete;
    OsRng& operator=(const OsRng&) = delete;
    ~OsRng() override;
    void fill(ByteSpan out) override;

private:
    void refill();
    ByteArray<1024> buffer_{};
    std::size_t used_ = sizeof buffer_;
    std::uint64_t forks_ = 0;  // how often the process had forked when the buffer was filled
};

// The ChaCha20 stream of a 32-byte seed, for tests and simulation. The same seed gives the same bytes on every machine,
// however they are cut into requests. Never for keys of a real network.
class SeededRng final : public Rng {
public:
    explicit SeededRng(const ByteArray<32>& seed) : seed_(seed) {}
    // A seed by number: little-endian in the first eight bytes, the rest zero.
    explicit SeededRng(std::uint64_t seed);
    void fill(ByteSpan out) override;

private:
    void refill();
    Key32 seed_;
    std::uint64_t block_ = 0;  // of 64 bytes; the next to be made
    ByteArray<512> buffer_{};
    std::size_t used_ = sizeof buffer_;
};

}  // namespace shoal::crypto
