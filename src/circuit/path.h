// Paths: which guards a client keeps, which relays a circuit goes through, and which circuits carry one message.
//
// This room knows no directory: what it needs of a relay is RelayInfo, made by the caller from one verified snapshot.
//
// Rules (CRYPTO 6.1)
//   1. A path is guard, middle, proxy. No two of them are one relay, of one family, or in one subnet (/16 or /32).
//   2. Middle and proxy are drawn by weight, never from the client's guards, their families or subnets, nor from the
//      client's own relay or family.
//      Rationale: a guard that also saw the far end would see both ends.
//   3. Guards are sticky. Two primaries are drawn by weight and kept for U(30, 60) days, over restarts, absence from
//      the directory for a week, and failures.
//      Rationale: each new draw is a new chance to meet an observer; who can make a client redraw chooses its guards.
//   4. A primary that fails guard_failures_max times in a row is stood in for, by one of at most two further sampled
//      guards, which are sticky as well. It is tried again after guard_retry_min, doubling to _max, and comes back.
//   5. The circuits of one message share no relay, family or subnet but their guards, and are split evenly over them.
//
// What an attacker can do: with a share p of the weight, be a guard with 1 - (1-p)^2; block guards, and so move a
// client to the stand-ins, but not beyond them.
//
// Thread: the one that owns the object.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/time.h"

namespace shoal::circuit {

struct RelayInfo {
    NodeId id;
    FamilyId family;                     // zero: alone
    std::vector<std::uint64_t> subnets;  // wire::Address::subnet of each address
    std::uint32_t weight = 1;            // 0: never chosen
    bool guard = false;                  // takes clients' links
};

// One operator or one network, as far as anybody can tell: same relay, same family (not zero), or a common subnet.
bool related(const RelayInfo& a, const RelayInfo& b);

// Whom a path must avoid.
struct Exclusions {
    std::vector<NodeId> nodes;
    std::vector<FamilyId> families;  // zeros among them mean nothing
    std::vector<std::uint64_t> subnets;

    void add(const RelayInfo& relay);
    bool contains(const RelayInfo& relay) const;
};

// Which relays let circuits be built. Rule: dropped below relay_success_min of at least relay_builds_judged builds;
// counts halve every `half_life`, so that a dropped relay is tried again and memory ends.
class SuccessRecord {
public:
    static constexpr Duration half_life = std::chrono::hours(1);
    static constexpr std::size_t relays_max = limits::snapshot_nodes_max;

    void on_tick(Now now);
    std::optional<Instant> next_deadline() const { return next_; }
    // One build that reached this relay or was to reach it. When relays_max are known, further ones are not recorded.
    void on_build(const NodeId& relay, bool success);
    bool dropped(const NodeId& relay) const;
    std::size_t size() const { return counts_.size(); }

private:
    struct Count {
        std::uint32_t builds = 0;
        std::uint32_t successes = 0;
    };
    std::unordered_map<NodeId, Count> counts_;  // bounded: relays_max
    std::optional<Instant> next_;
};

class Guards {
public:
    // `rng` must outlive the object.
    explicit Guards(Rng& rng) : rng_(rng) {}

    // Errc::malformed; the object is then unchanged. Call before update(). The guards are not used before it either.
    Status restore(ByteView state);
    // Changes with the sample only: see take_changed(). Who reads it learns the client's guards: 0600.
    Bytes state() const;
    // Whether the state should be written again; true once after each change.
    bool take_changed();

    // A new directory: what is listed, expired or missing. `self`: own relay and family, never sampled. Only here
    // guards end: a verified directory vouches for the clock, and a wrong clock alone must not make a client redraw.
    void update(Now now, std::span<const RelayInfo> relays, const Exclusions& self);
    void on_tick(Now now);
    std::optional<Instant> next_deadline() const;

    // The guards to build through now, at most limits::guards, primaries first; no two related. Fewer, or none, when
    // the directory has no more. When nobody at all is reachable, the primaries: it is then likely we who are offline.
    std::vector<NodeId> in_use() const;
    // Whom paths must avoid besides their own guard: every sampled guard, whether in use or not.
    Exclusions exclusions() const;
    // A link came up, or a first hop answered.
    void on_reached(const NodeId& guard);
    void on_failed(Now now, const NodeId& guard);

