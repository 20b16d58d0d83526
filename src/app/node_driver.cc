#include "app/node_driver.h"

#include <fmt/format.h>

#include "app/new_network.h"

namespace shoal::app {
namespace {

constexpr std::size_t state_file_bytes_max = limits::snapshot_bytes_max + 1024 * 1024;

net::Endpoint endpoint_of(const wire::Address& address) {
    return {address.ip, address.port};
}

// What a comparison came to, in a line; not a word of what was asked or answered.
std::string line_of(const client::Client::Compared& compared) {
    const std::string agreed = compared.agreed > 0 ? std::to_string(compared.agreed) : "too few";
    std::string out =
        fmt::format("compared {}: {} of {} nodes gave the same reply", compared.rule.text(), agreed, compared.asked);
    for (const auto& against : compared.against) {
        out += fmt::format("; {} differs from byte {} on and is asked last for {:.0f} min", against.node.hex(),
                           against.bytes, to_seconds(against.suspected) / 60);
    }
    return out;
}

// What was computed of a prompt came, went, or was computed after all.
std::string line_of(const model::PrefixNote& note) {
    using What = model::PrefixNote::What;
    const double mebibytes = static_cast<double>(note.bytes) / (1024 * 1024);
    const std::string what =
        fmt::format("{} tokens ({:.1f} MiB in {:.0f} ms)", note.tokens, mebibytes, 1e3 * to_seconds(note.took));
    const std::string node = note.node.hex();
    const double recompute_ms = 1e3 * to_seconds(note.recompute);
    switch (note.what) {
        case What::fetched:
            return fmt::format("fetched a prefix of {} from {} instead of reading it in about {:.0f} ms", what, node,
                               recompute_ms);
        case What::given: return fmt::format("gave a prefix of {} to {}", what, node);
        case What::left: return fmt::format("fetched no prefix of {} from {}: {}", what, node, note.reason);
        case What::tampered:
            return fmt::format("refused the prefix of {} that {} gave: {}; the prompt is read", what, node,
                               note.reason);
    }
    return {};
}

// The node's key, made at the first start.
Result<crypto::SigningKey> open_identity(const std::string& directory) {
    TRY(open_or_make_identity(directory));
    const Key32 seed = TRY(store::read_key(directory + "/identity.key"));
    return crypto::SigningKey::from_seed(seed);
}

}  // namespace

NodeDriver::NodeDriver(net::Loop& loop, DriverConfig config, Log& log)
    : loop_(loop), config_(std::move(config)), log_(log) {}

NodeDriver::~NodeDriver() = default;

Result<std::unique_ptr<NodeDriver>> NodeDriver::start(net::Loop& loop, DriverConfig config, Log& log) {
    std::unique_ptr<NodeDriver> driver(new NodeDriver(loop, std::move(config), log));
    TRY(driver->open());
    return driver;
}

Status NodeDriver::open() {
    TRY(store::ensure_directory(config_.state_directory));
    lock_ = TRY(store::lock_directory(config_.state_directory));
    identity_ = TRY(open_identity(config_.state_directory));
    tls_ = TRY(net::LocalIdentity::make(*identity_, rng_));
    if (!config_.trace_file.empty()) trace_ = TRY(Trace::open(config_.trace_file));
    node::CellObserver* observer = trace_ ? this : nullptr;
#ifdef SHOAL_TAP
    if (!config_.tap_file.empty()) {
        tap_ = TRY(Tap::open(config_.tap_file));
        observer = this;
    }
#endif
    net::TransportOptions options;
    options.dial_from = config_.dial_from;
    transport_ = std::make_unique<net::Transport>(loop_, static_cast<net::TransportEvents&>(*this), options);
    if (config_.listen) {
        listening_ = TRY(transport_->listen(*config_.listen, *tls_));
        if (config_.node.addresses.empty()) config_.node.addresses.push_back({listening_.ip, listening_.port});
    }
    const bool verifier = (config_.node.roles & wire::role_verifier) != 0;
    if (verifier && !committee::Verifier::is_member(config_.node.genesis, identity_->node_id())) {
        return fail(Errc::invalid,
                    "this node's key is none of the verifiers in network.toml: use the state directory "
                    "that 'shoal genesis' made, or drop --verifier");
    }
    node_ = std::make_unique<node::Node>(now(), config_.node, *identity_, rng_, observer);
#ifdef SHOAL_TAP
    if (tap_ && node_->relay() != nullptr) node_->set_peel_observer(tap_.get());
#endif
    for (const node::StateFile file :
         {node::StateFile::keys, node::StateFile::verifier, node::StateFile::guards, node::StateFile::directory}) {
        auto bytes = store::read_file(path_of(file), state_file_bytes_max);
        if (!bytes && bytes.error().code == Errc::not_found) continue;
        if (!bytes) return bytes.error();
        const Status restored = node_->restore(now(), file, *bytes);
        if (restored) continue;
        // A cache that has expired is only a cache; anything else must not be written over in silence.
        if (file == node::StateFile::directory) continue;
        return fail(restored.error().code, fmt::format("{}: {}; move the file away to start without it", path_of(file),
                                                       restored.error().message));
    }
    return ok();
}

std::string NodeDriver::path_of(node::StateFile file) const {
    switch (file) {
        case node::StateFile::keys: return config_.state_directory + "/keys";
        case node::StateFile::verifier: return config_.state_directory + "/verifier";
        case node::StateFile::directory: return config_.state_directory + "/directory";
        case node::StateFile::guards: return config_.state_directory + "/guards";
    }
    return {};
}

void NodeDriver::add_engine(engine::Engine& engine, std::string name) {
    node_->add_engine(engine, std::move(name));
}

void NodeDriver::add_lead(pipeline::Lead& lead, std::string name) {
    node_->add_lead(lead, std::move(name));
}

void NodeDriver::add_own_lead(pipeline::Lead& lead, std::string name) {
    node_->add_own_lead(lead, std::move(name));
}

void NodeDriver::add_stages(engine::RankEngine& engine) {
    node_->add_stages(engine);
}

void NodeDriver::run() {
    running_ = true;
    node_->on_tick(now());
    drain();
}

void NodeDriver::on_engine() {
    node_->on_engine(now());
    drain();
}

void NodeDriver::on_stages() {
    node_->on_stages(now());
    drain();
}

// ---- connections -------------------------------------------------------------------------------------------------

void NodeDriver::on_link_up(LinkId link, const NodeId& peer, const net::Endpoint& remote, bool) {
    std::optional<node::DialId> dial;
    if (const auto at = dialling_.find(link); at != dialling_.end()) {
        dial = at->second;
        dialling_.erase(at);
    }
    if (trace_) {
        trace_->note(now(), "link_up",
                     fmt::format("\"peer\":\"{}\",\"address\":\"{}\",\"dialled\":{}", peer.hex(), remote.text(),
                                 dial.has_value()));
    }
    node_->on_connected(now(), link, peer, dial);
    drain();
}

void NodeDriver::on_link_bytes(LinkId link, ByteView bytes) {
    node_->on_bytes(now(), link, bytes);
    drain();
}

void NodeDriver::on_link_writable(LinkId link) {
    write_out(link);
}

void NodeDriver::on_link_down(LinkId link, const Error& why) {
    if (const auto at = dialling_.find(link); at != dialling_.end()) {
        const node::DialId dial = at->second;
        dialling_.erase(at);
        log_.write(LogLevel::debug, "net", "dial failed: " + why.message);
        node_->on_dial_failed(now(), dial);
    } else {
        node_->on_disconnected(now(), link);
    }
    drain();
}

void NodeDriver::on_cell_seen(Now seen, LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell) {
    if (trace_) trace_->on_cell_seen(seen, link, peer, incoming, cell);
#ifdef SHOAL_TAP
    if (tap_) tap_->on_cell(link, peer, incoming, cell);
#endif
}

void NodeDriver::dial(const node::Links::Dial& dial) {
    const LinkId link = transport_->next_id();
    const NodeId& key = dial.identity->node_id();
    const net::LocalIdentity* identity = &*tls_;
    if (key != identity_->node_id()) {
        auto at = ephemeral_.find(key);
        if (at == ephemeral_.end()) {
            // Those of days gone by are never dialled with again.
            if (ephemeral_.size() >= limits::guards_kept_max) ephemeral_.clear();
            auto made = net::LocalIdentity::make(*dial.identity, rng_);
            if (!made) return node_->on_dial_failed(now(), dial.dial);
            at = ephemeral_.emplace(key, std::move(*made)).first;
        }
        identity = &at->second;
    }
    dialling_.emplace(link, dial.dial);
    transport_->dial(link, endpoint_of(dial.address), dial.expected, *identity);
}

void NodeDriver::write_out(LinkId link) {
    for (;;) {
        const std::size_t unsent = transport_->unsent_bytes(link);
        if (unsent + limits::cell_bytes > limits::link_in_flight_bytes_max) return;
        buffer_.clear();
        node_->take_output(now(), link, limits::link_in_flight_bytes_max - unsent, buffer_);
        if (buffer_.empty()) return;
        if (!transport_->send(link, buffer_)) return;  // it is going down, and says so
    }
}

void NodeDriver::drain() {
    // Handling an output may bring the next input in; one loop serves both.
    if (draining_) return;
    draining_ = true;
    while (auto output = node_->poll()) {
        if (const auto* out = std::get_if<node::Links::Output>(&*output)) {
            write_out(out->link);
        } else if (const auto* wanted = std::get_if<node::Links::Dial>(&*output)) {
            dial(*wanted);
        } else if (const auto* close = std::get_if<node::Links::Close>(&*output)) {
            transport_->close(close->link);
        } else if (const auto* state = std::get_if<node::Node::Persist>(&*output)) {
            persist(*state);
        } else if (const auto* delta = std::get_if<client::Client::Delta>(&*output)) {
            if (const auto at = asks_.find(delta->ask); at != asks_.end()) at->second->on_delta(delta->delta);
        } else if (const auto* end = std::get_if<client::Client::End>(&*output)) {
            const auto at = asks_.find(end->ask);
            if (at == asks_.end()) continue;
            api::AskSink* sink = at->second;
            asks_.erase(at);
            sink->on_end(end->end);
        } else if (const auto* compared = std::get_if<client::Client::Compared>(&*output)) {
            log_.write(LogLevel::info, "client", line_of(*compared));
        } else if (const auto* note = std::get_if<model::PrefixNote>(&*output)) {
            const bool tampered = note->what == model::PrefixNote::What::tampered;
            log_.write(tampered ? LogLevel::warn : LogLevel::info, "model", line_of(*note));
        } else {
            const auto& fault = std::get<client::Client::Fault>(*output);
            const auto at = asks_.find(fault.ask);
            if (at == asks_.end()) continue;
            api::AskSink* sink = at->second;
            asks_.erase(at);
            sink->on_fault(fault.fault);
        }
    }
    draining_ = false;
    arm();
}

void NodeDriver::persist(const node::Node::Persist& state) {
    // Small files; the directory is a cache and may be slow, the rest must be on disk before the node goes on.
    const Status written = store::write_file_atomic(path_of(state.file), state.bytes);
    if (!written) {
        log_.write(LogLevel::error, "store", written.error().message);
        return;  // what depends on it is not sent
    }
    node_->on_persisted(now(), state.file);
}

void NodeDriver::arm() {
    if (!running_) return;
    const Instant next = node_->next_deadline();
    if (next == armed_ && timer_.pending()) return;
    armed_ = next;
    if (next == Instant::max()) return timer_.cancel();
    timer_ = loop_.at(next, [this] {
        armed_ = Instant::max();
        node_->on_tick(now());
        drain();
    });
}

// ---- questions ---------------------------------------------------------------------------------------------------

std::variant<api::AskId, ChatFault> NodeDriver::ask(const ModelId& model, const ChatRequest& request,
                                                    std::optional<Comparison> compare, api::AskSink& sink) {
    auto started = node_->ask(now(), model, request, compare);
    if (const auto* fault = std::get_if<ChatFault>(&started)) return *fault;
    const client::AskId id = std::get<client::AskId>(started);
    asks_.emplace(id, &sink);
    // Events of this ask may be waiting already; they come from the loop, after the caller has its id.
    loop_.post([this] { drain(); });
    return api::AskId(id.value());
}

void NodeDriver::cancel(api::AskId ask) {
    asks_.erase(client::AskId(ask.value()));
    node_->cancel(now(), client::AskId(ask.value()));
    loop_.post([this] { drain(); });
}

}  // namespace shoal::app
