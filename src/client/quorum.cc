#include "client/quorum.h"

#include <algorithm>

#include "base/assert.h"
#include "wire/text.h"

namespace shoal::client {
namespace {

std::size_t common_prefix(std::string_view a, std::string_view b) {
    const std::size_t size = std::min(a.size(), b.size());
    const auto at = std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(size), b.begin()).first;
    return static_cast<std::size_t>(at - a.begin());
}

bool same_end(const ChatEnd& a, const ChatEnd& b) {
    return a.reason == b.reason && a.usage == b.usage;
}

}  // namespace

Quorum::Quorum(Comparison compare, std::size_t nodes, std::uint32_t completion_tokens_max)
    : compare_(compare), completion_tokens_max_(completion_tokens_max), members_(nodes) {
    ASSERT(compare.needed() <= nodes && nodes <= limits::compared_nodes_max);
}

void Quorum::start(std::size_t slot, std::uint32_t context_tokens) {
    members_[slot] = Member{};
    members_[slot].context_tokens = context_tokens;
    for (std::size_t other = 0; other < members_.size(); ++other) common_[slot][other] = common_[other][slot] = 0;
}

std::size_t Quorum::running() const {
    return static_cast<std::size_t>(
        std::count_if(members_.begin(), members_.end(), [](const Member& m) { return m.state == State::running; }));
}

// ---- what nodes say ----------------------------------------------------------------------------------------------

void Quorum::on_delta(std::size_t slot, const ChatDelta& delta) {
    Member& m = members_[slot];
    if (m.state != State::running) return;
    const std::string_view more = delta.text.expose();
    if (m.text.size() + more.size() > limits::reply_bytes_max) {
        return on_fault(slot, {AskFault::node_lost, "a reply is longer than any that is allowed"});
    }
    compare(slot, more);
    m.text.append(more);
    settle();
}

void Quorum::on_end(std::size_t slot, const ChatEnd& end) {
    Member& m = members_[slot];
    if (m.state != State::running) return;
    m.end = end;
    m.state = State::ended;
    settle();
}

void Quorum::on_fault(std::size_t slot, const ChatFault& fault) {
    Member& m = members_[slot];
    if (m.state != State::running) return;
    m.state = State::failed;
    m.fault = fault;
    settle();
}

std::optional<Quorum::Output> Quorum::poll() {
    if (out_.empty()) return std::nullopt;
    Output next = std::move(out_.front());
    out_.pop_front();
    return next;
}

// ---- what they agree on ------------------------------------------------------------------------------------------

// `more` comes behind the reply's text.
void Quorum::compare(std::size_t slot, std::string_view more) {
    Member& m = members_[slot];
    const std::size_t begin = m.text.size();
    const auto grown = [&](std::size_t common, const Plaintext& other) {
        return common < begin ? common : common + common_prefix(more, std::string_view(other.expose()).substr(common));
    };
    m.matched = grown(m.matched, agreed_);
    for (std::size_t other = 0; other < members_.size(); ++other) {
        if (other == slot) continue;
        common_[slot][other] = common_[other][slot] = grown(common_[slot][other], members_[other].text);
    }
    common_[slot][slot] = begin + more.size();
}

void Quorum::settle() {
    if (!over_) {
        extend();
        for (std::size_t slot = 0; slot < members_.size(); ++slot) judge(slot);
        find_end();
    }
    if (answer_) {
        for (std::size_t slot = 0; slot < members_.size(); ++slot) judge_by_answer(slot);
    } else if (!over_ && largest_group() < compare_.needed()) {
        give_up();
    }
}

std::size_t Quorum::shared(std::size_t slot) const {
    std::vector<std::size_t> bytes;
    for (std::size_t other = 0; other < members_.size(); ++other) {
        if (viable(members_[other]) && at_front(members_[other])) bytes.push_back(common_[slot][other]);
    }
    if (bytes.size() < compare_.needed()) return 0;
    std::sort(bytes.rbegin(), bytes.rend());
    return bytes[compare_.needed() - 1U];
}

void Quorum::extend() {
    const std::size_t before = agreed_.size();
    std::size_t end = before, from = 0;
    for (std::size_t slot = 0; slot < members_.size(); ++slot) {
        const Member& m = members_[slot];
        if (!viable(m) || !at_front(m)) continue;
        const std::string_view text = std::string_view(m.text.expose()).substr(0, shared(slot));
        const std::size_t whole = text.size() - wire::utf8_incomplete_tail(text);
        if (whole <= end) continue;
        end = whole;
        from = slot;
    }
    if (end == before) return;
    Plaintext more(members_[from].text.expose().substr(before, end - before));
    agreed_.append(more.expose());
    for (std::size_t slot = 0; slot < members_.size(); ++slot) {
        Member& m = members_[slot];
        if (m.matched == before) m.matched = std::min(common_[slot][from], end);
    }
    out_.emplace_back(ChatDelta{std::move(more)});
}

