// The walls around the code that reads files from strangers.
//
// After enter_sandbox() this process can compute, use the descriptors that it holds, and start threads. It cannot open
// or create a file, make a socket, start a program, fork, trace, make memory executable, or gain a privilege; trying
// ends the whole process (SIGSYS), so that the node sees it. It writes no file through any descriptor and no core dump.
// Everything that needs the file system (the compute backends) must be loaded before.
//
// What it does not stop: using all processors and memory, and wrong answers. Only for Linux on x86-64 and arm64.
#pragma once

#include "base/result.h"

namespace shoal::engine_worker {

// Covers threads that exist already, and all that come. Errc::io: the kernel refuses; then the process must end.
Status enter_sandbox();

// Tries one thing that the sandbox forbids, by name; returns only when the thing was possible. For the tests.
// Errc::not_found: no such name. `names` of all are in forbidden_names().
Status try_forbidden(const char* name);
const char* const* forbidden_names();  // ends with nullptr

}  // namespace shoal::engine_worker
