// Any bytes as a request body. What is accepted must survive being written and read again.
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "dialect/openai.h"
#include "dialect/openai_client.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::dialect;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    auto first = parse_chat_request(text);
    if (!first) {
        ASSERT(first.error().status == 400 || first.error().status == 413);
        ASSERT(!write_error(first.error()).empty());
    } else {
        const AskOptions options{.stream = first->stream, .include_usage = first->include_usage};
        auto second = parse_chat_request(write_chat_request(first->model, first->request, options));
        ASSERT(second && second->request == first->request && second->model == first->model);
        ASSERT(second->stream == first->stream);
    }
    // The client's readers see bytes of any server.
    (void)parse_stream_data(text);
    (void)parse_completion(text);
    (void)parse_model_names(text);
    (void)parse_error_body(500, text);
    return 0;
}
