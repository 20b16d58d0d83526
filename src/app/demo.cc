// The demo: a verifier, relays, model nodes and a client as real processes on loopback addresses in distinct /16s; one
// question; what each of them saw.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "app/api_call.h"
#include "app/commands.h"
#include "app/demo_report.h"
#include "app/new_network.h"
#include "backend/engine_files.h"
#include "base/limits.h"
#include "net/child.h"
#include "net/loop.h"

namespace shoal::app {
namespace {

namespace fs = std::filesystem;

struct Process {
    std::string name;
    std::string role;
    fs::path trace;
    std::unique_ptr<net::ChildProcess> child;
    std::string last_line;  // of its log
    bool ended = false;
};

// The folder of a run, removed at the end unless the user named it.
class Folder {
public:
    static Result<std::unique_ptr<Folder>> make(const std::string& wanted) {
        if (!wanted.empty()) {
            std::error_code error;
            fs::create_directories(wanted, error);
            if (error || !fs::is_empty(wanted, error) || error) {
                return fail(Errc::invalid, fmt::format("--dir {}: must be a new or empty folder", wanted));
            }
            return std::unique_ptr<Folder>(new Folder(fs::absolute(wanted), false));
        }
        std::string name = (fs::temp_directory_path() / "shoal-demo-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) return fail(Errc::io, "cannot make a temporary folder");
        return std::unique_ptr<Folder>(new Folder(name, true));
    }
    ~Folder() {
        std::error_code ignored;
        if (remove_) fs::remove_all(path_, ignored);
    }
    const fs::path& path() const { return path_; }

private:
    Folder(fs::path path, bool remove) : path_(std::move(path)), remove_(remove) {}
    fs::path path_;
    bool remove_;
};

class Demo {
public:
    Demo(const DemoOptions& options, fs::path folder, fs::path model)
        : options_(options), folder_(std::move(folder)), model_(std::move(model)) {}

    Status start();
    // Waits for /ready, with a progress line. Errc::cancelled: Ctrl-C.
    Status wait_ready();
    Status ask();
    void report();
    // Until Ctrl-C, or until a process of the network ends.
    void stay();
    void end();

private:
    Status spawn(const std::string& name, const std::string& role, std::vector<std::string> arguments);
    std::string address(unsigned network) const { return fmt::format("127.{}.0.1:{}", network, link_port_); }
    void pump(Duration how_long);
    std::optional<Error> trouble() const;