    std::size_t sampled() const { return sample_.size(); }

private:
    struct Sampled {
        NodeId id;
        UnixTime added{};
        UnixTime expires{};
        std::optional<UnixTime> unlisted_since;
        // Not kept over restarts:
        RelayInfo info;  // as last listed
        std::uint32_t failures = 0;
        Duration retry{};
        std::optional<Instant> retry_at;  // unreachable until then
    };
    static bool usable(const Sampled& guard) { return !guard.unlisted_since && !guard.info.id.is_zero(); }
    std::vector<NodeId> pick(bool reachable_only) const;
    void expire(Now now);
    // Adds one that is related to none of the sample; false when there is none or the sample is full.
    bool draw(Now now);

    Rng& rng_;
    std::vector<Sampled> sample_;        // in the order drawn; bounded: guards_kept_max
    std::vector<RelayInfo> candidates_;  // guards of the directory, self left out
    bool changed_ = false;
};

struct Path {
    std::array<NodeId, limits::hops> hops;  // guard, middle, proxy
    friend bool operator==(const Path&, const Path&) = default;
};

// Relays of one directory, prepared for drawing and looking up. Building it is O(relays) when they come sorted by id,
// as a view gives them. Implicit from a list, so that who needs one path does not have to know; who needs many keeps
// one. Refers to the list, which must outlive it and stay as it is. No relay may be there twice.
class RelayIndex {
public:
    RelayIndex(std::span<const RelayInfo> relays);  // NOLINT(google-explicit-constructor)
    RelayIndex(const std::vector<RelayInfo>& relays) : RelayIndex(std::span<const RelayInfo>(relays)) {}  // NOLINT

    std::span<const RelayInfo> relays() const { return relays_; }
    const RelayInfo* find(const NodeId& id) const;
    // One that `eligible` likes, with odds in proportion to the weights of those; nullptr when there is none.
    template <typename Eligible>
    const RelayInfo* draw(Rng& rng, Eligible eligible) const;

private:
    std::span<const RelayInfo> relays_;
    // bounded: one for each relay of the directory, snapshot_nodes_max
    std::vector<std::uint32_t> by_id_;
    std::vector<std::uint64_t> weight_before_;  // sum over all earlier ones, and one more: the total
};

class PathSelector {
public:
    // A path through `guard` by rules 1 and 2, or nullopt when the directory has none (or does not list the guard).
    // `exclusions`: Guards::exclusions() and the client's own relay and family. Relays that `record` has dropped are
    // taken only when there is no path without them: else who breaks the circuits of others would get them all.
    // Among relays that are nearly all related to one another a path may be missed; 16 proxies are tried.
    static std::optional<Path> select(const RelayIndex& relays, const NodeId& guard, const Exclusions& exclusions,
                                      const SuccessRecord& record, Rng& rng);

    // Rule 5 for two paths. False when a relay of them is not listed: what it is related to is then unknown.
    static bool disjoint(const Path& a, const Path& b, const RelayIndex& relays);

    // Indices of n of the ready circuits' paths that keep rule 5, at most `per_guard_max` through one guard, or
    // nullopt. Random among those that do. A client with one reachable guard says per_guard_max = n: its choice, it
    // then survives no guard. `ready` at most limits::client_circuits_max, n at most limits::cloves_max. The search is
    // bounded, and may in a large and crowded pool miss a set.
    static std::optional<std::vector<std::size_t>> choose_set(std::span<const Path> ready, std::size_t n,
                                                              const RelayIndex& relays, Rng& rng,
                                                              std::size_t per_guard_max);
    static std::optional<std::vector<std::size_t>> choose_set(std::span<const Path> ready, std::size_t n,
                                                              const RelayIndex& relays, Rng& rng) {
        return choose_set(ready, n, relays, rng, (n + 1) / 2);
    }
};

// n cloves, of which any k rebuild the message.
struct Profile {
    std::uint8_t n;
    std::uint8_t k;
    friend bool operator==(const Profile&, const Profile&) = default;
};
inline constexpr Profile profile_default{limits::cloves_default, limits::cloves_needed_default};
// For comparison, by configuration only: over two shared guards it delivers .978 at 1 % relay failure, where the
// default delivers .999, because a guard's death takes two of four.
inline constexpr Profile profile_planetserve{4, 3};
// Half as many bytes again on the wire; at 20 % relay failure .85 instead of .68.
inline constexpr Profile profile_lossy{6, 2};
// Below this share the lossy profile is worth its bytes (relay failure above about 10 %).
inline constexpr double lossy_below = 0.72;

// From the measured share of circuits that survive from build to use, in [0, 1].
Profile choose_profile(double per_path_success);

}  // namespace shoal::circuit
