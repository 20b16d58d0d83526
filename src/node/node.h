// Node: the corridor. One identity; moves cells between the objects that know what they mean, and holds no policy.
//
//   driver (app/ with net/ and store/, or sim/)
//      | bytes, connections, time                ^ Dial, Close, Output, Persist, answers
//      v                                         |
//   Links --cells--> Relay (circuits), ModelNode (streams), Client (own circuits), DirectoryAgent,
//                    Stages (channels) --messages--> StageHost, Groups, Leads
//                    PrefixChannels (channels) --messages--> the model node's fetcher and holder
//
// Rules
//   1. A link dialled under an ephemeral identity carries this node's own circuits and its directory fetches, nothing
//      else; cells that a peer sends there for a relay or a model node end it.
//   2. EXTEND goes to listed relays, CONNECT to listed model nodes, leads and verifiers; else it is refused. Who names
//      a node that is not listed waits unknown_node_wait for a newer directory. Rationale: the client's may be newer.
//   3. After every input the driver drains poll() until it is empty.
//   4. A node with a model of its own (add_own_lead) asks that and nothing else: it is no client, and what it asks is
//      listed nowhere.
//   5. What was computed of a prompt goes to, and comes from, nodes that the directory lists for the same model, over
//      links under both nodes' own identities (model/prefix_fetcher.h, prefix_holder.h).
//
// Pure; one thread.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "circuit/relay.h"
#include "client/client.h"
#include "model/model_node.h"
#include "model/own_model.h"
#include "node/directory_agent.h"
#include "node/links.h"
#include "node/prefix_channels.h"
#include "node/stages.h"
#include "pipeline/groups.h"
#include "pipeline/lead.h"
#include "pipeline/stage_host.h"

namespace shoal::node {

struct NodeConfig {
    directory::Genesis genesis;
    std::uint16_t roles = 0;  // wire::RoleBit; 0: nothing but a client
    bool client = true;
    std::vector<wire::Address> addresses;  // that others dial; needed with any role
    FamilyId family;
    std::set<NodeId> stage_leads;  // with role_stage: for whom layers are computed
    bool pipelines = false;        // as a client: models over stages too
    bool reuse_prefixes = false;   // as a client: model nodes keep what they computed, each conversation for itself
    PacerMode pacer = PacerMode::shaped;
    PacerClass rate = PacerClass::ten;
    circuit::Profile profile = circuit::profile_default;
    Comparison compare;  // of the client's questions that say nothing themselves
};

// Sees every cell on a link, decrypted by TLS and still under its onion layers. For --trace and the tap.
class CellObserver {
public:
    virtual ~CellObserver() = default;
    virtual void on_cell_seen(Now now, LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell) = 0;
};

class Node final : private link::CellSink {
public:
    // Outputs
    struct Persist {
        StateFile file;
        Bytes bytes;
    };
    using Output =
        std::variant<Links::Dial, Links::Close, Links::Output, Persist, client::Client::Delta, client::Client::End,
                     client::Client::Fault, client::Client::Compared, model::PrefixNote>;

    // `identity` and `rng` outlive the node; `observer` too, and may be null.
    Node(Now now, NodeConfig config, const crypto::SigningKey& identity, Rng& rng, CellObserver* observer = nullptr);
    ~Node() override;

    // Once, before anything else.
    Status restore(Now now, StateFile file, ByteView bytes);
    void on_persisted(Now now, StateFile file);
    // Before the first tick. With role_model or role_lead.
    void add_engine(engine::Engine& engine, std::string name);
    // An engine whose layers are on other nodes.
    void add_lead(pipeline::Lead& lead, std::string name);
    // The same for the questions of this machine's programs, and for them alone. Once, of a node that is no client.
    void add_own_lead(pipeline::Lead& lead, std::string name);
    // With role_stage, once: what computes layers here.
    void add_stages(engine::RankEngine& engine);

#ifdef SHOAL_TAP
    void set_peel_observer(circuit::PeelObserver* observer) {
        if (relay_) relay_->set_peel_observer(observer);
    }
#endif

