// Client: the asking role. Takes a question, finds a model node and circuits, gives back the answer as it comes.
//
//   [waiting] --a set of circuits--> [asked] --reply--> over
//       ^                               | the node failed before its first token, and another serves the model
//       +-------------------------------+
//
// Rules
//   1. A question goes to a node that the signed directory lists for its model. Nodes that failed are passed over for
//      limits::node_shunned, while there is another.
//   2. Every question has fresh circuits, keys and ids: two questions have nothing in common outside the node.
//   3. A question that cannot start now (no circuits yet) waits limits::circuits_wait, then says no_circuit.
//   4. The seed of sampling is the client's: the program's `seed`, else drawn here (DESIGN 5.8).
//   5. A question goes to nodes that hold all of their model. Only who allows pipelines is answered over stages as
//      well, where no such node is left that did not fail (rule 1). Rationale: every stage sees hidden states, and
//      those can be turned back into text.
//   6. A comparison asks several nodes at once, each over circuits, keys and ids of its own, with the same seed, and
//      gives the reply that quorum.h finds. Its nodes are of different operators: no two share a family or a /16 of
//      IPv4. One that fails gives its place to another while there is one, and is asked anew from the beginning.
//   7. A node that a comparison found against the others is asked last (suspects.h), in comparisons only where without
//      it there were too few.
//   8. Who wants prefixes reused gives each question the scope of its conversation (client/scope.h), and the node that
//      the scope points to is asked before others: it may hold what the last turn left there. Where the last answer
//      said who holds it (client/prefix_sources.h) it is that node; any other one that is asked is told of it, unless
//      it is suspected.
//
// Pure; one thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "client/circuits.h"
#include "client/prefix_sources.h"
#include "client/quorum.h"
#include "client/scope.h"
#include "client/suspects.h"
#include "prompt/asker.h"

namespace shoal::client {

struct ClientConfig {
    CircuitsConfig circuits;
    circuit::Profile profile = circuit::profile_default;
    bool pipelines = false;  // rule 5
    Comparison compare;      // of questions that say nothing themselves
    bool reuse = false;      // rule 8
};

class Client {
public:
    // Outputs
    struct Delta {
        AskId ask;
        ChatDelta delta;
    };
    struct End {
        AskId ask;
        ChatEnd end;
    };
    struct Fault {
        AskId ask;
        ChatFault fault;
    };
    // What a comparison came to, for the log; once, after End or Fault, when its slower nodes are done too.
    struct Compared {
        struct Against {
            NodeId node;
            std::size_t bytes;   // that its reply had in common with the others
            Duration suspected;  // for how long it is asked last
        };
        AskId ask;
        Comparison rule;
        std::size_t asked = 0;
        std::size_t agreed = 0;
        std::vector<Against> against;  // bounded: compared_nodes_max
    };
    using Output = std::variant<Circuits::GuardWanted, Circuits::SendCell, Delta, End, Fault, Compared>;

    // `rng` outlives the client.
    Client(ClientConfig config, Rng& rng);

    void on_directory(Now now, std::shared_ptr<const directory::View> view);
    void on_guard_up(Now now, const NodeId& guard, LinkId link);
    void on_guard_failed(Now now, const NodeId& guard);
    void on_cell(Now now, LinkId link, const wire::Cell& cell);
    void on_send_refused(Now now, LinkId link, const wire::Cell& cell);

    // Starts a question. A fault that is known at once comes as a fault; else exactly one End or Fault follows.
    // `compare`: rule 6; without it as the configuration says.
    std::variant<AskId, ChatFault> ask(Now now, const ModelId& model, const ChatRequest& request,
                                       std::optional<Comparison> compare = {});
    // The node is told; nothing more comes of this ask.
    void cancel(Now now, AskId ask);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    const Circuits& circuits() const { return circuits_; }
    Circuits& circuits() { return circuits_; }
    circuit::Profile profile() const { return config_.profile; }
    const directory::View* view() const { return view_.get(); }
    // Each node that a comparison asks counts.
    std::size_t asks() const { return asks_.size(); }
    const Suspects& suspects() const { return suspects_; }
    const PrefixSources& prefix_sources() const { return sources_; }
    // That serve some model, by the directory.
    std::size_t model_nodes() const;
    // Nodes that it would ask for this model.
    std::size_t nodes_for(const directory::ModelSummary& model) const {
        return model.nodes + (config_.pipelines ? model.leads : 0);
    }
    // The directory cannot carry a question: a newer one is wanted soon, not in its own time.
    bool starved() const { return model_nodes() == 0 || circuits_.starved(config_.profile.n); }

private:
    struct Lane {
        CircuitNumber circuit;
        StreamId stream;
    };
    struct Pending {
        prompt::LaneWanted wanted;
        Instant until;
    };
    struct Ask {
        ModelId model;
        Plaintext body;
        std::optional<PrefixScope> scope;
        // Who holds the conversation, and the body that tells another node so.
        std::optional<PrefixSource> source;
        Plaintext body_with_source;
        ByteArray<32> seed{};
        Instant wait_until{};
        std::vector<NodeId> tried;   // bounded: nodes_per_ask_max
        std::optional<NodeId> next;  // a comparison has chosen whom it asks
        std::optional<AskId> group;  // of a comparison, in this slot
        std::size_t slot = 0;
        bool muted = false;  // nothing more comes of it
        NodeId node;
        std::unique_ptr<prompt::Asker> asker;  // none: waiting
        std::vector<CircuitNumber> circuits;   // bounded: streams_per_message_max
        std::vector<CircuitNumber> unused;     // of the first set, until the lanes are placed
        std::map<prompt::LaneId, Lane> lanes;  // bounded: streams_per_message_max
        std::vector<Pending> pending;          // bounded: streams_per_message_max
    };

