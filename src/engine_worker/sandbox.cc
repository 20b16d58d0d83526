#include "engine_worker/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace shoal::engine_worker {
namespace {

// Each line was seen in a trace of loading, serving and ending, or is the same call on another libc or processor.
constexpr int allowed[] = {
    // The pipe, the model's descriptor, lines of error on descriptor 2.
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(fadvise64),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    // Memory. mmap and mprotect are below: never executable.
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    // Threads of the compute library; clone is below: never a process.
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    // Signals: a thread starts with them blocked. tgkill is below: for itself alone.
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    // Time where the processor's clock is no good, the machine's memory, seeds of the allocator.
    SCMP_SYS(clock_gettime),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrandom),
};

// What a driver in this process does besides, for a GPU alone: its threads sleep, and name themselves.
constexpr int allowed_with_devices[] = {SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep)};

// Where a node lies says whose requests it takes.
struct DriverNodes {
    std::string_view path;  // begins with it
    std::uint8_t requests;
};
constexpr DriverNodes driver_nodes[] = {{"/dev/dri/", 'd'}, {"/dev/nvidia", 'F'}};
constexpr std::uint64_t request_letter = 0xff00;
// Of descriptors that a driver's requests make: fences, and memory that is shared with itself.
constexpr rlim_t device_descriptors_more = 256;

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

bool add_rules(scmp_filter_ctx filter) {
    for (int call : allowed) {
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) != 0) return false;
    }
    const auto without = [](unsigned argument, std::uint64_t bits) {
        return scmp_arg_cmp{argument, SCMP_CMP_MASKED_EQ, bits, 0};
    };
    const auto with = [](unsigned argument, std::uint64_t bits) {
        return scmp_arg_cmp{argument, SCMP_CMP_MASKED_EQ, bits, bits};
    };
    const scmp_arg_cmp map_rule[] = {without(2, PROT_EXEC)};
    const scmp_arg_cmp thread_rule[] = {with(0, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND)};
    // Reading descriptor flags: fdopen() asks for them.
    const scmp_arg_cmp flags_rule[] = {{1, SCMP_CMP_EQ, F_GETFL, 0}};
    // The C library asks for the stack's size of a new thread; setting a limit stays forbidden.
    const scmp_arg_cmp limit_rule[] = {{2, SCMP_CMP_EQ, 0, 0}};
    // The kernel's names of threads and of anonymous memory (malloc names its arenas).
    const scmp_arg_cmp name_rule[] = {{0, SCMP_CMP_EQ, 0x53564d41 /* PR_SET_VMA */, 0}};
    // abort() raises a signal in its own process.
    const scmp_arg_cmp signal_rule[] = {{0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(getpid()), 0}};
    // fstat() of newer C libraries: descriptor only, no path. The path pointer cannot be looked at, so the flag
    // AT_EMPTY_PATH is asked for; a path beside it could learn a file's size and date, never its content.
    const scmp_arg_cmp stat_rule[] = {{3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}};
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, map_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, map_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, thread_rule) == 0 &&
           // Its flags lie in memory where a filter cannot look; the C library falls back to clone().
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, flags_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, limit_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, name_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, signal_rule) == 0 &&
           seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, stat_rule) == 0;
}

bool add_device_rules(scmp_filter_ctx filter, const std::vector<DeviceNode>& devices) {
    for (int call : allowed_with_devices) {
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) != 0) return false;
    }
    // Drivers look for settings, and for how much memory there is: they are told no, and go on without.
    if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0) != 0) return false;
    const scmp_arg_cmp name_rule[] = {{0, SCMP_CMP_EQ, PR_SET_NAME, 0}};
    if (seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, name_rule) != 0) return false;
    for (const DeviceNode& node : devices) {
        const scmp_arg_cmp request_rule[] = {
            {0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(node.descriptor), 0},
            {1, SCMP_CMP_MASKED_EQ, request_letter, static_cast<scmp_datum_t>(node.requests) << 8},
        };
        if (seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 2, request_rule) != 0) return false;
    }
    return true;
}

bool limit(__rlimit_resource what, rlim_t value) {
    const rlimit both = {value, value};
    return setrlimit(what, &both) == 0;
}

