#include "node/links.h"

namespace shoal::node {

std::optional<LinkId> Links::find(const NodeId& peer, Identity identity) const {
    const auto at = by_peer_.find({peer, identity});
    if (at == by_peer_.end()) return std::nullopt;
    return links_.at(at->second)->session.open() ? std::optional(at->second) : std::nullopt;
}

std::optional<LinkId> Links::want(Now now, const NodeId& peer, Identity identity, const wire::Address& address) {
    if (const auto link = find(peer, identity)) return link;
    if (by_peer_.contains({peer, identity})) return std::nullopt;  // VERSIONS is on its way
    for (const auto& [id, dialling] : dialling_) {
        if (dialling.peer == peer && dialling.identity == identity) return std::nullopt;
    }
    const DialId id(next_dial_++);
    dialling_.emplace(id, Dialling{peer, identity});
    out_.emplace_back(Dial{id, peer, address, &key_for(now, peer, identity)});
    return std::nullopt;
}

const crypto::SigningKey& Links::key_for(Now now, const NodeId& peer, Identity identity) {
    if (identity == Identity::own) return own_;
    constexpr auto day = std::chrono::hours(24);
    std::erase_if(ephemeral_, [&](const auto& entry) { return now.wall - entry.second.drawn >= day; });
    const auto at = ephemeral_.find(peer);
    if (at != ephemeral_.end()) return at->second.key;
    return ephemeral_.emplace(peer, Ephemeral{crypto::SigningKey::generate(rng_), now.wall}).first->second.key;
}

Link* Links::get(LinkId link) {
    const auto at = links_.find(link);
    return at == links_.end() ? nullptr : at->second.get();
}

void Links::on_connected(Now now, LinkId id, const NodeId& peer, std::optional<DialId> dial) {
    // What a client or newcomer may send as a directory message is small; a snapshot comes only where we asked.
    const std::size_t directory_max = dial ? limits::snapshot_bytes_max + 64 : limits::descriptor_bytes_max + 64;
    auto link = std::make_unique<Link>(now, network_, rng_, dial.has_value(), directory_max);
    link->peer = peer;
    if (dial) {
        link->identity = dialling_.at(*dial).identity;
        dialling_.erase(*dial);
    }
    by_peer_[{peer, link->identity}] = id;
    links_.emplace(id, std::move(link));
    out_.emplace_back(Output{id});
}

void Links::on_dial_failed(Now, DialId dial) {
    const auto at = dialling_.find(dial);
    if (at == dialling_.end()) return;
    const Dialling gone = at->second;
    dialling_.erase(at);
    out_.emplace_back(Failed{gone.peer, gone.identity});
}

std::unique_ptr<Link> Links::on_disconnected(LinkId id) {
    const auto at = links_.find(id);
    if (at == links_.end()) return nullptr;
    std::unique_ptr<Link> link = std::move(at->second);
    links_.erase(at);
    const auto peer = by_peer_.find({link->peer, link->identity});
    if (peer != by_peer_.end() && peer->second == id) by_peer_.erase(peer);
    out_.emplace_back(Failed{link->peer, link->identity});
    return link;
}

Status Links::on_bytes(Now now, LinkId id, ByteView bytes, link::CellSink& sink) {
    Link* link = get(id);
    if (link == nullptr) return ok();
    const bool was_open = link->session.open();
    const bool had_output = was_open && link->session.has_output();
    TRY(link->session.on_bytes(now, bytes, sink));
    if (!link->session.open()) return ok();
    if (!was_open) out_.emplace_back(Up{id});
    // What waited for VERSIONS, or the answer to a ping.
    if (!had_output && link->session.has_output()) out_.emplace_back(Output{id});
    return ok();
}

void Links::take_output(Now now, LinkId id, std::size_t bytes_max, Bytes& out) {
    if (Link* link = get(id)) link->session.take_output(now, bytes_max, out);
}

bool Links::send(LinkId id, const wire::Cell& cell) {
    Link* link = get(id);
    if (link == nullptr) return false;
    const bool had_output = link->session.has_output();
    if (!link->session.send(cell)) return false;
    if (!had_output) out_.emplace_back(Output{id});
    return true;
}

void Links::wake(LinkId id) {
    Link* link = get(id);
    if (link != nullptr && link->channels.has_cell()) out_.emplace_back(Output{id});
}

void Links::close(LinkId id) {
    out_.emplace_back(Close{id});
}

std::optional<Links::Event> Links::poll() {
    if (out_.empty()) return std::nullopt;
    Event next = std::move(out_.front());
    out_.pop_front();
    return next;
}

}  // namespace shoal::node
