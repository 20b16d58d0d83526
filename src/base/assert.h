// Two of the three words for "this must hold". The third is Result, in base/result.h.
//
//   ASSERT(x)  always on. x is false only by a bug of ours; going on would corrupt state, so the process stops.
//   ASSUME(x)  debug builds only. As ASSERT, where the check is too dear for a hot path.
//   Result     the world. Bytes from a peer, a disk, a user, a model or a GPU are never asserted on.
#pragma once

namespace shoal {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

#define ASSERT(x) ((x) ? void(0) : ::shoal::assertion_failed(#x, __FILE__, __LINE__))
#ifdef NDEBUG
#define ASSUME(x) void(0)
#else
#define ASSUME(x) ASSERT(x)
#endif
