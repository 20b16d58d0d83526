#include "app/toml_reader.h"

#include "store/files.h"

namespace shoal::app {
namespace {

constexpr std::size_t toml_bytes_max = 256 * 1024;

}  // namespace

Result<toml::table> read_toml(const std::string& path) {
    const Bytes bytes = TRY(store::read_file(path, toml_bytes_max));
    try {
        return toml::table(toml::parse(as_text(bytes), path));
    } catch (const toml::parse_error& e) {
        return fail(Errc::malformed, fmt::format("{}:{}: {}", path, e.source().begin.line, e.description()));
    }
}

const toml::node* TomlReader::find(const char* key) {
    known_.insert(key);
    return table_.get(key);
}

Error TomlReader::bad(const char* key, const std::string& why) const {
    const toml::node* node = table_.get(key);
    const auto line = (node == nullptr ? table_.source() : node->source()).begin.line;
    return fail(Errc::invalid, fmt::format("line {}: {} {}: {}", line, what_, key, why));
}

Error TomlReader::missing(const char* key) const {
    return fail(Errc::malformed, fmt::format("line {}: {}: {} is missing", table_.source().begin.line, what_, key));
}

Result<std::string> TomlReader::text(const char* key, std::optional<std::string> fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback ? Result<std::string>(*fallback) : missing(key);
    const auto value = node->value_exact<std::string>();
    return value ? Result<std::string>(*value) : bad(key, "must be text");
}

Result<std::uint64_t> TomlReader::whole(const char* key, std::optional<std::uint64_t> fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback ? Result<std::uint64_t>(*fallback) : missing(key);
    const auto value = node->value_exact<std::int64_t>();
    if (!value || *value < 0) return bad(key, "must be a whole number, not negative");
    return static_cast<std::uint64_t>(*value);
}

Result<double> TomlReader::number(const char* key, std::optional<double> fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback ? Result<double>(*fallback) : missing(key);
    const auto value = node->is_number() ? node->value<double>() : std::nullopt;
    if (!value || !(*value >= 0 && *value <= 1e15)) return bad(key, "must be a number, not negative");
    return *value;
}

Result<bool> TomlReader::flag(const char* key, bool fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    const auto value = node->value_exact<bool>();
    return value ? Result<bool>(*value) : bad(key, "must be true or false");
}

Result<std::vector<std::uint64_t>> TomlReader::list(const char* key, const toml::array& items) const {
    std::vector<std::uint64_t> out;
    for (const toml::node& item : items) {
        const auto value = item.value_exact<std::int64_t>();
        if (!value || *value < 0) return bad(key, "must be whole numbers, none negative");
        out.push_back(static_cast<std::uint64_t>(*value));
    }
    return out;
}

Result<std::vector<std::uint64_t>> TomlReader::wholes(const char* key) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::vector<std::uint64_t>{};
    return node->is_array() ? list(key, *node->as_array()) : bad(key, "must be a list of whole numbers");
}

Result<std::vector<std::uint64_t>> TomlReader::each(const char* key, std::size_t count,
                                                    std::optional<std::uint64_t> fallback) {
    const toml::node* node = find(key);
    if (node == nullptr || !node->is_array()) return std::vector<std::uint64_t>(count, TRY(whole(key, fallback)));
    std::vector<std::uint64_t> out = TRY(list(key, *node->as_array()));
    if (out.size() != count) return bad(key, fmt::format("must be one number, or {} of them", count));
    return out;
}

Result<std::vector<std::string>> TomlReader::texts(const char* key) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::vector<std::string>{};
    if (!node->is_array()) return std::vector<std::string>{TRY(text(key))};
    std::vector<std::string> out;
    for (const toml::node& item : *node->as_array()) {
        const auto value = item.value_exact<std::string>();
        if (!value) return bad(key, "must be text, or a list of text");
        out.push_back(*value);
    }
    return out;
}

Result<std::vector<const toml::table*>> TomlReader::tables(const char* key) {
    const toml::node* node = find(key);
    std::vector<const toml::table*> out;
    if (node == nullptr) return out;
    if (!node->is_array_of_tables()) return bad(key, fmt::format("must be tables, each headed [[{}]]", key));
    for (const toml::node& item : *node->as_array()) out.push_back(item.as_table());
    return out;
}

Status TomlReader::finish() const {
    for (const auto& [key, node] : table_) {
        if (!known_.contains(std::string(key.str()))) {
            return fail(Errc::unsupported,
                        fmt::format("line {}: {}: {} is not known", node.source().begin.line, what_, key.str()));
        }
    }
    return ok();
}

}  // namespace shoal::app
