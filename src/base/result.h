// Result<T>: a value, or the reason why there is none.
//
// Used for everything that the world can make fail. A function that returns Result says in its comment which codes it
// gives. TRY(expr) yields the value or returns the error from the calling function; it needs a function that returns
// some Result, and does not work inside a coroutine.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace shoal {

// What kind of failure; the caller may branch on it. The message is for people.
enum class Errc : unsigned char {
    malformed,        // bytes or text that do not parse
    invalid,          // parses, but a value is out of range or contradicts another
    unsupported,      // understood and refused by design
    unauthenticated,  // a signature, tag or identity that does not hold
    expired,          // too old, or not valid yet
    replayed,         // seen before
    not_found,
    exhausted,    // a limit of base/limits.h is reached
    unavailable,  // cannot be done now; later may be different
    timeout,
    cancelled,
    io,        // the operating system said no
    internal,  // the other side reports a fault of its own
};

const char* errc_name(Errc code);

struct Error {
    Errc code;
    std::string message;
};

struct Unit {};

template <typename T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return state_.index() == 0; }
    bool has_value() const { return state_.index() == 0; }

    T& value() & {
        ASSERT(has_value());
        return *std::get_if<0>(&state_);
    }
    const T& value() const& {
        ASSERT(has_value());
        return *std::get_if<0>(&state_);
    }
    T&& value() && {
        ASSERT(has_value());
        return std::move(*std::get_if<0>(&state_));
    }
    const Error& error() const {
        ASSERT(!has_value());
        return *std::get_if<1>(&state_);
    }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }

private:
    std::variant<T, Error> state_;
};

using Status = Result<Unit>;
inline Status ok() {
    return Unit{};
}

inline Error fail(Errc code, std::string message) {
    return Error{code, std::move(message)};
}

}  // namespace shoal

#define TRY(expr)                                     \
    ({                                                \
        auto&& try_result_ = (expr);                  \
        if (!try_result_) return try_result_.error(); \
        std::move(try_result_).value();               \
    })
