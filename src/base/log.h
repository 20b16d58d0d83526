// The interface to logging. app owns the sink; every other room gets a reference or stays silent.
//
// There is no overload for Sensitive, Plaintext or TokenIds, and none can be converted to text: a secret in a log
// line does not compile.
#pragma once

#include <string_view>

namespace shoal {

enum class LogLevel : unsigned char { debug, info, warn, error };

class Log {
public:
    virtual ~Log() = default;
    // One line, without the newline. Never a prompt, a reply, a key or a user's address.
    virtual void write(LogLevel level, std::string_view room, std::string_view line) = 0;
};

// Swallows everything: for tests and tools.
class NullLog final : public Log {
public:
    void write(LogLevel, std::string_view, std::string_view) override {}
};

}  // namespace shoal
