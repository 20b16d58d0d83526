// One onion layer: a wide-block cipher over the 1392 bytes of a cell, chained by a tweak (CRYPTO 6.4).
//
// LIONESS (Anderson, Biham 1996) with ChaCha20 as the stream and keyed BLAKE2b as the hash. Every byte of the output
// depends on every byte of the input; and every cell's tweak depends on all cells before it. So a bit that is flipped,
// a cell that is dropped, repeated or swapped turns this cell and all later ones into noise at the next honest hop:
// nobody can mark a cell at one place of the path and find the mark at another.
//
// The four uses, one object a direction and a hop:
//
//                    forward (client to proxy)            backward (proxy to client)
//     client         encrypts, tweak from the input       decrypts, tweak from the input
//     relay          decrypts, tweak from the output      encrypts, tweak from the output
//
// The tweak is moved on by the first 32 bytes of the same block at both ends: the plain side going forward, the
// encrypted side going backward. Every limits::layer_rekey_cells cells all keys are replaced by a hash of themselves:
// a relay that is seized does not give away the circuit's past.
#pragma once

#include <array>
#include <memory>

#include "base/limits.h"
#include "base/secret.h"

namespace shoal::crypto {

inline constexpr std::size_t layer_keys_bytes = 5 * 32 + 16;

// The secrets of one direction of one hop, as the handshake gives them: K1 | K2 | K3 | K4 | Kt | T.
struct LayerKeys {
    std::array<Key32, 4> round;
    Key32 tweak_key;
    ByteArray<16> tweak{};

    static LayerKeys from_bytes(std::span<const std::uint8_t, layer_keys_bytes> bytes);
};

// Wipes itself. One thread.
class LayerCipher {
public:
    using Block = std::span<std::uint8_t, limits::cell_body_bytes>;

    explicit LayerCipher(LayerKeys keys);
    LayerCipher(LayerCipher&&) noexcept;
    LayerCipher& operator=(LayerCipher&&) noexcept;
    ~LayerCipher();

    // All in place. There is no failure: a wrong cell becomes noise, and who ends the circuit sees that its sixteen
    // zero bytes are not there.
    void client_forward(Block block);
    void relay_forward(Block block);
    void relay_backward(Block block);
    void client_backward(Block block);

    // After the last cell: known only to who saw all cells of this direction, so it acknowledges them (SENDME).
    const ByteArray<16>& tweak() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::crypto
