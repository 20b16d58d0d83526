#include "net/child_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

namespace shoal::net {

namespace {

// Numbers above those that a child is given; so that moving one descriptor cannot run over another.
constexpr int parked_fd_min = 100;

struct Pipe {
    FileDescriptor read;
    FileDescriptor write;
};

// All that the child needs, made before fork(): after it, in a process with threads, nothing may allocate or lock.
struct Plan {
    std::string program;
    std::vector<char*> argv;
    std::vector<std::string> environment_text;
    std::vector<char*> environment;
    std::vector<std::pair<int, int>> moves;  // {descriptor here, number in the child}
    const char* directory = nullptr;
    int report_fd = -1;
    pid_t parent = -1;
};

Error io_error(const std::string& what) {
    return fail(Errc::io, what + ": " + std::strerror(errno));
}

Result<Pipe> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return io_error("cannot make a pipe");
    return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// A name without a slash is looked up in PATH here: execvp() may allocate.
Result<std::string> find_program(const std::string& name) {
    const Error missing = fail(Errc::not_found, "cannot start '" + name + "': there is no such program");
    if (name.empty()) return missing;
    if (name.find('/') != std::string::npos) return name;
    const char* path = std::getenv("PATH");
    std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
    while (!rest.empty()) {
        const std::size_t colon = rest.find(':');
        const std::string candidate = std::string(rest.substr(0, colon)) + "/" + name;
        if (access(candidate.c_str(), X_OK) == 0) return candidate;
        rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
    return missing;
}

void plan_environment(const ChildOptions& options, Plan& plan) {
    for (char** at = environ; *at != nullptr; ++at) {
        const std::string_view entry = *at;
        const auto replaced = [entry](const auto& addition) {
            return entry.size() > addition.first.size() && entry.starts_with(addition.first) &&
                   entry[addition.first.size()] == '=';
        };
        if (std::none_of(options.environment.begin(), options.environment.end(), replaced)) {
            plan.environment_text.emplace_back(entry);
        }
    }
    for (const auto& [name, value] : options.environment) {
        plan.environment_text.push_back(std::string(name).append("=").append(value));
    }
    for (std::string& entry : plan.environment_text) plan.environment.push_back(entry.data());
    plan.environment.push_back(nullptr);
}

// In the child from here on: only calls that are safe after fork() in a process with threads.

[[noreturn]] void give_up(int report_fd) {
    const int why = errno;
    [[maybe_unused]] const auto written = ::write(report_fd, &why, sizeof why);
    _exit(127);
}

void reset_signals() {
    // What the parent ignores would stay ignored through exec.
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Dies with the parent, also when that died before this call.
bool tie_to_parent(pid_t parent) {
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

[[noreturn]] void become(Plan& plan) {
    if (!tie_to_parent(plan.parent)) give_up(plan.report_fd);
    setpgid(0, 0);
    reset_signals();
    plan.report_fd = fcntl(plan.report_fd, F_DUPFD_CLOEXEC, parked_fd_min);
    if (plan.report_fd < 0) _exit(127);
    for (auto& [from, to] : plan.moves) {
        from = fcntl(from, F_DUPFD_CLOEXEC, parked_fd_min);
        if (from < 0) give_up(plan.report_fd);
    }
    // Everything is opened close-on-exec here, but a library may forget. Too old a kernel for it has only our own word.
    constexpr unsigned close_on_exec = 4;  // CLOSE_RANGE_CLOEXEC
    syscall(SYS_close_range, 3U, ~0U, close_on_exec);
    for (const auto& [from, to] : plan.moves) {
        if (dup2(from, to) < 0) give_up(plan.report_fd);
    }
    if (plan.directory != nullptr && chdir(plan.directory) != 0) give_up(plan.report_fd);
    execve(plan.program.c_str(), plan.argv.data(), plan.environment.data());
    give_up(plan.report_fd);
}

// ---- in the parent -----------------------------------------------------------------------------------------------

Status check(const ChildOptions& options) {
    if (options.argv.empty()) return fail(Errc::invalid, "cannot start a child without a program");
    const int first = options.socket ? 4 : 3;
    for (const auto& [here, there] : options.fds) {
        if (here < 0 || there < first || there >= parked_fd_min) {
            return fail(Errc::invalid, "descriptor " + std::to_string(there) + " of a child is not from " +
                                           std::to_string(first) + " to " + std::to_string(parked_fd_min - 1));
        }
    }
    return ok();
}

// Waits until the child's program runs (the pipe closes with exec) or the reason why not came. 0: it runs.
int wait_for_start(int report_fd) {
    int why = 0;
    ssize_t got = 0;
    do {
        got = ::read(report_fd, &why, sizeof why);
    } while (got < 0 && errno == EINTR);
    return got == sizeof why ? why : 0;
}

// The ends that the child gets; closed here once it has them.
struct ChildEnds {
    FileDescriptor null;
    FileDescriptor output;
    FileDescriptor errors;
    FileDescriptor socket;
};

Status make_ends(const ChildOptions& options, StartedChild& ours, ChildEnds& theirs, Plan& plan) {
    theirs.null = FileDescriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!theirs.null.is_open()) return io_error("cannot open /dev/null");
    plan.moves.emplace_back(theirs.null.get(), STDIN_FILENO);
    const auto direct = [&](ChildOutput how, int number, FileDescriptor& here, FileDescriptor& there) -> Status {
        if (how == ChildOutput::discard) plan.moves.emplace_back(theirs.null.get(), number);
        if (how != ChildOutput::lines) return ok();
        Pipe pipe = TRY(make_pipe());
        here = std::move(pipe.read);
        there = std::move(pipe.write);
        plan.moves.emplace_back(there.get(), number);
        return ok();
    };
    TRY(direct(options.output, STDOUT_FILENO, ours.output, theirs.output));
    TRY(direct(options.errors, STDERR_FILENO, ours.errors, theirs.errors));
    if (options.socket) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return io_error("cannot make a socket pair");
        ours.socket = FileDescriptor(ends[0]);
        theirs.socket = FileDescriptor(ends[1]);
        plan.moves.emplace_back(ends[1], 3);
    }
    plan.moves.insert(plan.moves.end(), options.fds.begin(), options.fds.end());
    return ok();
}

}  // namespace

Result<StartedChild> start_child(const ChildOptions& options) {
    TRY(check(options));
    Plan plan;
    plan.program = TRY(find_program(options.argv[0]));
    std::vector<std::string> arguments = options.argv;
    for (std::string& argument : arguments) plan.argv.push_back(argument.data());
    plan.argv.push_back(nullptr);
    plan_environment(options, plan);
    if (!options.directory.empty()) plan.directory = options.directory.c_str();
    plan.parent = getpid();

    StartedChild started;
    ChildEnds theirs;
    TRY(make_ends(options, started, theirs, plan));
    Pipe report = TRY(make_pipe());
    plan.report_fd = report.write.get();

    const pid_t pid = fork();
    if (pid < 0) return io_error("cannot start '" + options.argv[0] + "'");
    if (pid == 0) become(plan);
    report.write.reset();
    const int why = wait_for_start(report.read.get());
    if (why != 0) {
        waitpid(pid, nullptr, 0);
        const bool missing = why == ENOENT && access(plan.program.c_str(), F_OK) != 0;
        return fail(
            missing ? Errc::not_found : Errc::io,
            "cannot start '" + options.argv[0] + "': " + (missing ? "there is no such program" : std::strerror(why)));
    }
    started.pid = pid;
    started.pidfd = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0U)));
    if (!started.pidfd.is_open()) {
        const Error failed = io_error("cannot watch '" + options.argv[0] + "' (Linux 5.3 or newer is needed)");
        ::kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
        return failed;
    }
    return started;
}

}  // namespace shoal::net
