// What the gateway needs of the node behind it, and what HTTP gives to the gateway. app/ implements the first over a
// client object and feeds the second from net/; tests use stand-ins.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/chat.h"
#include "base/comparison.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace shoal::api {

using AskId = StrongInt<struct ApiAskIdTag, std::uint64_t>;

struct ModelSummary {
    ModelId id;
    std::string name;
    std::uint32_t context_tokens = 0;
    std::size_t nodes = 0;  // that serve it, by the current directory
};

struct Readiness {
    bool alive = true;         // false: an engine of this node died and is not back
    bool directory = false;    // a fresh snapshot is here
    std::size_t circuits = 0;  // ready
    std::size_t circuits_needed = 0;
    std::size_t model_nodes = 0;
    std::string reason;  // when not ready: one line that says what is missing
    bool ready() const { return alive && directory && circuits >= circuits_needed && model_nodes > 0; }
};

// Where the events of one ask go. Called from the loop, in order, never before ask() has returned; on_end or on_fault
// is the last call. A call may cancel any ask, its own too.
class AskSink {
public:
    virtual ~AskSink() = default;
    virtual void on_delta(const ChatDelta& delta) = 0;
    virtual void on_end(const ChatEnd& end) = 0;
    virtual void on_fault(const ChatFault& fault) = 0;
};

class Network {
public:
    virtual ~Network() = default;
    virtual std::vector<ModelSummary> models() const = 0;
    virtual Readiness readiness() const = 0;
    // Starts an ask. The sink lives until its last call has returned or until cancel(). Faults that are known at once
    // come as a ChatFault here and the sink is never called.
    // Without `compare` it is what the node is configured to.
    virtual std::variant<AskId, ChatFault> ask(ModelId model, ChatRequest request, std::optional<Comparison> compare,
                                               AskSink& sink) = 0;
    // The sink is not touched again; the model node is told and frees the slot. May come from inside a call of a sink.
    // An ask that has ended is ignored.
    virtual void cancel(AskId ask) = 0;
};

// ---- HTTP as the gateway sees it ---------------------------------------------------------------------------------

struct HttpRequest {
    std::string method;                                        // upper case
    std::string target;                                        // as sent: path and query
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string body;
    bool loopback = false;  // the peer's address
};

// One request under way, as long as its answer is not complete. Never reused.
using ExchangeId = StrongInt<struct ExchangeIdTag, std::uint64_t>;

// The answer to one request, owned by whoever answers it: exactly one of send() and begin_stream(), and after
// begin_stream, write() until finish(). Its owner destroys it when the answer is complete; destroyed earlier, it cuts
// the connection. It holds on to the connection, not the other way round: when the program is gone, calls do nothing.
// No call of it calls back into the gateway.
//   Rationale: neither side can call what the other has destroyed, whichever goes first.
class HttpResponder {
public:
    virtual ~HttpResponder() = default;
    using Headers = std::vector<std::pair<std::string, std::string>>;
    virtual void send(int status, Headers headers, std::string body) = 0;
    virtual void begin_stream(int status, Headers headers) = 0;
    // False: the peer is gone, or does not read and the buffer (limits::sse_buffer_bytes_max) is full; the stream is
    // then closed.
    virtual bool write(std::string_view chunk) = 0;
    virtual void finish() = 0;
};

}  // namespace shoal::api
