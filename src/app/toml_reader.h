// A TOML table, read key by key: what is missing, of another kind or not known is said with its place.
#pragma once

#include <fmt/format.h>
#include <toml++/toml.h>

#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace shoal::app {

// Reads the file. Errc of store/files.h, or Errc::malformed with the line.
Result<toml::table> read_toml(const std::string& path);

class TomlReader {
public:
    // `what` names the table in errors, as "[model]". Both must outlive the reader.
    TomlReader(const toml::table& table, std::string what) : table_(table), what_(std::move(what)) {}

    // Each getter marks its key as known. Without a `fallback` the key must be there.
    Result<std::string> text(const char* key, std::optional<std::string> fallback = std::nullopt);
    Result<std::uint64_t> whole(const char* key, std::optional<std::uint64_t> fallback = std::nullopt);
    Result<double> number(const char* key, std::optional<double> fallback = std::nullopt);
    Result<bool> flag(const char* key, bool fallback);
    // One whole number for all, or a list with exactly `count` of them.
    Result<std::vector<std::uint64_t>> each(const char* key, std::size_t count,
                                            std::optional<std::uint64_t> fallback = std::nullopt);
    // Any number of items; empty when the key is not there.
    Result<std::vector<std::uint64_t>> wholes(const char* key);
    Result<std::vector<std::string>> texts(const char* key);
    Result<std::vector<const toml::table*>> tables(const char* key);
    bool has(const char* key) const { return table_.contains(key); }

    // Errc::unsupported: a key that nobody asked for.
    Status finish() const;
    Error bad(const char* key, const std::string& why) const;

private:
    const toml::node* find(const char* key);
    Error missing(const char* key) const;
    Result<std::vector<std::uint64_t>> list(const char* key, const toml::array& items) const;

    const toml::table& table_;
    std::string what_;
    std::set<std::string> known_;  // bounded: keys that the code asks for
};

}  // namespace shoal::app
