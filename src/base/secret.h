// Secrets by type. They wipe themselves, cannot be printed, and name where they may travel: the lint bans the names
// Plaintext and TokenIds in link, circuit, directory, ledger, net and store.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace shoal {

// Overwrites memory in a way that the compiler keeps.
void wipe(void* at, std::size_t count);

// A fixed-size key. Copies are explicit (clone); the source of a move is wiped.
template <typename T>
class Sensitive {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    Sensitive() = default;
    explicit Sensitive(const T& value) : value_(value) {}
    Sensitive(const Sensitive&) = delete;
    Sensitive& operator=(const Sensitive&) = delete;
    Sensitive(Sensitive&& other) noexcept : value_(other.value_) { other.clear(); }
    Sensitive& operator=(Sensitive&& other) noexcept {
        if (this != &other) {
            value_ = other.value_;
            other.clear();
        }
        return *this;
    }
    ~Sensitive() { clear(); }

    Sensitive clone() const { return Sensitive(value_); }
    // The name is the warning: what is exposed must not be copied to a longer-lived place.
    const T& expose() const { return value_; }
    T& expose() { return value_; }
    void clear() { wipe(&value_, sizeof value_); }

private:
    T value_{};
};

using Key32 = Sensitive<ByteArray<32>>;

// What a person wrote or a model answered. Movable, wiped, never logged. Every buffer that the text leaves, by growth,
// by assignment or by a move, is wiped to its full capacity: short texts live inside the object and would stay there.
class Plaintext {
public:
    Plaintext() = default;
    explicit Plaintext(std::string&& text) { take(text); }
    explicit Plaintext(std::string_view text) : text_(text) {}
    explicit Plaintext(const char* text) : text_(text) {}
    Plaintext(const Plaintext&) = default;
    Plaintext& operator=(const Plaintext& other) {
        if (this != &other) {
            std::string copy = other.text_;
            take(copy);
        }
        return *this;
    }
    Plaintext(Plaintext&& other) noexcept { take(other.text_); }
    Plaintext& operator=(Plaintext&& other) noexcept {
        if (this != &other) take(other.text_);
        return *this;
    }
    ~Plaintext() { wipe_all(text_); }

    const std::string& expose() const { return text_; }
    std::size_t size() const { return text_.size(); }
    bool empty() const { return text_.empty(); }
    void append(std::string_view more) {
        if (more.size() > text_.capacity() - text_.size()) {
            std::string grown;
            grown.reserve(std::max(text_.size() + more.size(), 2 * text_.capacity()));
            grown.append(text_);
            grown.append(more);
            take(grown);
        } else {
            text_.append(more);
        }
    }
    // Keeps the capacity.
    void clear() { wipe_all(text_); }
    friend bool operator==(const Plaintext&, const Plaintext&) = default;

private:
    static void wipe_all(std::string& text) {
        text.resize(text.capacity());  // within the capacity: nothing moves
        wipe(text.data(), text.size());
        text.clear();
    }
    // Leaves `from` empty and wiped.
    void take(std::string& from) noexcept {
        wipe_all(text_);
        text_.swap(from);
        wipe_all(from);
    }
    std::string text_;
};

// Token ids give the text away as surely as the text does. What is filled through expose() is reserved before: growth
// there would leave a copy behind.
class TokenIds {
public:
    TokenIds() = default;
    explicit TokenIds(std::vector<std::int32_t> ids) : ids_(std::move(ids)) {}
    TokenIds(TokenIds&&) noexcept = default;
    TokenIds& operator=(TokenIds&& other) noexcept {
        if (this != &other) {
            clear();
            ids_ = std::move(other.ids_);
        }
        return *this;
    }
    TokenIds(const TokenIds&) = default;
    TokenIds& operator=(const TokenIds& other) {
        if (this != &other) {
            clear();
            ids_ = other.ids_;
        }
        return *this;
    }
    ~TokenIds() { clear(); }
    const std::vector<std::int32_t>& expose() const { return ids_; }
    std::vector<std::int32_t>& expose() { return ids_; }
    void append(std::int32_t id) {
        if (ids_.size() == ids_.capacity()) {
            std::vector<std::int32_t> grown;
            grown.reserve(std::max<std::size_t>(2 * ids_.size(), 64));
            grown.assign(ids_.begin(), ids_.end());
            cut_to(0);
            ids_.swap(grown);
        }
        ids_.push_back(id);
    }
    // Keeps the first `count`.
    void cut_to(std::size_t count) {
        wipe(ids_.data() + count, (ids_.size() - count) * sizeof(std::int32_t));
        ids_.resize(count);
    }
    void clear() { cut_to(0); }

private:
    std::vector<std::int32_t> ids_;
};

}  // namespace shoal
