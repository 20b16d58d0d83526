// OwnModel: an engine of this node, asked by the programs of this machine and by nobody else. No circuit, no seal, no
// directory: a question does not leave the process but for what the engine itself sends.
//
// Rules
//   1. Each question that is taken ends with exactly one End or Fault, unless it was cancelled.
//   2. What does not fit waits, bounded as at a model node (sched/admission.h); what is refused says why.
//   3. While the engine is not ready nothing is taken, and what waits ends: a program is told, not kept waiting.
//
// Pure; one thread.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "engine/engine.h"
#include "sched/admission.h"

namespace shoal::model {

class OwnModel {
public:
    // Outputs
    struct Delta {
        JobId question;
        ChatDelta delta;
    };
    struct End {
        JobId question;
        ChatEnd end;
    };
    struct Fault {
        JobId question;
        ChatFault fault;
    };
    using Output = std::variant<Delta, End, Fault>;

    // `name` is what programs will call the model. The engine outlives this object.
    OwnModel(engine::Engine& engine, std::string name);

    std::variant<JobId, ChatFault> ask(Now now, const ModelId& model, ChatRequest request,
                                       const ByteArray<32>& client_seed);
    // Nothing more comes of it. A question that has ended is ignored.
    void cancel(Now now, JobId question);

    void on_engine(Now now);
    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<Output> poll();

    const std::string& name() const { return name_; }
    // nullptr: not known yet.
    const engine::ModelInfo* info() const { return engine_.model(); }
    bool ready() const { return engine_.health() == engine::Health::ready; }
    // One line, for people; empty when it is ready.
    std::string why_not() const;
    // It was ready, or died, and is not back.
    bool failed() const { return !ready() && !down_reason_.empty(); }

private:
    struct Question {
        std::optional<engine::Job> waiting;  // until it runs
        bool cancelled = false;              // until the engine says so
        std::size_t bytes = 0;               // of the reply so far
    };

    void on_event(Now now, engine::Event event);
    void on_text(Now now, engine::Text text);
    void ended(Now now, JobId question);
    void run_next(Now now);
    void fail_waiting(AskFault fault, const std::string& why);

    engine::Engine& engine_;
    std::string name_;
    sched::Admission admission_;
    std::map<JobId, Question> questions_;  // bounded: slots and queue of the admission
    std::string down_reason_;
    std::uint64_t next_ = 1;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::model
