// shoal-engine: serves one model to the node that started it. Not for people: the node starts it (backend/), with the
// socket pair as descriptor 3 and the model as descriptor 4.
#include <ggml.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crypto/hash.h"
#include "crypto/init.h"
#include "engine_worker/batcher.h"
#include "engine_worker/channel.h"
#include "engine_worker/pieces_command.h"
#include "engine_worker/sandbox.h"
#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

constexpr int channel_descriptor = 3;
constexpr int model_descriptor = 4;
constexpr const char* help =
    "shoal-engine [--backends FOLDER]\n"
    "Serves the model on descriptor 4 over the socket on descriptor 3 (protocol/pipe.md). Started by shoal.\n"
    "  --backends FOLDER     where ggml's compute backends are\n"
    "  --write-manifest      writes the manifest of the model on descriptor 4 to descriptor 3 (protocol/shard.md)\n"
    "  --check-manifest      checks the manifest on descriptor 4 against the model that it names\n"
    "  --list-forbidden      what the sandbox test knows, a name a line\n"
    "  --try-forbidden NAME  enters the sandbox and tries NAME: must be killed\n"
    "  --version             of the inference library\n";

Channel* open_channel = nullptr;

// The library stops the process on a state that it did not expect: for a model that is being loaded, the file's fault.
bool loading = true;
void on_library_abort(const char* text) {
    if (open_channel == nullptr) return;
    open_channel->send(engine::pipe::Fatal{
        wire::plain_text(std::string("the inference library gave up: ") + text, engine::pipe::reason_bytes_max),
        loading});
    open_channel->flush();
}

[[noreturn]] void give_up(Channel& channel, const Error& error) {
    const bool files_fault = error.code == Errc::malformed || error.code == Errc::unsupported;
    channel.send(engine::pipe::Fatal{wire::plain_text(error.message, engine::pipe::reason_bytes_max), files_fault});
    channel.flush();
    _exit(1);
}

// Says that the worker computes, at most once in limits::engine_working_interval: a step of a long prompt takes longer
// on some machines, and the node must know it from a worker that hangs.
class WorkingSign {
public:
    explicit WorkingSign(Channel& channel) : channel_(channel) {}
    void beat() {
        const Instant now = clock_now();
        if (now - last_ < limits::engine_working_interval) return;
        last_ = now;
        channel_.send(engine::pipe::Working{});
        channel_.flush();
    }
    // For the library, which asks between two operations of a step whether it should give up.
    static bool beat_and_go_on(void* sign) {
        static_cast<WorkingSign*>(sign)->beat();
        return false;
    }

private:
    static Instant clock_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }
    Channel& channel_;
    Instant last_ = clock_now();
};

engine::pipe::Load first_message(Channel& channel, std::vector<engine::pipe::ToWorker>& rest) {
    rest = channel.receive(true);
    const auto* load = std::get_if<engine::pipe::Load>(&rest.front());
    if (load == nullptr) _exit(3);
    const engine::pipe::Load out = *load;
    rest.erase(rest.begin());
    return out;
}

void handle(Batcher& batcher, engine::pipe::ToWorker message) {
    if (auto* job = std::get_if<engine::Job>(&message)) {
        batcher.submit(std::move(*job));
    } else if (const auto* cancel = std::get_if<engine::pipe::Cancel>(&message)) {
        batcher.cancel(cancel->job);
    } else {
        _exit(3);  // a second Load
    }
}

[[noreturn]] void serve(const std::string& backends) {
    Channel channel(channel_descriptor);
    open_channel = &channel;
    std::vector<engine::pipe::ToWorker> early;
    engine::pipe::Load options = first_message(channel, early);
    if (options.threads == 0) options.threads = default_threads();
    if (const Status loaded = load_backends(backends); !loaded) give_up(channel, loaded.error());
    if (const Status walled = enter_sandbox(); !walled) give_up(channel, walled.error());

    double shown = -1;
    const auto progress = [&channel, &shown](double share) {
        if (share - shown < 0.01) return;
        shown = share;
        channel.send(engine::Loading{static_cast<float>(std::clamp(share, 0.0, 1.0))});
        channel.flush();
    };
    Result<Model> model = load_model(model_descriptor, options, progress);
    if (!model) give_up(channel, model.error());
    loading = false;
    channel.send(engine::Ready{model->info});
    channel.flush();

    Batcher batcher(*model, [&channel](const engine::pipe::FromWorker& event) { channel.send(event); });
    WorkingSign sign(channel);
    llama_set_abort_callback(model->context.get(), WorkingSign::beat_and_go_on, &sign);
    for (engine::pipe::ToWorker& message : early) handle(batcher, std::move(message));
    for (;;) {
        for (engine::pipe::ToWorker& message : channel.receive(!batcher.busy())) handle(batcher, std::move(message));
        if (batcher.busy()) {
            batcher.step();
            sign.beat();  // where the library computes on other devices it does not ask
        }
        channel.flush();
    }
}

// A command that reads a stranger's file, behind the walls. One line on standard error when it fails.
template <typename Command>
int run_walled(Command command) {
    Status done = enter_sandbox();
    if (done) done = command();
    if (done) return 0;
    std::fprintf(stderr, "%s\n", wire::plain_text(done.error().message, 300).c_str());
    return 1;
}

int list_forbidden() {
    for (const char* const* name = forbidden_names(); *name != nullptr; ++name) std::puts(*name);
    return 0;
}

int try_one(const char* name) {
    if (const Status walled = enter_sandbox(); !walled) {
        std::fprintf(stderr, "shoal-engine: %s\n", walled.error().message.c_str());
        return 1;
    }
    const Status tried = try_forbidden(name);
    std::fprintf(stderr, "shoal-engine: %s\n",
                 tried ? "survived what the sandbox forbids" : tried.error().message.c_str());
    return tried ? 0 : 2;
}

int run(int argc, char** argv) {
    std::string backends;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (word == "--backends" && value != nullptr) {
            backends = argv[++i];
        } else if (word == "--try-forbidden" && value != nullptr) {
            return try_one(value);
        } else if (word == "--write-manifest") {
            return run_walled([] { return write_manifest(model_descriptor, channel_descriptor); });
        } else if (word == "--check-manifest") {
            return run_walled([] { return check_manifest_file(model_descriptor); });
        } else if (word == "--list-forbidden") {
            return list_forbidden();
        } else if (word == "--version") {
            std::printf("llama %s ggml %s\n", llama_version(), ggml_version());
            return 0;
        } else {
            std::fputs(help, word == "--help" ? stdout : stderr);
            return word == "--help" ? 0 : 2;
        }
    }
    serve(backends);
}

}  // namespace
}  // namespace shoal::engine_worker

int main(int argc, char** argv) {
    // A template may ask for the date: without this the C library would open a file to learn the time zone.
    setenv("TZ", "UTC0", 1);
    tzset();
    // The library would fork a debugger to print where it stopped.
    setenv("GGML_NO_BACKTRACE", "1", 1);
    signal(SIGPIPE, SIG_IGN);
    // The sandbox lets no file grow: where standard error is a file, a line is lost, and not the process.
    signal(SIGXFSZ, SIG_IGN);
    shoal::crypto::init();
    // Fetched at first use, and the fetch reads a configuration file: before the sandbox, then.
    std::uint8_t warm[8];
    shoal::crypto::shake256(warm, {});
    ggml_set_abort_callback(shoal::engine_worker::on_library_abort);
    return shoal::engine_worker::run(argc, argv);
}
