#include "base/codec.h"

namespace shoal {

Status Reader::check(std::string_view what) const {
    if (failed_)
        return fail(Errc::malformed, std::string(what) + ": too short, too long a field, or reserved bytes set");
    return ok();
}

Status Reader::finish(std::string_view what) const {
    TRY(check(what));
    if (!rest_.empty()) return fail(Errc::malformed, std::string(what) + ": bytes left over");
    return ok();
}

}  // namespace shoal
