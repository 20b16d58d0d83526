// A network of nodes in one process and virtual time, for the tests of this room: the shipped objects, joined by pipes
// with a delay. Connections, kills and time are the test's to command.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "crypto/rng.h"
#include "engine/fake.h"
#include "node/node.h"

namespace shoal::node {

class VirtualNet {
public:
    struct Asked {
        std::string answer;
        std::optional<ChatEnd> end;
        std::optional<ChatFault> fault;
        std::size_t endings = 0;
    };
    struct Machine {
        Machine(std::string n, crypto::SigningKey k) : name(std::move(n)), key(std::move(k)) {}
        std::string name;
        crypto::SigningKey key;
        std::unique_ptr<engine::FakeEngine> engine;
        std::unique_ptr<Node> node;
        std::map<LinkId, std::pair<std::size_t, LinkId>> pipes;  // to machine, its link
        std::string answer;
        std::optional<ChatEnd> end;
        std::optional<ChatFault> fault;
        std::vector<Instant> delta_times;
        std::map<client::AskId, Asked> asked;  // every question of this machine
        std::vector<client::Client::Compared> compared;
        std::vector<model::PrefixNote> notes;
        bool dead = false;
    };

    // What the model nodes answer, in their order; those behind the last, and where there is none, as FakeOptions says.
    using Replies = std::vector<std::function<std::string(const ChatRequest&)>>;

    // Model nodes whose prefixes can be moved; the client has them reused.
    struct Moves {
        std::uint32_t bytes_per_token;  // 0: they cannot
        double prefill_per_second;
    };

