// Comparison: over how many nodes a question is answered, and how many of them must give the same reply.
//
// Written "K/M": 2/3 asks three nodes and takes the reply that two of them give; 1/1 asks one and compares nothing.
// K is more than half of M. Rationale: two different replies must never both have enough nodes behind them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace shoal {

class Comparison {
public:
    Comparison() = default;  // 1/1
    // Errc::invalid: not of this form, or outside the rule, which the message says.
    static Result<Comparison> parse(std::string_view text);

    std::uint8_t needed() const { return needed_; }
    std::uint8_t nodes() const { return nodes_; }  // 1 to limits::compared_nodes_max
    bool compares() const { return nodes_ > 1; }
    std::string text() const;
    friend bool operator==(const Comparison&, const Comparison&) = default;

private:
    std::uint8_t needed_ = 1;
    std::uint8_t nodes_ = 1;
};

}  // namespace shoal
