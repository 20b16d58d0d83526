// Start of the crypto libraries.
#pragma once

namespace shoal::crypto {

// Call once before anything else of this room, in main() of a program; calling it again costs nothing. Any thread.
// Without it the results are the same, but libsodium would use its slowest code and open its random source late.
void init();

}  // namespace shoal::crypto
