#include "crypto/init.h"

#include <sodium.h>

#include "base/assert.h"

namespace shoal::crypto {

void init() {
    // 0: done, 1: was done already, -1: no random source. Without randomness nothing here may run.
    static const bool ready = sodium_init() >= 0;
    ASSERT(ready);
}

}  // namespace shoal::crypto
