#include "base/result.h"

namespace shoal {

const char* errc_name(Errc code) {
    switch (code) {
        case Errc::malformed: return "malformed";
        case Errc::invalid: return "invalid";
        case Errc::unsupported: return "unsupported";
        case Errc::unauthenticated: return "unauthenticated";
        case Errc::expired: return "expired";
        case Errc::replayed: return "replayed";
        case Errc::not_found: return "not found";
        case Errc::exhausted: return "exhausted";
        case Errc::unavailable: return "unavailable";
        case Errc::timeout: return "timeout";
        case Errc::cancelled: return "cancelled";
        case Errc::io: return "io";
        case Errc::internal: return "internal";
    }
    return "unknown";
}

}  // namespace shoal
