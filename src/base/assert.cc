#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace shoal {

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "shoal: internal error: %s does not hold at %s:%d\n", expression, file, line);
    std::abort();
}

}  // namespace shoal
