#include "crypto/error_scope.h"

#include <openssl/err.h>

namespace shoal::crypto {

// On an empty queue no mark can be set; popping to it then empties the queue, which is the same.
ErrorScope::ErrorScope() {
    ERR_set_mark();
}
ErrorScope::~ErrorScope() {
    ERR_pop_to_mark();
}

}  // namespace shoal::crypto