// Those of a driver lie above the few that a worker has else.
rlim_t descriptors_max(const Walls& walls) {
    rlim_t out = 8;
    for (const DeviceNode& node : walls.devices) {
        out = std::max(out, static_cast<rlim_t>(node.descriptor) + device_descriptors_more);
    }
    return out;
}

}  // namespace

Result<std::vector<DeviceNode>> open_device_nodes() {
    std::vector<DeviceNode> out;
    std::error_code failed;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", failed)) {
        const std::string target = std::filesystem::read_symlink(entry.path(), failed);
        for (const DriverNodes& driver : driver_nodes) {
            if (target.starts_with(driver.path)) out.push_back({std::stoi(entry.path().filename()), driver.requests});
        }
    }
    if (!out.empty()) return out;
    return fail(
        Errc::unsupported,
        "the driver of the GPU uses no device that the sandbox knows (/dev/dri, /dev/nvidia*): leave --gpu out");
}

Status enter_sandbox(const Walls& walls) {
    const auto refused = [](const char* what) {
        return fail(Errc::io, std::string("the sandbox cannot be set up (") + what + ": " + std::strerror(errno) + ")");
    };
    if (!limit(RLIMIT_CORE, 0) || !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, descriptors_max(walls))) {
        return refused("setrlimit");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return refused("no_new_privs");
    // Not readable by another process of this user either: prompts are in here.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return refused("dumpable");
    const Filter filter(seccomp_init(SCMP_ACT_KILL_PROCESS), &seccomp_release);
    if (!filter || seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1) != 0 ||
        seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0 ||
        !add_rules(filter.get()) || (!walls.devices.empty() && !add_device_rules(filter.get(), walls.devices))) {
        return refused("seccomp rules");
    }
    if (const int error = seccomp_load(filter.get()); error != 0) {
        errno = -error;
        return refused("seccomp");
    }
    return ok();
}

namespace {

struct Forbidden {
    const char* name;
    void (*attempt)();
};
char program[] = "/bin/true";
char* arguments[] = {program, nullptr};

constexpr Forbidden forbidden[] = {
    {"socket", [] { (void)socket(AF_INET, SOCK_STREAM, 0); }},
    {"unix-socket", [] { (void)socket(AF_UNIX, SOCK_STREAM, 0); }},
    {"connect", [] { (void)syscall(SYS_connect, 3, nullptr, 0); }},
    {"open-read", [] { (void)open("/etc/hostname", O_RDONLY | O_CLOEXEC); }},
    {"open-write", [] { (void)open("/dev/null", O_WRONLY | O_CLOEXEC); }},
    {"exec", [] { (void)execve(program, arguments, nullptr); }},
    {"fork",
     [] {
         if (fork() == 0) _exit(0);
     }},
    {"clone-process",
     [] {
         if (syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) == 0) _exit(0);
     }},
    {"ptrace", [] { (void)ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
    {"signal-another", [] { (void)syscall(SYS_tgkill, getppid(), getppid(), 0); }},
    {"kill", [] { (void)kill(getppid(), 0); }},
    {"map-executable", [] { (void)mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
    {"make-executable",
     [] {
         void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         (void)mprotect(page, 4096, PROT_READ | PROT_EXEC);
     }},
    {"unlink", [] { (void)unlink("/nonexistent"); }},
    {"raise-limit",
     [] {
         const rlimit both = {64, 64};
         (void)setrlimit(RLIMIT_NOFILE, &both);
     }},
    {"io-uring", [] { (void)syscall(425, 1, nullptr); }},
    {"process-vm", [] { (void)syscall(SYS_process_vm_readv, getpid(), nullptr, 0, nullptr, 0, 0); }},
};

}  // namespace

const char* const* forbidden_names() {
    static const char* names[std::size(forbidden) + 1] = {};
    for (std::size_t i = 0; i < std::size(forbidden); ++i) names[i] = forbidden[i].name;
    return names;
}

Status try_forbidden(const char* name) {
    for (const Forbidden& entry : forbidden) {
        if (std::strcmp(entry.name, name) != 0) continue;
        entry.attempt();
        return ok();
    }
    return fail(Errc::not_found, std::string("nothing forbidden is called ") + name);
}

}  // namespace shoal::engine_worker
