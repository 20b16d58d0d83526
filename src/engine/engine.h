// The door to inference: all that a model node knows of what runs a model.
//
// An engine serves one model with several sequences at once (continuous batching is its own business). It is a pure
// object or wraps one: nothing here blocks, and what happens inside comes out of poll() in order. Implementations: the
// fake engine (engine/fake.h), the worker process (backend/).
//
// Rules
//   1. Every submitted job ends with exactly one Finished or Failed, also when the engine dies or cancel() is called.
//      Rationale: the scheduler counts slots by these events alone.
//   2. cancel() takes effect within one decode step; the job then ends with Failed{cancelled}.
//   3. Text is whole UTF-8 characters; a stop string and what follows it never appears in it.
//   4. Token counts are the engine's own, exact, and cover what was computed: a cancelled job reports what it used.
//
// Thread: the one that owns the object.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/chat.h"
#include "base/ids.h"
#include "base/time.h"

namespace shoal::engine {

struct ModelInfo {
    ModelId id;                // BLAKE2b-256 of the tensor manifest (protocol/pipe.md)
    std::string architecture;  // as the GGUF names it
    std::string name;          // general.name of the GGUF, made printable; may be empty
    std::uint64_t parameters = 0;
    std::uint8_t quantisation = 0;     // ggml file type
    std::uint32_t context_tokens = 0;  // that one sequence may hold
    std::uint32_t sequences = 0;       // that decode at once
};

struct Job {
    JobId id;
    ChatRequest request;
    // Sampling noise of position p is SHAKE256("sc1/noise" | client_seed | H(prompt tokens) | p): DESIGN 5.8.
    ByteArray<32> client_seed{};
};

enum class Health : std::uint8_t {
    starting,  // the model is being loaded
    ready,
    down,  // died; will be started again
    dead,  // cannot serve: the reason of the last Down says why
};

struct Ready {
    ModelInfo model;
};
// How far loading is, 0 to 1; for a progress bar.
struct Loading {
    float share = 0;
};
struct Down {
    std::string reason;      // one line, for people
    bool permanent = false;  // a bad model file will not become good by trying again
};
struct Started {
    JobId job;
    TokenCount prompt;  // counted with the model's own template and tokenizer
};
struct Text {
    JobId job;
    Plaintext text;
    TokenCount completion;  // so far
};
struct Finished {
    JobId job;
    FinishReason reason = FinishReason::stop;
    Usage usage;
    std::optional<KeptPrefix> kept = {};  // engine/prefixes.h
};
struct Failed {
    JobId job;
    AskFault fault = AskFault::engine_failed;
    std::string message;
    Usage usage;
};
using Event = std::variant<Ready, Loading, Down, Started, Text, Finished, Failed>;

class Prefixes;

class Engine {
public:
    virtual ~Engine() = default;

    // Queued inside when every sequence is busy, at most limits::engine_jobs_queued_max; beyond: Failed{overloaded}.
    virtual void submit(Now now, Job job) = 0;
    // Unknown ids are ignored: the job may have ended on its way.
    virtual void cancel(Now now, JobId job) = 0;
    virtual void on_tick(Now now) = 0;
    virtual std::optional<Instant> next_deadline() const = 0;
    virtual std::optional<Event> poll() = 0;

    virtual Health health() const = 0;
    // Valid once Ready came, also while the engine is down.
    virtual const ModelInfo* model() const = 0;
    // nullptr: what this engine computed cannot be moved.
    virtual Prefixes* prefixes() { return nullptr; }
};

}  // namespace shoal::engine
