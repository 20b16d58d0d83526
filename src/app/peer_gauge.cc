#include "app/peer_gauge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "app/node_driver.h"
#include "link/gauge.h"
#include "link/session.h"

namespace shoal::app {
namespace {

namespace fs = std::filesystem;

// For the state of a node that lives as long as the look-up.
class Folder {
public:
    static Result<std::unique_ptr<Folder>> make() {
        std::error_code error;
        std::string name = (fs::temp_directory_path(error) / "shoal-bench-XXXXXX").string();
        if (error || mkdtemp(name.data()) == nullptr) return fail(Errc::io, "cannot make a temporary folder");
        return std::unique_ptr<Folder>(new Folder(name));
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

private:
    explicit Folder(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

using Addresses = std::map<NodeId, wire::Address>;

// Where the peers listen, by the directory as it is now; without those that it does not list.
Result<Addresses> look_up(net::Loop& loop, Log& log, const PeerGaugeOptions& options, Duration wait) {
    const auto folder = TRY(Folder::make());
    DriverConfig config;
    config.state_directory = folder->path();
    config.node.genesis = options.genesis;
    config.node.client = false;
    config.dial_from = options.from;
    const auto driver = TRY(NodeDriver::start(loop, std::move(config), log));
    driver->run();
    const auto& book = driver->node().book();
    if (!loop.run_until([&] { return book.current(loop.now()) != nullptr; }, wait)) {
        return fail(Errc::timeout,
                    "--peer: no directory of the network could be had; is network.toml right, and a verifier up?");
    }
    Addresses out;
    for (const NodeId& peer : options.peers) {
        const wire::Descriptor* found = book.find(peer, loop.now());
        if (found != nullptr) out.emplace(peer, found->addresses.front());
    }
    return out;
}

// A peer that has just started is listed some seconds later.
Result<Addresses> find_addresses(net::Loop& loop, Log& log, const PeerGaugeOptions& options) {
    const Instant until = loop.now().mono + limits::directory_fetch_timeout;
    for (;;) {
        Addresses found = TRY(look_up(loop, log, options, limits::directory_fetch_timeout));
        if (found.size() == options.peers.size() || loop.now().mono >= until) return found;
        bool over = false;
        const net::Timer timer = loop.after(limits::directory_retry_min, [&] { over = true; });
        (void)loop.run_until([&] { return over; }, 2 * limits::directory_retry_min);
    }
}

// One link to one peer, from the dial to the figures.
class PeerGauge final : private net::TransportEvents, private link::CellSink {
public:
    PeerGauge(net::Loop& loop, Rng& rng, NetworkId network, std::optional<net::Endpoint> from)
        : loop_(loop), rng_(rng), network_(network), transport_(loop, *this, {.dial_from = from}) {}

    Result<link::LinkFigures> measure(const NodeId& peer, const wire::Address& at) {
        const auto key = crypto::SigningKey::generate(rng_);
        const auto identity = TRY(net::LocalIdentity::make(key, rng_));
        link_ = transport_.next_id();
        transport_.dial(link_, {at.ip, at.port}, peer, identity);
        const auto over = [this] { return failure_ || (gauge_ && gauge_->done()); };
        while (!loop_.run_until(over, tick_)) on_tick();
        if (failure_) return *failure_;
        return gauge_->figures();
    }

private:
    static constexpr Duration tick_ = 100ms;

    void on_link_up(LinkId, const NodeId&, const net::Endpoint&, bool) override {
        session_.emplace(loop_.now(), network_, rng_);
        write_out();
    }
    void on_link_bytes(LinkId, ByteView bytes) override {
        const bool was_open = session_->open();
        note(session_->on_bytes(loop_.now(), bytes, *this));
        if (!was_open && session_->open()) {
            gauge_.emplace(loop_.now(), rng_);
            session_->set_source(&*gauge_);
        }
        write_out();
    }
    void on_link_writable(LinkId) override { write_out(); }
    void on_link_down(LinkId, const Error& why) override { note(why); }
    void on_cell(Now now, const wire::Cell& cell) override {
        note(gauge_ ? gauge_->on_cell(now, cell) : Status(fail(Errc::malformed, "the peer began to speak unasked")));
    }
    void on_tick() {
        if (session_) note(session_->on_tick(loop_.now()));
        if (gauge_) note(gauge_->on_tick(loop_.now()));
    }
    void note(const Status& status) {
        if (!status && !failure_) failure_ = status.error();
    }
    void write_out() {
        for (;;) {
            const std::size_t unsent = transport_.unsent_bytes(link_);
            if (failure_ || unsent + limits::cell_bytes > limits::link_in_flight_bytes_max) return;
            buffer_.clear();
            session_->take_output(loop_.now(), limits::link_in_flight_bytes_max - unsent, buffer_);
            if (buffer_.empty() || !transport_.send(link_, buffer_)) return;
        }
    }

    net::Loop& loop_;
    Rng& rng_;
    NetworkId network_;
    LinkId link_;
    std::optional<link::Session> session_;
    std::optional<link::Gauge> gauge_;
    std::optional<Error> failure_;
    Bytes buffer_;  // bounded: link_in_flight_bytes_max
    net::Transport transport_;
};

// Into the bounds of a profile; what is beyond them is faster or slower than any use.
Result<wire::MeasuredLink> as_measured(const NodeId& peer, const link::LinkFigures& figures) {
    wire::MeasuredLink out;
    out.peer = peer;
    const auto us = std::chrono::ceil<std::chrono::microseconds>(figures.round_trip).count();
    out.rtt_us = static_cast<std::uint32_t>(us);
    out.bytes_per_second = std::min(figures.bytes_per_second, limits::link_bytes_per_second_max);
    TRY(wire::check_link(out));
    return out;
}

}  // namespace

Result<std::vector<PeerOutcome>> measure_links(net::Loop& loop, Log& log, Rng& rng, const PeerGaugeOptions& options,
                                               const std::function<void(std::size_t index)>& on_peer) {
    const Addresses addresses = TRY(find_addresses(loop, log, options));
    std::vector<PeerOutcome> out;
    for (const NodeId& peer : options.peers) {
        on_peer(out.size());
        const auto at = addresses.find(peer);
        if (at == addresses.end()) {
            out.push_back({peer, fail(Errc::not_found, "the directory does not list it: is it up?")});
            continue;
        }
        PeerGauge gauge(loop, rng, options.genesis.network(), options.from);
        const auto figures = gauge.measure(peer, at->second);
        if (figures) {
            out.push_back({peer, as_measured(peer, *figures)});
        } else {
            out.push_back({peer, figures.error()});
        }
    }
    return out;
}

}  // namespace shoal::app
