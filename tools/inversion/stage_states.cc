// What a hop of a boomerang gets, at every depth of the cut, and the search of its tokens. See --help and README.md.
//
// The states are those of the product: the same stages (engine_worker/stage.h), rounded as they travel.
#include <fcntl.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "crypto/init.h"
#include "engine_worker/activation.h"
#include "engine_worker/devices.h"
#include "engine_worker/embedding.h"
#include "engine_worker/model.h"
#include "engine_worker/stage.h"

namespace shoal::engine_worker {
namespace {

constexpr const char* help =
    "stage_states [--backends FOLDER] [--type f32|f16|q8_0] dump MODEL CONVERSATIONS OUT\n"
    "  CONVERSATIONS: a line each, a JSON list of [role, text]. Into the folder OUT: tokens, lengths, special (i32),\n"
    "  embedding (f32 [vocabulary, width]) and depth-D (f32 [tokens, width]) for each D from 0 to the number of "
    "layers:\n"
    "  the state behind D layers. Prints one line of JSON.\n"
    "stage_states [--backends FOLDER] [--type f32|f16|q8_0] search MODEL OUT DEPTH CANDIDATES\n"
    "  Searches the tokens of what dump wrote, from depth-DEPTH and the model's first DEPTH layers alone: tries the\n"
    "  tokens in the order of CANDIDATES (i32 [tokens, any], likeliest first; then all others) until a state is near\n"
    "  the one that was seen. A row of CANDIDATES that begins with -1 is given for known: the template's own tokens.\n"
    "  Prints one line of JSON.\n";

// A state counts as found within this distance, as a share of its length: far more than rounding to q8_0 makes, far
// less than another token does.
constexpr double near_enough = 0.02;
constexpr std::uint32_t cells = 1024;
constexpr std::size_t rows_max = 512;

struct Settings {
    std::string backends;
    wire::ActivationType type = wire::ActivationType::f16;
};

class ModelFile {
public:
    explicit ModelFile(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~ModelFile() {
        if (descriptor_ >= 0) close(descriptor_);
    }
    ModelFile(const ModelFile&) = delete;
    ModelFile& operator=(const ModelFile&) = delete;
    int descriptor() const { return descriptor_; }

private:
    int descriptor_;
};

template <typename T>
void write_numbers(const std::string& path, const std::vector<T>& numbers) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(numbers.data()), static_cast<std::streamsize>(numbers.size() * sizeof(T)));
}

template <typename T>
std::vector<T> read_numbers(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const auto bytes = file ? static_cast<std::size_t>(file.tellg()) : 0;
    std::vector<T> out(bytes / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(T)));
    return out;
}

Result<ChatRequest> conversation_of(const std::string& line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_array() || json.empty()) return fail(Errc::malformed, "a line is no list of [role, text]");
    ChatRequest out;
    for (const auto& turn : json) {
        const std::string role = turn.at(0).get<std::string>();
        const Role who = role == "system" ? Role::system : role == "user" ? Role::user : Role::assistant;
        out.messages.push_back({who, Plaintext(turn.at(1).get<std::string>())});
    }
    return out;
}

StageOptions stage_options() {
    StageOptions out;
    out.cells = cells;
    out.rows_max = rows_max;
    out.threads = default_threads();
    return out;
}

// As it arrives: rounded on its way.
Result<std::vector<float>> travelled(const Settings& settings, std::uint32_t width, std::span<const float> rows) {
    const Bytes tensor = TRY(to_activation(settings.type, width, rows));
    return from_activation(settings.type, width, tensor);
}

std::vector<Place> places_from(std::size_t first, std::size_t count) {
    std::vector<Place> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back({static_cast<std::int32_t>(first + i), 0, false});
    return out;
}

// ---- dump ---------------------------------------------------------------------------------------------------------

struct Texts {
    std::vector<std::int32_t> tokens, lengths, special;
};

