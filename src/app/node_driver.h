// NodeDriver: a node with real sockets, files and time under it. Hands bytes and clock in, carries out what comes out.
//
// Thread: the loop's.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/port.h"
#include "app/trace.h"
#include "base/log.h"
#include "crypto/rng.h"
#include "net/loop.h"
#include "net/transport.h"
#include "node/node.h"
#include "store/files.h"

namespace shoal::app {

struct DriverConfig {
    std::string state_directory;
    node::NodeConfig node;
    std::optional<net::Endpoint> listen;     // with any role
    std::optional<net::Endpoint> dial_from;  // local address of dials
    std::string trace_file;
    std::string tap_file;
};

class NodeDriver final : private net::TransportEvents, private node::CellObserver {
public:
    // Takes the state directory (made when missing, locked), reads what is there, listens. `engines` outlive it.
    static Result<std::unique_ptr<NodeDriver>> start(net::Loop& loop, DriverConfig config, Log& log);
    ~NodeDriver() override;

    // Before run(): a model to serve.
    void add_engine(engine::Engine& engine, std::string name);
    void add_lead(pipeline::Lead& lead, std::string name);
    // For this machine's programs alone; see node.h.
    void add_own_lead(pipeline::Lead& lead, std::string name);
    // Before run(), with role_stage: what computes layers.
    void add_stages(engine::RankEngine& engine);
    // Starts the clock.
    void run();
    void on_engine();
    void on_stages();

    // Questions; the sink as in api/port.h.
    std::variant<api::AskId, ChatFault> ask(const ModelId& model, const ChatRequest& request,
                                            std::optional<Comparison> compare, api::AskSink& sink);
    void cancel(api::AskId ask);

    const node::Node& node() const { return *node_; }
    Now now() const { return loop_.now(); }
    Rng& rng() { return rng_; }
    const net::Endpoint& listening() const { return listening_; }

private:
    NodeDriver(net::Loop& loop, DriverConfig config, Log& log);
    Status open();

    void on_link_up(LinkId link, const NodeId& peer, const net::Endpoint& remote, bool initiator) override;
    void on_link_bytes(LinkId link, ByteView bytes) override;
    void on_link_writable(LinkId link) override;
    void on_link_down(LinkId link, const Error& why) override;
    void on_cell_seen(Now now, LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell) override;

    void drain();
    void dial(const node::Links::Dial& dial);
    void write_out(LinkId link);
    void persist(const node::Node::Persist& persist);
    void arm();
    std::string path_of(node::StateFile file) const;

    net::Loop& loop_;
    DriverConfig config_;
    Log& log_;
    crypto::OsRng rng_;
    std::optional<store::DirectoryLock> lock_;
    std::optional<crypto::SigningKey> identity_;
    std::unique_ptr<Trace> trace_;
#ifdef SHOAL_TAP
    std::unique_ptr<Tap> tap_;
#endif
    std::unique_ptr<net::Transport> transport_;
    std::unique_ptr<node::Node> node_;
    std::optional<net::LocalIdentity> tls_;
    std::map<NodeId, net::LocalIdentity> ephemeral_;  // bounded: replaced as the node draws new ones
    std::map<LinkId, node::DialId> dialling_;         // bounded: dials_max
    std::map<client::AskId, api::AskSink*> asks_;     // bounded: asks_max
    net::Endpoint listening_;
    net::Timer timer_;
    Instant armed_ = Instant::max();
    bool running_ = false;
    bool draining_ = false;
    Bytes buffer_;  // bounded: link_in_flight_bytes_max
};

}  // namespace shoal::app
