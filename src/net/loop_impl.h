// The inside of the loop, for the .cc files of this room.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "net/loop.h"

namespace shoal::net {

// A few threads behind a bounded queue; they start with the first job. A job's `done` goes through the loop.
class Workers {
public:
    explicit Workers(boost::asio::io_context& io) : io_(io) {}
    ~Workers();
    Status add(std::function<void()> work, std::function<void()> done);

private:
    struct Job {
        std::function<void()> work;
        std::function<void()> done;
        // Keeps run_until() from believing that nothing is left to wait for.
        boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard;
    };
    void start();
    void serve();

    boost::asio::io_context& io_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable wake_;
    std::deque<Job> waiting_;
    bool quitting_ = false;
    std::vector<std::thread> threads_;  // the loop's thread alone
};

struct Loop::Impl {
    // The hint: one thread runs it. Posting from others stays safe.
    boost::asio::io_context io{1};
    std::unique_ptr<boost::asio::signal_set> signals;
    Workers workers{io};  // after io: its threads post to it
};

}  // namespace shoal::net
