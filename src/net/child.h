// Child processes, tied to this one: a socket pair to speak over, lines of their output, and no survivors.
//
// Rules
//   1. A child gets descriptors 0 to 2, the socket pair as 3 where asked for, and what `fds` names. Everything else is
//      closed before its first instruction, also what a careless library left open.
//   2. No child outlives this process: PR_SET_PDEATHSIG(SIGKILL), checked against the race at the start. It is bound to
//      the thread that spawns, so spawn() is called on the loop's thread, and that thread lives as long as the process.
//   3. A child is in a process group of its own: Ctrl-C at a terminal reaches the parent, which decides.
//   4. Output and socket are bounded: a longer line is cut, a full send buffer refuses.
//
// Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/result.h"

namespace shoal::net {

class Loop;

struct ChildExit {
    int code = -1;   // exit code, or -1
    int signal = 0;  // that ended it, or 0
    bool ok() const { return signal == 0 && code == 0; }
    // "exit code 3" or "killed by signal 9".
    std::string text() const;
};

enum class ChildOutput : std::uint8_t {
    inherit,  // goes where this process's goes
    discard,
    lines,  // on_line
};

struct ChildOptions {
    std::vector<std::string> argv = {};  // argv[0] is a path, or a name that is looked up in PATH
    std::vector<std::pair<std::string, std::string>> environment = {};  // set in addition to this process's own
    std::vector<std::pair<int, int>> fds =
        {};                      // {descriptor here, number in the child}; numbers from 3 (4 with a socket)
    std::string directory = {};  // to start in; empty: this process's own
    bool socket = false;         // a stream socket pair; the child's end is descriptor 3
    ChildOutput output = ChildOutput::inherit;
    ChildOutput errors = ChildOutput::inherit;
    std::size_t line_bytes_max = limits::child_line_bytes_max;
    std::size_t unsent_bytes_max = limits::child_unsent_bytes_max;
};

struct ChildEvents {
    // Once and last: the process is gone and all that it wrote has been handed over.
    std::function<void(const ChildExit&)> on_exit = {};
    // A line of output or errors, without its newline; cut at line_bytes_max.
    std::function<void(std::string_view line, bool from_errors)> on_line = {};
    // From the socket pair; valid during the call.
    std::function<void(ByteView bytes)> on_bytes = {};
    // What is unsent fell below half of the limit after a refused send().
    std::function<void()> on_writable = {};
};

class ChildProcess {
public:
    // Starts it. Errors: not_found when there is no such program, io for the rest, with the reason; then nothing was
    // started and no event comes.
    static Result<std::unique_ptr<ChildProcess>> spawn(Loop& loop, ChildOptions options, ChildEvents events);
    // Kills it when it still runs; no event comes afterwards.
    ~ChildProcess();
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    int pid() const;
    bool running() const;
    // SIGTERM and SIGKILL. Never to a process that only has the same number.
    void terminate();
    void kill();

    // To the socket pair: all or nothing; false above unsent_bytes_max or when the child closed it.
    [[nodiscard]] bool send(ByteView bytes);
    std::size_t unsent_bytes() const;
    // The child sees the end of its input once what is queued was sent.
    void close_socket();

    struct Impl;

private:
    explicit ChildProcess(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<Impl> impl_;
};

}  // namespace shoal::net
