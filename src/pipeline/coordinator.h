// Coordinator: one model over several machines, seen from the node that leads. Rows go in, the same rows come out
// behind the last hop; hops that are lost meanwhile are replaced and the rows come all the same.
//
//   start -> OPEN to every hop and standby -> all hops OPENED: Ready -> step/truncate ... Result -> close()
//                                    | a hop lost: a standby is primed by the hop before, and goes on
//                                    +--> no standby: Over, naming the hop
//
// Rules
//   1. The coordinator is hop 0 and the one behind the last: what it sends it keeps (Outlet), what comes back it
//      checks (Intake).
//   2. A hop is lost when its control channel closes, when it says a FAULT, when the hop before cannot reach it, or
//      when it owes an operation and says nothing for stage_silence_max.
//   3. Standbys load their layers at the start as well. A lost hop is replaced by one of the same layers, by one that
//      has loaded if there is one. Its predecessor is told when it has loaded, and then replays. Several may be lost
//      at once. Rationale: layers are read in seconds at best, a replay takes a fraction of one.
//   4. A hop that is a group is rank 0 in all of this, but every rank is opened from here, and is there when all are.
//      A rank whose control channel closes or that says a FAULT takes the whole hop with it.
//   5. At most stage_unsettled_max operations are under way; step() says no beyond that.
//   6. Whoever is lost is opened again as a standby after stage_return_min, and after twice as long each time it is
//      lost again, up to stage_return_max; once it has been there for that long, soon again. Who broke the protocol
//      stays out. Rationale: a machine that was started anew is as good as before; one that comes and goes must not
//      keep its standbys loading.
//   7. Once something was filled or read, who takes a hop's place must keep what that hop keeps: it is primed with such
//      rows. Before that the owner is told.
//   8. A result is of the operation that was sent under its number, and nothing else.
//
// Pure; one thread. Cost of a loss: the standby's prefill of what the session holds, at the speed of its layers.
#pragma once

#include <list>
#include <vector>

#include "base/rng.h"
#include "pipeline/channel.h"
#include "pipeline/intake.h"

namespace shoal::pipeline {

struct StageNode {
    NodeId node;
    wire::LayerRange layers;
    // Of a group that divides these layers, `node` first, up to limits::group_ranks_max; empty: it is one node.
    std::vector<NodeId> ranks = {};
};

struct CoordinatorConfig {
    NodeId self;
    ModelId model;
    wire::ActivationType type = wire::ActivationType::f16;
    std::uint32_t width = 0;
    std::uint32_t context = 0;
    std::uint16_t sequences = 0;
    std::vector<StageNode> hops;      // 1 to limits::stage_hops_max, layers joined without a gap
    std::vector<StageNode> standbys;  // each for the hop of the same layers
    std::uint64_t first_token = 1;    // of its Connects: one owner's coordinators must not share tokens
    std::size_t history_bytes_max = limits::stage_history_bytes_max;
};

class Coordinator final : public ChannelUser {
public:
    struct Ready {};
    struct Result {
        std::uint64_t number;
        wire::StageRows rows;
    };
    struct Replaced {
        std::uint8_t hop;
        NodeId from;
        NodeId to;
        std::string why;
    };
    // A standby that is none any more. Not said of one that was lost before and has not come back.
    struct StandbyLost {
        NodeId node;
        std::string why;
    };
    // A node that was lost has loaded its layers again.
    struct StandbyBack {
        std::uint8_t hop;
        NodeId node;
    };
    // What the hops keep of a token is not what it was (kv()).
    struct KeepsOther {};
    // A fill has passed all hops.
    struct Filled {
        std::uint64_t number;
    };
    struct Given {
        std::uint64_t number;
        Bytes bytes;
    };
    // Final. `node` is whom the fault is counted against; zero: nobody's.
    struct Over {
        std::uint8_t hop;
        NodeId node;
        std::string why;
    };
    using Output = std::variant<Ready, Result, Filled, Given, KeepsOther, Replaced, StandbyLost, StandbyBack, Over>;

    // Dials every hop and standby. `rng` draws the session's name.
    Coordinator(Now now, CoordinatorConfig config, Rng& rng);

    const wire::StageSessionId& session() const { return session_; }
    bool ready() const { return ready_; }

    // These give the number of the operation; nullopt: not ready, over, or too much under way. The rows must follow on
    // (ASSERT by Intake's rule 2).
    std::optional<std::uint64_t> step(Now now, wire::StageRows rows);
    std::optional<std::uint64_t> truncate(Now now, std::uint16_t sequence, std::uint32_t length);
    std::optional<std::uint64_t> fill(Now now, wire::StageKvRows rows);
    // Of what kv() says.
    std::optional<std::uint64_t> read(Now now, const wire::StageReadOf& of);
    // What the hops keep of a token, in the order of their layers; nullopt: one of them cannot be filled.
    std::optional<wire::KvShape> kv() const;
    // Ends the session at every hop.
    void close();

