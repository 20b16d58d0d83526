#include "base/secret.h"

namespace shoal {

void wipe(void* at, std::size_t count) {
    if (count == 0) return;
    std::memset(at, 0, count);
    // The compiler must assume that the memory is read here, so the store stays.
    __asm__ __volatile__("" : : "r"(at) : "memory");
}

}  // namespace shoal
