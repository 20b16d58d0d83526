#include "backend/gpu.h"

#include <algorithm>
#include <charconv>

#include "base/limits.h"
#include "net/child.h"
#include "net/loop.h"
#include "wire/text.h"

namespace shoal::backend {
namespace {

constexpr std::size_t devices_max = 16;
constexpr std::size_t field_bytes_max = 128;
constexpr std::size_t lines_max = 2 * devices_max;
// Drivers wake sleeping cards, and compile.
constexpr Duration patience = std::chrono::minutes(1);

template <typename Number>
bool read_number(std::string_view text, Number& out) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && stop == text.data() + text.size();
}

std::vector<std::string> fields_of(const std::string& line) {
    std::vector<std::string> out;
    for (std::size_t from = 0; from <= line.size();) {
        const std::size_t tab = std::min(line.find('\t', from), line.size());
        out.push_back(wire::plain_text(line.substr(from, tab - from), field_bytes_max));
        from = tab + 1;
    }
    return out;
}

// What a short life of the engine said.
struct Words {
    std::vector<std::string> lines;
    std::string last_error;
    std::optional<net::ChildExit> exit;
};

Result<Words> ask(const EngineCommand& command, const std::string& device) {
    net::Loop loop;
    Words words;
    net::ChildOptions options;
    options.argv = command.words;
    options.argv.emplace_back("--find-gpu");
    if (!device.empty()) options.argv.insert(options.argv.end(), {"--gpu-device", device});
    options.output = options.errors = net::ChildOutput::lines;
    net::ChildEvents events;
    events.on_line = [&words](std::string_view line, bool from_errors) {
        if (from_errors) {
            words.last_error = line;
        } else if (words.lines.size() < lines_max) {
            words.lines.emplace_back(line);
        }
    };
    events.on_exit = [&words](const net::ChildExit& exit) { words.exit = exit; };
    const auto child = TRY(net::ChildProcess::spawn(loop, std::move(options), std::move(events)));
    (void)loop.run_until([&words] { return words.exit.has_value(); }, patience);
    return words;
}

}  // namespace

Result<std::optional<GpuChoice>> parse_gpu(const std::string& text) {
    if (text == "off") return std::optional<GpuChoice>();
    GpuChoice out;
    if (text == "auto") return std::optional(out);
    std::uint16_t layers = 0;
    if (!read_number(text, layers) || layers == 0 || layers > limits::model_layers_max) {
        return fail(Errc::invalid, "--gpu " + text + ": must be off, auto or a number of layers, 1 to " +
                                       std::to_string(limits::model_layers_max));
    }
    out.layers = layers;
    return std::optional(out);
}

Result<FoundGpus> parse_found_gpus(const std::vector<std::string>& lines) {
    FoundGpus out;
    for (const std::string& line : lines) {
        const std::vector<std::string> fields = fields_of(line);
        if (fields.size() == 6 && fields[0] == "device" && out.devices.size() < devices_max) {
            GpuDevice device{fields[1], fields[2], fields[5]};
            if (!read_number(fields[3], device.free_bytes) || !read_number(fields[4], device.total_bytes)) {
                return fail(Errc::malformed, "the engine names a device without its memory");
            }
            out.devices.push_back(std::move(device));
        } else if (fields.size() == 2 && fields[0] == "chosen") {
            out.chosen = fields[1];
        }
    }
    const bool known = std::any_of(out.devices.begin(), out.devices.end(),
                                   [&out](const GpuDevice& each) { return each.name == out.chosen; });
    if (out.chosen.empty() || !known) return fail(Errc::malformed, "the engine chose none of the GPUs that it named");
    return out;
}

Result<FoundGpus> find_gpus(const EngineCommand& command, const std::string& device) {
    const Words words = TRY(ask(command, device));
    if (!words.exit) {
        return fail(Errc::not_found,
                    "the drivers of this machine's GPUs say nothing for a minute: see whether vulkaninfo does better, "
                    "or leave --gpu out");
    }
    if (words.exit->ok()) return parse_found_gpus(words.lines);
    const std::string why = wire::plain_text(words.last_error, limits::child_line_bytes_max);
    if (words.exit->signal == 0 && !why.empty()) return fail(Errc::not_found, why);
    return fail(Errc::not_found, "the engine ended while it loaded the drivers of this machine's GPUs (" +
                                     words.exit->text() + "): leave --gpu out");
}

std::vector<std::string> gpu_words(const GpuChoice& choice) {
    std::vector<std::string> out = {"--gpu", choice.layers ? std::to_string(*choice.layers) : "auto"};
    if (!choice.device.empty()) out.insert(out.end(), {"--gpu-device", choice.device});
    return out;
}

std::string gpu_forbidden_text() {
    return "the driver of the GPU does what the sandbox of the engine forbids: leave --gpu out (docs/gpu.md)";
}

}  // namespace shoal::backend
