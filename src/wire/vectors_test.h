// Reads protocol/vectors/<stem>.json and holds a codec to it. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/codec.h"
#include "base/ids.h"
#include "base/time.h"

namespace shoal::wire {

using Json = nlohmann::json;

// One type of a vector file: bytes to fields and back.
struct VectorCodec {
    std::function<Result<Json>(ByteView)> decode;
    std::function<Bytes(const Json&)> encode;
    bool prefixes_refused = true;  // false where a shorter input can be a message of its own
};

// ---- fields ------------------------------------------------------------------------------------------------------

inline Bytes unhex(const Json& field) {
    return from_hex(field.get<std::string>()).value();
}
template <std::size_t N>
ByteArray<N> unhex_array(const Json& field) {
    const Bytes bytes = unhex(field);
    EXPECT_EQ(bytes.size(), N);
    return first_bytes<N>(bytes);
}
template <typename Id>
Id unhex_id(const Json& field) {
    return Id(unhex_array<Id::size>(field));
}
inline UnixTime untime(const Json& field) {
    return from_unix_seconds(field.get<std::uint64_t>());
}
template <typename Enum>
Json number(Enum value) {
    return static_cast<unsigned>(value);
}
template <typename Enum>
Enum unnumber(const Json& field) {
    return static_cast<Enum>(field.get<unsigned>());
}

// A codec from a pair of conversions and the wire's own two functions.
template <typename Message>
VectorCodec codec_of(Result<Message> (*decode)(ByteView), Json (*to_json)(const Message&),
                     Message (*from_json)(const Json&)) {
    return {[=](ByteView in) -> Result<Json> { return to_json(TRY(decode(in))); },
            [=](const Json& fields) { return encode(from_json(fields)); }};
}

// ---- the checks --------------------------------------------------------------------------------------------------

inline Json load_vectors(const std::string& stem) {
    std::ifstream file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/" + stem + ".json");
    EXPECT_TRUE(file.good()) << stem;
    return Json::parse(file);
}

// Every shorter input is refused.
inline void check_prefixes(const VectorCodec& codec, const Bytes& bytes, const std::string& name) {
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        EXPECT_FALSE(codec.decode(ByteView(bytes).first(n))) << name << " cut to " << n;
    }
}

// A changed byte is refused or means something else: what decodes, encodes to exactly what was read. So a reserved byte
// or flag that nobody looks at cannot exist.
inline void check_flips(const VectorCodec& codec, Bytes bytes, const std::string& name) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (const std::uint8_t mask : ByteArray<2>{0x01, 0x80}) {
            bytes[at] ^= mask;
            if (const auto changed = codec.decode(bytes)) {
                EXPECT_EQ(to_hex(codec.encode(*changed)), to_hex(bytes)) << name << " flipped at " << at;
            }
            bytes[at] ^= mask;
        }
    }
}

// Entries of a type in `others` are the caller's.
inline void check_vectors(const std::string& stem, const std::map<std::string, VectorCodec>& codecs,
                          const std::set<std::string>& others = {}) {
    std::set<std::string> seen;
    for (const Json& entry : load_vectors(stem)) {
        const auto type = entry["type"].get<std::string>();
        const auto name = entry["name"].get<std::string>();
        if (others.contains(type)) continue;
        ASSERT_TRUE(codecs.contains(type)) << name << ": " << type;
        const VectorCodec& codec = codecs.at(type);
        const Bytes bytes = unhex(entry["hex"]);
        const auto decoded = codec.decode(bytes);
        if (entry.contains("error")) {
            ASSERT_FALSE(decoded) << name << " must be refused";
            EXPECT_EQ(errc_name(decoded.error().code), entry["error"].get<std::string>()) << name;
            continue;
        }
        seen.insert(type);
        ASSERT_TRUE(decoded) << name << ": " << decoded.error().message;
        EXPECT_EQ(*decoded, entry["fields"]) << name;
        EXPECT_EQ(to_hex(codec.encode(entry["fields"])), to_hex(bytes)) << name;
        if (codec.prefixes_refused) check_prefixes(codec, bytes, name);
        check_flips(codec, bytes, name);
    }
    EXPECT_EQ(seen.size(), codecs.size()) << "a type without a vector";
}

}  // namespace shoal::wire
