#include "crypto/lioness.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "crypto/hash.h"
#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using Cell = ByteArray<limits::cell_body_bytes>;
using test::unhex_array;

LayerKeys keys_from(Rng& rng) {
    return LayerKeys::from_bytes(rng.array<layer_keys_bytes>());
}

// The two ends of one direction of one hop.
struct Ends {
    LayerCipher client;
    LayerCipher relay;

    explicit Ends(std::uint64_t seed)
        : client([&] {
              SeededRng rng(seed);
              return keys_from(rng);
          }()),
          relay([&] {
              SeededRng rng(seed);
              return keys_from(rng);
          }()) {}
};

Cell random_cell(Rng& rng) {
    return rng.array<limits::cell_body_bytes>();
}

std::size_t differing(const Cell& a, const Cell& b) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1U : 0U;
    return count;
}
// Of 1392 random bytes about 5.4 agree with another by chance; 30 or more practically never.
constexpr std::size_t nearly_all = limits::cell_body_bytes - 30;

TEST(Lioness, TheKnownAnswerOfThreeHopsAndTwoCells) {
    const auto vectors = test::objects_with(test::own_vectors("crypto-onion.json"), {"wire_sha256"});
    ASSERT_EQ(vectors.size(), 2U);
    Bytes stream(3 * layer_keys_bytes);
    shake256(stream, {as_bytes("sc1-kat-cell")});
    std::vector<LayerCipher> clients;
    std::vector<LayerCipher> relays;
    for (std::size_t hop = 0; hop < 3; ++hop) {
        const auto bytes = std::span(stream).subspan(hop * layer_keys_bytes).first<layer_keys_bytes>();
        clients.emplace_back(LayerKeys::from_bytes(bytes));
        relays.emplace_back(LayerKeys::from_bytes(bytes));
    }
    for (const auto& v : vectors) {
        Cell plain{};
        const Bytes prefix = test::unhex(v.at("plain_prefix"));
        std::copy(prefix.begin(), prefix.end(), plain.begin());
        Cell cell = plain;
        for (std::size_t hop = 3; hop-- > 0;) clients[hop].client_forward(cell);
        EXPECT_EQ(to_hex(ByteView(cell).first(64)), v.at("wire_first64"));
        EXPECT_EQ(to_hex(sha256({cell})), v.at("wire_sha256"));
        for (LayerCipher& relay : relays) relay.relay_forward(cell);
        EXPECT_EQ(cell, plain);
        for (std::size_t hop = 0; hop < 3; ++hop) {
            EXPECT_EQ(to_hex(clients[hop].tweak()), v.at("tweaks_after." + std::to_string(hop)));
            EXPECT_EQ(relays[hop].tweak(), clients[hop].tweak());
        }
    }
}

// Over two rekeys, against a second implementation.
TEST(Lioness, TheKnownAnswerOfALongCircuit) {
    const std::string text = test::own_vectors("crypto-constructions.json");
    const auto keys = unhex_array<layer_keys_bytes>(test::objects_with(text, {"keys", "rule"}).at(0).at("keys"));
    const auto marks = test::objects_with(text, {"cells", "block_sha256"});  // five forward, then five backward
    ASSERT_EQ(marks.size(), 10U);
    for (const bool forward : {true, false}) {
        LayerCipher cipher(LayerKeys::from_bytes(keys));
        Cell cell;
        for (std::size_t i = 0; i < cell.size(); ++i) cell[i] = static_cast<std::uint8_t>(i % 251);
        std::size_t mark = forward ? 0 : 5;
        const std::size_t end = mark + 5;
        for (std::size_t count = 1; mark < end; ++count) {
            forward ? cipher.client_forward(cell) : cipher.relay_backward(cell);
            if (std::to_string(count) != marks[mark].at("cells")) continue;
            EXPECT_EQ(to_hex(sha256({cell})), marks[mark].at("block_sha256")) << count;
            EXPECT_EQ(to_hex(cipher.tweak()), marks[mark].at("tweak")) << count;
            ++mark;
        }
    }
}

RC_GTEST_PROP(Lioness, BothEndsStayTogetherInBothDirections, (std::uint64_t seed)) {
    Ends forward(seed);
    Ends backward(seed + 1);
    SeededRng rng(seed + 2);
    for (int i = 0; i < 4; ++i) {
        const Cell plain = random_cell(rng);
        Cell cell = plain;
        forward.client.client_forward(cell);
        RC_ASSERT(differing(cell, plain) > nearly_all);
        forward.relay.relay_forward(cell);
        RC_ASSERT(cell == plain);
        backward.relay.relay_backward(cell);
        RC_ASSERT(differing(cell, plain) > nearly_all);
        backward.client.client_backward(cell);
        RC_ASSERT(cell == plain);
        RC_ASSERT(forward.client.tweak() == forward.relay.tweak());
        RC_ASSERT(backward.client.tweak() == backward.relay.tweak());
    }
}

