// shoal-engine: serves one model to the node that started it. Not for people: the node starts it (backend/), with the
// socket pair as descriptor 3 and the model as descriptor 4.
#include <ggml.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crypto/hash.h"
#include "crypto/init.h"
#include "engine_worker/batcher.h"
#include "engine_worker/channel.h"
#include "engine_worker/devices.h"
#include "engine_worker/drafters.h"
#include "engine_worker/lead_server.h"
#include "engine_worker/model_backbone.h"
#include "engine_worker/pieces_command.h"
#include "engine_worker/sandbox.h"
#include "engine_worker/stage_server.h"
#include "engine_worker/worker_say.h"
#include "engine_worker/working_sign.h"
#include "wire/text.h"

namespace shoal::engine_worker {
namespace {

constexpr int channel_descriptor = 3;
constexpr int model_descriptor = 4;
constexpr int draft_descriptor = 5;
constexpr const char* help =
    "shoal-engine [--backends FOLDER] [--stage | --lead]\n"
    "Serves the model on descriptor 4 over the socket on descriptor 3 (protocol/pipe.md). Started by shoal.\n"
    "  --backends FOLDER     where ggml's compute backends are\n"
    "  --stage               computes a range of its layers only (protocol/stage_pipe.md)\n"
    "  --lead                holds its ends only: no layer, or the first and last ones\n"
    "  --gpu COUNT|auto      so many layers, or all that fit, are computed by a GPU\n"
    "  --gpu-device NAME     by this one; with --find-gpu: whether it is there\n"
    "  --find-gpu            what Vulkan devices there are, one a line, and which would be taken\n"
    "  --write-manifest      writes the manifest of the model on descriptor 4 to descriptor 3 (protocol/shard.md)\n"
    "  --check-manifest      checks the manifest on descriptor 4 against the model that it names\n"
    "  --layers WHAT         before either: says which pieces FIRST-END or ends (or both, with commas) needs as well\n"
    "  --list-forbidden      what the sandbox test knows, a name a line\n"
    "  --try-forbidden NAME  enters the sandbox and tries NAME: must be killed\n"
    "  --version             of the inference library\n";

Channel* open_channel = nullptr;

// The library stops the process on a state that it did not expect: for a model that is being loaded, the file's fault.
bool loading = true;
bool is_stage = false;
void on_library_abort(const char* text) {
    if (open_channel == nullptr) return;
    const std::string reason = std::string("the inference library gave up: ") + text;
    if (is_stage) {
        open_channel->send(engine::stage_pipe::encode(engine::stage_pipe::FromStage(engine::stage_pipe::Failed{
            wire::StageFaultCode::engine, wire::plain_text(reason, limits::stage_fault_bytes_max)})));
    } else {
        say(*open_channel, engine::pipe::Fatal{wire::plain_text(reason, engine::pipe::reason_bytes_max), loading});
    }
    open_channel->flush();
}

// What computes, by the command line.
struct Computing {
    std::string backends;
    bool gpu = false;
    std::optional<std::uint32_t> gpu_layers;  // none: as many as fit
    std::string gpu_device;
};

// The compute library and the driver of a GPU open files: before the walls, then.
Result<Offload> prepare(const Computing& computing) {
    TRY(load_backends(computing.backends));
    Offload offload;
    Walls walls;
    if (computing.gpu) {
        offload = TRY(open_gpu(computing.backends, computing.gpu_device, computing.gpu_layers));
        walls.devices = TRY(open_device_nodes());
    }
    TRY(enter_sandbox(walls));
    return offload;
}
Offload prepare(Channel& channel, const Computing& computing) {
    auto ready = prepare(computing);
    if (!ready) give_up(channel, ready.error());
    return *ready;
}

template <typename Load>
Load first_message(Channel& channel, std::vector<engine::pipe::ToWorker>& rest) {
    rest = channel.receive(true, engine::pipe::decode_to_worker);
    const auto* load = std::get_if<Load>(&rest.front());
    if (load == nullptr) Channel::end_at_bad_frame();
    const Load out = *load;
    rest.erase(rest.begin());
    return out;
}

void handle(Batcher& batcher, engine::pipe::ToWorker message) {
    namespace pipe = engine::pipe;
    if (auto* job = std::get_if<engine::Job>(&message)) {
        batcher.submit(std::move(*job));
    } else if (const auto* cancel = std::get_if<pipe::Cancel>(&message)) {
        batcher.cancel(cancel->job);
    } else if (auto* give = std::get_if<pipe::PrefixGive>(&message)) {
        batcher.give(give->job, give->bytes, give->last);
        wipe(give->bytes.data(), give->bytes.size());
    } else if (const auto* give_up = std::get_if<pipe::PrefixGiveUp>(&message)) {
        batcher.give_up(give_up->job);
    } else if (const auto* open = std::get_if<pipe::PrefixOpen>(&message)) {
        batcher.giver().open(open->read, open->chain, open->tokens);
    } else if (const auto* more = std::get_if<pipe::PrefixMore>(&message)) {
        batcher.giver().more(more->read);
    } else if (const auto* close = std::get_if<pipe::PrefixClose>(&message)) {
        batcher.giver().close(close->read);
    } else {
        Channel::end_at_bad_frame();  // a second Load
    }
}

std::vector<engine::pipe::ToWorker> next_messages(Channel& channel, const Batcher& batcher) {
    if (batcher.busy()) return channel.receive(false, engine::pipe::decode_to_worker);
    if (!batcher.waits()) return channel.receive(true, engine::pipe::decode_to_worker);
    // What waits for another engine is open, and the node wants to hear of it.
    return channel.receive_within(limits::engine_working_interval, engine::pipe::decode_to_worker);
}

[[noreturn]] void serve(const Computing& computing) {
    Channel channel(channel_descriptor);
    open_channel = &channel;
    std::vector<engine::pipe::ToWorker> early;
    auto options = first_message<engine::pipe::Load>(channel, early);
    if (options.threads == 0) options.threads = default_threads();
    // Loading the model closes its descriptor; what drafts reads it again.
    const int again = options.drafts.any() ? dup(model_descriptor) : -1;
    const Offload offload = prepare(channel, computing);

    LoadingShare share([&channel](const engine::Loading& done) {
        say(channel, done);
        channel.flush();
    });
    const auto progress = [&share](double part) { share(part); };
    Result<Model> model = load_model(model_descriptor, options, progress, offload);
    if (!model) give_up(channel, model.error());
    const auto load_guesses = [&]() -> Result<Speculation> {
        if (again < 0) return Speculation();
        return load_drafters(options.drafts, *model, TRY(read_header(again)), reader_of(again), draft_descriptor,
                             [&progress](double) { progress(1); });
    };
    Result<Speculation> speculation = load_guesses();
    if (!speculation) give_up(channel, speculation.error());
    loading = false;
    say_placed(channel, model->on_gpu, static_cast<std::uint32_t>(llama_model_n_layer(model->weights.get())));
    say(channel, engine::Ready{model->info});
    channel.flush();

    ModelBackbone backbone(*model);
    Batcher batcher(*model, backbone, std::move(*speculation),
                    [&channel](const engine::pipe::FromWorker& event) { say(channel, event); });
    WorkingSign sign(channel, engine::pipe::encode(engine::pipe::FromWorker(engine::pipe::Working{})).value());
    llama_set_abort_callback(model->context.get(), WorkingSign::beat_and_go_on, &sign);
    for (engine::pipe::ToWorker& message : early) handle(batcher, std::move(message));
    for (;;) {
        for (engine::pipe::ToWorker& message : next_messages(channel, batcher)) handle(batcher, std::move(message));
        if (batcher.busy()) {
            if (batcher.begin_step()) batcher.end_step([&](std::size_t row) { return backbone.logits(row); });
            sign.beat();  // where the library computes on other devices it does not ask
        } else if (batcher.waits()) {
            sign.beat();
        }
        channel.flush();
    }
}

[[noreturn]] void run_lead(const Computing& computing) {
    Channel channel(channel_descriptor, engine::pipe::lead_frame_bytes_max);
    open_channel = &channel;
    std::vector<engine::pipe::ToWorker> early;
    auto options = first_message<engine::pipe::Lead>(channel, early);
    if (options.load.threads == 0) options.load.threads = default_threads();
    const Offload offload = prepare(channel, computing);
    serve_lead(channel, model_descriptor, draft_descriptor, options, offload, std::move(early));
}

[[noreturn]] void run_stage(const Computing& computing) {
    namespace pipe = engine::stage_pipe;
    is_stage = true;
    Channel channel(channel_descriptor, pipe::frame_bytes_max);
    open_channel = &channel;
    std::vector<pipe::ToStage> first = channel.receive(true, pipe::decode_to_stage);
    const auto* load = std::get_if<pipe::Load>(&first.front());
    if (load == nullptr || first.size() > 1) Channel::end_at_bad_frame();
    pipe::Load options = *load;
    if (options.threads == 0) options.threads = default_threads();
    const auto ready = prepare(computing);
    if (!ready) {
        channel.send(pipe::encode(pipe::FromStage(pipe::Failed{
            wire::StageFaultCode::engine, wire::plain_text(ready.error().message, limits::stage_fault_bytes_max)})));
        channel.flush();
        _exit(1);
    }
    serve_stage(channel, model_descriptor, options, *ready);
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

int usage() {
    std::fputs(help, stderr);
    return 2;
}

// Ends with the line that says why there is none, on standard error. Fields are parted by tabs.
int find_gpu(const Computing& computing) {
    if (const Status loaded = load_backends(computing.backends); !loaded) {
        std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
        return 1;
    }
    const DeviceSearch search = find_devices(computing.backends);
    for (const Device& device : search.devices) {
        std::printf("device\t%s\t%s\t%llu\t%llu\t%s\n", device.name.c_str(), kind_name(device.kind),
                    static_cast<unsigned long long>(device.free_bytes),
                    static_cast<unsigned long long>(device.total_bytes), device.description.c_str());
    }
    const auto chosen = choose_gpu(search, computing.gpu_device);
    if (chosen) std::printf("chosen\t%s\n", chosen->name.c_str());
    std::fflush(stdout);
    if (!chosen) std::fprintf(stderr, "%s\n", chosen.error().message.c_str());
    return chosen ? 0 : 1;
}

// "auto", or a number of layers.
bool parse_gpu(std::string_view text, Computing& computing) {
    computing.gpu = true;
    if (text == "auto") return true;
    std::uint32_t count = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    computing.gpu_layers = count;
    return error == std::errc() && stop == text.data() + text.size() && count >= 1 && count <= limits::model_layers_max;
}

int run(int argc, char** argv) {
    Computing computing;
    std::optional<Parts> parts;
    bool stage = false, lead = false, find = false;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (word == "--backends" && value != nullptr) {
            computing.backends = argv[++i];
        } else if (word == "--gpu" && value != nullptr) {
            if (!parse_gpu(argv[++i], computing)) return usage();
        } else if (word == "--gpu-device" && value != nullptr) {
            computing.gpu_device = argv[++i];
        } else if (word == "--find-gpu") {
            find = true;
        } else if (word == "--stage") {
            stage = true;
        } else if (word == "--lead") {
            lead = true;
        } else if (word == "--try-forbidden" && value != nullptr) {
            return try_one(value);
        } else if (word == "--layers" && value != nullptr) {
            parts = parse_parts(argv[++i]);
            if (!parts) return usage();
        } else if (word == "--write-manifest") {
            return run_walled([&] { return write_manifest(model_descriptor, channel_descriptor, parts); });
        } else if (word == "--check-manifest") {
            return run_walled([&] { return check_manifest_file(model_descriptor, parts); });
        } else if (word == "--list-forbidden") {
            return list_forbidden();
        } else if (word == "--version") {
            std::printf("llama %s ggml %s\n", llama_version(), ggml_version());
            return 0;
        } else {
            if (word != "--help") return usage();
            std::fputs(help, stdout);
            return 0;
        }
    }
    if (find) return find_gpu(computing);
    if (stage) run_stage(computing);
    if (lead) run_lead(computing);
    serve(computing);
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