    // Connections. Bytes of one connection come in order.
    void on_connected(Now now, LinkId link, const NodeId& peer, std::optional<DialId> dial);
    void on_dial_failed(Now now, DialId dial);
    void on_disconnected(Now now, LinkId link);
    void on_bytes(Now now, LinkId link, ByteView bytes);
    // Up to `bytes_max` bytes to send on the link, whole cells, appended to `out`.
    void take_output(Now now, LinkId link, std::size_t bytes_max, Bytes& out);
    void on_engine(Now now);
    void on_stages(Now now);

    // Questions of this machine's programs.
    std::variant<client::AskId, ChatFault> ask(Now now, const ModelId& model, const ChatRequest& request,
                                               std::optional<Comparison> compare = {});
    void cancel(Now now, client::AskId ask);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    const NodeId& id() const {
        return self_;
    }
    const directory::Book& book() const {
        return agent_.book();
    }
    const DirectoryAgent& agent() const {
        return agent_;
    }
    const client::Client* client() const {
        return client_.get();
    }
    const circuit::Relay* relay() const {
        return relay_.get();
    }
    const model::ModelNode* model() const {
        return model_.get();
    }
    const PrefixChannels& prefixes() const {
        return prefixes_;
    }
    // nullptr: it has none.
    const model::OwnModel* own() const {
        return own_.get();
    }
    std::size_t links() const {
        return links_.count();
    }

private:
    void on_cell(Now now, const wire::Cell& cell) override;
    void dispatch(Now now, LinkId link, Link& on, const wire::Cell& cell);
    void on_directory_cell(Now now, LinkId link, Link& on, const wire::Cell& cell);
    void drain(Now now);
    bool drain_links(Now now);
    bool drain_relay(Now now);
    bool drain_model(Now now);
    bool drain_client(Now now);
    bool drain_own();
    bool drain_agent(Now now);
    bool drain_stages(Now now);
    bool drain_prefixes(Now now);
    bool lists(Now now, const NodeId& node, const ModelId& model) const;
    void link_to_hop(Now now, const NodeId& node, Instant until);
    void on_link_up(Now now, LinkId link);
    void on_link_lost(Now now, LinkId id, const Link& link);
    void on_want_link(Now now, const circuit::WantLink& want);
    // What waits for a newer directory: `now` is there, or it does not come.
    void retry_held(Now now);
    void expire_held(Now now);
    void on_peer_failed(Now now, const NodeId& peer, Identity identity);
    void send(Now now, LinkId link, const wire::Cell& cell);
    void send_directory(Now now, LinkId link, ByteView message);
    void ask_directory(Now now, LinkId link, ByteView message);
    void directory_to(Now now, const NodeId& peer, const wire::DirectoryMessage& message);
    void update_keys();
    Identity directory_identity() const {
        return agent_.client_only() ? Identity::ephemeral : Identity::own;
    }

    NodeConfig config_;
    NodeId self_;
    Rng& rng_;
    CellObserver* observer_;
    Links links_;
    DirectoryAgent agent_;
    std::unique_ptr<circuit::Relay> relay_;
    std::unique_ptr<model::ModelNode> model_;
    std::unique_ptr<client::Client> client_;
    std::unique_ptr<model::OwnModel> own_;
    std::unique_ptr<pipeline::Groups> groups_;  // between the host and its engine
    std::unique_ptr<pipeline::StageHost> host_;
    std::vector<pipeline::Lead*> leads_;  // bounded: models_per_node_max
    Stages stages_;
    PrefixChannels prefixes_;

    LinkId receiving_;  // while a session hands over cells
    struct WaitingExtend {
        NodeId node;
        std::uint64_t token;
    };
    std::vector<WaitingExtend> waiting_extends_;  // bounded: by the relay, one a circuit and one a stream
    struct HeldWant {
        circuit::WantLink want;
        Instant until;
    };
    std::deque<HeldWant> held_wants_;  // bounded: unknown_nodes_held_max; the oldest first
    struct HeldHop {
        NodeId node;
        Instant until;
    };
    std::deque<HeldHop> held_hops_;  // bounded: hops and standbys of this node's leads; the oldest first
    struct WaitingMessage {
        NodeId node;
        Bytes message;
    };
    std::vector<WaitingMessage> waiting_messages_;  // bounded: one fetch and one publish
    bool keys_changed_ = true;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::node