TEST(Lioness, BothEndsStayTogetherOverARekey) {
    Ends ends(5);
    Cell cell{};
    for (std::uint32_t i = 0; i < limits::layer_rekey_cells + 2; ++i) {
        ends.relay.relay_backward(cell);
        ends.client.client_backward(cell);
    }
    EXPECT_EQ(cell, Cell{});
    EXPECT_EQ(ends.client.tweak(), ends.relay.tweak());
}

// Every position class: first and last byte of the left part, of the right part, and between.
TEST(Lioness, AChangedByteChangesNearlyAllBytesForGood) {
    for (const std::size_t position : {0U, 31U, 32U, 33U, 700U, 1390U, 1391U}) {
        Ends ends(6);
        SeededRng rng(7);
        const Cell plain = random_cell(rng);
        Cell cell = plain;
        ends.client.client_forward(cell);
        cell[position] ^= 1;
        ends.relay.relay_forward(cell);
        EXPECT_GT(differing(cell, plain), nearly_all) << position;
        EXPECT_NE(ends.client.tweak(), ends.relay.tweak());

        Cell next = plain;  // an untouched cell after it
        ends.client.client_forward(next);
        ends.relay.relay_forward(next);
        EXPECT_GT(differing(next, plain), nearly_all) << position;
    }
}

TEST(Lioness, AChangedByteOnTheWayBackChangesNearlyAllBytesForGood) {
    for (const std::size_t position : {0U, 31U, 32U, 700U, 1391U}) {
        Ends ends(8);
        const Cell plain{};
        Cell cell = plain;
        ends.relay.relay_backward(cell);
        cell[position] ^= 0x80;
        ends.client.client_backward(cell);
        EXPECT_GT(differing(cell, plain), nearly_all) << position;

        // What follows is noise only when the change is within the chained 32 bytes or in an outer layer's block; the
        // sixteen zero bytes of this cell end the circuit in any case.
        const auto tag = ByteView(cell).first(16);
        EXPECT_NE(to_bytes(tag), Bytes(16));
    }
}

TEST(Lioness, ReplayedReorderedAndDroppedCellsBecomeNoise) {
    SeededRng rng(10);
    Cell plain[3];
    Cell sealed[3];
    Ends sent(9);
    for (int i = 0; i < 3; ++i) {
        plain[i] = random_cell(rng);
        sealed[i] = plain[i];
        sent.client.client_forward(sealed[i]);
    }
    const auto arrives = [&](std::vector<int> order) {
        LayerCipher relay = Ends(9).relay;
        bool good = true;
        for (const int i : order) {
            Cell cell = sealed[i];
            relay.relay_forward(cell);
            good = cell == plain[i];
            if (!good) {
                EXPECT_GT(differing(cell, plain[i]), nearly_all);
            }
        }
        return good;  // of the last
    };
    EXPECT_TRUE(arrives({0, 1, 2}));
    EXPECT_FALSE(arrives({0, 0})) << "replayed";
    EXPECT_FALSE(arrives({1, 0})) << "reordered";
    EXPECT_FALSE(arrives({0, 2})) << "dropped";
    EXPECT_FALSE(arrives({0, 0, 1})) << "and nothing after it is good again";
    EXPECT_FALSE(arrives({0, 2, 1, 2}));
}

TEST(Lioness, EqualCellsLookDifferentEachTime) {
    Ends ends(11);
    Cell one{};
    Cell two{};
    ends.client.client_forward(one);
    ends.client.client_forward(two);
    EXPECT_GT(differing(one, two), nearly_all);
}

TEST(Lioness, EveryKeyMatters) {
    for (std::size_t byte = 0; byte < layer_keys_bytes; byte += 16) {
        SeededRng rng(12);
        auto bytes = rng.array<layer_keys_bytes>();
        LayerCipher right(LayerKeys::from_bytes(bytes));
        bytes[byte] ^= 1;
        LayerCipher wrong(LayerKeys::from_bytes(bytes));
        Cell cell{};
        for (int i = 0; i < 2; ++i) {  // Kt acts from the second cell on
            cell = {};
            right.client_forward(cell);
            wrong.relay_forward(cell);
        }
        // K1 acts on the right part alone, as the last step of decrypting.
        EXPECT_GT(differing(cell, Cell{}), nearly_all - 32) << byte;
    }
}

}  // namespace
}  // namespace shoal::crypto
