// Something that can be read at any place, as a stream of the C library: what libllama loads a model from.
#pragma once

#include <cstdio>

#include "engine_worker/gguf.h"

namespace shoal::engine_worker {

// The cookie of fopencookie(); must outlive the stream.
struct ReadStream {
    ReadAt read;
    std::uint64_t bytes = 0;
    std::uint64_t at = 0;

    static cookie_io_functions_t functions() { return {on_read, nullptr, on_seek, nullptr}; }

private:
    static ssize_t on_read(void* cookie, char* to, std::size_t count);
    static int on_seek(void* cookie, off64_t* offset, int whence);
};

}  // namespace shoal::engine_worker
