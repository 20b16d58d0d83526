#include "node/node.h"

#include <algorithm>

namespace shoal::node {

using wire::CellCommand;

namespace {

client::ClientConfig client_config(const NodeConfig& config, const NodeId& self) {
    client::ClientConfig out;
    out.profile = config.profile;
    out.pipelines = config.pipelines;
    out.compare = config.compare;
    out.reuse = config.reuse_prefixes;
    out.circuits.network = config.genesis.network();
    out.circuits.pacer = config.pacer;
    out.circuits.rate = config.rate;
    out.circuits.set_size = config.profile.n;
    if ((config.roles & wire::role_relay) != 0) {
        out.circuits.self.nodes.push_back(self);
        if (!config.family.is_zero()) out.circuits.self.families.push_back(config.family);
        for (const wire::Address& address : config.addresses) out.circuits.self.subnets.push_back(address.subnet());
    }
    return out;
}

AgentConfig agent_config(const NodeConfig& config) {
    return {config.genesis, config.roles, config.addresses, config.family};
}

}  // namespace

Node::Node(Now now, NodeConfig config, const crypto::SigningKey& identity, Rng& rng, CellObserver* observer)
    : config_(std::move(config)),
      self_(identity.node_id()),
      rng_(rng),
      observer_(observer),
      links_(identity, config_.genesis.network(), rng),
      agent_(now, agent_config(config_), identity, rng),
      stages_(self_, links_),
      prefixes_(links_) {
    const NetworkId network = config_.genesis.network();
    if ((config_.roles & wire::role_relay) != 0) {
        relay_ = std::make_unique<circuit::Relay>(circuit::RelayConfig{self_, network}, rng);
    }
    if ((config_.roles & (wire::role_model | wire::role_lead)) != 0) {
        const auto listed = [this](Now at, const NodeId& node, const ModelId& model) { return lists(at, node, model); };
        model_ = std::make_unique<model::ModelNode>(prompt::ServerConfig{self_, network, now.wall}, listed);
        prefixes_.set_users(model_->fetcher(), model_->holder());
    }
    stages_.set_others(prefixes_);
    if (config_.client) client_ = std::make_unique<client::Client>(client_config(config_, self_), rng);
    update_keys();
}

Node::~Node() = default;

Status Node::restore(Now now, StateFile file, ByteView bytes) {
    if (file == StateFile::guards) return client_ ? client_->circuits().guard_set().restore(bytes) : ok();
    TRY(agent_.restore(now, file, bytes));
    update_keys();
    drain(now);
    return ok();
}

void Node::on_persisted(Now now, StateFile file) {
    agent_.on_persisted(file);
    agent_.on_tick(now);
    drain(now);
}

void Node::add_engine(engine::Engine& engine, std::string name) {
    ASSERT(model_);
    model_->add_engine(engine, std::move(name));
}

void Node::add_lead(pipeline::Lead& lead, std::string name) {
    add_engine(lead, std::move(name));
    stages_.add(lead);
    leads_.push_back(&lead);
}

void Node::add_own_lead(pipeline::Lead& lead, std::string name) {
    ASSERT(!own_ && !client_);
    own_ = std::make_unique<model::OwnModel>(lead, std::move(name));
    stages_.add(lead);
    leads_.push_back(&lead);
}

void Node::add_stages(engine::RankEngine& engine) {
    ASSERT((config_.roles & wire::role_stage) != 0 && !host_);
    pipeline::StageHostConfig config;
    config.allowed = [this](const NodeId& from) { return config_.stage_leads.contains(from); };
    groups_ = std::make_unique<pipeline::Groups>(engine);
    host_ = std::make_unique<pipeline::StageHost>(config, *groups_);
    stages_.add(*groups_);  // before the host, which takes what nobody else does
    stages_.add(*host_);
}

void Node::update_keys() {
    const auto onion = agent_.publisher().onion_keys();
    if (relay_) relay_->set_onion_keys(onion.current, onion.previous);
    const auto hpke = agent_.publisher().hpke_keys();
    if (model_) model_->server().set_hpke_keys(hpke.current, hpke.previous);
}

// ---- connections -------------------------------------------------------------------------------------------------

void Node::on_connected(Now now, LinkId link, const NodeId& peer, std::optional<DialId> dial) {
    links_.on_connected(now, link, peer, dial);
    drain(now);
}

void Node::on_dial_failed(Now now, DialId dial) {
    links_.on_dial_failed(now, dial);
    drain(now);
}

void Node::on_disconnected(Now now, LinkId id) {
    if (const auto link = links_.on_disconnected(id)) on_link_lost(now, id, *link);
    drain(now);
}

void Node::on_bytes(Now now, LinkId id, ByteView bytes) {
    while (!bytes.empty()) {
        Link* link = links_.get(id);
        if (link == nullptr) return;
        // The link must be up before the first cell behind VERSIONS is handed over.
        const std::size_t first = limits::cell_bytes - link->session.partial_bytes();
        const std::size_t take = link->session.open() ? bytes.size() : std::min(first, bytes.size());
        receiving_ = id;
        const Status done = links_.on_bytes(now, id, bytes.first(take), *this);
        bytes = bytes.subspan(take);
        if (!done) {
            links_.close(id);
            bytes = {};
        }
        drain(now);
    }
}

void Node::take_output(Now now, LinkId link, std::size_t bytes_max, Bytes& out) {
    const std::size_t before = out.size();
    links_.take_output(now, link, bytes_max, out);
    if (observer_ == nullptr) return;
    const Link* on = links_.get(link);
    for (std::size_t at = before; on != nullptr && at + limits::cell_bytes <= out.size(); at += limits::cell_bytes) {
        const auto cell = wire::decode_cell(ByteView(out).subspan(at).first<limits::cell_bytes>());
        if (cell) observer_->on_cell_seen(now, link, on->peer, false, *cell);
    }
}

void Node::on_link_up(Now now, LinkId id) {
    const Link& link = *links_.get(id);
    if (link.identity == Identity::own) {
        if (relay_) relay_->on_link_up(id, link.we_dialled);
        for (const WaitingExtend& waiting : std::exchange(waiting_extends_, {})) {
            if (waiting.node == link.peer) {
                relay_->on_link_ready(now, waiting.token, id);
            } else {
                waiting_extends_.push_back(waiting);
            }
        }
        stages_.on_link_up(now, link.peer, id);
        prefixes_.on_link_up(now, link.peer, id);
    } else if (client_) {
        client_->on_guard_up(now, link.peer, id);
    }
    if (link.identity != directory_identity()) return;
    for (WaitingMessage& waiting : std::exchange(waiting_messages_, {})) {
        if (waiting.node == link.peer) {
            ask_directory(now, id, waiting.message);
        } else {
            waiting_messages_.push_back(std::move(waiting));
        }
    }
}

void Node::on_link_lost(Now now, LinkId id, const Link& link) {
    if (link.identity == Identity::own) {
        if (relay_) relay_->on_link_down(now, id);
        if (model_) model_->on_link_down(now, id);
        stages_.on_link_down(now, id);
        prefixes_.on_link_down(now, id);
    }
}

void Node::on_peer_failed(Now now, const NodeId& peer, Identity identity) {
    if (identity == Identity::own) {
        for (const WaitingExtend& waiting : std::exchange(waiting_extends_, {})) {
            if (waiting.node == peer) {
                relay_->on_link_failed(now, waiting.token, wire::DestroyReason::unreachable);
            } else {
                waiting_extends_.push_back(waiting);
            }
        }
        stages_.on_unreachable(now, peer);
        prefixes_.on_unreachable(now, peer);
    } else if (client_) {
        client_->on_guard_failed(now, peer);
    }
    if (identity != directory_identity()) return;
    std::erase_if(waiting_messages_, [&](const WaitingMessage& w) { return w.node == peer; });
    agent_.on_unreachable(now, peer);
}

// ---- cells -------------------------------------------------------------------------------------------------------

void Node::on_cell(Now now, const wire::Cell& cell) {
    Link* link = links_.get(receiving_);
    if (link == nullptr) return;
    if (observer_ != nullptr) observer_->on_cell_seen(now, receiving_, link->peer, true, cell);
    link->last_used = now.mono;
    dispatch(now, receiving_, *link, cell);
}

void Node::dispatch(Now now, LinkId id, Link& link, const wire::Cell& cell) {
    switch (cell.command) {
        case CellCommand::create:
        case CellCommand::created:
        case CellCommand::relay:
        case CellCommand::relay_early:
        case CellCommand::destroy:
            if (link.identity == Identity::ephemeral) {
                if (cell.command == CellCommand::create) return links_.close(id);
                if (client_) client_->on_cell(now, id, cell);
            } else if (relay_) {
                relay_->on_cell(now, id, cell);
            } else {
                links_.close(id);
            }
            return;
        case CellCommand::stream_open:
        case CellCommand::stream_sendme:
            if (!model_ || link.identity == Identity::ephemeral) return links_.close(id);
            return model_->on_cell(now, id, cell);
        case CellCommand::stream_data:
        case CellCommand::stream_end:
            // A stream is known to who opened it (the relay) or to who was asked (the model node).
            if (link.identity == Identity::ephemeral) return links_.close(id);
            if (model_) model_->on_cell(now, id, cell);
            if (relay_) relay_->on_cell(now, id, cell);
            return;
        case CellCommand::directory: return on_directory_cell(now, id, link, cell);
        case CellCommand::channel_open:
        case CellCommand::channel_data:
        case CellCommand::channel_credit:
        case CellCommand::channel_close:
            if ((stages_.empty() && prefixes_.empty()) || link.identity == Identity::ephemeral) return links_.close(id);
            return stages_.on_cell(now, id, cell);
        case CellCommand::pad_negotiate: return;  // idle padding of guard links comes with the constant clock
        default: return links_.close(id);
    }
}

void Node::on_directory_cell(Now now, LinkId id, Link& link, const wire::Cell& cell) {
    auto message = link.directory.feed(cell.payload());
    if (!message) return links_.close(id);
    if (!*message) return;
    // Behind an ephemeral link is a client, whatever else this node may be: it asks, and answers nothing.
    const bool answers = link.identity == Identity::own;
    if (!agent_.on_message(now, id, link.peer, **message, answers)) links_.close(id);
    // At once: who sends a thousand requests in one piece must not have a thousand answers made.
    (void)drain_agent(now);
}

void Node::send(Now now, LinkId link, const wire::Cell& cell) {
    if (links_.send(link, cell)) {
        links_.get(link)->last_used = now.mono;
        return;
    }
    Link* on = links_.get(link);
    if (on == nullptr) return;
    if (on->identity == Identity::ephemeral) {
        if (client_) client_->on_send_refused(now, link, cell);
    } else if (relay_) {
        relay_->on_send_refused(now, link, cell);
    }
}

void Node::send_directory(Now now, LinkId link, ByteView message) {
    const Link* on = links_.get(link);
    // A snapshot has not left yet: a peer that asks without reading gets no more until it does.
    if (on == nullptr || on->session.queued_bulk() >= limits::directory_queued_cells_max) return;
    for (const Bytes& payload : wire::fragment_directory(message)) {
        send(now, link, wire::make_cell(CellCommand::directory, 0, payload, rng_));
    }
}

// Whoever dialled: what comes back may be a snapshot.
void Node::ask_directory(Now now, LinkId link, ByteView message) {
    if (Link* on = links_.get(link)) on->directory.allow(limits::snapshot_bytes_max + 64);
    send_directory(now, link, message);
}

void Node::directory_to(Now now, const NodeId& peer, const wire::DirectoryMessage& message) {
    const Identity identity = directory_identity();
    if (const auto link = links_.find(peer, identity)) {
        return ask_directory(now, *link, wire::encode_directory_message(message));
    }
    const auto address = agent_.address_of(peer, now);
    if (!address) return agent_.on_unreachable(now, peer);
    waiting_messages_.push_back({peer, wire::encode_directory_message(message)});
    (void)links_.want(now, peer, identity, *address);
}

void Node::on_want_link(Now now, const circuit::WantLink& want) {
    const wire::Descriptor* node = agent_.book().find(want.node, now);
    const std::uint16_t roles = want.purpose == circuit::LinkPurpose::extend
                                    ? std::uint16_t{wire::role_relay}
                                    : std::uint16_t(wire::role_model | wire::role_lead | wire::role_verifier);
    if (node == nullptr && want.node != self_ && held_wants_.size() < limits::unknown_nodes_held_max &&
        agent_.on_unknown_node(now)) {
        held_wants_.push_back({want, now.mono + limits::unknown_node_wait});
        return;
    }
    if (node == nullptr || (node->roles & roles) == 0 || want.node == self_) {
        return relay_->on_link_failed(now, want.token, wire::DestroyReason::protocol);
    }
    if (const auto link = links_.want(now, want.node, Identity::own, node->addresses.front())) {
        return relay_->on_link_ready(now, want.token, *link);
    }
    waiting_extends_.push_back({want.node, want.token});
}

void Node::retry_held(Now now) {
    for (const HeldWant& held : std::exchange(held_wants_, {})) {
        if (agent_.book().find(held.want.node, now) != nullptr) {
            on_want_link(now, held.want);
        } else {
            held_wants_.push_back(held);
        }
    }
    for (const HeldHop& held : std::exchange(held_hops_, {})) link_to_hop(now, held.node, held.until);
}

void Node::expire_held(Now now) {
    while (!held_wants_.empty() && now.mono >= held_wants_.front().until) {
        relay_->on_link_failed(now, held_wants_.front().want.token, wire::DestroyReason::protocol);
        held_wants_.pop_front();
    }
    while (!held_hops_.empty() && now.mono >= held_hops_.front().until) {
        const NodeId node = held_hops_.front().node;
        held_hops_.pop_front();
        stages_.on_unreachable(now, node);
    }
}

// ---- the corridor ------------------------------------------------------------------------------------------------

void Node::drain(Now now) {
    bool more = true;
    while (more) {
        more = drain_links(now);
        more = drain_relay(now) || more;
        more = drain_stages(now) || more;
        more = drain_prefixes(now) || more;
        more = drain_model(now) || more;
        more = drain_client(now) || more;
        more = drain_own() || more;
        more = drain_agent(now) || more;
    }
}

bool Node::drain_links(Now now) {
    bool any = false;
    while (auto event = links_.poll()) {
        any = true;
        if (auto* dial = std::get_if<Links::Dial>(&*event)) {
            out_.emplace_back(*dial);
        } else if (auto* close = std::get_if<Links::Close>(&*event)) {
            out_.emplace_back(*close);
        } else if (auto* output = std::get_if<Links::Output>(&*event)) {
            out_.emplace_back(*output);
        } else if (auto* up = std::get_if<Links::Up>(&*event)) {
            if (links_.get(up->link) != nullptr) on_link_up(now, up->link);
        } else {
            const auto& failed = std::get<Links::Failed>(*event);
            on_peer_failed(now, failed.peer, failed.identity);
        }
    }
    return any;
}

bool Node::drain_relay(Now now) {
    bool any = false;
    if (relay_) relay_->flush(now);
    while (relay_) {
        auto output = relay_->poll();
        if (!output) break;
        any = true;
        if (const auto* cell = std::get_if<circuit::SendCell>(&*output)) {
            send(now, cell->link, cell->cell);
        } else {
            on_want_link(now, std::get<circuit::WantLink>(*output));
        }
    }
    return any;
}

bool Node::drain_model(Now now) {
    bool any = false;
    while (model_) {
        auto cell = model_->poll();
        if (!cell) break;
        any = true;
        const bool sent =
            links_.send(cell->link, wire::make_cell(cell->command, cell->id.value(), cell->payload, rng_));
        if (sent) {
            links_.get(cell->link)->last_used = now.mono;
        } else if (links_.get(cell->link) != nullptr) {
            // A sealed stream cannot miss a record. A peer that has so many cells unread is cut off; its clients go on
            // by other proxies.
            links_.close(cell->link);
        }
    }
    return any;
}

bool Node::drain_client(Now now) {
    bool any = false;
    while (client_) {
        auto output = client_->poll();
        if (!output) break;
        any = true;
        if (const auto* wanted = std::get_if<client::Circuits::GuardWanted>(&*output)) {
            const auto address = agent_.address_of(wanted->guard, now);
            if (!address) {
                client_->on_guard_failed(now, wanted->guard);
            } else if (const auto link = links_.want(now, wanted->guard, Identity::ephemeral, *address)) {
                client_->on_guard_up(now, wanted->guard, *link);
            }
        } else if (const auto* cell = std::get_if<client::Circuits::SendCell>(&*output)) {
            send(now, cell->link, cell->cell);
        } else if (auto* delta = std::get_if<client::Client::Delta>(&*output)) {
            out_.emplace_back(std::move(*delta));
        } else if (auto* end = std::get_if<client::Client::End>(&*output)) {
            out_.emplace_back(std::move(*end));
        } else if (auto* compared = std::get_if<client::Client::Compared>(&*output)) {
            out_.emplace_back(std::move(*compared));
        } else {
            out_.emplace_back(std::get<client::Client::Fault>(std::move(*output)));
        }
    }
    if (client_ && client_->circuits().guard_set().take_changed()) {
        out_.emplace_back(Persist{StateFile::guards, client_->circuits().guard_set().state()});
    }
    return any;
}

// Questions are numbered by whoever answers them: with a model of its own the node has no client.
bool Node::drain_own() {
    bool any = false;
    while (own_) {
        auto output = own_->poll();
        if (!output) break;
        any = true;
        if (auto* delta = std::get_if<model::OwnModel::Delta>(&*output)) {
            out_.emplace_back(client::Client::Delta{client::AskId(delta->question.value()), std::move(delta->delta)});
        } else if (const auto* end = std::get_if<model::OwnModel::End>(&*output)) {
            out_.emplace_back(client::Client::End{client::AskId(end->question.value()), end->end});
        } else {
            auto& fault = std::get<model::OwnModel::Fault>(*output);
            out_.emplace_back(client::Client::Fault{client::AskId(fault.question.value()), std::move(fault.fault)});
        }
    }
    return any;
}

bool Node::drain_agent(Now now) {
    bool any = false;
    while (auto output = agent_.poll()) {
        any = true;
        if (const auto* message = std::get_if<DirectoryAgent::Send>(&*output)) {
            directory_to(now, message->to, message->message);
        } else if (const auto* answer = std::get_if<DirectoryAgent::Answer>(&*output)) {
            send_directory(now, answer->link, answer->message);
        } else if (auto* persist = std::get_if<DirectoryAgent::Persist>(&*output)) {
            if (persist->file == StateFile::keys) update_keys();
            out_.emplace_back(Persist{persist->file, std::move(persist->bytes)});
        } else {
            retry_held(now);
            if (!client_) continue;
            client_->on_directory(now, std::get<DirectoryAgent::NewDirectory>(*output).view);
            agent_.set_guards(now, client_->circuits().guards());
            agent_.set_starved(now, client_->starved());
        }
    }
    return any;
}

bool Node::drain_stages(Now now) {
    if (stages_.empty()) return false;
    bool any = false;
    for (bool more = true; more; any = any || more) {
        if (host_) host_->on_engine(now);  // what the ranks before and behind said may be news to it
        more = stages_.drain(now);
    }
    if (any && model_) model_->on_engine(now);  // a lead may be ready, or not any more
    if (any && own_) own_->on_engine(now);
    while (const auto wanted = stages_.poll()) {
        any = true;
        // A hop that started with its lead is listed some seconds later.
        link_to_hop(now, wanted->node, now.mono + limits::directory_fetch_timeout);
    }
    return any;
}

bool Node::drain_prefixes(Now now) {
    bool any = false;
    while (prefixes_.drain(now)) {
        any = true;
        model_->on_engine(now);  // an engine may have answered at once
    }
    while (const auto wanted = prefixes_.poll()) {
        any = true;
        const auto address = agent_.address_of(wanted->node, now);
        if (!address) {
            prefixes_.on_unreachable(now, wanted->node);
        } else if (const auto link = links_.want(now, wanted->node, Identity::own, *address)) {
            prefixes_.on_link_up(now, wanted->node, *link);
        }
    }
    while (model_) {
        auto note = model_->poll_note();
        if (!note) break;
        any = true;
        out_.emplace_back(std::move(*note));
    }
    return any;
}

bool Node::lists(Now now, const NodeId& node, const ModelId& model) const {
    const wire::Descriptor* known = agent_.book().find(node, now);
    const auto offers = [&](const wire::OfferedModel& offered) { return offered.model == model; };
    return known != nullptr && std::any_of(known->models.begin(), known->models.end(), offers);
}

void Node::link_to_hop(Now now, const NodeId& node, Instant until) {
    const auto address = agent_.address_of(node, now);
    if (!address) {
        (void)agent_.on_unknown_node(now);
        held_hops_.push_back({node, until});
    } else if (const auto link = links_.want(now, node, Identity::own, *address)) {
        stages_.on_link_up(now, node, *link);
    }
}

// ---- questions, time ---------------------------------------------------------------------------------------------

std::variant<client::AskId, ChatFault> Node::ask(Now now, const ModelId& model, const ChatRequest& request,
                                                 std::optional<Comparison> compare) {
    if (own_) {
        auto taken = own_->ask(now, model, request, rng_.array<32>());
        drain(now);
        if (auto* fault = std::get_if<ChatFault>(&taken)) return std::move(*fault);
        return client::AskId(std::get<JobId>(taken).value());
    }
    if (!client_) return ChatFault{AskFault::no_circuit, "this node is no client"};
    auto started = client_->ask(now, model, request, compare);
    drain(now);
    return started;
}

void Node::cancel(Now now, client::AskId ask) {
    if (client_) client_->cancel(now, ask);
    if (own_) own_->cancel(now, JobId(ask.value()));
    drain(now);
}

void Node::on_engine(Now now) {
    for (pipeline::Lead* lead : leads_) lead->on_ends(now);
    if (own_) own_->on_engine(now);
    if (model_) {
        model_->on_engine(now);
        agent_.set_models(model_->offered());
    }
    drain(now);
}

void Node::on_stages(Now now) {
    if (groups_) groups_->on_engine(now);
    drain(now);
}

void Node::on_tick(Now now) {
    links_.on_tick(now, [&](LinkId link) {
        return (relay_ && relay_->uses_link(link)) || (model_ && model_->uses_link(link)) ||
               (client_ && client_->circuits().uses_link(link)) || stages_.uses_link(link) || prefixes_.uses_link(link);
    });
    expire_held(now);
    if (relay_) relay_->on_tick(now);
    if (model_) {
        model_->on_tick(now);
        agent_.set_models(model_->offered());
    }
    if (own_) {
        own_->on_tick(now);
        // A hop may be listed any moment. What it shows is that layers are missing, not when something is asked.
        agent_.set_starved(now, !own_->ready());
    }
    if (groups_) groups_->on_tick(now);
    if (host_) host_->on_tick(now);
    if (client_) {
        client_->on_tick(now);
        agent_.set_starved(now, client_->starved());
    }
    agent_.on_tick(now);
    update_keys();
    drain(now);
}

Instant Node::next_deadline() const {
    Instant next = std::min(links_.next_deadline(), agent_.next_deadline());
    if (!held_wants_.empty()) next = std::min(next, held_wants_.front().until);
    if (!held_hops_.empty()) next = std::min(next, held_hops_.front().until);
    if (relay_) next = std::min(next, relay_->next_deadline());
    if (model_) next = std::min(next, model_->next_deadline());
    if (own_) next = std::min(next, own_->next_deadline());
    if (groups_) next = std::min(next, groups_->next_deadline());
    if (host_) next = std::min(next, host_->next_deadline());
    if (client_) next = std::min(next, client_->next_deadline());
    return next;
}

std::optional<Node::Output> Node::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
