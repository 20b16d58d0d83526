#include "net/loop.h"

#include <signal.h>

#include <boost/asio/post.hpp>

#include "base/limits.h"
#include "net/loop_impl.h"

namespace shoal::net {

// ---- timers ------------------------------------------------------------------------------------------------------

struct Timer::Impl {
    Impl(boost::asio::io_context& io, std::function<void()> call) : timer(io), fn(std::move(call)) {}
    boost::asio::steady_timer timer;
    std::function<void()> fn;
    bool pending = true;
};

Timer::Timer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Timer& Timer::operator=(Timer&& other) noexcept {
    if (this != &other) {
        cancel();
        impl_ = std::move(other.impl_);
    }
    return *this;
}

Timer::~Timer() {
    cancel();
}

void Timer::cancel() {
    // Taken out first: letting go of what the function holds may destroy the owner of this timer.
    const std::shared_ptr<Impl> impl = std::move(impl_);
    if (!impl) return;
    // The wait may be over already and its handler queued; `pending` stops that one too.
    impl->pending = false;
    impl->timer.cancel();
    impl->fn = nullptr;
}

bool Timer::pending() const {
    return impl_ && impl_->pending;
}

// ---- workers -----------------------------------------------------------------------------------------------------

Workers::~Workers() {
    std::deque<Job> dropped;
    {
        const std::lock_guard lock(mutex_);
        quitting_ = true;
        dropped.swap(waiting_);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

Status Workers::add(std::function<void()> work, std::function<void()> done) {
    if (threads_.empty()) start();
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() >= limits::blocking_jobs_max) {
            return fail(Errc::exhausted, "too much work waits for the disk or the resolver; try again later");
        }
        waiting_.push_back({std::move(work), std::move(done), boost::asio::make_work_guard(io_)});
    }
    wake_.notify_one();
    return ok();
}

void Workers::start() {
    // Signals belong to the loop's thread.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (std::size_t i = 0; i < limits::blocking_threads; ++i) threads_.emplace_back([this] { serve(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Workers::serve() {
    while (true) {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return quitting_ || !waiting_.empty(); });
        if (quitting_) return;
        Job job = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        job.work();
        // The whole job goes back, so that what its functions hold is also let go on the loop's thread.
        boost::asio::post(io_, [job = std::move(job)] { job.done(); });
    }
}

// ---- loop --------------------------------------------------------------------------------------------------------

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

Now Loop::now() const {
    const auto mono = std::chrono::steady_clock::now().time_since_epoch();
    const auto wall = std::chrono::system_clock::now().time_since_epoch();
    return {Instant(std::chrono::duration_cast<Duration>(mono)),
            UnixTime(std::chrono::duration_cast<std::chrono::seconds>(wall))};
}

void Loop::post(std::function<void()> fn) {
    boost::asio::post(impl_->io, std::move(fn));
}

std::function<void()> Loop::once_a_turn(std::function<void()> fn) {
    struct Call {
        std::function<void()> fn;
        bool posted = false;
    };
    // Owned by who may call it, and by the call that is posted.
    return [this, call = std::make_shared<Call>(Call{std::move(fn)})] {
        if (std::exchange(call->posted, true)) return;
        post([call] {
            call->posted = false;
            call->fn();
        });
    };
}

Timer Loop::at(Instant when, std::function<void()> fn) {
    auto impl = std::make_shared<Timer::Impl>(impl_->io, std::move(fn));
    impl->timer.expires_at(std::chrono::steady_clock::time_point(when.time_since_epoch()));
    impl->timer.async_wait([impl](const boost::system::error_code&) {
        if (!impl->pending) return;
        impl->pending = false;
        const std::function<void()> call = std::move(impl->fn);
        call();
    });
    return Timer(std::move(impl));
}

Timer Loop::after(Duration delay, std::function<void()> fn) {
    return at(now().mono + delay, std::move(fn));
}

void Loop::run() {
    const auto guard = boost::asio::make_work_guard(impl_->io);
    impl_->io.run();
    impl_->io.restart();
}

void Loop::stop() {
    impl_->io.stop();
}

bool Loop::run_until(const std::function<bool()>& condition, Duration limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    bool met = condition();
    while (!met && impl_->io.run_one_until(deadline) > 0) met = condition();
    impl_->io.restart();
    return met;
}

namespace {

void wait_for_signal(boost::asio::signal_set& signals, const std::shared_ptr<const std::function<void(int)>>& fn) {
    signals.async_wait([&signals, fn](const boost::system::error_code& error, int number) {
        if (error) return;  // replaced, or the loop ends
        wait_for_signal(signals, fn);
        (*fn)(number);
    });
}

}  // namespace

void Loop::on_signals(std::initializer_list<int> signals, std::function<void(int)> fn) {
    impl_->signals = std::make_unique<boost::asio::signal_set>(impl_->io);
    for (const int number : signals) impl_->signals->add(number);
    wait_for_signal(*impl_->signals, std::make_shared<const std::function<void(int)>>(std::move(fn)));
}

Status Loop::run_blocking(std::function<void()> work, std::function<void()> done) {
    return impl_->workers.add(std::move(work), std::move(done));
}

}  // namespace shoal::net
