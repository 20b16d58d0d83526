#include "backend/worker_prefixes.h"

namespace shoal::backend {

namespace pipe = engine::pipe;

void WorkerPrefixes::give(Now now, JobId job, Bytes bytes, bool last) {
    const auto at = jobs_.find(job.value());
    if (at == jobs_.end() || !at->second.waits) return;
    if (unsent_() + bytes.size() > given_bytes_max) return give_up(now, job);
    if (last) at->second.waits = false;
    // A piece of this protocol is no longer than one of the pipe, but who gives it may have put two together.
    ByteView rest = bytes;
    do {
        const ByteView part = rest.first(std::min(rest.size(), limits::prefix_piece_bytes));
        rest = rest.subspan(part.size());
        if (!part.empty() || last) send_(pipe::PrefixGive{job, to_bytes(part), last && rest.empty()});
    } while (!rest.empty());
}

bool WorkerPrefixes::takes(JobId job) const {
    const auto at = jobs_.find(job.value());
    return at != jobs_.end() && at->second.waits && unsent_() < given_bytes_high;
}

void WorkerPrefixes::give_up(Now, JobId job) {
    const auto at = jobs_.find(job.value());
    if (at == jobs_.end() || !at->second.waits) return;
    at->second.waits = false;
    send_(pipe::PrefixGiveUp{job});
}

void WorkerPrefixes::open(Now, PrefixReadId read, const ByteArray<32>& chain, std::uint32_t tokens) {
    ASSERT(!reads_.contains(read.value()));
    if (!ready_ || reads_.size() >= limits::prefix_reads_max) {
        events_.emplace_back(engine::PrefixGone{read});
        return;
    }
    reads_[read.value()] = {};
    send_(pipe::PrefixOpen{read, chain, tokens});
}

void WorkerPrefixes::more(Now, PrefixReadId read) {
    const auto at = reads_.find(read.value());
    if (at == reads_.end()) return;
    at->second.wanted = true;
    hand_on(read);
}

void WorkerPrefixes::close(Now, PrefixReadId read) {
    if (reads_.erase(read.value()) > 0) send_(pipe::PrefixClose{read});
}

std::optional<engine::PrefixEvent> WorkerPrefixes::poll_prefix() {
    if (events_.empty()) return std::nullopt;
    engine::PrefixEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

void WorkerPrefixes::set_ready(bool ready) {
    ready_ = ready;
    if (ready) return;
    jobs_.clear();
    for (const auto& [id, read] : std::exchange(reads_, {})) events_.emplace_back(engine::PrefixGone{PrefixReadId(id)});
}

void WorkerPrefixes::on_submit(JobId job, const std::optional<PrefixSource>& source) {
    if (source) jobs_[job.value()] = {*source};
}

bool WorkerPrefixes::on_message(const pipe::PrefixAsk& ask) {
    const auto at = jobs_.find(ask.job.value());
    if (at == jobs_.end()) return false;
    if (at->second.asked) return false;
    at->second.asked = at->second.waits = true;
    events_.emplace_back(engine::PrefixWanted{ask.job, ask.chain, at->second.source, ask.recompute});
    return true;
}

bool WorkerPrefixes::on_message(engine::PrefixRefused refused) {
    const auto at = jobs_.find(refused.job.value());
    if (at == jobs_.end() || !at->second.asked || at->second.refused) return false;
    at->second.waits = false;
    at->second.refused = true;
    events_.emplace_back(std::move(refused));
    return true;
}

bool WorkerPrefixes::on_message(engine::PrefixPiece piece) {
    const auto at = reads_.find(piece.read.value());
    if (at == reads_.end()) return true;  // it was closed on the way
    Read& read = at->second;
    if (read.ended || read.due == 0) return false;
    --read.due;
    read.ended = piece.last;
    const PrefixReadId id = piece.read;
    read.ahead.push_back(std::move(piece));
    hand_on(id);
    return true;
}

bool WorkerPrefixes::on_message(const engine::PrefixGone& gone) {
    const auto at = reads_.find(gone.read.value());
    if (at == reads_.end()) return true;
    if (at->second.ended) return false;
    reads_.erase(at);
    events_.emplace_back(gone);
    return true;
}

void WorkerPrefixes::hand_on(PrefixReadId id) {
    const auto at = reads_.find(id.value());
    Read& read = at->second;
    if (!read.wanted || read.ahead.empty()) return;
    read.wanted = false;
    const bool last = read.ahead.front().last;
    events_.emplace_back(std::move(read.ahead.front()));
    read.ahead.pop_front();
    if (last) {
        reads_.erase(at);
    } else if (!read.ended) {
        ++read.due;
        send_(pipe::PrefixMore{id});
    }
}

}  // namespace shoal::backend
