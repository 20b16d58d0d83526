#include "directory/fetcher.h"

#include <algorithm>

namespace shoal::directory {
namespace {

Duration doubled(Duration delay, Duration low, Duration high) {
    return delay == Duration::zero() ? low : std::min(2 * delay, high);
}

}  // namespace

Fetcher::Fetcher(const Book& book, Rng& rng, Options options) : book_(book), rng_(rng), options_(options) {
    ASSERT(options.poll_min > Duration::zero() && options.poll_min <= options.poll_max);
}

void Fetcher::set_sources(std::vector<NodeId> sources) {
    if (sources == sources_) return;
    sources_ = std::move(sources);
    next_source_ = 0;
    if (!usable_) next_ = at_once;  // the back-off was about the others
}

void Fetcher::set_eager(bool eager) {
    if (eager == options_.eager) return;
    options_.eager = eager;
    quiet_ = Duration::zero();
    reschedule_ = true;
}

bool Fetcher::hurry(Now now) {
    if (!options_.eager || sources_.empty()) return false;
    if (asking_) return true;
    quiet_ = Duration::zero();
    next_ = std::min(next_, std::max(now.mono, asked_at_ + limits::directory_hurry_interval));
    return true;
}

void Fetcher::on_tick(Now now) {
    if (asking_ && now.mono >= asked_at_ + limits::directory_fetch_timeout) on_failed(now, NodeId(*asking_));
    const std::shared_ptr<const View> view = book_.current(now);
    if (usable_ && !view) {
        retry_ = Duration::zero();
        next_ = at_once;
    }
    if (view && (!usable_ || reschedule_)) schedule(now, *view);
    reschedule_ = false;
    usable_ = view != nullptr;
    ends_at_.reset();
    if (view) ends_at_ = now.mono + (view->valid_until() - now.wall);
    if (asking_ || sources_.empty() || now.mono < next_) return;
    asking_ = sources_[next_source_];
    announced_ = false;
    asked_at_ = now.mono;
}

void Fetcher::on_snapshot_taken(Now now) {
    asking_.reset();
    retry_ = quiet_ = Duration::zero();
    if (const auto view = book_.current(now)) schedule(now, *view);
    usable_ = true;
}

void Fetcher::on_not_newer(Now now, const NodeId& from) {
    if (asking_ != from) return;
    const bool fresh = book_.fresh(now);
    if (!options_.eager && !fresh) {
        // The committee is late or the source holds back: the others are asked at the pace of failures.
        on_failed(now, from);
        return;
    }
    asking_.reset();
    rotate();
    retry_ = Duration::zero();
    if (options_.eager) {
        quiet_ = doubled(quiet_, options_.poll_min, options_.poll_max);
    } else {
        quiet_ = doubled(quiet_, limits::snapshot_fresh / 32, limits::snapshot_fresh / 8);
    }
    wait(now, quiet_);
}

void Fetcher::on_failed(Now now, const NodeId& from) {
    if (asking_ != from) return;
    asking_.reset();
    rotate();
    retry_ = doubled(retry_, limits::directory_retry_min, limits::directory_retry_max);
    wait(now, retry_);
}

std::optional<NodeId> Fetcher::poll() {
    if (!asking_ || announced_) return std::nullopt;
    announced_ = true;
    if (owed_.size() >= limits::directory_answers_owed_max) owed_.pop_front();
    owed_.push_back(*asking_);
    return asking_;
}

bool Fetcher::settle(const NodeId& from) {
    const auto at = std::find(owed_.begin(), owed_.end(), from);
    if (at == owed_.end()) return false;
    owed_.erase(at);
    return true;
}

void Fetcher::on_unreachable(Now now, const NodeId& from) {
    std::erase(owed_, from);
    on_failed(now, from);
}

std::optional<Instant> Fetcher::next_deadline() const {
    if (reschedule_) return at_once;
    std::optional<Instant> next = ends_at_;
    const auto no_later = [&](Instant t) { next = next ? std::min(*next, t) : t; };
    if (asking_) no_later(asked_at_ + limits::directory_fetch_timeout);
    if (!asking_ && !sources_.empty()) no_later(next_);
    return next;
}

void Fetcher::schedule(Now now, const View& view) {
    if (options_.eager) {
        wait(now, options_.poll_min);
        return;
    }
    const Duration span = view.fresh_until() - view.valid_after();
    const Duration age = now.wall - view.valid_after();
    const Duration first = std::max(span / 2, age);
    const Duration last = span / 8 * 7;
    if (first < last) {
        next_ = now.mono + (rng_.between(first, last) - age);
    } else {
        wait(now, limits::directory_retry_max);  // an old one, from the disk or a source that is behind
    }
}

// Uniform in half to one and a half: nodes that failed together do not come back together.
void Fetcher::wait(Now now, Duration delay) {
    next_ = now.mono + rng_.between(delay / 2, delay + delay / 2);
}

void Fetcher::rotate() {
    if (!sources_.empty()) next_source_ = (next_source_ + 1) % sources_.size();
}

}  // namespace shoal::directory
