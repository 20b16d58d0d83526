// For tests only: reads the published vector files. They stand beside the checkout, or where SHOAL_VECTORS says.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/rng.h"

namespace shoal::crypto::test {

inline std::optional<std::string> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

// A file of protocol/vectors/: part of the repository, so it must be there.
inline std::string own_vectors(const std::string& name) {
    const auto text = read_file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/" + name);
    EXPECT_TRUE(text) << "protocol/vectors/" << name << " is missing";
    return text.value_or("");
}

// A published file, too large to keep here. nullopt when it is absent; see REQUIRE_VECTORS.
inline std::optional<std::string> published_vectors(const std::string& name) {
    const char* folder = std::getenv("SHOAL_VECTORS");
    const std::string base = folder != nullptr ? folder : std::string(SHOAL_SOURCE_DIR) + "/../shared/vectors";
    return read_file(base + "/" + name);
}

#define REQUIRE_VECTORS(text, name)                                   \
    const auto text = ::shoal::crypto::test::published_vectors(name); \
    if (!text) GTEST_SKIP() << "NOT TESTED: " << (name) << " not found; set SHOAL_VECTORS to the folder with it"

inline Bytes unhex(const std::string& hex) {
    const auto bytes = from_hex(hex);
    EXPECT_TRUE(bytes) << "not hexadecimal: " << hex;
    return bytes.value_or(Bytes{});
}
template <std::size_t N>
ByteArray<N> unhex_array(const std::string& hex) {
    const Bytes bytes = unhex(hex);
    EXPECT_EQ(bytes.size(), N) << hex;
    return bytes.size() == N ? first_bytes<N>(bytes) : ByteArray<N>{};
}

// Gives the bytes of a vector where an implementation draws them.
class ReplayRng final : public Rng {
public:
    explicit ReplayRng(Bytes bytes) : bytes_(std::move(bytes)) {}
    void fill(ByteSpan out) override {
        ASSERT(out.size() <= bytes_.size() - used_);
        std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(used_), out.size(), out.begin());
        used_ += out.size();
    }
    bool spent() const { return used_ == bytes_.size(); }

private:
    Bytes bytes_;
    std::size_t used_ = 0;
};

// The scalars of one JSON object; element i of an array `a` is named "a.i".
using Fields = std::map<std::string, std::string>;

// All objects of a JSON text, inner ones before those around them. Knows as much of JSON as vector files use.
class JsonObjects {
public:
    static std::vector<Fields> read(const std::string& text) { return JsonObjects(text).all_; }

private:
    explicit JsonObjects(const std::string& text) : text_(text) {
        skip();
        value(nullptr, "");
    }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip() {
        while (at_ < text_.size() && std::string_view(" \t\r\n,:").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    std::string string() {
        std::string out;
        for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
            if (text_[at_] == '\\') ++at_;
            out.push_back(peek());
        }
        ++at_;
        return out;
    }
    void value(Fields* parent, const std::string& name) {
        if (peek() == '{') {
            object();
        } else if (peek() == '[') {
            ++at_;
            std::size_t index = 0;
            for (skip(); peek() != ']' && peek() != '\0'; skip()) value(parent, name + "." + std::to_string(index++));
            ++at_;
        } else if (peek() == '"') {
            std::string text = string();
            if (parent != nullptr) (*parent)[name] = std::move(text);
        } else {
            std::string word;
            while (at_ < text_.size() && std::string_view(" \t\r\n,]}").find(peek()) == std::string_view::npos) {
                word.push_back(text_[at_++]);
            }
            if (word.empty()) ++at_;  // no JSON; go on rather than stand still
            if (parent != nullptr) (*parent)[name] = std::move(word);
        }
    }
    void object() {
        Fields fields;
        ++at_;
        for (skip(); peek() != '}' && peek() != '\0'; skip()) {
            const std::string name = string();
            skip();
            value(&fields, name);
        }
        ++at_;
        all_.push_back(std::move(fields));
    }

    const std::string& text_;
    std::size_t at_ = 0;
    std::vector<Fields> all_;
};

// The objects that have all of these fields.
inline std::vector<Fields> objects_with(const std::string& text, const std::vector<std::string>& names) {
    std::vector<Fields> out;
    for (Fields& fields : JsonObjects::read(text)) {
        bool all = true;
        for (const auto& name : names) all = all && fields.contains(name);
        if (all) out.push_back(std::move(fields));
    }
    return out;
}

}  // namespace shoal::crypto::test