    explicit VirtualNet(std::uint64_t seed, std::size_t relays = 16, std::size_t models = 2,
                        PacerMode pacer = PacerMode::fast, Replies replies = {}, Moves moves = {0, 2000})
        : rng_(seed), pacer_(pacer), replies_(std::move(replies)), moves_(moves) {
        now_ = {Instant(1h), from_unix_seconds(1'800'000'000)};
        genesis_.name = "virtual";
        genesis_.created = now_.wall;
        const std::size_t verifier = add("verifier", wire::role_verifier, false, 0);
        genesis_.verifiers.push_back({machines_[verifier]->key.node_id(), 1});
        genesis_.bootstraps.push_back({machines_[verifier]->key.node_id(), address_of(verifier)});
        start(verifier);
        for (std::size_t i = 0; i < relays; ++i) {
            start(add("relay" + std::to_string(i), wire::role_relay | wire::role_guard, false, 0));
        }
        for (std::size_t i = 0; i < models; ++i) start(add("model" + std::to_string(i), wire::role_model, false, 1));
        client_ = add("client", 0, true, 0);
        start(client_);
    }

    Machine& operator[](std::size_t i) { return *machines_[i]; }
    Machine& client() { return *machines_[client_]; }
    std::size_t client_index() const { return client_; }
    std::size_t size() const { return machines_.size(); }
    Now now() const { return now_; }
    static constexpr std::size_t first_relay = 1;
    std::size_t index_of(const NodeId& node) const { return by_id_.at(node); }
    std::vector<std::size_t> guards() {
        std::vector<std::size_t> out;
        for (const NodeId& guard : client().node->client()->circuits().guards()) out.push_back(index_of(guard));
        return out;
    }
    // The machine whose engine works on something.
    std::optional<std::size_t> busy_model() const {
        for (std::size_t i = 0; i < machines_.size(); ++i) {
            const Machine& m = *machines_[i];
            if (m.node && m.engine && m.engine->running() + m.engine->queued() > 0) return i;
        }
        return std::nullopt;
    }
    void cancel(client::AskId ask) {
        client().node->cancel(now_, ask);
        drain(client_);
    }

    // Advances until the condition holds; false after `limit` of virtual time.
    bool run_until(const std::function<bool()>& condition, Duration limit) {
        const Instant end = now_.mono + limit;
        while (!condition()) {
            if (!step(end)) return condition();
        }
        return true;
    }

    // One more model node, from now on.
    std::size_t add_model() {
        const std::size_t index = add("late model", wire::role_model, false, 1);
        start(index);
        return index;
    }

    // The client as it is after its first start: without a directory.
    void restart_client() {
        kill(client_);
        client().dead = false;
        start(client_);
    }

    // The machine is gone: every connection breaks.
    void kill(std::size_t index) {
        Machine& gone = *machines_[index];
        gone.dead = true;
        gone.node.reset();
        for (const auto& [link, peer] : std::exchange(gone.pipes, {})) {
            Machine& other = *machines_[peer.first];
            if (other.pipes.erase(peer.second) > 0 && other.node) {
                other.node->on_disconnected(now_, peer.second);
                drain(peer.first);
            }
        }
    }

    std::optional<client::AskId> ask(const std::string& text, Comparison compare = {}) {
        Machine& c = client();
        c.answer.clear();
        c.end.reset();
        c.fault.reset();
        c.delta_times.clear();
        ChatRequest request;
        request.messages.push_back({Role::user, Plaintext(text)});
        auto started = c.node->ask(now_, ModelId(ByteArray<32>{0xfa, 0x4e}), request, compare);
        drain(client_);
        if (const auto* fault = std::get_if<ChatFault>(&started)) {
            c.fault = *fault;
            return std::nullopt;
        }
        return std::get<client::AskId>(started);
    }
    bool answered() { return client().end.has_value() || client().fault.has_value(); }
    bool ready() {
        const auto* c = client().node->client();
        return c->model_nodes() > 0 && c->circuits().ready() >= limits::circuits_ready_target;
    }
    void drain(std::size_t index) {
        Machine& m = *machines_[index];
        while (m.node) {
            auto output = m.node->poll();
            if (!output) break;
            handle(index, std::move(*output));
        }
    }
    // Called for each chunk of bytes on a pipe; may change it.
    std::function<void(std::size_t from, std::size_t to, Bytes&)> on_wire;
    Duration delay = 1ms;

private:
    struct Event {
        std::size_t to;
        LinkId link;
        Bytes bytes;
    };

    std::size_t add(const std::string& name, std::uint16_t roles, bool client, std::size_t engines) {
        auto m = std::make_unique<Machine>(name, crypto::SigningKey::generate(rng_));
        if (engines > 0) {
            engine::FakeOptions options;
            if (models_ < replies_.size() && replies_[models_]) options.reply = replies_[models_];
            ++models_;
            options.prefix_bytes_per_token = moves_.bytes_per_token;
            options.prefill_per_second = moves_.prefill_per_second;
            m->engine = std::make_unique<engine::FakeEngine>(options);
        }
        roles_.push_back(roles);
        clients_.push_back(client);
        machines_.push_back(std::move(m));
        by_id_[machines_.back()->key.node_id()] = machines_.size() - 1;
        return machines_.size() - 1;
    }
    static wire::Address address_of(std::size_t index) {
        return *wire::parse_address("127." + std::to_string(index + 1) + ".0.1:9000");
    }
    void start(std::size_t index) {
        Machine& m = *machines_[index];
        NodeConfig config;
        config.genesis = genesis_;
        config.roles = roles_[index];
        config.client = clients_[index];
        config.pacer = pacer_;
        config.reuse_prefixes = moves_.bytes_per_token > 0;
        if (config.roles != 0) config.addresses.push_back(address_of(index));
        m.node = std::make_unique<Node>(now_, config, m.key, rng_);
        if (m.engine) m.node->add_engine(*m.engine, "fake");
        m.node->on_tick(now_);
        drain(index);
    }

    void handle(std::size_t index, Node::Output output) {
        Machine& m = *machines_[index];
        if (auto* dial = std::get_if<Links::Dial>(&output)) {
            connect(index, *dial);
        } else if (auto* close = std::get_if<Links::Close>(&output)) {
            disconnect(index, close->link);
        } else if (auto* out = std::get_if<Links::Output>(&output)) {
            const auto pipe = m.pipes.find(out->link);
            Bytes bytes;
            m.node->take_output(now_, out->link, 1 << 20, bytes);
            if (pipe == m.pipes.end() || bytes.empty()) return;
            if (on_wire) on_wire(index, pipe->second.first, bytes);
            events_.emplace(now_.mono + delay, Event{pipe->second.first, pipe->second.second, std::move(bytes)});
        } else if (auto* persist = std::get_if<Node::Persist>(&output)) {
            m.node->on_persisted(now_, persist->file);
        } else if (auto* delta = std::get_if<client::Client::Delta>(&output)) {
            m.answer += delta->delta.text.expose();
            m.asked[delta->ask].answer += delta->delta.text.expose();
            m.delta_times.push_back(now_.mono);
        } else if (auto* end = std::get_if<client::Client::End>(&output)) {
            m.end = end->end;
            m.asked[end->ask].end = end->end;
            ++m.asked[end->ask].endings;
        } else if (auto* compared = std::get_if<client::Client::Compared>(&output)) {
            m.compared.push_back(std::move(*compared));
        } else if (auto* note = std::get_if<model::PrefixNote>(&output)) {
            m.notes.push_back(std::move(*note));
        } else {
            const auto& over = std::get<client::Client::Fault>(output);
            m.fault = over.fault;
            m.asked[over.ask].fault = over.fault;
            ++m.asked[over.ask].endings;
        }
    }

    void connect(std::size_t from, const Links::Dial& dial) {
        const auto to = by_id_.find(dial.expected);
        if (to == by_id_.end() || machines_[to->second]->dead || !machines_[to->second]->node) {
            machines_[from]->node->on_dial_failed(now_, dial.dial);
            return;
        }
        const LinkId here(next_link_++);
        const LinkId there(next_link_++);
        machines_[from]->pipes[here] = {to->second, there};
        machines_[to->second]->pipes[there] = {from, here};
        const NodeId peer = dial.identity->node_id();
        machines_[from]->node->on_connected(now_, here, dial.expected, dial.dial);
        machines_[to->second]->node->on_connected(now_, there, peer, std::nullopt);
        drain(to->second);
    }
    void disconnect(std::size_t index, LinkId link) {
        const auto pipe = machines_[index]->pipes.find(link);
        if (pipe == machines_[index]->pipes.end()) return;
        const auto [other, other_link] = pipe->second;
        machines_[index]->pipes.erase(pipe);
        machines_[other]->pipes.erase(other_link);
        machines_[index]->node->on_disconnected(now_, link);
        if (machines_[other]->node) machines_[other]->node->on_disconnected(now_, other_link);
        drain(other);
    }

    bool step(Instant end) {
        Instant next = events_.empty() ? Instant::max() : events_.begin()->first;
        for (const auto& m : machines_) {
            if (m->node) next = std::min(next, m->node->next_deadline());
        }
        if (next > end) {
            advance(end);
            return false;
        }
        advance(std::max(next, now_.mono));
        while (!events_.empty() && events_.begin()->first <= now_.mono) {
            const Event event = std::move(events_.begin()->second);
            events_.erase(events_.begin());
            Machine& m = *machines_[event.to];
            if (!m.node || !m.pipes.contains(event.link)) continue;
            m.node->on_bytes(now_, event.link, event.bytes);
            drain(event.to);
        }
        for (std::size_t i = 0; i < machines_.size(); ++i) {
            Machine& m = *machines_[i];
            if (!m.node || m.node->next_deadline() > now_.mono) continue;
            m.node->on_tick(now_);
            drain(i);
        }
        return true;
    }
    void advance(Instant to) {
        now_.mono = to;
        now_.wall =
            from_unix_seconds(1'800'000'000) + std::chrono::duration_cast<std::chrono::seconds>(to - Instant(1h));
    }

    crypto::SeededRng rng_;
    PacerMode pacer_;
    Replies replies_;
    Moves moves_;
    std::size_t models_ = 0;
    Now now_;
    directory::Genesis genesis_;
    std::vector<std::unique_ptr<Machine>> machines_;
    std::vector<std::uint16_t> roles_;
    std::vector<bool> clients_;
    std::map<NodeId, std::size_t> by_id_;
    std::size_t client_ = 0;
    std::uint64_t next_link_ = 1;
    std::multimap<Instant, Event> events_;
};

}  // namespace shoal::node