    // A comparison: its asks are in asks_, each with its slot.
    struct Group {
        Group(Quorum q, const ModelId& m) : quorum(std::move(q)), model(m) {}
        Quorum quorum;
        ModelId model;
        std::vector<NodeId> nodes;       // by slot; bounded: compared_nodes_max
        std::vector<NodeId> tried;       // bounded: nodes_per_ask_max for each slot
        Instant until = Instant::max();  // when its slower nodes are heard no more
        Compared report;
    };

    std::variant<AskId, ChatFault> ask_several(Now now, Ask question, Comparison compare,
                                               std::uint32_t completion_tokens_max);
    void begin(Now now, const std::vector<AskId>& ids);
    Ask make_ask(Now now, const ModelId& model, const ChatRequest& request, Plaintext body);
    struct Which {
        bool suspects = false;  // these too
        bool shunned = false;   // those that failed a short while ago, or those that did not
    };
    // Whoever is not suspected before whoever is, in each who did not fail lately before who did, and then whole nodes
    // before pipelines.
    std::optional<NodeId> choose_node(Now now, const Ask& ask);
    std::optional<NodeId> choose_among(Now now, const std::vector<NodeId>& nodes, const std::vector<NodeId>& tried,
                                       const std::optional<PrefixScope>& scope, Which which);
    // For a comparison: none of `tried`, and of another operator than those of `beside`.
    std::optional<NodeId> choose_apart(Now now, const ModelId& model, const std::vector<NodeId>& tried,
                                       const std::vector<NodeId>& beside, bool suspects);
    std::vector<NodeId> choose_several(Now now, const ModelId& model, Comparison compare);
    std::uint32_t context_of(const NodeId& node, const ModelId& model) const;
    // Says in the question, should another node get it, who holds its conversation.
    void add_source(Ask& ask, const ChatRequest& request);
    void tell(Now now, AskId id, std::variant<ChatDelta, ChatEnd> said);
    // True: another node has its place.
    bool replace_in_group(Now now, AskId id, const prompt::Over& over);
    void finish_in_group(Now now, AskId id, const prompt::Over& over);
    void settle(Now now, AskId group);
    void rule(Now now, Group& group, const Quorum::Verdict& verdict);
    void end_group(Now now, AskId id);
    void end_late_groups(Now now);
    // Comparisons that have their answer go, the oldest first, while there is no room for so many asks more.
    void make_room(Now now, std::size_t asks);
    void drop(Now now, AskId id);
    // Those of a comparison whose replies are of no use any more, or all.
    void drop_asks(Now now, AskId group, bool all);
    // Tries to start a waiting question.
    void try_start(Now now, AskId id);
    void drain(Now now, AskId id);
    void place_lane(Now now, AskId id, const prompt::LaneWanted& wanted, Instant until);
    void retry_pending(Now now);
    void finish(Now now, AskId id, const prompt::Over& over);
    void release(Ask& ask);
    // Questions without circuits yet.
    std::size_t waiting() const;
    void drain_circuits(Now now);
    // True: a circuit became ready, or the directory changed.
    bool take_circuit_outputs(Now now);
    void on_stream_end(Now now, const Circuits::StreamEnd& end);
    std::optional<std::pair<AskId, prompt::LaneId>> find_lane(CircuitNumber circuit, StreamId stream) const;

    ClientConfig config_;
    Rng& rng_;
    Scopes scopes_;
    PrefixSources sources_;
    Circuits circuits_;
    // Co-owned by the directory's book and by who chooses from it.
    std::shared_ptr<const directory::View> view_;
    std::map<AskId, Ask> asks_;                                                                 // bounded: asks_max
    std::map<AskId, Group> groups_;                                                             // bounded: as asks_
    std::map<std::pair<CircuitNumber, StreamId>, std::pair<AskId, prompt::LaneId>> by_stream_;  // bounded: as lanes
    std::map<NodeId, Instant> shunned_;  // bounded: snapshot_nodes_max; until then
    Suspects suspects_;
    std::uint64_t next_ask_ = 1;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::client
