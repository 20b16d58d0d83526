#include "net/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "net/child_exec.h"
#include "net/loop_impl.h"

namespace shoal::net {

using boost::asio::posix::stream_descriptor;
using boost::system::error_code;
using local_socket = boost::asio::local::stream_protocol::socket;

std::string ChildExit::text() const {
    return signal != 0 ? "killed by signal " + std::to_string(signal) : "exit code " + std::to_string(code);
}

namespace {

// Reads in a turn of the loop, so that a child that writes without end leaves time for the others.
constexpr int rounds_a_turn = 8;
// Reads after its end: more than the kernel's buffers hold, and a bound should someone else still write.
constexpr int last_rounds_max = 256;

// One of the child's outputs, cut into lines.
struct LineReader {
    explicit LineReader(boost::asio::io_context& io, bool is_errors) : pipe(io), errors(is_errors) {}
    stream_descriptor pipe;
    bool errors;
    bool open = false;
    bool skipping = false;  // the rest of a line that was too long
    std::string line;
};

}  // namespace

// Held by the handle and by every handler that still waits; the last of them ends it.
struct ChildProcess::Impl : std::enable_shared_from_this<ChildProcess::Impl> {
    Impl(Loop& its_loop, ChildOptions its_options, ChildEvents its_events)
        : loop(its_loop),
          options(std::move(its_options)),
          // A call of an event that destroys the handle still holds the events.
          events(std::make_shared<ChildEvents>(std::move(its_events))),
          exit_fd(loop.impl().io),
          socket(loop.impl().io),
          output(loop.impl().io, false),
          errors(loop.impl().io, true) {}

    void watch();
    void wait_exit();
    void reap();
    void read_lines(LineReader& reader);
    void on_output(LineReader& reader, int rounds_max);
    void cut_lines(LineReader& reader, std::string_view text);
    void give_line(LineReader& reader);
    void wait_bytes();
    void on_socket(int rounds_max);
    void write_out();
    void drop_socket();
    void finish_if_done();
    void signal_child(int number);
    void abandon();

