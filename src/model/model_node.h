// ModelNode: the answering role. Opened requests go to the engine of their model, its text goes back as reply frames.
//
// Rules
//   1. A request is checked (model, body, ranges) before it takes a slot; what is refused says why.
//   2. A client that is gone or cancels frees its slot at once.
//   3. When an engine dies, its requests end with engine_failed, those that wait for a slot too: those without a token
//      yet are moved by their clients.
//   4. The node serves whatever its engines have ready; offered() is what its descriptor should say.
//   5. What an engine computed of a conversation goes to another node of the model that asks for it by name, and is got
//      from there where the request says who holds it and that is faster (prefix_holder.h, prefix_fetcher.h).
//
// It sees prompts; nothing of them leaves but to the engine and back. Pure; one thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/prefix_fetcher.h"
#include "model/prefix_holder.h"
#include "prompt/server.h"
#include "sched/admission.h"
#include "wire/descriptor.h"

namespace shoal::model {

struct ModelStats {
    std::uint64_t requests = 0;
    std::uint64_t refused = 0;
    std::uint64_t finished = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t failed = 0;
    std::uint64_t prompt_tokens = 0;
    std::uint64_t completion_tokens = 0;
};

class ModelNode {
public:
    // `listed`: which nodes the directory lists for a model; without it no prefix comes or goes.
    explicit ModelNode(prompt::ServerConfig config, PrefixListed listed = {});

    // `name` is what programs will call the model. Engines outlive the node.
    void add_engine(engine::Engine& engine, std::string name);
    prompt::Server& server() { return server_; }
    // For whoever carries their messages; on_engine() after each input to them.
    PrefixFetcher& fetcher() { return fetcher_; }
    PrefixHolder& holder() { return holder_; }

    void on_cell(Now now, LinkId link, const wire::Cell& cell);
    void on_link_down(Now now, LinkId link);
    // Some engine may have events.
    void on_engine(Now now);
    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<prompt::StreamCell> poll();
    std::optional<PrefixNote> poll_note();

    // Changes when an engine becomes ready or dies.
    std::vector<wire::OfferedModel> offered() const;
    // An engine died and is not back, or is dead for good; the reason, for /health and people.
    std::optional<std::string> failed_engine() const;
    const ModelStats& stats() const { return stats_; }
    bool uses_link(LinkId link) const { return server_.uses_link(link); }

private:
    struct Served {
        engine::Engine* engine;
        std::string name;
        sched::Admission admission;
        std::string down_reason;
    };
    struct Running {
        prompt::Handle handle;
        std::size_t served;
        std::optional<engine::Job> waiting;  // until it runs
        bool too_long = false;               // cut at limits::reply_bytes_max
    };

    // Until neither the server nor an engine has anything to say: an engine may answer at once, and has no timer then.
    void settle(Now now);
    void drain_server(Now now);
    bool drain_engines(Now now);
    void take(Now now, prompt::Opened opened);
    void refuse(Now now, prompt::Handle handle, AskFault fault, std::string message);
    void stop(Now now, prompt::Handle handle);
    bool drain_prefixes(Now now, engine::Engine& engine);
    void on_event(Now now, std::size_t served, engine::Event event);
    void on_text(Now now, engine::Text& text);
    void ended(Now now, JobId job);
    void run_next(Now now, Served& served);
    void fail_waiting(Now now, std::size_t index);
    void expire(Now now);

    prompt::Server server_;
    PrefixFetcher fetcher_;
    PrefixHolder holder_;
    std::vector<Served> served_;                 // bounded: models_per_node_max
    std::map<JobId, Running> jobs_;              // bounded: slots and queue of each engine
    std::map<prompt::Handle, JobId> by_handle_;  // bounded: as jobs_
    std::uint64_t next_job_ = 1;
    std::deque<prompt::StreamCell> out_;  // bounded: drained after every input
    ModelStats stats_;
};

}  // namespace shoal::model
