// The event loop: one thread that owns every socket, timer and child, and the clock that all pure objects are given.
//
// Rules
//   1. Everything of net is created, called and destroyed on the thread that calls run(); only post() and stop() may be
//      called from others. Rationale: no locks, and a callback can never meet a half-changed object.
//   2. The loop is destroyed last, after every Timer, Transport, HttpServer and ChildProcess made with it.
//   3. A callback may destroy the object that calls it.
//   4. Work that blocks (disk, name look-up, proofs) goes to run_blocking(): a few threads and a bounded queue.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>

#include "base/result.h"
#include "base/time.h"

namespace shoal::net {

// Calls once, unless it is destroyed before: then never. Movable; an empty one does nothing.
class Timer {
public:
    Timer() = default;
    Timer(Timer&&) noexcept = default;
    Timer& operator=(Timer&&) noexcept;
    ~Timer();
    void cancel();
    // Set and neither fired nor cancelled.
    bool pending() const;

private:
    friend class Loop;
    struct Impl;
    explicit Timer(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

class Loop {
public:
    Loop();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // The steady and the system clock, read now.
    Now now() const;

    // Runs `fn` on the loop's thread, after what is already posted. From any thread.
    void post(std::function<void()> fn);
    // What it returns may be called any number of times: `fn` runs once, after what was posted before the first of
    // them, and what it calls again is for another time. On the loop's thread, and not after the loop.
    std::function<void()> once_a_turn(std::function<void()> fn);
    // A time in the past fires at the next turn, never inside this call.
    [[nodiscard]] Timer at(Instant when, std::function<void()> fn);
    [[nodiscard]] Timer after(Duration delay, std::function<void()> fn);

    // Until stop(). Can be called again after it.
    void run();
    // From any thread and from callbacks; the callback that runs now is the last one.
    void stop();
    // Runs until the condition holds, asked after every callback; false when `limit` has passed first or everything
    // that was waited for is done. For tests and for commands that do one thing.
    bool run_until(const std::function<bool()>& condition, Duration limit);

    // Instead of the signals' default action, each time one comes. Replaces an earlier call.
    void on_signals(std::initializer_list<int> signals, std::function<void(int)> fn);

    // Runs `work` on a worker thread, then `done` on the loop. Errc::exhausted when limits::blocking_jobs_max are
    // waiting; then neither is called. Jobs that wait when the loop is destroyed are dropped; the one that runs is
    // waited for.
    Status run_blocking(std::function<void()> work, std::function<void()> done);

    struct Impl;  // net/loop_impl.h, for the other files of this room
    Impl& impl() { return *impl_; }

private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::net