    // Channels that were dialled here, and the one that the last hop dials: it begins with JOIN of this session.
    bool takes(const NodeId& from, const wire::StageMessage& first) const override;
    void on_message(Now now, ChannelId channel, const NodeId& from, wire::StageMessage message) override;
    void on_connected(Now now, std::uint64_t token, ChannelId channel) override;
    void on_connect_failed(Now now, std::uint64_t token) override;
    void on_closed(Now now, ChannelId channel) override;
    std::optional<wire::StageMessage> next_data(ChannelId channel) override;
    std::optional<ChannelOutput> poll_channels() override;
    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    std::size_t in_flight() const { return static_cast<std::size_t>(next_number_ - 1 - results_.last()); }

private:
    // A node that holds a hop's layers, or a rank of it.
    struct Member {
        NodeId node;
        std::uint8_t rank = 0;
        std::optional<std::uint64_t> dialling = std::nullopt;
        std::optional<ChannelId> control = std::nullopt;
        bool opened = false;
    };
    struct Place {
        StageNode hop;
        std::size_t index = 0;             // of the hop that it is or stands by for
        std::vector<Member> members = {};  // rank 0 first
        bool opened = false;               // all of them
        std::optional<wire::KvShape> kv = std::nullopt;
        NodeId told_next = {};   // whom it sends to
        std::uint64_t done = 0;  // the last operation that it handed on, as far as is known
        Instant heard{};         // on the control channel or by a result, or since it owes something
        Instant open_until{};
        bool returned = false;  // it was lost before
        Instant opened_at{};
        Duration return_delay = limits::stage_return_min;  // when it is lost next
    };
    struct Returning {
        Place place;
        Instant at;
    };
    // A node is there no more, or did what no node may: then it is not taken back.
    enum class Loss : std::uint8_t { gone, breach };

    std::size_t hops() const { return places_.size(); }
    // Operations that hop `index` (from 0) has been given.
    std::uint64_t given_to(std::size_t index) const;
    NodeId node_behind(std::size_t index) const;
    Place place_of(const StageNode& hop, std::size_t index) const;
    struct Found {
        Place* place = nullptr;
        Member* member = nullptr;
        explicit operator bool() const { return place != nullptr; }
    };
    template <typename Is>
    Found find(Is is);
    Found by_token(std::uint64_t token);
    Found by_control(ChannelId channel);
    bool is_standby(const Place& place) const;
    void open(Now now, Place& place);
    void on_opened(Now now, Place& place, Member& member, const wire::StageOpened& opened);
    // Rule 7: whether what it keeps is what that hop keeps.
    bool suits(const Place& place) const;
    void keep_as(std::size_t index, const std::optional<wire::KvShape>& kv);
    // Whether this can come of the operation that was sent under its number.
    bool answers(const Operation& result) const;
    void on_control(Now now, Place& place, Member& member, const wire::StageMessage& message);
    void on_done(Now now, Place& place, const wire::StageDone& done);
    void settle(Now now);
    void on_result(Now now, wire::StageMessage message);
    // After a hop has loaded, or one that has took its place.
    void go_on(Now now);
    void tell_routes(Now now);
    void dial_first();
    void hand_on();
    void lose(Now now, std::size_t index, std::string why, Loss loss = Loss::gone);
    void lose(Now now, Place& place, std::string why, Loss loss = Loss::gone);
    void retire(Now now, Place place, Loss loss);
    void take_back(Now now);
    void drop_channels(Place& place);
    void over(std::size_t index, std::string why);
    std::optional<std::uint64_t> send(Now now, Operation operation);

    CoordinatorConfig config_;
    wire::StageSessionId session_;
    std::vector<Place> places_;                       // bounded: limits::stage_hops_max
    std::list<Place> standbys_;                       // bounded: as the configuration; not used yet
    std::vector<Returning> returning_;                // bounded: as the configuration
    std::vector<std::optional<wire::KvShape>> kept_;  // what each hop keeps of a token
    bool moved_ = false;                              // something was filled or read
    bool ready_ = false;
    bool over_ = false;
    std::uint64_t next_token_;
    std::uint64_t next_number_ = 1;
    Intake intended_;  // holds step() and truncate() to the rules that the hops will check
    Outlet outlet_;
    Intake results_;
    std::optional<std::uint64_t> dialling_first_;
    std::optional<ChannelId> first_;  // data, to hop 1
    int first_dials_ = 0;             // since hop 1 last took rows
    std::optional<ChannelId> results_channel_;
    Instant results_heard_{};
    std::deque<ChannelOutput> channels_out_;  // bounded: drained after every input
    std::deque<Output> out_;                  // bounded: drained after every input
};

}  // namespace shoal::pipeline
