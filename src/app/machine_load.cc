#include "app/machine_load.h"

#include <unistd.h>

#include <charconv>

#include "base/bytes.h"
#include "store/files.h"

namespace shoal::app {
namespace {

// Since the start of the machine, all processors together, in the kernel's ticks.
struct ProcessorTime {
    std::uint64_t busy = 0;
    std::uint64_t all = 0;
};

constexpr std::size_t stat_bytes_max = 4 * 1024 * 1024;
// The first line: "cpu", then user, nice, system, idle, iowait, irq, softirq, steal.
constexpr std::size_t fields = 8;
constexpr std::size_t idle_field = 3;
constexpr std::size_t iowait_field = 4;

std::optional<ProcessorTime> processor_time() {
    const auto bytes = store::read_file("/proc/stat", stat_bytes_max);
    const std::string_view text = bytes ? as_text(*bytes) : std::string_view();
    if (!text.starts_with("cpu ")) return std::nullopt;
    const char* at = text.data() + 4;
    const char* const end = text.data() + text.size();
    ProcessorTime out;
    for (std::size_t field = 0; field < fields; ++field) {
        while (at != end && *at == ' ') ++at;
        std::uint64_t ticks = 0;
        const auto [next, error] = std::from_chars(at, end, ticks);
        if (error != std::errc()) return std::nullopt;
        at = next;
        out.all += ticks;
        if (field != idle_field && field != iowait_field) out.busy += ticks;
    }
    return out;
}

}  // namespace

std::optional<double> busy_processors(net::Loop& loop, Duration window) {
    const auto before = processor_time();
    bool over = false;
    const net::Timer timer = loop.after(window, [&] { over = true; });
    (void)loop.run_until([&] { return over; }, 2 * window);
    const auto after = processor_time();
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (!before || !after || processors < 1 || after->all <= before->all || after->busy < before->busy) {
        return std::nullopt;
    }
    const double share =
        static_cast<double>(after->busy - before->busy) / static_cast<double>(after->all - before->all);
    return share * static_cast<double>(processors);
}

}  // namespace shoal::app
