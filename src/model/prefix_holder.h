// PrefixHolder: gives other nodes of the same model what this node computed of a prompt, as they ask for it.
//
//   FETCH --> [reading] --piece after piece--> over
//      \--> REFUSED
//
// Rules
//   1. Asked by anybody but a node that the directory lists for the same model: refused, without a look at what is
//      held. Who is at the other end is known from the link.
//   2. What is held is found by the chain that FETCH names, and by nothing else. The chain is keyed with the scope of
//      the conversation (engine/prefixes.h), so only who was told by the client can name it.
//   3. At most prefix_reads_max are read at a time; who asks beyond is told that the node is busy.
//   4. A piece is read when the one before has left: each read holds one piece here, besides the window of its channel.
//      A reader that takes none for prefix_read_idle loses its place.
//
// What a listed node can do here: take both places for some seconds at a time, so that others compute what they need.
// Pure; one thread. Cost: O(reads).
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/limits.h"
#include "engine/engine.h"
#include "engine/prefixes.h"
#include "model/prefix_channel.h"

namespace shoal::model {

class PrefixHolder {
public:
    // Without `listed` nothing is given.
    explicit PrefixHolder(PrefixListed listed) : listed_(std::move(listed)) {}

    // Outlives this object.
    void add_engine(engine::Engine& engine) { engines_.push_back(&engine); }

    void on_message(Now now, PrefixChannelId channel, const NodeId& from, const wire::PrefixMessage& message);
    void on_closed(Now now, PrefixChannelId channel);
    // The next piece for a channel whose window has room; nullopt: none now.
    std::optional<wire::PrefixMessage> next_data(Now now, PrefixChannelId channel);

    void on_piece(Now now, engine::PrefixPiece piece);
    void on_gone(Now now, PrefixReadId read);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<PrefixOutput> poll();
    std::optional<PrefixNote> poll_note();

    std::size_t reads() const { return reads_.size(); }

private:
    struct Read {
        PrefixChannelId channel;
        NodeId peer;
        engine::Prefixes* engine;
        std::uint32_t tokens = 0;
        Instant began{};
        Instant idle_until{};
        std::uint64_t given = 0;
        std::optional<wire::PrefixBytes> ready{};  // for next_data
    };
    using Reads = std::map<PrefixReadId, Read>;

    Reads::iterator find(PrefixChannelId channel);
    // nullptr: no engine of this model is ready, or what it computes cannot be moved.
    engine::Prefixes* engine_of(const ModelId& model) const;
    void on_fetch(Now now, PrefixChannelId channel, const NodeId& from, const wire::PrefixFetch& fetch);
    void refuse(PrefixChannelId channel, wire::PrefixRefusal reason);

    PrefixListed listed_;
    std::vector<engine::Engine*> engines_;  // bounded: models_per_node_max
    Reads reads_;                           // bounded: prefix_reads_max
    std::uint64_t next_read_ = 1;
    std::deque<PrefixOutput> out_;  // bounded: drained after every input
    std::deque<PrefixNote> notes_;  // bounded: drained after every input
};

}  // namespace shoal::model
