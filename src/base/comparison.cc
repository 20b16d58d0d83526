#include "base/comparison.h"

#include "base/limits.h"

namespace shoal {

Result<Comparison> Comparison::parse(std::string_view text) {
    static_assert(limits::compared_nodes_max < 10, "one digit each");
    const auto digit = [&](std::size_t at) { return text[at] >= '1' && text[at] <= '9' ? text[at] - '0' : 0; };
    Comparison out;
    if (text.size() == 3 && text[1] == '/') {
        out.needed_ = static_cast<std::uint8_t>(digit(0));
        out.nodes_ = static_cast<std::uint8_t>(digit(2));
    }
    const bool in_range = text.size() == 3 && text[1] == '/' && out.needed_ >= 1 && out.nodes_ >= out.needed_ &&
                          out.nodes_ <= limits::compared_nodes_max;
    if (!in_range || 2 * out.needed_ <= out.nodes_) {
        return fail(Errc::invalid, "must be K/M: of M nodes, 1 to " + std::to_string(limits::compared_nodes_max) +
                                       ", K give the same reply, more than half of them; 1/1 compares nothing");
    }
    return out;
}

std::string Comparison::text() const {
    return std::to_string(needed_) + "/" + std::to_string(nodes_);
}

}  // namespace shoal
