#include "engine/pipe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace shoal::engine::pipe {
namespace {

nlohmann::json vectors() {
    std::ifstream file(std::string(SHOAL_SOURCE_DIR) + "/protocol/vectors/pipe.json");
    EXPECT_TRUE(file.good());
    return nlohmann::json::parse(file);
}

// The frame of a vector without its length, which must be right.
Bytes frame_of(const nlohmann::json& entry) {
    const Bytes all = from_hex(entry["hex"].get<std::string>()).value();
    return Bytes(all.begin() + 4, all.end());
}

const char* kind_of(const ToWorker& message) {
    constexpr const char* names[] = {"load", "submit", "cancel"};
    return names[message.index()];
}
const char* kind_of(const FromWorker& message) {
    constexpr const char* names[] = {"loading", "ready", "started", "text", "finished", "failed", "fatal", "working"};
    return names[message.index()];
}

template <typename Message>
void check_good(const nlohmann::json& entry, const Bytes& frame, Result<Message> (*decode)(ByteView)) {
    const auto message = decode(frame);
    ASSERT_TRUE(message.has_value()) << entry["name"] << ": " << message.error().message;
    EXPECT_EQ(kind_of(*message), entry["kind"].get<std::string>()) << entry["name"];
    EXPECT_EQ(to_hex(*encode(*message)), entry["hex"].get<std::string>()) << entry["name"];
    for (std::size_t bytes = 0; bytes < frame.size(); ++bytes) {
        EXPECT_FALSE(decode(ByteView(frame).first(bytes)).has_value()) << entry["name"] << " cut to " << bytes;
    }
    Bytes longer = frame;
    longer.push_back(0);
    EXPECT_FALSE(decode(longer).has_value()) << entry["name"] << " with a byte more";
}

TEST(Pipe, ReadsAndWritesEachVector) {
    for (const auto& entry : vectors()) {
        if (entry.contains("error")) continue;
        const Bytes frame = frame_of(entry);
        if (entry["type"] == "to_worker") {
            check_good<ToWorker>(entry, frame, decode_to_worker);
        } else {
            check_good<FromWorker>(entry, frame, decode_from_worker);
        }
    }
}

TEST(Pipe, RefusesEachBadVector) {
    int seen = 0;
    for (const auto& entry : vectors()) {
        if (!entry.contains("error")) continue;
        const Bytes frame = frame_of(entry);
        const bool accepted =
            entry["type"] == "to_worker" ? decode_to_worker(frame).has_value() : decode_from_worker(frame).has_value();
        EXPECT_FALSE(accepted) << entry["name"];
        ++seen;
    }
    EXPECT_GT(seen, 20);
}

// What one side refuses, the other never sends.
TEST(Pipe, RefusesToEncodeWhatWouldBeRefused) {
    Load load;
    load.sequences = 0;
    EXPECT_FALSE(encode(ToWorker(load)).has_value());
    EXPECT_FALSE(encode(FromWorker(Loading{2.0F})).has_value());
    EXPECT_FALSE(encode(FromWorker(Fatal{"two\nlines", true})).has_value());
    EXPECT_FALSE(encode(FromWorker(Text{JobId(1), Plaintext(std::string(text_bytes_max + 1, 'a')), {}})).has_value());
    EXPECT_FALSE(encode(FromWorker(Failed{JobId(1), AskFault::no_circuit, "x", {}})).has_value());
    Job job;
    job.request.sampling.temperature = 9;
    job.request.messages.push_back({Role::user, Plaintext("hi")});
    EXPECT_FALSE(encode(ToWorker(std::move(job))).has_value());
}

TEST(Pipe, CarriesAJobWhole) {
    Job job;
    job.id = JobId(99);
    job.client_seed = ByteArray<32>{1, 2, 3};
    job.request.messages.push_back({Role::system, Plaintext("be kind")});
    job.request.messages.push_back({Role::user, Plaintext("hi")});
    job.request.sampling.seed = 5;
    job.request.stop = {"\n"};
    const Bytes frame = *encode(ToWorker(job));
    const auto back = decode_to_worker(ByteView(frame).subspan(4));
    ASSERT_TRUE(back.has_value());
    const Job& got = std::get<Job>(*back);
    EXPECT_EQ(got.id, job.id);
    EXPECT_EQ(got.client_seed, job.client_seed);
    EXPECT_EQ(got.request, job.request);
}

TEST(Pipe, RefusesAnImpossibleLengthBeforeTheBytesCome) {
    for (std::uint32_t length : {std::uint32_t{0}, std::uint32_t{limits::engine_frame_bytes_max} + 1, UINT32_MAX}) {
        Frames frames;
        std::uint8_t raw[4];
        store_le<std::uint32_t>(raw, length);
        EXPECT_FALSE(frames.feed(raw).has_value());
    }
}

RC_GTEST_PROP(Pipe, FramesDoNotDependOnHowTheStreamIsCut, ()) {
    const auto bodies = *rc::gen::container<std::vector<Bytes>>(
        rc::gen::nonEmpty(rc::gen::container<Bytes>(rc::gen::arbitrary<std::uint8_t>())));
    Writer stream;
    for (const Bytes& body : bodies) stream.bytes_u32(body);
    Frames frames;
    std::vector<Bytes> got;
    for (ByteView rest = stream.view(); !rest.empty();) {
        const auto step = *rc::gen::inRange<std::size_t>(1, 9);
        const ByteView piece = rest.first(std::min(step, rest.size()));
        rest = rest.subspan(piece.size());
        auto some = frames.feed(piece);
        RC_ASSERT(some.has_value());
        for (Bytes& frame : *some) got.push_back(std::move(frame));
    }
    RC_ASSERT(got == bodies);
    RC_ASSERT(frames.at_boundary());
}

}  // namespace
}  // namespace shoal::engine::pipe
