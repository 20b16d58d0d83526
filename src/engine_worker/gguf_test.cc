#include "engine_worker/gguf.h"

#include <gtest/gtest.h>

#include "base/codec.h"
#include "engine_worker/test_files.h"

namespace shoal::engine_worker {
namespace {

BlockSize block_of(std::uint32_t type) {
    if (type == 0) return {1, 4};
    if (type == 1) return {1, 2};
    return {};
}
ReadAt reader(const Bytes& file) {
    return [&file](std::uint64_t offset, ByteSpan out) {
        if (offset + out.size() > file.size()) return false;
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return true;
    };
}
Result<Gguf> parse(const Bytes& file) {
    return read_gguf(reader(file), file.size(), block_of);
}
std::string reason(const Bytes& file) {
    const auto parsed = parse(file);
    return parsed ? "" : parsed.error().message;
}

void text64(Writer& w, std::string_view text) {
    w.u64(text.size());
    w.bytes(as_bytes(text));
}
struct Shape {
    std::uint64_t columns = 8, offset = 0, pairs = 1, tensors = 1;
    std::uint32_t type = 0, dims = 1, version = 3;
    std::uint64_t split = 0;
    std::size_t data_bytes = 32;
};
Bytes small_file(const Shape& s = {}) {
    Writer w;
    w.bytes(as_bytes("GGUF"));
    w.u32(s.version);
    w.u64(s.tensors);
    w.u64(s.pairs + (s.split > 0 ? 1 : 0));
    text64(w, "general.architecture");
    w.u32(8);
    text64(w, "llama");
    if (s.split > 0) {
        text64(w, "split.count");
        w.u32(2);
        w.u16(static_cast<std::uint16_t>(s.split));
    }
    text64(w, "a");
    w.u32(s.dims);
    for (std::uint32_t i = 0; i < std::min(s.dims, 4U); ++i) w.u64(s.columns);
    w.u32(s.type);
    w.u64(s.offset);
    w.zeros((32 - w.size() % 32) % 32 + s.data_bytes);
    return w.take();
}

TEST(Gguf, ReadsASmallFile) {
    const auto parsed = parse(small_file());
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    EXPECT_EQ(parsed->architecture, "llama");
    ASSERT_EQ(parsed->tensors.size(), 1U);
    EXPECT_EQ(parsed->tensors[0].bytes, 32U);
}

TEST(Gguf, SaysWhatIsNoGguf) {
    EXPECT_EQ(reason({}), "not a GGUF file");
    EXPECT_EQ(reason(to_bytes(as_bytes("PK\3\4 a zip file"))), "not a GGUF file");
}

TEST(Gguf, SaysThatAFileIsCutShortAtEveryLength) {
    const Bytes whole = small_file();
    for (std::size_t bytes = 4; bytes < whole.size(); ++bytes) {
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
        EXPECT_NE(reason(cut).find("cut short"), std::string::npos) << bytes << ": " << reason(cut);
    }
}

// A type whose first byte was read and whose rest cannot be.
TEST(Gguf, SaysThatAReadFailsInTheMiddleOfAValue) {
    constexpr std::size_t buffer = 64 * 1024;
    Writer w;
    w.bytes(as_bytes("GGUF"));
    w.u32(3);
    w.u64(1);
    w.u64(2);
    text64(w, "a");
    w.u32(8);
    const std::size_t second = 8 + 1;  // the next key
    const std::size_t text = buffer - 1 - w.size() - 8 - second;
    w.u64(text);
    w.zeros(text);
    text64(w, "b");
    EXPECT_EQ(w.size(), buffer - 1);
    w.u32(0xFFFF'FFFF);
    w.zeros(1024);
    const Bytes file = w.take();
    const auto failing = [&file](std::uint64_t offset, ByteSpan out) {
        if (offset + out.size() > buffer) return false;
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return true;
    };
    const auto parsed = read_gguf(failing, file.size(), block_of);
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().message.find("cut short"), std::string::npos) << parsed.error().message;
}

TEST(Gguf, RefusesWhatCannotBe) {
    EXPECT_NE(reason(small_file({.version = 9})).find("version 9"), std::string::npos);
    EXPECT_NE(reason(small_file({.tensors = 1ULL << 40})).find("absurd"), std::string::npos);
    EXPECT_NE(reason(small_file({.pairs = 1ULL << 40})).find("absurd"), std::string::npos);
    EXPECT_NE(reason(small_file({.columns = 0})).find("no valid shape"), std::string::npos);
    EXPECT_NE(reason(small_file({.dims = 5})).find("no valid shape"), std::string::npos);
    EXPECT_NE(reason(small_file({.columns = 1ULL << 33, .dims = 2})).find("no valid shape"), std::string::npos);
    EXPECT_NE(reason(small_file({.type = 77})).find("type 77"), std::string::npos);
    EXPECT_NE(reason(small_file({.offset = 3})).find("impossible place"), std::string::npos);
    EXPECT_NE(reason(small_file({.offset = ~0ULL - 31})).find("impossible place"), std::string::npos);
    EXPECT_NE(reason(small_file({.split = 3})).find("split model"), std::string::npos);
}

TEST(Gguf, ReadsTheFixtures) {
    for (const char* name : {"spm", "bpe", "bare"}) {
        const auto parsed = parse(fixture_bytes(name));
        ASSERT_TRUE(parsed.has_value()) << name << ": " << parsed.error().message;
        EXPECT_EQ(parsed->architecture, "llama");
        EXPECT_EQ(parsed->name, "fixture");
    }
}

ModelId id_of(const Bytes& file) {
    const auto parsed = parse(file);
    EXPECT_TRUE(parsed.has_value());
    return *model_id(*parsed, reader(file), [](double) {});
}

TEST(ModelIdentity, ChangesWithEveryByteOfDataAndMetadata) {
    const Bytes file = small_file();
    const ModelId id = id_of(file);
    EXPECT_EQ(id, id_of(file));
    Bytes other = file;
    other.back() ^= 1;
    EXPECT_NE(id, id_of(other));
    other = file;
    other[4 + 4 + 8 + 8 + 8 + 20 + 4 + 8] ^= 1;  // "llama" becomes "mlama"
    EXPECT_NE(id, id_of(other));
}

TEST(ModelIdentity, DoesNotChangeWithPadding) {
    const Bytes file = small_file();
    Bytes longer = file;
    longer.push_back(9);  // after the last tensor: part of no tensor
    EXPECT_EQ(id_of(file), id_of(longer));
}

// The worked example of protocol/model_id.md.
TEST(ModelIdentity, IsTheWrittenOne) {
    EXPECT_EQ(id_of(small_file()).hex(), "61cc7027e8f7e0dfecfcd4c19efcd16c8fd3db2ca19fe4821488352aa07fa616");
}

}  // namespace
}  // namespace shoal::engine_worker
