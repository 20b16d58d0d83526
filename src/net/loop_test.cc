#include "net/loop.h"

#include <signal.h>

#include <atomic>

#include "base/limits.h"
#include "net/net_testing.h"
#include "net/resolve.h"

namespace shoal::net {
namespace {

using testing::watchdog;

TEST(LoopTest, TimersFireInTheOrderOfTheirTimes) {
    Loop loop;
    std::string order;
    const Timer late = loop.after(20ms, [&] { order += "c"; });
    const Timer soon = loop.after(1ms, [&] { order += "b"; });
    const Timer past = loop.at(Instant{}, [&] { order += "a"; });
    EXPECT_EQ(order, "");
    EXPECT_TRUE(soon.pending());
    ASSERT_TRUE(loop.run_until([&] { return order.size() == 3; }, watchdog));
    EXPECT_EQ(order, "abc");
    EXPECT_FALSE(soon.pending());
}

TEST(LoopTest, ADestroyedTimerNeverFires) {
    Loop loop;
    bool fired = false;
    bool done = false;
    {
        const Timer gone = loop.at(Instant{}, [&] { fired = true; });
    }
    Timer victim;
    // Both are due at once; the first one's callback cancels the second, which is queued already.
    const Timer killer = loop.at(Instant{}, [&] { victim.cancel(); });
    victim = loop.at(Instant{} + 1ns, [&] { fired = true; });
    const Timer last = loop.after(5ms, [&] { done = true; });
    ASSERT_TRUE(loop.run_until([&] { return done; }, watchdog));
    EXPECT_FALSE(fired);
}

TEST(LoopTest, ATimerMayDestroyItselfAndSetItselfAgain) {
    Loop loop;
    Timer timer;
    int count = 0;
    std::function<void()> again = [&] {
        if (++count < 3) timer = loop.after(1ms, again);
    };
    timer = loop.after(1ms, again);
    ASSERT_TRUE(loop.run_until([&] { return count == 3; }, watchdog));
    auto owned = std::make_unique<Timer>();
    bool fired = false;
    *owned = loop.after(1ms, [&] {
        owned.reset();
        fired = true;
    });
    ASSERT_TRUE(loop.run_until([&] { return fired; }, watchdog));
}

TEST(LoopTest, PostsFromOtherThreadsRunOnTheLoop) {
    Loop loop;
    const auto home = std::this_thread::get_id();
    int count = 0;
    std::thread other([&] {
        for (int i = 0; i < 100; ++i) {
            loop.post([&] {
                EXPECT_EQ(std::this_thread::get_id(), home);
                if (++count == 100) loop.stop();
            });
        }
    });
    loop.run();
    other.join();
    EXPECT_EQ(count, 100);
}

TEST(LoopTest, WhatIsWokenOftenRunsOnceATurn) {
    Loop loop;
    std::string order;
    std::function<void()> again;
    const auto wake = loop.once_a_turn([&] {
        order += 'w';
        if (again) std::exchange(again, nullptr)();
    });
    again = wake;  // from inside: for another turn
    loop.post([&] { order += 'a'; });
    wake();
    wake();
    loop.post([&] { order += 'b'; });
    wake();
    bool done = false;
    loop.post([&] { loop.post([&] { done = true; }); });
    ASSERT_TRUE(loop.run_until([&] { return done; }, watchdog));
    EXPECT_EQ(order, "awbw");
}

TEST(LoopTest, BlockingWorkRunsElsewhereAndComesBack) {
    Loop loop;
    const auto home = std::this_thread::get_id();
    std::thread::id worked;
    bool done = false;
    ASSERT_TRUE(loop.run_blocking([&] { worked = std::this_thread::get_id(); },
                                  [&] {
                                      EXPECT_EQ(std::this_thread::get_id(), home);
                                      done = true;
                                  }));
    ASSERT_TRUE(loop.run_until([&] { return done; }, watchdog));
    EXPECT_NE(worked, home);
}

TEST(LoopTest, BlockingWorkIsBounded) {
    std::atomic<bool> release = false;
    Loop loop;
    std::size_t accepted = 0;
    std::size_t done = 0;
    const auto wait = [&] { release.wait(false); };
    for (std::size_t i = 0; i < limits::blocking_jobs_max + limits::blocking_threads + 1; ++i) {
        const Status added = loop.run_blocking(wait, [&] { ++done; });
        if (!added) {
            EXPECT_EQ(added.error().code, Errc::exhausted);
            break;
        }
        ++accepted;
    }
    EXPECT_GE(accepted, limits::blocking_jobs_max);
    EXPECT_LE(accepted, limits::blocking_jobs_max + limits::blocking_threads);
    release = true;
    release.notify_all();
    ASSERT_TRUE(loop.run_until([&] { return done == accepted; }, watchdog));
}

TEST(LoopTest, SignalsComeAsCallbacks) {
    Loop loop;
    int got = 0;
    loop.on_signals({SIGUSR1, SIGUSR2}, [&](int number) { got = number; });
    ::raise(SIGUSR2);
    ASSERT_TRUE(loop.run_until([&] { return got == SIGUSR2; }, watchdog));
    ::raise(SIGUSR1);
    ASSERT_TRUE(loop.run_until([&] { return got == SIGUSR1; }, watchdog));
}

TEST(LoopTest, AStopBeforeTheRunIsKept) {
    Loop loop;
    bool ran = false;
    loop.post([&] { ran = true; });
    loop.stop();
    loop.run();
    EXPECT_FALSE(ran);
    ASSERT_TRUE(loop.run_until([&] { return ran; }, watchdog));
}

TEST(ResolveTest, HostAndPortAreSplit) {
    EXPECT_EQ(split_host_port("relay-1.example.org:80").value(),
              std::pair(std::string("relay-1.example.org"), std::uint16_t{80}));
    EXPECT_TRUE(split_host_port("[::1]:80"));
    for (const std::string text : {"", "x", "x:", "x:0", "x:65536", ":1", "a b:1", "a/b:1", "[x]:1", "::1:1"}) {
        EXPECT_FALSE(split_host_port(text)) << text;
    }
    EXPECT_FALSE(split_host_port(std::string(254, 'a') + ":1"));
}

Result<std::vector<Endpoint>> resolved(const std::string& text) {
    Loop loop;
    std::optional<Result<std::vector<Endpoint>>> got;
    resolve(loop, text, [&](Result<std::vector<Endpoint>> answer) { got = std::move(answer); });
    EXPECT_FALSE(got);
    EXPECT_TRUE(loop.run_until([&] { return got.has_value(); }, watchdog));
    return got.value();
}

TEST(ResolveTest, NumbersAndLocalNamesAreFound) {
    EXPECT_EQ(resolved("127.0.0.1:80").value(), std::vector{testing::loopback(80)});
    const auto local = resolved("localhost:81").value();
    ASSERT_FALSE(local.empty());
    EXPECT_TRUE(local[0].is_loopback());
    EXPECT_EQ(local[0].port, 81);
    EXPECT_EQ(resolved("no port").error().code, Errc::malformed);
}

}  // namespace
}  // namespace shoal::net
