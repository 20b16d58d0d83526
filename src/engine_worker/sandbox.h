// The walls around the code that reads files from strangers.
//
// After enter_sandbox() this process can compute, use the descriptors that it holds, and start threads. It cannot open
// or create a file, make a socket, start a program, fork, trace, make memory executable, or gain a privilege; trying
// ends the whole process (SIGSYS), so that the node sees it. It writes no file through any descriptor and no core dump.
// Everything that needs the file system (the compute backends) must be loaded before.
//
// What it does not stop: using all processors and memory, and wrong answers. Only for Linux on x86-64 and arm64.
//
// With a GPU the walls have a door: the driver in this process gives orders to the driver in the kernel by ioctl(). It
// may, on the device nodes that were open before, with that driver's own requests, and nothing else is added but names
// of threads and sleeping; opening a file fails then, and does not end the process. What that costs is in
// docs/adr/0016: the kernel's GPU driver, some hundred requests of it, can be reached by whoever takes over this
// process. Without a GPU nothing of it is there.
#pragma once

#include <vector>

#include "base/result.h"

namespace shoal::engine_worker {

// A device node that is open in this process, and the letter of its driver's requests (bits 8 to 15 of each).
struct DeviceNode {
    int descriptor = -1;
    std::uint8_t requests = 0;
};

struct Walls {
    std::vector<DeviceNode> devices;  // empty: without a GPU
};

// The nodes of graphics drivers that are open now. Errc::unsupported: none, so that a GPU could not be used behind the
// walls. Reads /proc.
Result<std::vector<DeviceNode>> open_device_nodes();

// Covers threads that exist already, and all that come. Errc::io: the kernel refuses; then the process must end.
Status enter_sandbox(const Walls& walls = {});

// Tries one thing that the sandbox forbids, by name; returns only when the thing was possible. For the tests.
// Errc::not_found: no such name. `names` of all are in forbidden_names().
Status try_forbidden(const char* name);
const char* const* forbidden_names();  // ends with nullptr

}  // namespace shoal::engine_worker
