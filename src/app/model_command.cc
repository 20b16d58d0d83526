#include "app/model_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>

#include "app/commands.h"
#include "app/piece_folder.h"
#include "app/stage_words.h"
#include "backend/engine_files.h"
#include "backend/model_file.h"
#include "net/child.h"
#include "net/loop.h"
#include "wire/text.h"

namespace shoal::app {
namespace {

constexpr int model_descriptor = 4;  // of the worker

volatile std::sig_atomic_t interrupted = 0;

class File {
public:
    explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    ~File() {
        if (fd_ >= 0) close(fd_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int get() const { return fd_; }

private:
    int fd_;
};

// One line on a terminal, none elsewhere.
class Bar {
public:
    Bar(std::string what, std::uint64_t all) : what_(std::move(what)), all_(all) {}
    ~Bar() {
        if (shown_ >= 0) fmt::print(stderr, "\r\x1b[2K");
    }
    Bar(const Bar&) = delete;
    Bar& operator=(const Bar&) = delete;
    void add(std::uint64_t more) { show(done_ += more); }
    void show(std::uint64_t done) {
        const int share =
            all_ == 0 ? 100 : static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(all_));
        if (!terminal_ || share == shown_) return;
        shown_ = share;
        fmt::print(stderr, "\r{} [{:<40}] {:>3} %", what_, std::string(static_cast<std::size_t>(share) * 2 / 5, '#'),
                   share);
    }

private:
    std::string what_;
    std::uint64_t all_;
    std::uint64_t done_ = 0;
    int shown_ = -1;
    bool terminal_ = isatty(STDERR_FILENO) != 0;
};

struct WorkerWords {
    Bytes manifest;                // what it wrote to its socket
    std::set<std::size_t> pieces;  // of the layers that were asked for, by their places in the manifest
};

// A short life of the worker on one file: what it said, or the line that it ended with.
Result<WorkerWords> ask_worker(const char* command, int file, const std::string& layers, Bar& bar) {
    net::Loop loop;
    net::ChildOptions options;
    options.argv = TRY(backend::find_engine(backend::own_folder())).words;
    if (!layers.empty()) options.argv.insert(options.argv.end(), {"--layers", layers});
    options.argv.emplace_back(command);
    options.fds = {{file, model_descriptor}};
    options.socket = true;
    options.output = options.errors = net::ChildOutput::lines;
    WorkerWords came;
    std::string last_words;
    std::optional<net::ChildExit> exit;
    net::ChildEvents events;
    events.on_bytes = [&came](ByteView bytes) {
        if (came.manifest.size() <= wire::manifest_bytes_max) append(came.manifest, bytes);
    };
    events.on_line = [&](std::string_view line, bool from_errors) {
        if (from_errors) {
            last_words = line;
            return;
        }
        constexpr std::string_view piece = "piece ";
        if (line.starts_with(piece)) {
            std::size_t place = wire::manifest_pieces_max;
            std::from_chars(line.data() + piece.size(), line.data() + line.size(), place);
            if (place < wire::manifest_pieces_max) came.pieces.insert(place);
            return;
        }
        std::uint64_t hundredths = 0;
        std::from_chars(line.data(), line.data() + line.size(), hundredths);
        bar.show(std::min<std::uint64_t>(hundredths, 100));
    };
    events.on_exit = [&](const net::ChildExit& e) { exit = e; };
    const auto child = TRY(net::ChildProcess::spawn(loop, std::move(options), std::move(events)));
    while (!exit && interrupted == 0) {
        (void)loop.run_until([&exit] { return exit.has_value(); }, std::chrono::milliseconds(200));
    }
    if (!exit) return fail(Errc::cancelled, "stopped");
    if (exit->ok()) return came;
    return fail(Errc::malformed,
                last_words.empty() ? "the worker ended by itself: " + exit->text() : wire::plain_text(last_words, 300));
}

// A manifest, and what is wanted of it: the pieces of some layers, or all.
struct Wanted {
    wire::ShardManifest manifest;
    std::vector<wire::Piece> pieces;
    std::uint64_t bytes = 0;  // of them
};
Wanted wanted_of(wire::ShardManifest manifest, const std::string& layers, const std::set<std::size_t>& places) {
    Wanted out;
    for (std::size_t i = 0; i < manifest.pieces.size(); ++i) {
        if (!layers.empty() && !places.contains(i)) continue;
        out.pieces.push_back(manifest.pieces[i]);
        out.bytes += manifest.pieces[i].bytes;
    }
    out.manifest = std::move(manifest);
    return out;
}

Result<Wanted> wanted_of_file(const ModelOptions& options, int file) {
    Bar bar("reading", 100);
    auto words = ask_worker("--write-manifest", file, options.layers, bar);
    if (!words) return fail(words.error().code, options.file + ": " + words.error().message);
    return wanted_of(TRY(wire::decode_manifest(words->manifest)), options.layers, words->pieces);
}

std::string size_text(std::uint64_t bytes) {
    const double n = static_cast<double>(bytes);
    return n >= 1e9 ? fmt::format("{:.2f} GB", n / 1e9) : fmt::format("{:.1f} MB", n / 1e6);
}

Status split(const ModelOptions& options) {
    const File file(options.file);
    if (file.get() < 0) return fail(Errc::not_found, options.file + " cannot be opened: " + std::strerror(errno));
    const Wanted wanted = TRY(wanted_of_file(options, file.get()));
    PieceFolder folder = TRY(PieceFolder::open_to_write(options.out));
    {
        Bar bar("writing", wanted.bytes);
        for (const wire::Piece& piece : wanted.pieces) {
            TRY(folder.put(piece, file.get(), [&bar](std::uint64_t bytes) {
                bar.add(bytes);
                return interrupted == 0;
            }));
        }
    }
    TRY(folder.put_manifest(wanted.manifest));
    fmt::print("model {}\n{} of {} pieces, {}, in {}\n", wanted.manifest.model.hex(), wanted.pieces.size(),
               wanted.manifest.pieces.size(), size_text(wanted.bytes), options.out);
    return ok();
}

Status verify_manifest(const PieceFolder& folder, const std::string& path, const std::string& layers) {
    // Whoever made the folder made this name, too.
    const std::string shown = wire::plain_text(path, 512);
    const File file(path);
    if (file.get() < 0) return fail(Errc::io, shown + " cannot be opened: " + std::strerror(errno));
    Bar none("", 0);
    const auto checked = ask_worker("--check-manifest", file.get(), layers, none);
    if (!checked) return fail(checked.error().code, shown + ": " + checked.error().message);
    const Bytes encoded = TRY(store::read_file(path, wire::manifest_bytes_max));
    const Wanted wanted = wanted_of(TRY(wire::decode_manifest(encoded)), layers, checked->pieces);
    if (std::filesystem::path(path).stem() != wanted.manifest.model.hex()) {
        return fail(Errc::invalid, shown + " is of the model " + wanted.manifest.model.hex() +
                                       ", and nobody finds it under this name: rename it");
    }
    std::uint64_t wrong = 0;
    {
        Bar bar("checking", wanted.bytes);
        for (const wire::Piece& piece : wanted.pieces) {
            Status good = folder.check(piece, [&bar](std::uint64_t bytes) {
                bar.add(bytes);
                return interrupted == 0;
            });
            if (!good && good.error().code == Errc::cancelled) return good;
            if (!good) fmt::print("{}\n", good.error().message);
            wrong += good ? 0 : 1;
        }
    }
    if (wrong > 0) {
        return fail(Errc::unauthenticated, fmt::format("{} of {} pieces of model {} are missing or wrong; shoal model "
                                                       "split writes those that are missing",
                                                       wrong, wanted.pieces.size(), wanted.manifest.model.brief()));
    }
    fmt::print("model {}\n{} pieces, {}, all as they should be\n", wanted.manifest.model.hex(), wanted.pieces.size(),
               size_text(wanted.bytes));
    return ok();
}

Status verify(const ModelOptions& options) {
    const PieceFolder folder = TRY(PieceFolder::open_to_read(options.directory));
    const std::vector<std::string> manifests = TRY(backend::PieceFiles(options.directory).manifests());
    Status found = ok();
    for (const std::string& path : manifests) {
        const Status good = verify_manifest(folder, path, options.layers);
        if (good || good.error().code == Errc::cancelled) {
            TRY(good);
            continue;
        }
        if (!found) fmt::print(stderr, "shoal: {}\n", found.error().message);
        found = good.error();
    }
    return found;
}

}  // namespace

void declare_model(CLI::App& app, ModelOptions& options) {
    const auto are_parts = [](const std::string& text) -> std::string {
        std::size_t ranges = 0;
        for (std::size_t from = 0; from <= text.size();) {
            const std::size_t comma = std::min(text.find(',', from), text.size());
            const std::string_view word = std::string_view(text).substr(from, comma - from);
            if (word != "ends" && !parse_layers(word)) {
                return "must be FIRST-END, where END is one behind the last layer, or ends, or several with commas";
            }
            if (word != "ends" && ++ranges > wire::shard_parts_max) {
                return fmt::format("has more than {} ranges: join those that touch", wire::shard_parts_max);
            }
            from = comma + 1;
        }
        return {};
    };
    CLI::App* model = app.add_subcommand("model", "cut a model into pieces, or check the pieces of one");
    model->require_subcommand(1);
    CLI::App* cut =
        model->add_subcommand("split", "cut a model into pieces, so that a node needs only its layers' bytes");
    cut->add_option("file", options.file, "GGUF file")->required();
    const char* layers =
        "only the pieces of these: FIRST-END, layers FIRST to END - 1; ends, what a lead reads of no layer; or several "
        "with commas";
    cut->add_option("--layers", options.layers, layers)->check(are_parts);
    cut->add_option("--out", options.out, "folder for the pieces; made when missing")->required();
    CLI::App* check =
        model->add_subcommand("verify", "read all pieces of a folder again, and hold them to their names");
    check->add_option("--layers", options.layers, layers)->check(are_parts);
    check->add_option("folder", options.directory, "folder that shoal model split wrote")->required();
}

int run_model(const CLI::App& app, const ModelOptions& options) {
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::signal(SIGTERM, [](int) { interrupted = 1; });
    const bool splits = app.get_subcommand("model")->got_subcommand("split");
    const Status done = splits ? split(options) : verify(options);
    if (done) return 0;
    std::fflush(stdout);
    fmt::print(stderr, "shoal: {}\n", done.error().message);
    return 1;
}

}  // namespace shoal::app
