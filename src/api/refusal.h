// What HTTP itself refuses (it never became a request), in OpenAI's form: net knows no dialect and asks here.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "api/port.h"

namespace shoal::api {

struct Refusal {
    HttpResponder::Headers headers;
    std::string body;
};

// `status` is 400, 408, 413, 417, 431, 500 or 503; another gives the code of 500. `why` is one line for people.
Refusal refusal(int status, std::string_view why);

}  // namespace shoal::api
