// PrefixFetcher: gets from another node what it computed of a prompt, as long as that is faster than to compute it.
//
//   wanted() --Connect--> [dialled] --FETCH--> [asked] --READING--> [coming] --last piece--> [with the engine] --> over
//                              \___________________________________/
//                                  give_up(): the job reads its prompt
//
// Rules. R is what reading the tokens would take (PrefixWanted::recompute), B the bytes, t the time since wanted().
//   1. Asked is only a node that the directory lists for the model, and never this one.
//   2. Nothing is asked where R is below prefix_recompute_min, or where by the rate and the delay of the last time it
//      would end after .6 R. Rationale: reading a prompt is certain, and the checks behind the last byte take time.
//   3. Whoever has given nothing at t = .04 R is left. So a node that is gone, busy or far costs at most 4 %.
//   4. At t = .04 R, at the rate since the first answer, the last byte must come before .6 R; else the rest is left. So
//      a line that is steadily too slow costs 4 % as well, and one that is only just too fast is not counted on.
//   5. After that it is looked at every .04 R: at the rate of the last .08 R the rest must come within .8 R. Rationale:
//      what was spent is spent, and only what is still to be waited for is weighed against reading. Who has begun well
//      and then gives nothing is left within .08 R.
//   6. A node whose bytes the engine refused, or that broke the protocol, is not asked for prefix_peer_shunned; one
//      that did not answer, for node_shunned. Of others the rate is remembered for prefix_peer_memory.
//   7. What the engine does not take yet stays in the window of the channel, so a busy engine slows a transfer as a
//      slow line does, and is judged as one.
//   8. At most prefix_fetches_max at a time; a further job reads its prompt.
//
// It never looks into the bytes: the engine checks them against the digest that the request named. A client can name a
// digest that the other node never said, and so have that node not asked for ten minutes: that costs time, no more.
// Pure; one thread. Cost: O(fetches).
#pragma once

#include <deque>
#include <map>
#include <optional>

#include "engine/prefixes.h"
#include "model/prefix_channel.h"

namespace shoal::model {

// What is remembered of the nodes that were asked.
class PrefixPeers {
public:
    struct Pace {
        double bytes_per_second = 0;
        Duration delay{};  // from wanted() to the first answer
    };
    // Not asked until then.
    void shun(Now now, const NodeId& node, Duration span);
    void measured(Now now, const NodeId& node, Pace pace);
    bool shunned(Now now, const NodeId& node) const;
    std::optional<Pace> pace(Now now, const NodeId& node) const;
    std::size_t size() const { return peers_.size(); }

private:
    struct Peer {
        Instant shunned_until = Instant::min();
        Instant known_until = Instant::min();
        Pace pace;
    };
    Peer& at(Now now, const NodeId& node);
    std::map<NodeId, Peer> peers_;  // bounded: prefix_peers_max; full, the one that is believed shortest goes
};

class PrefixFetcher {
public:
    // Without `listed` nothing is fetched.
    PrefixFetcher(const NodeId& self, PrefixListed listed) : self_(self), listed_(std::move(listed)) {}

    // A request names this source; its engine will say whether it is wanted. Rationale: what a new link takes would
    // count against rule 3, and it can be made while the engine counts the tokens.
    void expected(Now now, const ModelId& model, const NodeId& source);
    // `engine` outlives the job.
    void wanted(Now now, engine::Prefixes& engine, const ModelId& model, const engine::PrefixWanted& wanted);
    void refused(Now now, const engine::PrefixRefused& refused);
    // Its engine may take more.
    void on_engine();
    // Its engine says nothing more of it, and is told nothing more.
    void job_ended(JobId job);

    void on_connected(Now now, std::uint64_t token, PrefixChannelId channel);
    void on_connect_failed(Now now, std::uint64_t token);
    void on_message(Now now, PrefixChannelId channel, wire::PrefixMessage message);
    void on_closed(Now now, PrefixChannelId channel);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<PrefixOutput> poll();
    std::optional<PrefixNote> poll_note();

    // That are under way; what is with the engine does not count.
    std::size_t fetching() const;
    const PrefixPeers& peers() const { return peers_; }

private:
    struct Mark {
        Instant at{};
        std::uint64_t received = 0;
    };
    struct Fetch {
        engine::Prefixes* engine;
        ModelId model;
        engine::PrefixWanted wanted;
        std::uint64_t token = 0;
        Instant began{};
        std::optional<PrefixChannelId> channel{};
        std::optional<Instant> answered{};  // READING came
        std::uint64_t received = 0;
        std::uint64_t untaken = 0;  // pieces; bounded: the channel's window
        Instant next_check{};
        Mark older{}, newer{};  // at the last two checks, or the first answer
        bool given = false;     // all of it is with the engine
    };
    using Fetches = std::map<JobId, Fetch>;

    Fetches::iterator find(PrefixChannelId channel);
    // Empty: it is worth asking.
    std::string why_not(Now now, const ModelId& model, const engine::PrefixWanted& wanted) const;
    void on_piece(Now now, Fetches::iterator at, wire::PrefixBytes piece);
    // Rules 3 to 5.
    void check(Now now, Fetches::iterator at);
    // Bytes a second since the older mark.
    static double rate(Now now, const Fetch& fetch);
    void take(Fetch& fetch);
    void breach(Now now, Fetches::iterator at, std::string reason);
    void give_up(Now now, Fetches::iterator at, std::string reason);
    void note(Now now, const Fetch& fetch, PrefixNote::What what, std::string reason);

    NodeId self_;
    PrefixListed listed_;
    PrefixPeers peers_;
    Fetches fetches_;  // bounded: prefix_fetches_max that are under way, and a job each of what is with the engine
    std::uint64_t next_token_ = 1;
    std::deque<PrefixOutput> out_;  // bounded: drained after every input
    std::deque<PrefixNote> notes_;  // bounded: drained after every input
};

}  // namespace shoal::model
