// Which architectures can be cut into stages, where, and what a stage of them needs that plain renumbering forgets.
//
// A stage is written as an ordinary model of fewer blocks (shard.h), and the library decides much by a block's number
// or by how many there are. Where that is not put right, answers are wrong by a few hundredths of a logit and nothing
// fails. So what is not in this table is refused by name, and every entry has a test against the uncut model
// (equivalence_test.cc).
//
// Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace shoal::engine_worker {

// Blocks [first, end) of the whole model.
struct LayerRange {
    std::uint32_t first = 0;
    std::uint32_t end = 0;
    std::uint32_t count() const { return end - first; }
    friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

struct Architecture {
    std::string_view name;
    // 0: all blocks attend alike. Else block i looks at a sliding window when i % period < period - 1, unless the file
    // names the pattern itself.
    std::uint32_t window_period = 0;
    // The window exists only where the file gives its size; otherwise it has a default.
    bool window_is_optional = false;
    // The graph multiplies the embedding by sqrt(width) on its way to the first block.
    bool scales_embedding = false;
    // The tensor that the first block reads, as the library calls it.
    std::string_view entry = "embd";
    bool recurrent = false;
    // The last norm subtracts the mean, too.
    bool centred_norm = false;
    // Logits are bent by the file's final_logit_softcapping.
    bool bends_logits = false;
    // Stages begin at multiples of this: something repeats with the number of the block, and is written nowhere.
    std::uint32_t cut_multiple = 1;
    // Numbers of blocks by which the library recognises one published model and changes its arithmetic.
    std::array<std::uint32_t, 3> telling_counts = {};
    // Its layers can be divided among ranks (shard_ranks.cc), written as this architecture; empty: they cannot. Each
    // sub-layer must end with one product whose parts are summed, and what is summed must be added to the hidden state
    // as it is: a norm in between would be computed by each rank's own processor, and could differ in a bit. Another
    // name than its own where the library takes a rank's heads for all of them, and computes the same by that name.
    std::string_view divides_as = {};
    // A key without which the architecture is another model in all but name, after "<architecture>.".
    std::string_view needed_key = {};
};

// nullptr: not in the table.
const Architecture* find_architecture(std::string_view name);

// The names of the table, for people; those that divide.
std::string architecture_names();
std::string dividing_architecture_names();

// Whether a model of this many blocks can be cut at all. Errc::unsupported.
Status check_layers(const Architecture& kind, std::uint32_t layers);

// Whether blocks `range` can be a stage. `slides` says of every block of the whole model whether it looks at a window;
// empty: none does. Errc::invalid, with the cuts that are allowed.
Status check_range(const Architecture& kind, std::uint32_t layers, LayerRange range, const std::vector<bool>& slides);

}  // namespace shoal::engine_worker
