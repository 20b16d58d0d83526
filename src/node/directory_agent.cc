#include "node/directory_agent.h"

#include <algorithm>

namespace shoal::node {

DirectoryAgent::DirectoryAgent(Now now, AgentConfig config, const crypto::SigningKey& identity, Rng& rng)
    : config_(std::move(config)),
      self_(identity.node_id()),
      book_(config_.genesis),
      fetcher_(book_, rng, {.eager = config_.roles != 0}),
      publisher_(now, identity, config_.genesis.network(), rng) {
    publisher_.set_roles(config_.roles);
    publisher_.set_family(config_.family);
    publisher_.set_addresses(config_.addresses);
    if ((config_.roles & wire::role_verifier) != 0) {
        verifier_ = std::make_unique<committee::Verifier>(config_.genesis, identity);
    }
    update_sources(now);
}

Status DirectoryAgent::restore(Now now, StateFile file, ByteView bytes) {
    switch (file) {
        case StateFile::keys: return publisher_.restore(now, bytes);
        case StateFile::verifier: return verifier_ ? verifier_->restore(now, bytes) : ok();
        case StateFile::directory: {
            TRY(book_.restore(now, bytes));
            if (auto view = book_.current(now)) {
                fetcher_.on_snapshot_taken(now);
                publisher_.on_directory(now, *view);
                out_.emplace_back(NewDirectory{std::move(view)});
            }
            return ok();
        }
        case StateFile::guards: break;
    }
    return fail(Errc::invalid, "directory: no state of this kind");
}

void DirectoryAgent::on_persisted(StateFile file) {
    if (file == StateFile::keys) publisher_.on_persisted();
    if (file == StateFile::verifier && verifier_) verifier_->on_persisted();
}

void DirectoryAgent::set_guards(Now now, std::vector<NodeId> guards) {
    guards_ = std::move(guards);
    update_sources(now);
}

void DirectoryAgent::set_starved(Now now, bool starved) {
    fetcher_.set_eager(starved || config_.roles != 0);
    if (starved == starved_) return;
    starved_ = starved;
    update_sources(now);
}

void DirectoryAgent::set_models(std::vector<wire::OfferedModel> models) {
    publisher_.set_models(std::move(models));
}

// A client asks its guards, and the bootstraps as well until it can ask questions. Everyone else asks the committee
// first.
void DirectoryAgent::update_sources(Now now) {
    std::vector<NodeId> sources;
    const auto add = [&](const NodeId& node) {
        if (node == self_ || std::find(sources.begin(), sources.end(), node) != sources.end()) return;
        if (address_of(node, now)) sources.push_back(node);
    };
    if (client_only()) {
        for (const NodeId& guard : guards_) add(guard);
    } else {
        for (const auto& verifier : config_.genesis.verifiers) add(verifier.id);
    }
    if (sources.empty() || starved_) {
        for (const auto& bootstrap : config_.genesis.bootstraps) add(bootstrap.id);
    }
    fetcher_.set_sources(std::move(sources));
}

std::optional<wire::Address> DirectoryAgent::address_of(const NodeId& node, Now now) const {
    if (const wire::Descriptor* known = book_.find(node, now)) return known->addresses.front();
    for (const auto& bootstrap : config_.genesis.bootstraps) {
        if (bootstrap.id == node) return bootstrap.address;
    }
    return std::nullopt;
}

// ---- messages ----------------------------------------------------------------------------------------------------

Status DirectoryAgent::on_message(Now now, LinkId link, const NodeId& peer, ByteView bytes, bool answers) {
    const wire::DirectoryMessage message = TRY(wire::decode_directory_message(bytes));
    const bool asks =
        std::holds_alternative<wire::GetSnapshot>(message) || std::holds_alternative<wire::PublishDescriptor>(message);
    if (asks && !answers) return fail(Errc::invalid, "directory: a client is asked for it");
    if (const auto* get = std::get_if<wire::GetSnapshot>(&message)) {
        serve(now, link, *get);
        return ok();
    }
    if (const auto* publish = std::get_if<wire::PublishDescriptor>(&message)) {
        wire::PublishResult result{false, "this node is no verifier"};
        if (verifier_) result = verifier_->on_publish(now, publish->descriptor);
        out_.emplace_back(Answer{link, wire::encode_directory_message(result)});
        run_verifier(now);
        return ok();
    }
    if (const auto* result = std::get_if<wire::PublishResult>(&message)) {
        if (publishing_to_ != peer) return ok();
        publishing_to_.reset();
        publish_due_.reset();
        publisher_.on_result(now, *result);
        return ok();
    }
    // Answers to a fetch, late ones too, from those who were asked only: nobody pushes a directory.
    if (!fetcher_.settle(peer)) return fail(Errc::invalid, "directory: an answer that was not asked for");
    if (std::holds_alternative<wire::NotNewer>(message)) {
        fetcher_.on_not_newer(now, peer);
        return ok();
    }
    return take_snapshot(now, peer, std::get<wire::SignedSnapshot>(message));
}

Status DirectoryAgent::take_snapshot(Now now, const NodeId& from, const wire::SignedSnapshot& snapshot) {
    const Status taken = accept(now, snapshot, false);
    if (!taken) fetcher_.on_failed(now, from);
    // A snapshot that is refused says something about its server; the link is not to blame.
    return ok();
}

Status DirectoryAgent::accept(Now now, const wire::SignedSnapshot& snapshot, bool own) {
    const bool fresh = TRY(book_.accept(now, snapshot));
    fetcher_.on_snapshot_taken(now);
    if (!fresh) return ok();
    const auto view = book_.current(now);
    publisher_.on_directory(now, *view);
    if (!own) out_.emplace_back(Persist{StateFile::directory, book_.state()});
    out_.emplace_back(NewDirectory{view});
    update_sources(now);
    return ok();
}

void DirectoryAgent::serve(Now now, LinkId link, const wire::GetSnapshot& get) {
    const auto view = book_.current(now);
    if (!view || view->epoch() <= get.newer_than) {
        const Epoch have = view ? view->epoch() : Epoch(0);
        out_.emplace_back(Answer{link, wire::encode_directory_message(wire::NotNewer{have})});
        return;
    }
    out_.emplace_back(Answer{link, wire::encode_snapshot_message(view->encoded())});
}

void DirectoryAgent::on_unreachable(Now now, const NodeId& peer) {
    fetcher_.on_unreachable(now, peer);
    if (publishing_to_ == peer) {
        publishing_to_.reset();
        publish_due_.reset();
        publisher_.on_failed(now);
    }
}

// ---- work --------------------------------------------------------------------------------------------------------

void DirectoryAgent::run_publisher(Now now) {
    if (config_.roles == 0) return;
    publisher_.on_tick(now);
    if (auto bytes = publisher_.take_persist()) out_.emplace_back(Persist{StateFile::keys, std::move(*bytes)});
    auto descriptor = publisher_.take_descriptor();
    if (!descriptor) return;
    if (verifier_) {
        publisher_.on_result(now, verifier_->on_publish(now, *descriptor));
        return;
    }
    // Each try goes to the next verifier.
    const auto& verifiers = config_.genesis.verifiers;
    publishing_to_ = verifiers[next_verifier_++ % verifiers.size()].id;
    publish_due_ = now.mono + limits::directory_fetch_timeout;
    out_.emplace_back(Send{*publishing_to_, wire::PublishDescriptor{std::move(*descriptor)}});
}

void DirectoryAgent::run_verifier(Now now) {
    if (!verifier_) return;
    verifier_->on_tick(now);
    if (auto bytes = verifier_->take_persist()) out_.emplace_back(Persist{StateFile::verifier, std::move(*bytes)});
    while (auto snapshot = verifier_->take_snapshot()) {
        const Status taken = accept(now, *snapshot, true);
        ASSERT(taken);  // what this node has signed it must be able to believe
    }
}

void DirectoryAgent::on_tick(Now now) {
    if (publish_due_ && now.mono >= *publish_due_) on_unreachable(now, *publishing_to_);
    run_publisher(now);
    run_verifier(now);
    if (alone()) return;
    if (!book_.current(now)) update_sources(now);
    fetcher_.on_tick(now);
    if (const auto from = fetcher_.poll()) {
        const auto view = book_.current(now);
        out_.emplace_back(Send{*from, wire::GetSnapshot{view ? view->epoch() : Epoch(0)}});
    }
}

Instant DirectoryAgent::next_deadline() const {
    Instant next = Instant::max();
    const auto consider = [&](std::optional<Instant> due) {
        if (due) next = std::min(next, *due);
    };
    if (!alone()) consider(fetcher_.next_deadline());
    if (config_.roles != 0) consider(publisher_.next_deadline());
    if (verifier_) consider(verifier_->next_deadline());
    consider(publish_due_);
    return next;
}

std::optional<DirectoryAgent::Output> DirectoryAgent::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
