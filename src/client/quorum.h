// Quorum: the replies of several nodes to one question, compared while they come, and the reply that enough of them
// give.
//
//   running --end--> ended        a node fails: failed, or start() with another node in its place
//      |              |
//      +-> against <--+           its reply contradicts what `needed` nodes agree on
//
// Rules
//   1. What leaves is the longest text that `needed` replies begin with, as whole characters, and in the end the end
//      that `needed` replies have: text, finish reason and counts of tokens. Rationale: more than half is needed, so
//      that there is one such text, and a program that streams has it as soon as it can be trusted.
//   2. A reply is against the others when it differs inside of what they agree on, stops before it, or goes on behind
//      its end. One that others do not agree against is not judged: with every reply different nobody knows who lies.
//   3. A reply that is cut short by its node's context does not agree, but is not against either; nor is one that goes
//      on where the others' contexts ended. Rationale: nodes of one model offer contexts of different length.
//   4. When no `needed` replies can become the same, the question fails: `disagreed` where replies stand against each
//      other, else the fault that did it. A fault that `needed` nodes give is theirs, in their words.
//   5. Behind the answer replies that still run are judged as they come: a liar does not escape by being late.
//
// What nodes can do: as many as are needed, of one mind, decide what the answer is. Fewer can delay it no longer than
// silence_timeout, or have the question fail; a node that copies the others learns it too late to be first.
// Memory: limits::reply_bytes_max for each node and once more. Time: each byte is compared once with each other reply.
// Pure; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "base/chat.h"
#include "base/comparison.h"
#include "base/limits.h"

namespace shoal::client {

class Quorum {
public:
    // Of a node's place: comes once, unless start() gives the place to another node.
    struct Verdict {
        std::size_t slot;
        bool agrees;        // false: against
        std::size_t bytes;  // that its reply has in common with what the others agree on
    };
    // ChatDelta any number of times; then one ChatEnd, whose `agreement` says how many were the same by then, or one
    // ChatFault. Verdicts come at any time.
    using Output = std::variant<ChatDelta, ChatEnd, ChatFault, Verdict>;

    // Of `nodes` nodes that are asked, compare.needed() must agree. 0 < needed <= nodes <= compared_nodes_max.
    // `completion_tokens_max` is the question's; 0: none.
    Quorum(Comparison compare, std::size_t nodes, std::uint32_t completion_tokens_max);

    // A node begins in this place, which has failed or not begun; `context_tokens` is what the directory says of it.
    void start(std::size_t slot, std::uint32_t context_tokens);
    void on_delta(std::size_t slot, const ChatDelta& delta);
    void on_end(std::size_t slot, const ChatEnd& end);
    // No other node takes the place.
    void on_fault(std::size_t slot, const ChatFault& fault);
    std::optional<Output> poll();

    // Its reply is still of use; false once it has ended, failed or is against the others.
    bool wants(std::size_t slot) const { return members_[slot].state == State::running; }
    // Enough replies can still become the same if this one fails.
    bool can_do_without(std::size_t slot) const { return largest_group(slot) >= compare_.needed(); }
    // The answer, or the fault, has been given.
    bool over() const { return over_; }
    std::size_t nodes() const { return members_.size(); }
    std::size_t running() const;

private:
    enum class State : std::uint8_t { running, ended, failed, against, judged };
    struct Member {
        State state = State::running;
        std::uint32_t context_tokens = 0;
        Plaintext text;           // bounded: reply_bytes_max
        std::size_t matched = 0;  // bytes that it has in common with agreed_
        std::optional<ChatEnd> end;
        std::optional<ChatFault> fault;
    };

    // Of its reply: has all that is agreed on; goes on behind that.
    bool at_front(const Member& m) const { return m.matched == agreed_.size(); }
    bool is_ahead(const Member& m) const { return m.text.size() > agreed_.size(); }
    // Can still be part of a group that agrees.
    bool viable(const Member& m) const;
    bool can_become(std::size_t slot, std::size_t longer) const;
    // The most replies that can still become the same.
    std::size_t largest_group(std::optional<std::size_t> without = {}) const;
    // How many bytes of this reply enough replies begin with.
    std::size_t shared(std::size_t slot) const;
    void compare(std::size_t slot, std::string_view more);
    void settle();
    void extend();
    void find_end();
    void judge(std::size_t slot);
    void judge_by_answer(std::size_t slot);
    bool context_ended_answer() const;
    bool cut_by_context(const Member& m) const;
    void rule_against(std::size_t slot);
    void give_up();

    Comparison compare_;
    std::uint32_t completion_tokens_max_;
    std::vector<Member> members_;  // bounded: compared_nodes_max
    // Bytes that two replies have in common.
    std::array<std::array<std::size_t, limits::compared_nodes_max>, limits::compared_nodes_max> common_{};
    Plaintext agreed_;  // bounded: reply_bytes_max
    std::optional<ChatEnd> answer_;
    bool over_ = false;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::client
