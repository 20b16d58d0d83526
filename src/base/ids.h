// Strong types for the things that have names or numbers, so that two of them cannot be swapped.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

#include "base/bytes.h"

namespace shoal {

// A number with a meaning. No arithmetic: where it is wanted, the type says so itself.
template <typename Tag, typename Rep>
class StrongInt {
public:
    using rep = Rep;
    constexpr StrongInt() = default;
    constexpr explicit StrongInt(Rep value) : value_(value) {}
    constexpr Rep value() const { return value_; }
    friend constexpr auto operator<=>(const StrongInt&, const StrongInt&) = default;

private:
    Rep value_ = 0;
};

// A name of N bytes: a public key, a hash or a random string.
template <typename Tag, std::size_t N>
class ByteId {
public:
    static constexpr std::size_t size = N;
    constexpr ByteId() = default;
    constexpr explicit ByteId(const ByteArray<N>& bytes) : bytes_(bytes) {}
    const ByteArray<N>& bytes() const { return bytes_; }
    ByteView view() const { return bytes_; }
    bool is_zero() const { return bytes_ == ByteArray<N>{}; }
    std::string hex() const { return to_hex(bytes_); }
    // The first eight hexadecimal digits: for people, in logs and tables.
    std::string brief() const { return to_hex(ByteView(bytes_).first(4)); }
    friend auto operator<=>(const ByteId&, const ByteId&) = default;

private:
    ByteArray<N> bytes_{};
};

using NodeId = ByteId<struct NodeIdTag, 32>;            // Ed25519 public key of a node's identity
using NetworkId = ByteId<struct NetworkIdTag, 32>;      // hash of the genesis (network.toml); binds every signature
using ModelId = ByteId<struct ModelIdTag, 32>;          // BLAKE2b-256 of the model's tensor manifest
using PrefixScope = ByteId<struct PrefixScopeTag, 32>;  // secret of who may have a prefix reused (base/chat.h)
using FamilyId = ByteId<struct FamilyIdTag, 32>;        // operator of a group of nodes; zero: alone
using RequestId = ByteId<struct RequestIdTag, 16>;      // one question, kept over resends
using MessageId = ByteId<struct MessageIdTag, 16>;      // one set of cloves; a resend has a new one
using CircuitId = StrongInt<struct CircuitIdTag, std::uint32_t>;  // on one link; most significant bit: TLS initiator
using LinkStreamId = StrongInt<struct LinkStreamIdTag, std::uint32_t>;  // stream proxy to model node, same numbering
using StreamId = StrongInt<struct StreamIdTag, std::uint16_t>;          // inside one circuit, never 0
using LinkId = StrongInt<struct LinkIdTag, std::uint64_t>;  // local handle of a link; never reused in a process
using JobId = StrongInt<struct JobIdTag, std::uint64_t>;    // local handle of one generation at an engine
using PrefixReadId = StrongInt<struct PrefixReadIdTag, std::uint64_t>;  // local handle of a snapshot being read
using TokenCount = StrongInt<struct TokenCountTag, std::uint32_t>;
using Epoch = StrongInt<struct EpochTag, std::uint64_t>;  // of the signed directory; grows by one a snapshot

}  // namespace shoal

template <typename Tag, typename Rep>
struct std::hash<shoal::StrongInt<Tag, Rep>> {
    std::size_t operator()(const shoal::StrongInt<Tag, Rep>& v) const noexcept { return std::hash<Rep>{}(v.value()); }
};
// For maps of bounded size only: the bytes are taken as they are, so a peer who chooses ids can make them collide.
template <typename Tag, std::size_t N>
struct std::hash<shoal::ByteId<Tag, N>> {
    std::size_t operator()(const shoal::ByteId<Tag, N>& v) const noexcept {
        return static_cast<std::size_t>(shoal::load_le<std::uint64_t>(v.bytes().data()));
    }
};
