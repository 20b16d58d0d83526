#include "dialect/json.h"

#include <vector>

#include "base/limits.h"
#include "base/secret.h"

namespace shoal::dialect {
namespace {

void wipe_strings(Json& value) {
    if (auto* text = value.get_ptr<std::string*>()) {
        wipe(text->data(), text->size());
    } else if (value.is_structured()) {
        for (Json& child : value) wipe_strings(child);  // depth is at most json_depth_max
    }
}

// Builds the tree from nlohmann's events and stops it at the first thing that is refused.
class TreeBuilder final : public nlohmann::json_sax<Json> {
public:
    bool null() override { return add(Json(nullptr)); }
    bool boolean(bool value) override { return add(Json(value)); }
    bool number_integer(Json::number_integer_t value) override { return add(Json(value)); }
    bool number_unsigned(Json::number_unsigned_t value) override { return add(Json(value)); }
    bool number_float(Json::number_float_t value, const std::string&) override { return add(Json(value)); }
    bool string(std::string& value) override {
        const bool added = add(Json(value));
        wipe(value.data(), value.size());  // the reader's own buffer
        return added;
    }
    bool binary(Json::binary_t&) override { return refuse("binary values are not JSON"); }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(std::string& name) override {
        if (open_.back()->contains(name)) {
            return refuse("the key \"" + printable(name, 64) + "\" occurs twice in one object", printable(name, 64));
        }
        key_ = name;
        return true;
    }

    // nlohmann's own text quotes what it last read, which may be a part of the prompt: only the place is kept.
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        return refuse("the body is not valid JSON (UTF-8, RFC 8259): error at byte " + std::to_string(position));
    }

    Json take() { return std::move(root_); }
    void wipe_tree() { wipe_strings(root_); }
    ApiError error() && { return std::move(error_); }

private:
    bool refuse(std::string message, std::optional<std::string> param = std::nullopt) {
        error_ = invalid_request("invalid_json", std::move(param), std::move(message));
        return false;
    }

    Json* place(Json value) {
        if (++values_ > limits::json_values_max) {
            refuse("the body has more than " + std::to_string(limits::json_values_max) + " values");
            return nullptr;
        }
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        Json& parent = *open_.back();
        if (parent.is_array()) {
            // An array grows only while none of its elements is open, so the pointers in open_ stay good.
            parent.push_back(std::move(value));
            return &parent.back();
        }
        return &(parent[key_] = std::move(value));
    }
    bool add(Json value) { return place(std::move(value)) != nullptr; }
    bool open(Json value) {
        if (open_.size() >= limits::json_depth_max) {
            return refuse("the body is nested deeper than " + std::to_string(limits::json_depth_max) + " levels");
        }
        Json* at = place(std::move(value));
        if (at != nullptr) open_.push_back(at);
        return at != nullptr;
    }
    bool close() {
        open_.pop_back();
        return true;
    }

    Json root_;
    std::vector<Json*> open_;  // bounded: json_depth_max
    std::string key_;
    std::size_t values_ = 0;
    ApiError error_;
};

}  // namespace

ApiResult<Document> Document::parse(std::string_view text) {
    // nlohmann would skip the mark in silence; RFC 8259 section 8.1 forbids sending one.
    if (text.starts_with("\xEF\xBB\xBF")) {
        return invalid_request("invalid_json", {}, "the body begins with a byte order mark: send plain UTF-8");
    }
    // A zero byte is nowhere in JSON, but to nlohmann it is the end: what follows would not be read.
    if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
        return invalid_request("invalid_json", {}, "the body has a zero byte at byte " + std::to_string(at + 1));
    }
    TreeBuilder builder;
    if (!Json::sax_parse(text, &builder)) {
        builder.wipe_tree();
        return std::move(builder).error();
    }
    return Document(builder.take());
}

Document::~Document() {
    wipe_strings(root_);
}

}  // namespace shoal::dialect
