#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "app/api_call.h"
#include "app/commands.h"
#include "base/limits.h"
#include "dialect/openai_client.h"
#include "store/files.h"

namespace shoal::app {
namespace {

// The question as the program's arguments have it, or what comes on standard input, bounded.
Result<std::string> read_question(const std::string& text) {
    if (text != "-") return text;
    std::string out;
    char buffer[4096];
    std::size_t got = 0;
    while ((got = std::fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        out.append(buffer, got);
        if (out.size() > limits::chat_body_bytes_max) return fail(Errc::exhausted, "the question is too long");
    }
    return out;
}

ChatRequest request_of(const AskOptions& options, std::string question) {
    ChatRequest request;
    if (!options.system.empty()) request.messages.push_back({Role::system, Plaintext(options.system)});
    request.messages.push_back({Role::user, Plaintext(std::move(question))});
    if (options.temperature) request.sampling.temperature = static_cast<float>(*options.temperature);
    if (options.seed) request.sampling.seed = static_cast<std::uint64_t>(*options.seed);
    request.completion_tokens_max = options.max_tokens;
    return request;
}

// Prints the answer as it comes. Gives the fault, if there was one.
class Printer {
public:
    // False: enough was seen.
    bool on_chunk(std::string_view bytes) {
        auto events = parser_.feed(bytes);
        if (!events) return stop("the node's stream is malformed: " + events.error().message);
        for (const dialect::SseEvent& event : *events) {
            auto item = dialect::parse_stream_data(event.data.expose());
            if (!item) return stop("the node's stream is malformed: " + item.error().message);
            if (const auto* error = std::get_if<dialect::ApiError>(&*item)) return stop(error->message);
            if (std::holds_alternative<dialect::StreamDone>(*item)) {
                done_ = true;
                return false;
            }
            const auto& chunk = std::get<dialect::ChatChunk>(*item);
            std::fwrite(chunk.text.expose().data(), 1, chunk.text.size(), stdout);
            std::fflush(stdout);
        }
        return true;
    }
    bool done() const { return done_; }
    const std::string& fault() const { return fault_; }

private:
    bool stop(std::string why) {
        fault_ = std::move(why);
        return false;
    }
    dialect::SseParser parser_;
    std::string fault_;
    bool done_ = false;
};

Result<std::string> choose_model(const ApiAddress& api, const AskOptions& options) {
    if (!options.model.empty()) return options.model;
    const std::string body = TRY(api_get(api, "/v1/models"));
    const auto names = TRY(dialect::parse_model_names(body));
    if (names.empty()) return fail(Errc::unavailable, "the network offers no model right now; see 'shoal status'");
    return names.front();
}

Status ask(const AskOptions& options) {
    const ApiAddress api = TRY(api_address(options.api, options.api_key_file));
    std::string question = TRY(read_question(options.text));
    const std::string model = TRY(choose_model(api, options));
    const bool terminal = isatty(STDERR_FILENO) != 0;
    if (terminal) fmt::print(stderr, "asking {} …\r", model);
    Printer printer;
    bool first = true;
    dialect::AskOptions how;
    if (!options.compare.empty()) how.compare = TRY(Comparison::parse(options.compare));
    TRY(api_stream(api, dialect::write_chat_request(model, request_of(options, std::move(question)), how),
                   [&](std::string_view chunk) {
                       if (terminal && first) fmt::print(stderr, "\x1b[2K\r");
                       first = false;
                       return printer.on_chunk(chunk);
                   }));
    if (!printer.fault().empty()) return fail(Errc::unavailable, printer.fault());
    if (!printer.done()) return fail(Errc::unavailable, "the answer broke off");
    fmt::print("\n");
    return ok();
}

}  // namespace

int run_ask(const AskOptions& options) {
    const Status asked = ask(options);
    if (asked) return 0;
    std::fflush(stdout);
    fmt::print(stderr, "\nshoal: {}\n", asked.error().message);
    return asked.error().code == Errc::invalid ? 2 : 1;
}

int run_status(const StatusOptions& options) {
    const auto api = api_address(options.api, options.api_key_file);
    if (!api) return refuse(api.error());
    int status = 0;
    const auto ready = api_get(*api, "/ready", &status);
    if (!ready) {
        fmt::print(stderr, "shoal: {}\n", ready.error().message);
        return 1;
    }
    fmt::print("{}\n", *ready);
    return status == 200 ? 0 : 1;
}

}  // namespace shoal::app
