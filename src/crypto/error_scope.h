// Keeps OpenSSL's per-thread error queue as it was.
#pragma once

namespace shoal::crypto {

// What OpenSSL reports while this lives is dropped at its end. Stands wherever bytes from outside may fail: TLS asks
// the same queue why a read failed, and would take a refused certificate or record for a fault of the connection.
class ErrorScope {
public:
    ErrorScope();
    ErrorScope(const ErrorScope&) = delete;
    ErrorScope& operator=(const ErrorScope&) = delete;
    ~ErrorScope();
};

}  // namespace shoal::crypto
