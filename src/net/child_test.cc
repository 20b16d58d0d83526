#include "net/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "net/net_testing.h"

namespace shoal::net {
namespace {

using testing::watchdog;

struct ChildTest : ::testing::Test {
    void spawn(ChildOptions options) {
        child = ChildProcess::spawn(
                    loop, std::move(options),
                    {.on_exit = [this](const ChildExit& how) { exit = how; },
                     .on_line = [this](std::string_view line,
                                       bool from_errors) { (from_errors ? errors : lines).emplace_back(line); },
                     .on_bytes = [this](ByteView bytes) { append(received, bytes); },
                     .on_writable = [this] { ++writable; }})
                    .value();
    }
    void shell(const std::string& script) {
        spawn({.argv = {"/bin/sh", "-c", script}, .output = ChildOutput::lines, .errors = ChildOutput::lines});
    }
    bool until(const std::function<bool()>& condition) { return loop.run_until(condition, watchdog); }
    ChildExit ended() {
        EXPECT_TRUE(until([&] { return exit.has_value(); }));
        return exit.value_or(ChildExit{});
    }

    Loop loop;
    std::unique_ptr<ChildProcess> child;
    std::optional<ChildExit> exit;
    std::vector<std::string> lines;
    std::vector<std::string> errors;
    Bytes received;
    int writable = 0;
};

TEST_F(ChildTest, ItsExitCodeIsTold) {
    shell("exit 3");
    EXPECT_EQ(ended().code, 3);
    EXPECT_EQ(exit->text(), "exit code 3");
    EXPECT_FALSE(child->running());
    shell("true");
    exit.reset();
    EXPECT_TRUE(ended().ok());
}

TEST_F(ChildTest, TheSignalThatEndsItIsTold) {
    shell("echo up; exec sleep 1000");
    ASSERT_TRUE(until([&] { return lines.size() == 1; }));
    child->kill();
    EXPECT_EQ(ended().signal, SIGKILL);
    EXPECT_EQ(exit->text(), "killed by signal 9");
    child->kill();  // long gone: nothing happens
    exit.reset();
    shell("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done");
    ASSERT_TRUE(until([&] { return lines.size() == 2; }));
    child->terminate();
    EXPECT_EQ(ended().code, 5);
    EXPECT_EQ(lines.back(), "bye");
}

TEST_F(ChildTest, AProgramThatIsNotThereIsNamed) {
    for (const std::string name : {"/no/such/program", "no-such-program-at-all"}) {
        const auto missing = ChildProcess::spawn(loop, {.argv = {name}}, {});
        ASSERT_FALSE(missing);
        EXPECT_EQ(missing.error().code, Errc::not_found);
        EXPECT_NE(missing.error().message.find(name), std::string::npos);
    }
    EXPECT_EQ(ChildProcess::spawn(loop, {.argv = {"/etc/passwd"}}, {}).error().code, Errc::io);
    EXPECT_EQ(ChildProcess::spawn(loop, {.argv = {}}, {}).error().code, Errc::invalid);
}

TEST_F(ChildTest, ItsOutputComesAsLinesBeforeItsEnd) {
    shell("echo one; echo two >&2; printf three");
    EXPECT_TRUE(ended().ok());
    EXPECT_EQ(lines, (std::vector<std::string>{"one", "three"}));
    EXPECT_EQ(errors, (std::vector<std::string>{"two"}));
}

TEST_F(ChildTest, ALineWithoutEndIsCut) {
    spawn({.argv = {"/bin/sh", "-c", "printf '%0200000d\\nnext\\n' 7"},
           .output = ChildOutput::lines,
           .line_bytes_max = 100});
    EXPECT_TRUE(ended().ok());
    EXPECT_EQ(lines, (std::vector<std::string>{std::string(100, '0'), "next"}));
}

TEST_F(ChildTest, ItSpeaksOverItsSocket) {
    spawn({.argv = {"/bin/sh", "-c", "exec cat <&3 >&3"}, .socket = true});
    Bytes sent(300'000);
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::uint8_t>(i * 7 >> 3);
    ASSERT_TRUE(child->send(sent));
    ASSERT_TRUE(until([&] { return received.size() == sent.size(); }));
    EXPECT_EQ(received, sent);
    EXPECT_EQ(child->unsent_bytes(), 0U);
    child->close_socket();
    EXPECT_FALSE(child->send(sent));
    EXPECT_TRUE(ended().ok());
}

TEST_F(ChildTest, WhatItDoesNotReadIsBounded) {
    spawn({.argv = {"/bin/sh", "-c", "read line <&3; exec cat <&3 >/dev/null"},
           .socket = true,
           .unsent_bytes_max = 10'000});
    const Bytes part(4000, 1);
    std::size_t refused = 0;
    // The kernel takes some first; then it stands.
    for (int i = 0; i < 10'000 && refused < 3; ++i) {
        if (!child->send(part)) {
            ++refused;
            EXPECT_LE(child->unsent_bytes(), 10'000U);
            EXPECT_GT(child->unsent_bytes() + part.size(), 10'000U);
        }
        loop.run_until([] { return false; }, 1ms);
    }
    EXPECT_EQ(refused, 3U);
    writable = 0;
    child->kill();
    ended();
    EXPECT_FALSE(child->send(part));
}

TEST_F(ChildTest, ItHasTheDescriptorsThatItWasGivenAndNoOthers) {
    const int careless = ::open("/dev/null", O_RDONLY);  // not close-on-exec
    const int given = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    spawn({.argv = {"/bin/sh", "-c", "for f in /proc/$$/fd/*; do readlink $f; done"},
           .fds = {{given, 7}},
           .output = ChildOutput::lines});
    EXPECT_TRUE(ended().ok());
    ::close(careless);
    ::close(given);
    std::size_t zero = 0;
    for (const std::string& line : lines) zero += line == "/dev/zero" ? 1U : 0U;
    EXPECT_EQ(zero, 1U);
    // 0, 1, 2 and 7: standard input is /dev/null, the careless one is gone.
    EXPECT_EQ(lines.size(), 4U);
}

TEST_F(ChildTest, EnvironmentAndDirectoryAreSet) {
    ::setenv("SHOAL_CHILD_TEST", "old", 1);
    spawn({.argv = {"sh", "-c", "echo $SHOAL_CHILD_TEST; pwd; echo ${HOME+kept}"},
           .environment = {{"SHOAL_CHILD_TEST", "new"}, {"HOME", "/"}},
           .directory = "/usr",
           .output = ChildOutput::lines});
    EXPECT_TRUE(ended().ok());
    EXPECT_EQ(lines, (std::vector<std::string>{"new", "/usr", "kept"}));
}

TEST_F(ChildTest, DestroyingItKillsIt) {
    shell("echo up; exec sleep 1000");
    ASSERT_TRUE(until([&] { return lines.size() == 1; }));
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child->pid(), 0U));
    ASSERT_GE(pidfd, 0);
    child.reset();
    pollfd gone{pidfd, POLLIN, 0};
    EXPECT_EQ(::poll(&gone, 1, 20'000), 1);
    ::close(pidfd);
    EXPECT_FALSE(exit);
}

TEST_F(ChildTest, ItMayBeDestroyedFromItsOwnEvents) {
    child = ChildProcess::spawn(
                loop, {.argv = {"/bin/sh", "-c", "echo one; echo two; exec sleep 1000"}, .output = ChildOutput::lines},
                {.on_line =
                     [this, note = std::string("still there")](std::string_view, bool) {
                         child.reset();
                         lines.push_back(note);
                     }})
                .value();
    ASSERT_TRUE(until([&] { return !lines.empty(); }));
    EXPECT_EQ(lines, (std::vector<std::string>{"still there"}));
    child = ChildProcess::spawn(loop, {.argv = {"/bin/true"}},
                                {.on_exit =
                                     [this](const ChildExit& how) {
                                         child.reset();
                                         exit = how;
                                     }})
                .value();
    EXPECT_TRUE(ended().ok());
}

TEST_F(ChildTest, NoChildOutlivesAParentThatIsKilled) {
    int told[2];
    ASSERT_EQ(::pipe(told), 0);
    const pid_t parent = ::fork();
    if (parent == 0) {
        Loop own;
        auto grandchild = ChildProcess::spawn(own, {.argv = {"sleep", "1000"}}, {});
        const int pid = grandchild ? (*grandchild)->pid() : -1;
        [[maybe_unused]] const auto written = ::write(told[1], &pid, sizeof pid);
        while (true) ::pause();
    }
    int pid = -1;
    ASSERT_EQ(::read(told[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
    ASSERT_GT(pid, 0);
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
    ASSERT_GE(pidfd, 0);
    pollfd gone{pidfd, POLLIN, 0};
    EXPECT_EQ(::poll(&gone, 1, 0), 0);
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    EXPECT_EQ(::poll(&gone, 1, 20'000), 1);
    for (const int fd : {pidfd, told[0], told[1]}) ::close(fd);
}

}  // namespace
}  // namespace shoal::net
