// Publisher: keeps a node's own descriptor current, and the key pairs that it names.
//
// Rules
//   1. No sequence is ever signed over two descriptors, also over crashes: sequence and keys leave through
//      take_persist(), and take_descriptor() gives nothing until on_persisted().
//      A new sequence is one more than the last, and at least the time in seconds: a node that lost its state is heard
//      again, since the verifiers remember what it published before.
//   2. The onion key is changed every limits::onion_key_lifetime, the HPKE key every hpke_key_lifetime; the one before
//      is kept as long again, then wiped. Rationale: clients go by a directory that may be hours old, and a key that is
//      gone cannot be taken.
//   3. A descriptor is signed anew when anything in it changes, when a key changes, and at half of its life.
//   4. It is offered until the directory shows its sequence: after a refusal or silence with a doubling delay, after an
//      acceptance every publish_accepted_retry (the verifier may have crashed before its next snapshot).
//
// Thread: the one that owns the object.
#pragma once

#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/sign.h"
#include "crypto/x25519.h"
#include "directory/view.h"
#include "wire/snapshot.h"

namespace shoal::directory {

class Publisher {
public:
    // The key pairs that are answered to. Valid until the next on_tick() or restore().
    struct Keys {
        const crypto::KeyPair& current;
        const crypto::KeyPair* previous;  // nullptr: none
    };

    // Draws fresh keys. `identity` and `rng` must outlive the object.
    Publisher(Now now, const crypto::SigningKey& identity, NetworkId network, Rng& rng);

    // Instead of the fresh keys, those of an earlier run. Errc::malformed, Errc::invalid (another node's or network's):
    // the object is then as before.
    Status restore(Now now, ByteView state);
    // Everything to survive a restart. Holds secret keys: a file of mode 0600.
    Bytes state() const;

    // Each takes effect with the next on_tick(). Nothing is published until roles and an address are set. What a
    // descriptor cannot carry (wire/descriptor.h: unknown roles, a guard that is no relay, addresses that are not
    // dialable, models without a proper name or context, and all beyond the limits) is left out.
    void set_roles(std::uint16_t roles);
    void set_family(FamilyId family);
    void set_addresses(std::vector<wire::Address> addresses);
    // Published only with role_model or role_lead.
    void set_models(std::vector<wire::OfferedModel> models);

    void on_tick(Now now);
    // May lie in the past: at once.
    std::optional<Instant> next_deadline() const { return next_; }
    // The book took a newer directory.
    void on_directory(Now now, const View& view);
    // A verifier's answer to the last descriptor given.
    void on_result(Now now, const wire::PublishResult& result);
    // It could not be sent, or no answer came.
    void on_failed(Now now);

    // The state, to replace what is on disk durably before on_persisted() is called. Given once each.
    std::optional<Bytes> take_persist();
    void on_persisted();
    // To be sent to a verifier now. Given once each time that it should be.
    std::optional<wire::SignedDescriptor> take_descriptor();

    Keys onion_keys() const { return {onion_.current, onion_.previous ? &*onion_.previous : nullptr}; }
    Keys hpke_keys() const { return {hpke_.current, hpke_.previous ? &*hpke_.previous : nullptr}; }
    // Of the last descriptor signed; 0: none yet.
    std::uint64_t sequence() const { return sequence_; }
    // The directory shows the last descriptor signed.
    bool published() const { return shown_; }
    // Why the last one was refused; empty when it was not.
    const std::string& refusal() const { return refusal_; }

private:
    struct Rotating {
        crypto::KeyPair current;
        UnixTime since{};
        std::optional<crypto::KeyPair> previous;
        UnixTime previous_until{};
    };

    // True: the current pair is a new one.
    bool rotate(Rotating& keys, UnixTime now, Duration life);
    void sign(Now now);
    bool must_sign(UnixTime now) const;
    void touch();
    void set_deadline(Now now);

    const crypto::SigningKey& identity_;
    NetworkId network_;
    Rng& rng_;
    Rotating onion_;
    Rotating hpke_;
    std::uint64_t sequence_ = 0;

    std::uint16_t roles_ = 0;
    FamilyId family_;
    std::vector<wire::Address> addresses_;    // bounded: addresses_per_node_max
    std::vector<wire::OfferedModel> models_;  // bounded: models_per_node_max
    bool changed_ = true;                     // since the last signing

    std::optional<wire::SignedDescriptor> signed_;
    bool shown_ = false;
    bool persist_due_ = true;  // the state differs from what was last taken
    bool persist_under_way_ = false;
    bool offer_due_ = false;
    bool waiting_ = false;  // given, no answer yet
    std::optional<Instant> offer_at_;
    std::optional<Instant> answer_by_;
    Duration backoff_{};
    std::string refusal_;
    std::optional<Instant> next_;
};

}  // namespace shoal::directory
