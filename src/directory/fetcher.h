// Fetcher: when to ask for a newer directory, and whom. It asks nobody itself; poll() names the node.
//
// Rules
//   1. One fetch at a time. No answer within limits::directory_fetch_timeout counts as a failure.
//   2. Without a usable directory: at once, then with a back-off of directory_retry_min to _max and jitter, another
//      source each time.
//   3. With one: a client asks at an instant drawn uniformly from the second half of the freshness interval (its last
//      eighth left out); an eager node every directory_poll_min, slower up to _max while nothing changes.
//      Rationale: clients that all ask when a snapshot ends would be a flood, and one that asks when it acts would tell
//      its guard when it acts. Relays, model nodes and verifiers have no such secret, and must know newcomers early.
//   4. A source that failed or had nothing newer is followed by the next one; one that served is kept.
//      Rationale: a single source that holds back must not keep a client at an old directory.
//   5. An answer that comes after its fetch was given up is late, not hostile: it counts as if it were in time. At most
//      limits::directory_answers_owed_max are remembered.
//      Rationale: the link of a slow guard carries circuits as well, and what comes late is signed as what comes early.
//
// Thread: the one that owns the object.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/rng.h"
#include "base/time.h"
#include "directory/book.h"

namespace shoal::directory {

class Fetcher {
public:
    struct Options {
        bool eager = false;
        Duration poll_min = limits::directory_poll_min;  // eager only
        Duration poll_max = limits::directory_poll_max;
    };

    // Both must outlive the fetcher.
    Fetcher(const Book& book, Rng& rng, Options options);

    // In order of preference: guards, else bootstraps. Without sources nothing is asked.
    void set_sources(std::vector<NodeId> sources);
    // Eager for now: a client whose directory is too small for a path is as much in need as a relay.
    void set_eager(bool eager);

    // Somebody named a node that the directory lacks: it may be new. An eager node asks again, at most once in
    // directory_hurry_interval; a client is not hurried (rule 3). False: nobody will be asked for it.
    bool hurry(Now now);

    void on_tick(Now now);
    // The book took a newer snapshot, asked for or not.
    void on_snapshot_taken(Now now);
    // What is reported of a node that is not being asked is ignored.
    void on_not_newer(Now now, const NodeId& from);
    // What it sent was refused.
    void on_failed(Now now, const NodeId& from);
    // No link, or the link ended: on_failed(), and nothing of it is to be expected any more.
    void on_unreachable(Now now, const NodeId& from);

    // False: nobody asked this node for what it sends. True: that asking is answered by it.
    [[nodiscard]] bool settle(const NodeId& from);

    // Ask this node now, for anything newer than the book's epoch. Each asking is given once.
    std::optional<NodeId> poll();
    // May lie in the past: at once. nullopt: nothing to wait for (no sources, no directory).
    std::optional<Instant> next_deadline() const;
    // Who is being asked.
    const std::optional<NodeId>& asking() const { return asking_; }

private:
    static constexpr Instant at_once = Instant::min();

    void schedule(Now now, const View& view);
    void wait(Now now, Duration delay);
    void rotate();

    const Book& book_;
    Rng& rng_;
    Options options_;
    std::vector<NodeId> sources_;  // bounded: guards, committee_max verifiers and bootstraps_max
    std::size_t next_source_ = 0;
    std::optional<NodeId> asking_;
    bool announced_ = false;   // poll() has given asking_
    std::deque<NodeId> owed_;  // bounded: directory_answers_owed_max; who was asked and has not answered, oldest first
    Instant asked_at_{};
    Instant next_ = at_once;  // when to ask, while nobody is being asked
    bool reschedule_ = false;
    bool usable_ = false;             // as of the last call that told the time
    std::optional<Instant> ends_at_;  // of the directory
    Duration retry_{};                // back-off after failures; zero: none yet
    Duration quiet_{};                // back-off after NotNewer
};

}  // namespace shoal::directory