Result<Texts> read_texts(const Model& model, const std::string& path) {
    Texts out;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const ChatRequest request = TRY(conversation_of(line));
        const std::vector<Segment> segments = TRY(model.chat_template->render(request));
        const TokenIds ids = model.tokenizer->tokenize(segments);
        const std::size_t count = std::min(ids.expose().size(), rows_max);
        out.lengths.push_back(static_cast<std::int32_t>(count));
        for (std::size_t i = 0; i < count; ++i) {
            out.tokens.push_back(ids.expose()[i]);
            out.special.push_back(model.tokenizer->is_special(ids.expose()[i]) ? 1 : 0);
        }
    }
    if (out.tokens.empty()) return fail(Errc::not_found, path + " has no conversation");
    return out;
}

Status dump(const Settings& settings, const std::string& path, const std::string& from, const std::string& to) {
    const ModelFile file(path);
    engine::pipe::Load load;
    load.threads = default_threads();
    OpenedModel opened = TRY(open_whole_model(file.descriptor(), [](double) {}));
    const EndsOfModel ends = TRY(load_ends(std::move(opened), load));
    const ModelShape& shape = ends.whole.shape();
    const Embedding embedding = TRY(Embedding::open(ends.whole));
    const Texts texts = TRY(read_texts(ends.model, from));
    write_numbers(to + "/tokens", texts.tokens);
    write_numbers(to + "/lengths", texts.lengths);
    write_numbers(to + "/special", texts.special);
    std::vector<std::int32_t> all(shape.vocabulary);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
    const std::vector<float> table = TRY(embedding.rows(all));
    write_numbers(to + "/embedding", table);
    std::vector<float> states = TRY(embedding.rows(texts.tokens));
    for (std::uint32_t depth = 0; depth <= shape.layers; ++depth) {
        if (depth > 0) {
            const Shard shard = TRY(ends.whole.cut_without_head({depth - 1, depth}));
            const std::unique_ptr<Stage> stage = TRY(Stage::load(shard, stage_options(), [](double) {}));
            std::size_t at = 0;
            for (const std::int32_t length : texts.lengths) {
                const auto count = static_cast<std::size_t>(length);
                const auto in = std::span(states).subspan(at * shape.width, count * shape.width);
                const std::span<const float> out = TRY(stage->run(in, places_from(0, count)));
                std::copy(out.begin(), out.end(), in.begin());
                TRY(stage->truncate(0, 0));
                at += count;
            }
        }
        const std::vector<float> seen = TRY(travelled(settings, shape.width, states));
        write_numbers(to + "/depth-" + std::to_string(depth), seen);
    }
    std::cout << nlohmann::json{{"model", ends.model.info.id.hex()},
                                {"layers", shape.layers},
                                {"width", shape.width},
                                {"vocabulary", shape.vocabulary},
                                {"tokens", texts.tokens.size()},
                                {"conversations", texts.lengths.size()}}
                     .dump()
              << "\n";
    return ok();
}

// ---- search -------------------------------------------------------------------------------------------------------

double distance(std::span<const float> a, std::span<const float> b) {
    double difference = 0, length = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
        length += static_cast<double>(b[i]) * b[i];
    }
    return std::sqrt(difference / std::max(length, 1e-30));
}

// Knows the model's first layers, and what was seen behind them. Works its way from the first token to the last, since
// a state depends on no token that comes later.
class Search {
public:
    Search(Stage& stage, const std::vector<float>& table, std::uint32_t vocabulary)
        : stage_(stage), table_(table), vocabulary_(vocabulary) {}

    // The token at this position whose state is the one that was seen; the stage then holds it. `likely` come first.
    Result<std::int32_t> find(std::size_t position, std::span<const float> seen, std::span<const std::int32_t> likely) {
        std::vector<bool> tried(vocabulary_);
        double best = 1e30;
        std::int32_t token = 0;
        const auto attempt = [&](std::int32_t candidate) -> Result<bool> {
            if (candidate < 0 || static_cast<std::uint32_t>(candidate) >= vocabulary_ || tried[candidate]) return false;
            tried[candidate] = true;
            ++tries;
            const double now = distance(TRY(state(position, candidate)), seen);
            if (now < best) {
                best = now;
                token = candidate;
            }
            if (now < near_enough) return true;
            TRY(stage_.truncate(0, static_cast<std::int32_t>(position)));
            return false;
        };
        for (const std::int32_t candidate : likely) {
            if (TRY(attempt(candidate))) return token;
        }
        for (std::uint32_t candidate = 0; candidate < vocabulary_; ++candidate) {
            if (TRY(attempt(static_cast<std::int32_t>(candidate)))) return token;
        }
        TRY(keep(position, token));
        return token;
    }
    Status keep(std::size_t position, std::int32_t token) {
        TRY(state(position, token));
        return ok();
    }

