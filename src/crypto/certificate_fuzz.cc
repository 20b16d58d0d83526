// Certificates come from whoever connects, before anything is known about them.
#include "crypto/certificate.h"
#include "crypto/init.h"
#include "crypto/rng.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    shoal::crypto::init();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    const ByteView input(data, size);
    (void)crypto::certificate_identity(input);

    // Splice the input into a certificate that is good, so that the parser is passed and the later checks are reached.
    static const Bytes good = [] {
        crypto::SeededRng rng(1);
        return crypto::make_certificate(crypto::SigningKey::generate(rng), rng);
    }();
    if (size < 2) return 0;
    Bytes spliced = good;
    const std::size_t at = (data[0] | std::size_t{data[1]} << 8) % spliced.size();
    bool changed = false;
    for (std::size_t i = 2; i < size && at + i - 2 < spliced.size(); ++i) {
        changed = changed || spliced[at + i - 2] != data[i];
        spliced[at + i - 2] = data[i];
    }
    const auto identity = crypto::certificate_identity(spliced);
    // No change can be accepted as what it was changed from: every byte is signed or is the signature.
    if (changed && identity) ASSERT(*identity != *crypto::certificate_identity(good));
    if (!changed) ASSERT(identity);
    return 0;
}