void Quorum::find_end() {
    const auto whole = [&](const Member& m) { return m.state == State::ended && at_front(m) && !is_ahead(m); };
    for (const Member& m : members_) {
        if (!whole(m)) continue;
        const auto same = std::count_if(members_.begin(), members_.end(), [&](const Member& other) {
            return whole(other) && same_end(*m.end, *other.end);
        });
        if (same < compare_.needed()) continue;
        answer_ = m.end;
        answer_->agreement = {static_cast<std::uint8_t>(same), static_cast<std::uint8_t>(members_.size())};
        over_ = true;
        out_.emplace_back(*answer_);
        return;
    }
}

// ---- who is wrong ------------------------------------------------------------------------------------------------

void Quorum::rule_against(std::size_t slot) {
    members_[slot].state = State::against;
    out_.emplace_back(Verdict{slot, false, members_[slot].matched});
}

// By what is agreed on so far. Where a limit ended a reply the answer has to come first.
void Quorum::judge(std::size_t slot) {
    const Member& m = members_[slot];
    if (at_front(m) || (m.state != State::running && m.state != State::ended)) return;
    const bool differs = m.matched < m.text.size();
    const bool stops_before = m.state == State::ended && m.end->reason == FinishReason::stop;
    if (differs || stops_before) rule_against(slot);
}

void Quorum::judge_by_answer(std::size_t slot) {
    Member& m = members_[slot];
    if (m.state != State::running && m.state != State::ended) return;
    if (!at_front(m) && m.matched < m.text.size()) return rule_against(slot);
    if (is_ahead(m)) {
        if (!context_ended_answer()) return rule_against(slot);
        m.state = State::judged;
    } else if (m.state == State::ended) {
        const bool agrees = at_front(m) && same_end(*m.end, *answer_);
        if (!agrees && !cut_by_context(m)) return rule_against(slot);
        if (agrees) out_.emplace_back(Verdict{slot, true, m.matched});
        m.state = State::judged;
    }
}

bool Quorum::context_ended_answer() const {
    return answer_->reason == FinishReason::length && answer_->usage.completion.value() != completion_tokens_max_;
}

bool Quorum::cut_by_context(const Member& m) const {
    const Usage& usage = m.end->usage;
    const std::uint64_t used = std::uint64_t{usage.prompt.value()} + usage.completion.value();
    return m.end->reason == FinishReason::length && usage.prompt == answer_->usage.prompt &&
           used + 1 >= m.context_tokens;
}

// ---- whether enough can still agree ------------------------------------------------------------------------------

bool Quorum::viable(const Member& m) const {
    return m.state == State::running || (m.state == State::ended && at_front(m));
}

// Whether this reply can become what the other is, which is as long or longer, or becomes.
bool Quorum::can_become(std::size_t slot, std::size_t longer) const {
    const Member& m = members_[slot];
    const Member& other = members_[longer];
    if (common_[slot][longer] != m.text.size()) return false;
    if (!m.end) return true;
    return m.text.size() == other.text.size() && (!other.end || same_end(*m.end, *other.end));
}

std::size_t Quorum::largest_group(std::optional<std::size_t> without) const {
    std::size_t largest = 0;
    for (std::size_t top = 0; top < members_.size(); ++top) {
        if (top == without || !viable(members_[top])) continue;
        std::size_t group = 0;
        for (std::size_t slot = 0; slot < members_.size(); ++slot) {
            if (slot != without && viable(members_[slot]) && can_become(slot, top)) ++group;
        }
        largest = std::max(largest, group);
    }
    return largest;
}

void Quorum::give_up() {
    over_ = true;
    const auto failed = static_cast<std::size_t>(
        std::count_if(members_.begin(), members_.end(), [](const Member& m) { return m.fault.has_value(); }));
    const std::string rule =
        std::to_string(compare_.needed()) + " of " + std::to_string(members_.size()) + " nodes must give one reply";
    if (members_.size() - failed >= compare_.needed()) {
        out_.emplace_back(
            ChatFault{AskFault::disagreed, rule + ", and the most that agree are " + std::to_string(largest_group())});
        return;
    }
    const ChatFault* last = nullptr;
    for (const Member& m : members_) {
        if (!m.fault) continue;
        last = &*m.fault;
        const auto same = std::count_if(members_.begin(), members_.end(), [&](const Member& other) {
            return other.fault && other.fault->fault == last->fault;
        });
        if (same < compare_.needed()) continue;
        out_.emplace_back(*last);
        return;
    }
    out_.emplace_back(ChatFault{last->fault, rule + ", but " + std::to_string(failed) + " failed: " + last->message});
}

}  // namespace shoal::client