    const DemoOptions& options_;
    fs::path folder_;
    fs::path model_;
    net::Loop loop_;
    std::vector<std::unique_ptr<Process>> processes_;  // bounded: relays, model nodes and two
    std::uint16_t link_port_ = 0;
    std::uint16_t api_port_ = 0;
    bool interrupted_ = false;
};

constexpr Duration ready_timeout = 120s;

Status Demo::spawn(const std::string& name, const std::string& role, std::vector<std::string> arguments) {
    auto process = std::make_unique<Process>();
    process->name = name;
    process->role = role;
    process->trace = folder_ / (name + ".trace");
    net::ChildOptions child;
    child.argv = {(fs::path(backend::own_folder()) / "shoal").string(), "up"};
    if (role != "verifier") {
        child.argv.insert(child.argv.end(), {"--state", (folder_ / name).string()});
    }
    child.argv.insert(child.argv.end(), {"--network", (folder_ / "network.toml").string(), "--trace",
                                         process->trace.string(), "--log-level", "warn"});
    child.argv.insert(child.argv.end(), arguments.begin(), arguments.end());
    child.errors = net::ChildOutput::lines;
    Process* raw = process.get();
    net::ChildEvents events;
    events.on_line = [raw](std::string_view line, bool) { raw->last_line = line; };
    events.on_exit = [raw](const net::ChildExit&) { raw->ended = true; };
    process->child = TRY(net::ChildProcess::spawn(loop_, std::move(child), std::move(events)));
    processes_.push_back(std::move(process));
    return ok();
}

Status Demo::start() {
    api_port_ = options_.api_port == 0 ? limits::api_port_default : options_.api_port;
    const unsigned networks = 1U + options_.relays + options_.model_nodes;
    link_port_ = TRY(find_free_port(networks));
    loop_.on_signals({SIGINT, SIGTERM}, [this](int) {
        interrupted_ = true;
        loop_.stop();
    });
    TRY(make_network(folder_.string(), "demo", address(1)));
    TRY(spawn("verifier", "verifier",
              {"--verifier", "--listen", address(1), "--state", (folder_ / "verifier").string()}));
    unsigned network = 2;
    for (unsigned i = 1; i <= options_.relays; ++i) {
        TRY(spawn(fmt::format("relay-{:02}", i), "relay", {"--relay", "--listen", address(network++)}));
    }
    for (unsigned i = 1; i <= options_.model_nodes; ++i) {
        TRY(spawn(fmt::format("model-{}", i), "model",
                  {"--model", model_.string(), "--threads", "1", "--listen", address(network++)}));
    }
    return spawn("client", "client", {"--client", "--api-port", std::to_string(api_port_), "--pacer", options_.pacer});
}

std::optional<Error> Demo::trouble() const {
    if (interrupted_) return fail(Errc::cancelled, "interrupted");
    for (const auto& process : processes_) {
        if (process->ended) {
            return fail(Errc::unavailable, fmt::format("{} ended: {}", process->name, process->last_line));
        }
    }
    return std::nullopt;
}

void Demo::pump(Duration how_long) {
    (void)loop_.run_until([this] { return trouble().has_value(); }, how_long);
}

Status Demo::wait_ready() {
    const ApiAddress api{net::Endpoint::v4(127, 0, 0, 1, api_port_), ""};
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const Instant begin = loop_.now().mono;
    for (;;) {
        pump(200ms);
        if (const auto why = trouble()) return *why;
        int status = 0;
        const auto ready = api_get(api, "/ready", &status);
        if (ready && status == 200) break;
        const Duration waited = loop_.now().mono - begin;
        if (terminal) fmt::print(stderr, "\r\x1b[2Kbuilding the network … {:.1f} s", to_seconds(waited));
        if (waited > ready_timeout) {
            return fail(Errc::timeout, "the network did not become ready: " + (ready ? *ready : ready.error().message));
        }
    }
    if (terminal) fmt::print(stderr, "\r\x1b[2K");
    fmt::print("The network is ready after {:.1f} s.\n", to_seconds(loop_.now().mono - begin));
    return ok();
}

Status Demo::ask() {
    fmt::print("\n  > {}\n  ", options_.question);
    std::fflush(stdout);
    AskOptions question;
    question.text = options_.question;
    question.api = fmt::format("127.0.0.1:{}", api_port_);
    question.temperature = 0.0;
    question.max_tokens = 200;
    if (run_ask(question) != 0) return fail(Errc::unavailable, "the question was not answered");
    return ok();
}

void Demo::report() {
    fmt::print("\nWhat each process saw (from --trace: peers and cells, never content):\n");
    fmt::print("  {:<10} {:>6} {:>9} {:>9}  {}\n", "process", "peers", "cells in", "cells out", "what it can know");
    for (const auto& process : processes_) {
        const TraceSummary seen = read_trace(process->trace.string());
        fmt::print("  {:<10} {:>6} {:>9} {:>9}  {}\n", process->name, seen.peers, seen.cells_in, seen.cells_out,
                   what_it_knows(process->role, seen));
    }
    std::fflush(stdout);
}

void Demo::stay() {
    fmt::print(
        "\nThe API stays up at http://127.0.0.1:{}/v1 until Ctrl-C. Try:\n  {} ask \"Tell me a story about a fox\" "
        "--api 127.0.0.1:{}\n",
        api_port_, (fs::path(backend::own_folder()) / "shoal").string(), api_port_);
    std::fflush(stdout);
    while (!trouble()) pump(std::chrono::hours(1));
}

void Demo::end() {
    for (const auto& process : processes_) {
        if (!process->ended) process->child->terminate();
    }
    const auto all_ended = [this] {
        return std::all_of(processes_.begin(), processes_.end(), [](const auto& p) { return p->ended; });
    };
    if (!loop_.run_until(all_ended, 5s)) {
        for (const auto& process : processes_) {
            if (!process->ended) process->child->kill();
        }
        (void)loop_.run_until(all_ended, 5s);
    }
}

// The bundled model lies beside the program in the archive, and in the source tree of a build.
Result<fs::path> find_model(const std::string& wanted) {
    if (!wanted.empty()) {
        if (fs::is_regular_file(wanted)) return fs::absolute(wanted);
        return fail(Errc::not_found, fmt::format("--model {}: no such file; give the path of a GGUF file", wanted));
    }
    const fs::path folder = backend::own_folder();
    for (fs::path up = folder; up.has_relative_path(); up = up.parent_path()) {
        const fs::path candidate = up / "models" / "shoal-mini.gguf";
        if (fs::is_regular_file(candidate)) return candidate;
    }
    return fail(Errc::not_found, "the bundled model models/shoal-mini.gguf is missing; name a GGUF file with --model");
}

Status run(const DemoOptions& options) {
    const fs::path model = TRY(find_model(options.model));
    // Now rather than after the network was built.
    TRY(check_api_port(options.api_port == 0 ? limits::api_port_default : options.api_port));
    const auto folder = TRY(Folder::make(options.directory));
    Demo demo(options, folder->path(), model);
    fmt::print("Starting a verifier, {} relays, {} model nodes and a client, each in a /16 of its own …\n",
               options.relays, options.model_nodes);
    std::fflush(stdout);
    Status done = demo.start();
    if (done) done = demo.wait_ready();
    if (done) done = demo.ask();
    if (done) {
        demo.report();
        if (!options.once) demo.stay();
    }
    demo.end();
    return done;
}

}  // namespace

int run_demo(const DemoOptions& options) {
    const Status done = run(options);
    if (done) return 0;
    if (done.error().code == Errc::cancelled) return 130;
    const int code = refuse(done.error());
    return done.error().code == Errc::invalid || done.error().code == Errc::not_found ? code : 1;
}

}  // namespace shoal::app
