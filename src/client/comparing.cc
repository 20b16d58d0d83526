// The part of Client that asks several nodes at once (rules 6 and 7 of client.h).
#include <algorithm>

#include "client/client.h"

namespace shoal::client {
namespace {

constexpr int draws_max = 8;

// Of one operator, as far as the directory shows it: what circuits avoid among relays, too.
bool related(const wire::Descriptor& a, const wire::Descriptor& b) {
    if (!a.family.is_zero() && a.family == b.family) return true;
    for (const wire::Address& mine : a.addresses) {
        for (const wire::Address& other : b.addresses) {
            if (mine.subnet() == other.subnet()) return true;
        }
    }
    return false;
}

}  // namespace

// ---- whom to ask -------------------------------------------------------------------------------------------------

std::optional<NodeId> Client::choose_apart(Now now, const ModelId& model, const std::vector<NodeId>& tried,
                                           const std::vector<NodeId>& beside, bool suspects) {
    const auto apart = [&](std::vector<NodeId> nodes) {
        std::erase_if(nodes, [&](const NodeId& node) {
            const wire::SnapshotEntry* mine = view_->find(node);
            return std::any_of(beside.begin(), beside.end(), [&](const NodeId& other) {
                const wire::SnapshotEntry* its = view_->find(other);
                return its != nullptr && related(mine->descriptor, its->descriptor);
            });
        });
        return nodes;
    };
    for (const bool shunned : {false, true}) {
        const Which which{suspects, shunned};
        if (const auto whole = choose_among(now, apart(view_->nodes_of(model)), tried, std::nullopt, which))
            return whole;
        if (!config_.pipelines) continue;
        if (const auto lead = choose_among(now, apart(view_->leads_of(model)), tried, std::nullopt, which)) return lead;
    }
    return std::nullopt;
}

std::vector<NodeId> Client::choose_several(Now now, const ModelId& model, Comparison compare) {
    std::vector<NodeId> best;
    // A node may be related to two that are not to each other: another draw may find more.
    for (int draw = 0; draw < draws_max && best.size() < compare.nodes(); ++draw) {
        std::vector<NodeId> nodes;
        for (const bool suspects : {false, true}) {
            const std::size_t wanted = suspects ? compare.needed() : compare.nodes();
            while (nodes.size() < wanted) {
                const auto node = choose_apart(now, model, nodes, nodes, suspects);
                if (!node) break;
                nodes.push_back(*node);
            }
        }
        if (nodes.size() > best.size()) best = std::move(nodes);
    }
    return best;
}

std::uint32_t Client::context_of(const NodeId& node, const ModelId& model) const {
    const wire::SnapshotEntry* entry = view_->find(node);
    if (entry == nullptr) return 0;
    for (const wire::OfferedModel& offered : entry->descriptor.models) {
        if (offered.model == model) return offered.context_tokens;
    }
    return 0;
}

std::variant<AskId, ChatFault> Client::ask_several(Now now, Ask question, Comparison compare,
                                                   std::uint32_t completion_tokens_max) {
    const std::vector<NodeId> nodes = choose_several(now, question.model, compare);
    if (nodes.size() < compare.needed()) {
        return ChatFault{AskFault::no_model_node, "to compare " + compare.text() + " takes " +
                                                      std::to_string(compare.needed()) +
                                                      " nodes of different operators with this model, and there are " +
                                                      std::to_string(nodes.size())};
    }
    if (asks_.size() + nodes.size() > limits::asks_max) {
        return ChatFault{AskFault::overloaded, "too many questions at once"};
    }
    const AskId id(next_ask_++);
    Group group(Quorum(compare, nodes.size(), completion_tokens_max), question.model);
    group.nodes = group.tried = nodes;
    group.report = {id, compare, nodes.size(), 0, {}};
    std::vector<AskId> ids;
    for (std::size_t slot = 0; slot < nodes.size(); ++slot) {
        Ask ask;
        ask.model = question.model;
        ask.body = question.body;
        ask.seed = question.seed;
        ask.wait_until = question.wait_until;
        ask.group = id;
        ask.slot = slot;
        ask.next = nodes[slot];
        group.quorum.start(slot, context_of(nodes[slot], question.model));
        ids.push_back(AskId(next_ask_++));
        asks_.emplace(ids.back(), std::move(ask));
    }
    groups_.emplace(id, std::move(group));
    begin(now, ids);
    return id;
}

// ---- what they say -----------------------------------------------------------------------------------------------

void Client::tell(Now now, AskId id, std::variant<ChatDelta, ChatEnd> said) {
    const Ask& ask = asks_.at(id);
    if (ask.muted) return;
    auto* delta = std::get_if<ChatDelta>(&said);
    if (ask.group) {
        const AskId group = *ask.group;
        Quorum& quorum = groups_.at(group).quorum;
        delta != nullptr ? quorum.on_delta(ask.slot, *delta) : quorum.on_end(ask.slot, std::get<ChatEnd>(said));
        return settle(now, group);
    }
    const auto* end = std::get_if<ChatEnd>(&said);
    if (end != nullptr && end->kept && ask.scope) sources_.learn(*ask.scope, {ask.node, *end->kept});
    if (delta != nullptr) {
        out_.emplace_back(Delta{id, std::move(*delta)});
    } else {
        out_.emplace_back(End{id, *end});
    }
}

void Client::finish_in_group(Now now, AskId id, const prompt::Over& over) {
    const Ask& ask = asks_.at(id);
    const bool counts = over.fault && !ask.muted;
    if (counts && replace_in_group(now, id, over)) return;
    const AskId group = *ask.group;
    const std::size_t slot = ask.slot;
    asks_.erase(id);
    if (!counts) return;
    groups_.at(group).quorum.on_fault(slot, *over.fault);
    settle(now, group);
}

// The other node answers from the beginning: what came so far was only compared.
bool Client::replace_in_group(Now now, AskId id, const prompt::Over& over) {
    Ask& ask = asks_.at(id);
    Group& group = groups_.at(*ask.group);
    const bool of_node = over.moveable || over.fault->fault == AskFault::node_lost;
    if (!of_node || !view_) return false;
    if (shunned_.size() < limits::snapshot_nodes_max) shunned_[ask.node] = now.mono + limits::node_shunned;
    if (group.quorum.over() || group.tried.size() >= limits::nodes_per_ask_max * group.nodes.size()) return false;
    std::vector<NodeId> beside = group.nodes;
    beside.erase(beside.begin() + static_cast<std::ptrdiff_t>(ask.slot));
    auto next = choose_apart(now, group.model, group.tried, beside, false);
    if (!next && !group.quorum.can_do_without(ask.slot)) {
        next = choose_apart(now, group.model, group.tried, beside, true);
    }
    if (!next) return false;
    group.nodes[ask.slot] = *next;
    group.tried.push_back(*next);
    group.quorum.start(ask.slot, context_of(*next, group.model));
    ask.next = next;
    ask.asker.reset();
    ask.wait_until = now.mono + limits::circuits_wait;
    try_start(now, id);
    return true;
}

void Client::settle(Now now, AskId id) {
    Group& group = groups_.at(id);
    while (auto output = group.quorum.poll()) {
        if (auto* delta = std::get_if<ChatDelta>(&*output)) {
            out_.emplace_back(Delta{id, std::move(*delta)});
        } else if (const auto* end = std::get_if<ChatEnd>(&*output)) {
            group.until = now.mono + limits::compared_linger;
            out_.emplace_back(End{id, *end});
        } else if (const auto* fault = std::get_if<ChatFault>(&*output)) {
            group.until = now.mono;
            out_.emplace_back(Fault{id, *fault});
        } else {
            rule(now, group, std::get<Quorum::Verdict>(*output));
        }
    }
    drop_asks(now, id, false);
    if (now.mono >= group.until || (group.quorum.over() && group.quorum.running() == 0)) end_group(now, id);
}

void Client::rule(Now now, Group& group, const Quorum::Verdict& verdict) {
    const NodeId& node = group.nodes[verdict.slot];
    if (verdict.agrees) {
        suspects_.agreed(node);
        ++group.report.agreed;
    } else {
        group.report.against.push_back({node, verdict.bytes, suspects_.contradicted(now, node)});
    }
}

void Client::end_group(Now now, AskId id) {
    drop_asks(now, id, true);
    out_.emplace_back(std::move(groups_.at(id).report));
    groups_.erase(id);
}

void Client::end_late_groups(Now now) {
    std::vector<AskId> late;
    for (const auto& [id, group] : groups_) {
        if (now.mono >= group.until) late.push_back(id);
    }
    for (const AskId id : late) end_group(now, id);
}

void Client::make_room(Now now, std::size_t asks) {
    while (asks_.size() + asks > limits::asks_max) {
        const auto lingers = [](const auto& each) { return each.second.quorum.over(); };
        const auto oldest = std::find_if(groups_.begin(), groups_.end(), lingers);
        if (oldest == groups_.end()) return;
        end_group(now, oldest->first);
    }
}

void Client::drop_asks(Now now, AskId group, bool all) {
    std::vector<AskId> ids;
    for (const auto& [id, ask] : asks_) {
        if (ask.group != group || ask.muted) continue;
        if (all || !groups_.at(group).quorum.wants(ask.slot)) ids.push_back(id);
    }
    for (const AskId id : ids) drop(now, id);
}

}  // namespace shoal::client
