#include "crypto/hpke.h"

#include <gtest/gtest.h>

#include "crypto/rng.h"
#include "crypto/test_vectors.h"

namespace shoal::crypto {
namespace {

using test::unhex;
using test::unhex_array;

// The values of one section of the RFC's appendix, in order: "name: hex", the hex perhaps on the next lines.
std::vector<std::pair<std::string, std::string>> rfc_values(const std::string& text, const std::string& from,
                                                            const std::string& until) {
    const std::size_t begin = text.find(from);
    std::istringstream lines(text.substr(begin, text.find(until, begin) - begin));
    std::vector<std::pair<std::string, std::string>> out;
    for (std::string line; std::getline(lines, line);) {
        const std::size_t colon = line.find(':');
        if (colon != std::string::npos) {
            std::string value = line.substr(colon + 1);
            value.erase(0, value.find_first_not_of(' '));
            out.emplace_back(line.substr(0, colon), value);
        } else if (!out.empty() && line.find_first_not_of("0123456789abcdef") == std::string::npos) {
            out.back().second += line;
        }
    }
    return out;
}

std::string first_of(const std::vector<std::pair<std::string, std::string>>& values, const std::string& name) {
    for (const auto& [key, value] : values) {
        if (key == name) return value;
    }
    ADD_FAILURE() << name << " is not in the vector";
    return "";
}

struct Pair {
    HpkeSender sender;
    HpkeReceiver receiver;
};
Pair make_pair_for(ByteView info) {
    SeededRng rng(1);
    const auto receiver = KeyPair::generate(rng);
    auto setup = HpkeSender::setup(receiver.public_key, info, rng);
    auto other = HpkeReceiver::setup(receiver, setup->encapsulated, info);
    return {std::move(setup->sender), std::move(*other)};
}

TEST(Hpke, TheRfcsBaseModeVector) {
    REQUIRE_VECTORS(text, "rfc9180-hpke-x25519-chacha20poly1305.txt");
    const auto setup_values = rfc_values(*text, "### Base Setup Information", "#### Encryptions");
    const auto messages = rfc_values(*text, "#### Encryptions", "#### Exported Values");
    const auto exports = rfc_values(*text, "#### Exported Values", "### PSK Setup");
    const auto info = unhex(first_of(setup_values, "info"));
    const auto receiver = KeyPair::from_secret(Key32(unhex_array<32>(first_of(setup_values, "skRm"))));
    EXPECT_EQ(to_hex(receiver.public_key), first_of(setup_values, "pkRm"));

    test::ReplayRng ephemeral(unhex(first_of(setup_values, "skEm")));
    auto setup = HpkeSender::setup(receiver.public_key, info, ephemeral);
    ASSERT_TRUE(setup);
    EXPECT_EQ(to_hex(setup->encapsulated), first_of(setup_values, "enc"));
    auto opener = HpkeReceiver::setup(receiver, setup->encapsulated, info);
    ASSERT_TRUE(opener);

    std::uint64_t sequence = 0;
    std::size_t seen = 0;
    std::map<std::string, std::string> message;
    for (const auto& [name, value] : messages) {
        message[name] = value;
        if (name != "ct") continue;
        // Only some sequence numbers are published; those between are sealed and opened with anything.
        for (; std::to_string(sequence) != message["sequence number"]; ++sequence) {
            ASSERT_TRUE(opener->open({}, *setup->sender.seal({}, {})));
        }
        const auto sealed = setup->sender.seal(unhex(message["aad"]), unhex(message["pt"]));
        ASSERT_TRUE(sealed);
        EXPECT_EQ(to_hex(*sealed), value) << "sequence " << sequence;
        const auto opened = opener->open(unhex(message["aad"]), *sealed);
        ASSERT_TRUE(opened);
        EXPECT_EQ(to_hex(*opened), message["pt"]);
        ++sequence;
        ++seen;
    }
    EXPECT_EQ(seen, 6U);

    std::string context;
    for (const auto& [name, value] : exports) {
        if (name == "exporter_context") context = value;
        if (name != "exported_value") continue;
        EXPECT_EQ(to_hex(setup->sender.export_secret(unhex(context)).expose()), value);
        EXPECT_EQ(to_hex(opener->export_secret(unhex(context)).expose()), value);
        ++seen;
    }
    EXPECT_EQ(seen, 9U);
}

TEST(Hpke, MessagesOpenOnceAndInOrderOnly) {
    auto [sender, receiver] = make_pair_for(as_bytes("info"));
    const Bytes first = *sender.seal(as_bytes("ad"), as_bytes("first"));
    const Bytes second = *sender.seal(as_bytes("ad"), as_bytes("second"));
    EXPECT_FALSE(receiver.open(as_bytes("ad"), second)) << "reordered";
    EXPECT_FALSE(receiver.open(as_bytes("Ad"), first)) << "other associated data";
    EXPECT_FALSE(receiver.open(as_bytes("ad"), ByteView(first).first(15))) << "shorter than a tag";
    EXPECT_TRUE(receiver.open(as_bytes("ad"), first)) << "failures do not move the sequence";
    EXPECT_FALSE(receiver.open(as_bytes("ad"), first)) << "replayed";
    EXPECT_TRUE(receiver.open(as_bytes("ad"), second));
}

TEST(Hpke, AnotherReceiverInfoOrEncapsulationDoesNotOpen) {
    SeededRng rng(2);
    const auto right = KeyPair::generate(rng);
    const auto wrong = KeyPair::generate(rng);
    auto setup = HpkeSender::setup(right.public_key, as_bytes("info"), rng);
    const Bytes sealed = *setup->sender.seal({}, as_bytes("text"));
    const auto opens = [&](const KeyPair& self, const PublicKey& encapsulated, std::string_view info) {
        return bool(HpkeReceiver::setup(self, encapsulated, as_bytes(info))->open({}, sealed));
    };
    EXPECT_TRUE(opens(right, setup->encapsulated, "info"));
    EXPECT_FALSE(opens(wrong, setup->encapsulated, "info"));
    EXPECT_FALSE(opens(right, setup->encapsulated, "inf0"));
    auto flipped = setup->encapsulated;
    flipped[0] ^= 1;
    EXPECT_FALSE(opens(right, flipped, "info"));
}

TEST(Hpke, KeysOfSmallOrderAreRefusedOnBothSides) {
    SeededRng rng(3);
    const auto sender = HpkeSender::setup(PublicKey{}, {}, rng);
    ASSERT_FALSE(sender);
    EXPECT_EQ(sender.error().code, Errc::invalid);
    const auto receiver = HpkeReceiver::setup(KeyPair::generate(rng), PublicKey{}, {});
    ASSERT_FALSE(receiver);
    EXPECT_EQ(receiver.error().code, Errc::invalid);
}

TEST(Hpke, ExportsDifferByLabelAndByContext) {
    const auto [sender, receiver] = make_pair_for(as_bytes("info"));
    const auto [other, other_receiver] = make_pair_for(as_bytes("other"));
    EXPECT_EQ(sender.export_secret(as_bytes("a")).expose(), receiver.export_secret(as_bytes("a")).expose());
    EXPECT_NE(sender.export_secret(as_bytes("a")).expose(), sender.export_secret(as_bytes("b")).expose());
    EXPECT_NE(sender.export_secret(as_bytes("a")).expose(), other.export_secret(as_bytes("a")).expose());
}

TEST(Hpke, ASequenceEndsBeforeItBeginsAgain) {
    NonceSequence nonces(Nonce{}, UINT64_MAX - 1);
    EXPECT_EQ(to_hex(nonces.current()), "00000000fffffffffffffffe");
    EXPECT_TRUE(nonces.check());
    EXPECT_TRUE(nonces.advance());
    EXPECT_FALSE(nonces.check());
    const auto end = nonces.advance();
    ASSERT_FALSE(end);
    EXPECT_EQ(end.error().code, Errc::exhausted);
    EXPECT_EQ(to_hex(nonces.current()), "00000000ffffffffffffffff");
}

}  // namespace
}  // namespace shoal::crypto
