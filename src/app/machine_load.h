// How busy a machine is while nothing of ours runs: whoever measures it should know.
#pragma once

#include <optional>

#include "base/time.h"
#include "net/loop.h"

namespace shoal::app {

// How many processors were busy on average in the next `window`, which it waits. nullopt: the system does not say.
std::optional<double> busy_processors(net::Loop& loop, Duration window);

}  // namespace shoal::app
