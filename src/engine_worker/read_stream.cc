#include "engine_worker/read_stream.h"

#include <algorithm>

namespace shoal::engine_worker {

ssize_t ReadStream::on_read(void* cookie, char* to, std::size_t count) {
    auto& self = *static_cast<ReadStream*>(cookie);
    count = std::min<std::uint64_t>(count, self.bytes - self.at);
    if (!self.read(self.at, {reinterpret_cast<std::uint8_t*>(to), count})) return -1;
    self.at += count;
    return static_cast<ssize_t>(count);
}

int ReadStream::on_seek(void* cookie, off64_t* offset, int whence) {
    auto& self = *static_cast<ReadStream*>(cookie);
    const auto size = static_cast<off64_t>(self.bytes);
    const off64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? static_cast<off64_t>(self.at) : size;
    if (*offset < -base || *offset > size - base) return -1;
    *offset += base;
    self.at = static_cast<std::uint64_t>(*offset);
    return 0;
}

}  // namespace shoal::engine_worker
