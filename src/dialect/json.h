// JSON from a stranger, as a tree that is bounded before it is built. Only the .cc files of this room include this.
//
// Refused, with a reason that names the place: what RFC 8259 refuses, text that is not UTF-8, a byte order mark, lone
// surrogates, numbers outside the range of a double, more than limits::json_depth_max levels, more than
// limits::json_values_max values, and a key that occurs twice in one object.
//   Rationale: two readers of one text that resolve a repeated key differently disagree on what was asked; depth and
//   count are refused while they are read, so that a megabyte of brackets costs neither stack nor memory.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "dialect/api_error.h"

namespace shoal::dialect {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // for writing: fields in the order people know

// The tree of one text. Its strings may be a person's question: they are wiped with it.
class Document {
public:
    // 400 invalid_json.
    static ApiResult<Document> parse(std::string_view text);

    Document(Document&&) = default;
    Document& operator=(Document&&) = delete;
    Document(const Document&) = delete;
    Document& operator=(const Document&) = delete;
    ~Document();

    const Json& root() const { return root_; }

private:
    explicit Document(Json root) : root_(std::move(root)) {}
    Json root_;
};

// One line, without spaces; bytes that are not UTF-8 become U+FFFD.
template <typename AnyJson>
std::string dump(const AnyJson& value) {
    return value.dump(-1, ' ', false, AnyJson::error_handler_t::replace);
}

}  // namespace shoal::dialect
