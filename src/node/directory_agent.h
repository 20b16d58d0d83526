// DirectoryAgent: a node's part in the directory: fetching, serving, publishing, and the verifier where it is one.
//
// Rules
//   1. What is served is the newest verified snapshot, whoever asks: the same bytes for everyone.
//   2. A peer whose answers do not leave (limits::directory_queued_cells_max) gets no further ones.
//   3. A descriptor goes to the verifiers of the genesis; a verifier that is this node is called directly.
//   4. State that must survive leaves as Persist, and what depends on it waits for on_persisted (the publisher's keys
//      and sequence, the verifier's epoch).
//
// Pure; one thread.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <variant>

#include "committee/verifier.h"
#include "directory/book.h"
#include "directory/fetcher.h"
#include "directory/publisher.h"
#include "wire/snapshot.h"

namespace shoal::node {

enum class StateFile : std::uint8_t {
    keys,       // the publisher's: secret
    verifier,   // the verifier's: never to be lost
    directory,  // a cache
    guards,     // the client's: secret
};

struct AgentConfig {
    directory::Genesis genesis;
    std::uint16_t roles = 0;  // wire::RoleBit
    std::vector<wire::Address> addresses;
    FamilyId family;
};

class DirectoryAgent {
public:
    // Outputs
    struct Send {  // to a node that is to be linked if it is not; answer failures with on_unreachable
        NodeId to;
        wire::DirectoryMessage message;
    };
    struct Answer {
        LinkId link;
        Bytes message;  // encoded
    };
    struct Persist {
        StateFile file;
        Bytes bytes;
    };
    struct NewDirectory {
        std::shared_ptr<const directory::View> view;  // co-owners: the book and who chooses from it
    };
    using Output = std::variant<Send, Answer, Persist, NewDirectory>;

    DirectoryAgent(Now now, AgentConfig config, const crypto::SigningKey& identity, Rng& rng);

    // Before anything else; errors as of the parts, the file named.
    Status restore(Now now, StateFile file, ByteView bytes);
    void on_persisted(StateFile file);

    // The preference of a client that is nothing else: its guards. Others fetch from the committee.
    void set_guards(Now now, std::vector<NodeId> guards);
    // A client that cannot ask anything with the directory it has.
    void set_starved(Now now, bool starved);
    void set_models(std::vector<wire::OfferedModel> models);

    // A whole directory message from `peer`. `answers`: over this link this node answers questions. An error ends the
    // link.
    Status on_message(Now now, LinkId link, const NodeId& peer, ByteView message, bool answers);
    void on_unreachable(Now now, const NodeId& peer);
    // A circuit wants to go to a node that is not listed here: this directory may be older than the client's. True: a
    // newer one is being asked for.
    bool on_unknown_node(Now now) { return !alone() && fetcher_.hurry(now); }
    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    const directory::Book& book() const { return book_; }
    const directory::Publisher& publisher() const { return publisher_; }
    // Where a node listens: by the directory, else by the genesis' bootstraps.
    std::optional<wire::Address> address_of(const NodeId& node, Now now) const;
    bool client_only() const { return config_.roles == 0; }

private:
    Status take_snapshot(Now now, const NodeId& from, const wire::SignedSnapshot& snapshot);
    Status accept(Now now, const wire::SignedSnapshot& snapshot, bool own);
    void serve(Now now, LinkId link, const wire::GetSnapshot& get);
    void update_sources(Now now);
    void run_publisher(Now now);
    void run_verifier(Now now);
    // The only verifier makes the directory and fetches it from nobody.
    bool alone() const { return verifier_ && config_.genesis.verifiers.size() == 1; }

    AgentConfig config_;
    NodeId self_;
    directory::Book book_;
    directory::Fetcher fetcher_;
    directory::Publisher publisher_;
    std::unique_ptr<committee::Verifier> verifier_;
    bool starved_ = false;
    std::vector<NodeId> guards_;  // bounded: limits::guards, set by the client
    std::size_t next_verifier_ = 0;
    std::optional<NodeId> publishing_to_;
    std::optional<Instant> publish_due_;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::node