    Loop& loop;
    ChildOptions options;
    // Held while one is called: the callback may destroy this child, and must not lose what it has captured.
    std::shared_ptr<ChildEvents> events;
    pid_t pid = -1;
    stream_descriptor exit_fd;  // a pidfd: names this process, also when its number is given to another
    local_socket socket;
    LineReader output;
    LineReader errors;
    Bytes unsent;
    std::size_t unsent_head = 0;
    ChildExit exit;
    bool running = false;
    bool socket_open = false;  // something may still come
    bool sending_open = false;
    bool ending = false;  // close_socket() was called
    bool posted = false;
    bool waits_writable = false;
    bool wants_writable = false;
    bool abandoned = false;
};

// ---- the end of the process --------------------------------------------------------------------------------------

void ChildProcess::Impl::watch() {
    wait_exit();
    if (output.open) read_lines(output);
    if (errors.open) read_lines(errors);
    if (socket_open) wait_bytes();
}

void ChildProcess::Impl::wait_exit() {
    exit_fd.async_wait(stream_descriptor::wait_read, [self = shared_from_this()](const error_code& error) {
        if (!error) self->reap();
    });
}

void ChildProcess::Impl::reap() {
    int status = 0;
    pid_t got = 0;
    do {
        got = waitpid(pid, &status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    if (got == 0) return wait_exit();
    running = false;
    if (got == pid && WIFEXITED(status)) exit.code = WEXITSTATUS(status);
    if (got == pid && WIFSIGNALED(status)) exit.signal = WTERMSIG(status);
    error_code ignored;
    exit_fd.close(ignored);
    finish_if_done();
}

void ChildProcess::Impl::finish_if_done() {
    // A grandchild that inherited the pipes could hold them open for ever: what is there at the exit is read, no more.
    if (running || abandoned) return;
    const auto self = shared_from_this();
    for (LineReader* reader : {&output, &errors}) {
        if (reader->open) on_output(*reader, last_rounds_max);
        if (abandoned) return;
        if (!reader->line.empty()) give_line(*reader);
        if (abandoned) return;
    }
    if (socket_open) on_socket(last_rounds_max);
    if (abandoned) return;
    abandon();
    const auto held = events;
    if (held->on_exit) held->on_exit(exit);
}

void ChildProcess::Impl::abandon() {
    abandoned = true;
    error_code ignored;
    output.pipe.close(ignored);
    errors.pipe.close(ignored);
    drop_socket();
}

void ChildProcess::Impl::signal_child(int number) {
    // Not yet reaped, so the number cannot have been given to another process.
    if (running) ::kill(pid, number);
}

// ---- its output --------------------------------------------------------------------------------------------------

void ChildProcess::Impl::read_lines(LineReader& reader) {
    reader.pipe.async_wait(stream_descriptor::wait_read, [self = shared_from_this(), &reader](const error_code& error) {
        if (error || self->abandoned) return;
        self->on_output(reader, rounds_a_turn);
        if (reader.open && !self->abandoned) self->read_lines(reader);
    });
}

void ChildProcess::Impl::on_output(LineReader& reader, int rounds_max) {
    std::array<char, 4096> buffer;
    for (int round = 0; round < rounds_max && !abandoned; ++round) {
        error_code error;
        const std::size_t count = reader.pipe.read_some(boost::asio::buffer(buffer), error);
        if (error == boost::asio::error::would_block) return;
        if (error) {
            reader.open = false;
            reader.pipe.close(error);
            return;
        }
        cut_lines(reader, {buffer.data(), count});
    }
}

void ChildProcess::Impl::cut_lines(LineReader& reader, std::string_view text) {
    while (!text.empty() && !abandoned) {
        const std::size_t newline = text.find('\n');
        const std::string_view part = text.substr(0, newline);
        if (!reader.skipping) {
            const std::size_t room = options.line_bytes_max - reader.line.size();
            reader.line.append(part.substr(0, room));
            if (part.size() > room) {
                give_line(reader);
                reader.skipping = true;
            }
        }
        if (newline == std::string_view::npos) return;
        if (!reader.skipping) give_line(reader);
        reader.skipping = false;
        text.remove_prefix(newline + 1);
    }
}

void ChildProcess::Impl::give_line(LineReader& reader) {
    const std::string line = std::move(reader.line);
    reader.line.clear();
    const auto held = events;
    if (held->on_line) held->on_line(line, reader.errors);
}

// ---- the socket pair ---------------------------------------------------------------------------------------------

void ChildProcess::Impl::wait_bytes() {
    socket.async_wait(local_socket::wait_read, [self = shared_from_this()](const error_code& error) {
        if (error || self->abandoned) return;
        self->on_socket(rounds_a_turn);
        if (self->socket_open && !self->abandoned) self->wait_bytes();
    });
}

void ChildProcess::Impl::on_socket(int rounds_max) {
    std::array<std::uint8_t, 16 * 1024> buffer;
    for (int round = 0; round < rounds_max && !abandoned && socket_open; ++round) {
        error_code error;
        const std::size_t count = socket.read_some(boost::asio::buffer(buffer), error);
        if (error == boost::asio::error::would_block) return;
        if (error) {
            socket_open = false;
            return;
        }
        const auto held = events;
        if (held->on_bytes) held->on_bytes(ByteView(buffer).first(count));
    }
}

void ChildProcess::Impl::write_out() {
    posted = false;
    if (abandoned || !sending_open || waits_writable) return;
    while (unsent_head < unsent.size()) {
        error_code error;
        unsent_head +=
            socket.write_some(boost::asio::buffer(unsent.data() + unsent_head, unsent.size() - unsent_head), error);
        if (error == boost::asio::error::would_block) {
            waits_writable = true;
            socket.async_wait(local_socket::wait_write, [self = shared_from_this()](const error_code& failed) {
                self->waits_writable = false;
                if (!failed) self->write_out();
            });
            break;
        }
        if (error) {
            // The child closed its end; its exit, or what it still says, tells the rest.
            sending_open = false;
            unsent.clear();
            unsent_head = 0;
            return;
        }
    }
    if (unsent_head == unsent.size()) {
        unsent.clear();
        unsent_head = 0;
        if (ending) {
            error_code ignored;
            socket.shutdown(local_socket::shutdown_send, ignored);
            sending_open = false;
            return;
        }
    }
    if (wants_writable && unsent.size() - unsent_head < options.unsent_bytes_max / 2) {
        wants_writable = false;
        const auto held = events;
        if (held->on_writable) held->on_writable();
    }
}

void ChildProcess::Impl::drop_socket() {
    socket_open = false;
    sending_open = false;
    error_code ignored;
    socket.close(ignored);
}

// ---- the door ----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<ChildProcess>> ChildProcess::spawn(Loop& loop, ChildOptions options, ChildEvents events) {
    const auto impl = std::make_shared<Impl>(loop, std::move(options), std::move(events));
    StartedChild started = TRY(start_child(impl->options));
    impl->pid = started.pid;
    impl->running = true;
    // From here on every way out kills it.
    std::unique_ptr<ChildProcess> child(new ChildProcess(impl));
    error_code error;
    impl->exit_fd.assign(started.pidfd.release(), error);
    if (started.socket.is_open()) {
        impl->socket.assign(boost::asio::local::stream_protocol(), started.socket.release(), error);
        impl->socket.non_blocking(true, error);
        impl->socket_open = impl->sending_open = true;
    }
    const std::pair<FileDescriptor*, LineReader*> pipes[] = {{&started.output, &impl->output},
                                                             {&started.errors, &impl->errors}};
    for (const auto& [fd, reader] : pipes) {
        if (!fd->is_open()) continue;
        reader->pipe.assign(fd->release(), error);
        reader->pipe.non_blocking(true, error);
        reader->open = true;
    }
    impl->watch();
    return child;
}

ChildProcess::~ChildProcess() {
    impl_->signal_child(SIGKILL);
    // The wait for its end stays in the loop and reaps it.
    impl_->events = std::make_shared<ChildEvents>();
    impl_->abandon();
}

int ChildProcess::pid() const {
    return impl_->pid;
}
bool ChildProcess::running() const {
    return impl_->running;
}
void ChildProcess::terminate() {
    impl_->signal_child(SIGTERM);
}
void ChildProcess::kill() {
    impl_->signal_child(SIGKILL);
}

bool ChildProcess::send(ByteView bytes) {
    if (!impl_->sending_open || impl_->ending) return false;
    if (unsent_bytes() + bytes.size() > impl_->options.unsent_bytes_max) {
        impl_->wants_writable = true;
        return false;
    }
    if (impl_->unsent_head > 0 && impl_->unsent_head >= unsent_bytes()) {
        impl_->unsent.erase(impl_->unsent.begin(),
                            impl_->unsent.begin() + static_cast<std::ptrdiff_t>(impl_->unsent_head));
        impl_->unsent_head = 0;
    }
    append(impl_->unsent, bytes);
    if (!std::exchange(impl_->posted, true)) impl_->loop.post([impl = impl_] { impl->write_out(); });
    return true;
}

std::size_t ChildProcess::unsent_bytes() const {
    return impl_->unsent.size() - impl_->unsent_head;
}

void ChildProcess::close_socket() {
    impl_->ending = true;
    if (!std::exchange(impl_->posted, true)) impl_->loop.post([impl = impl_] { impl->write_out(); });
}

}  // namespace shoal::net
