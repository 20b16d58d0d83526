// Secrets by type. They wipe themselves, cannot be printed, and name where they may travel: the lint bans the names
// Plaintext and TokenIds in link, circuit, directory, ledger, net and store.
#pragma once

#include <string>
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

// What a person wrote or a model answered. Movable, wiped, never logged.
class Plaintext {
public:
    Plaintext() = default;
    explicit Plaintext(std::string text) : text_(std::move(text)) {}
    Plaintext(const Plaintext&) = default;
    Plaintext& operator=(const Plaintext&) = default;
    Plaintext(Plaintext&& other) noexcept : text_(std::move(other.text_)) { other.clear(); }
    Plaintext& operator=(Plaintext&& other) noexcept {
        if (this != &other) {
            clear();
            text_ = std::move(other.text_);
            other.clear();
        }
        return *this;
    }
    ~Plaintext() { clear(); }

    const std::string& expose() const { return text_; }
    std::size_t size() const { return text_.size(); }
    bool empty() const { return text_.empty(); }
    void append(std::string_view more) { text_.append(more); }
    void clear() {
        wipe(text_.data(), text_.size());
        text_.clear();
    }
    friend bool operator==(const Plaintext&, const Plaintext&) = default;

private:
    std::string text_;
};

// Token ids give the text away as surely as the text does.
class TokenIds {
public:
    TokenIds() = default;
    explicit TokenIds(std::vector<std::int32_t> ids) : ids_(std::move(ids)) {}
    TokenIds(TokenIds&&) noexcept = default;
    TokenIds& operator=(TokenIds&&) noexcept = default;
    TokenIds(const TokenIds&) = default;
    TokenIds& operator=(const TokenIds&) = default;
    ~TokenIds() { wipe(ids_.data(), ids_.size() * sizeof(std::int32_t)); }
    const std::vector<std::int32_t>& expose() const { return ids_; }
    std::vector<std::int32_t>& expose() { return ids_; }

private:
    std::vector<std::int32_t> ids_;
};

}  // namespace shoal
