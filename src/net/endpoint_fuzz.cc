#include "net/endpoint.h"
#include "net/resolve.h"

// What is read is read back from its own text; a name that is split stays within its limits.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    const std::string_view text = as_text({data, size});
    const auto endpoint = net::Endpoint::parse(text);
    if (endpoint) ASSERT(net::Endpoint::parse(endpoint->text()).value() == *endpoint);
    const auto split = net::split_host_port(text);
    if (split) ASSERT(split->first.size() <= 253 && split->second != 0);
    return 0;
}