    std::size_t tries = 0;

private:
    Result<std::span<const float>> state(std::size_t position, std::int32_t token) {
        const std::size_t width = stage_.width();
        return stage_.run(std::span(table_).subspan(static_cast<std::size_t>(token) * width, width),
                          places_from(position, 1));
    }

    Stage& stage_;
    const std::vector<float>& table_;
    std::uint32_t vocabulary_;
};

Status search(const std::string& path, const std::string& folder, std::uint32_t depth, const std::string& candidates) {
    const ModelFile file(path);
    const OpenedModel opened = TRY(open_whole_model(file.descriptor(), [](double) {}));
    const ModelShape& shape = opened.model.shape();
    const Shard shard = TRY(opened.model.cut_without_head({0, depth}));
    const std::unique_ptr<Stage> stage = TRY(Stage::load(shard, stage_options(), [](double) {}));
    const auto table = read_numbers<float>(folder + "/embedding");
    const auto seen = read_numbers<float>(folder + "/depth-" + std::to_string(depth));
    const auto tokens = read_numbers<std::int32_t>(folder + "/tokens");
    const auto lengths = read_numbers<std::int32_t>(folder + "/lengths");
    const auto order = read_numbers<std::int32_t>(candidates);
    if (tokens.empty() || seen.size() != tokens.size() * shape.width || order.size() % tokens.size() != 0) {
        return fail(Errc::invalid, folder + " is not what dump writes, or has other candidates");
    }
    const std::size_t each = order.size() / tokens.size();
    Search searching(*stage, table, shape.vocabulary);
    std::size_t at = 0, searched = 0, found = 0;
    for (const std::int32_t length : lengths) {
        for (std::size_t position = 0; position < static_cast<std::size_t>(length); ++position, ++at) {
            const auto likely = std::span(order).subspan(at * each, each);
            if (!likely.empty() && likely.front() == -1) {
                TRY(searching.keep(position, tokens[at]));
                continue;
            }
            const auto state = std::span(seen).subspan(at * shape.width, shape.width);
            found += TRY(searching.find(position, state, likely)) == tokens[at] ? 1 : 0;
            ++searched;
        }
        TRY(stage->truncate(0, 0));
    }
    std::cout << nlohmann::json{{"searched", searched}, {"found", found}, {"tries", searching.tries}}.dump() << "\n";
    return ok();
}

std::optional<wire::ActivationType> type_of(const std::string& name) {
    if (name == "f32") return wire::ActivationType::f32;
    if (name == "f16") return wire::ActivationType::f16;
    if (name == "q8_0") return wire::ActivationType::q8_0;
    return std::nullopt;
}

int run(std::vector<std::string> words) {
    Settings settings;
    while (words.size() > 1 && words[0].starts_with("--")) {
        if (words[0] == "--backends") settings.backends = words[1];
        const auto type = words[0] == "--type" ? type_of(words[1]) : std::nullopt;
        if (type) settings.type = *type;
        if (words[0] != "--backends" && !type) break;
        words.erase(words.begin(), words.begin() + 2);
    }
    const bool dumps = words.size() == 4 && words[0] == "dump", searches = words.size() == 5 && words[0] == "search";
    if (!dumps && !searches) {
        std::fputs(help, stderr);
        return 2;
    }
    crypto::init();
    Status done = load_backends(settings.backends);
    if (done && dumps) done = dump(settings, words[1], words[2], words[3]);
    if (done && searches) {
        const auto depth = static_cast<std::uint32_t>(std::strtoul(words[3].c_str(), nullptr, 10));
        done = search(words[1], words[2], depth, words[4]);
    }
    if (done) return 0;
    std::fprintf(stderr, "stage_states: %s\n", done.error().message.c_str());
    return 1;
}

}  // namespace
}  // namespace shoal::engine_worker

int main(int argc, char** argv) {
    return shoal::engine_worker::run({argv + 1, argv + argc});
}
