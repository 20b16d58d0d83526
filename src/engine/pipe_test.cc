#include "engine/pipe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/test_rng.h"

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
    constexpr const char* names[] = {"load",         "lead",        "submit",         "cancel",      "returned",
                                     "broken",       "prefix_give", "prefix_give_up", "prefix_open", "prefix_more",
                                     "prefix_close", "piece",       "filled",         "holds",       "given"};
    return names[message.index()];
}
const char* kind_of(const FromWorker& message) {
    constexpr const char* names[] = {"loading",     "ready",   "started",    "text",           "finished",
                                     "failed",      "fatal",   "working",    "ends",           "forward",
                                     "truncate",    "cleared", "prefix_ask", "prefix_refused", "prefix_piece",
                                     "prefix_gone", "placed",  "want",       "fill",           "read"};
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
    EXPECT_GT(seen, 60);
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

TEST(Pipe, RefusesToEncodeWhatNoLeadSays) {
    Lead lead;
    lead.load.sequences = 65;
    EXPECT_FALSE(encode(ToWorker(lead)).has_value());
    EXPECT_FALSE(encode(ToWorker(Lead{{}, wire::ActivationType::f16, 0})).has_value());
    EXPECT_FALSE(encode(ToWorker(Lead{{}, wire::ActivationType::f16, limits::stage_unsettled_max + 1})).has_value());
    using Middle = wire::LayerRange;
    for (const Middle none : {Middle{0, 2}, Middle{2, 2}, Middle{3, 2}, Middle{1, limits::model_layers_max}}) {
        EXPECT_FALSE(encode(ToWorker(Lead{{}, wire::ActivationType::f16, 1, none})).has_value()) << none.first;
    }
    EXPECT_FALSE(encode(ToWorker(Returned{})).has_value());
    EXPECT_FALSE(encode(ToWorker(Returned{Bytes(33)})).has_value());
    EXPECT_FALSE(encode(ToWorker(Returned{Bytes(limits::stage_tensor_bytes_max + 1)})).has_value());
    EXPECT_FALSE(encode(ToWorker(Broken{false, "two\nlines"})).has_value());
    EXPECT_FALSE(encode(FromWorker(Ends{80, 8})).has_value());
    EXPECT_FALSE(encode(FromWorker(Forward{})).has_value());
    EXPECT_FALSE(encode(FromWorker(Forward{{{{0, 0, 2}}, Bytes(69)}})).has_value());
    EXPECT_FALSE(encode(FromWorker(Ends{64, 0})).has_value());
    EXPECT_FALSE(encode(FromWorker(Placed{5, 4})).has_value());
    EXPECT_FALSE(encode(FromWorker(Placed{0, 4})).has_value());
    EXPECT_FALSE(encode(FromWorker(Truncate{limits::engine_sequences_max, 0})).has_value());
    EXPECT_FALSE(encode(FromWorker(Truncate{0, limits::context_tokens_max})).has_value());
    EXPECT_FALSE(encode(FromWorker(Want{})).has_value());
    EXPECT_FALSE(encode(ToWorker(PieceBytes{Bytes(piece_bytes_max + 1)})).has_value());
    lead = {};
    lead.load.drafts = {false, true, {1, 3}};
    EXPECT_FALSE(encode(ToWorker(lead)).has_value());
}

TEST(Pipe, RefusesPrefixesOfNoPossibleSize) {
    const Bytes most(limits::prefix_piece_bytes, 7), more(limits::prefix_piece_bytes + 1, 7);
    EXPECT_TRUE(encode(ToWorker(PrefixGive{JobId(1), most})).has_value());
    EXPECT_FALSE(encode(ToWorker(PrefixGive{JobId(1), more})).has_value());
    EXPECT_FALSE(encode(ToWorker(PrefixGive{JobId(1), {}})).has_value());
    EXPECT_TRUE(encode(FromWorker(PrefixPiece{PrefixReadId(1), most})).has_value());
    EXPECT_FALSE(encode(FromWorker(PrefixPiece{PrefixReadId(1), more})).has_value());
    EXPECT_FALSE(encode(FromWorker(PrefixAsk{JobId(1), {}, 25h})).has_value());
    EXPECT_FALSE(encode(FromWorker(PrefixAsk{JobId(1), {}, -1s})).has_value());
    for (const std::uint8_t kind : {std::uint8_t{7}, std::uint8_t{30}}) {
        Writer frame(more.size() + 32);
        frame.u8(kind);
        frame.u64(1);
        frame.u8(0);
        frame.bytes_u32(more);
        EXPECT_FALSE(decode_to_worker(frame.view()).has_value());
        EXPECT_FALSE(decode_from_worker(frame.view()).has_value());
    }
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

// Only a lead's frames may be long, and its longest fits.
TEST(Pipe, CarriesTheLargestTensorOfALead) {
    static_assert(lead_frame_bytes_max == 33'562'624);  // as the page has it
    Forward forward;
    for (std::uint16_t i = 0; i < limits::stage_sequences_max; ++i) forward.rows.parts.push_back({i, i, 1});
    forward.rows.tensor = Bytes(limits::stage_tensor_bytes_max, 7);
    const Bytes bytes = *encode(FromWorker(forward));
    EXPECT_FALSE(Frames().feed(bytes).has_value());
    const auto frames = Frames(lead_frame_bytes_max).feed(bytes);
    ASSERT_TRUE(frames.has_value() && frames->size() == 1);
    const auto back = decode_from_worker(frames->front());
    ASSERT_TRUE(back.has_value());
    EXPECT_TRUE(std::get<Forward>(*back).rows.parts == forward.rows.parts);
    EXPECT_TRUE(std::get<Forward>(*back).rows.tensor == forward.rows.tensor);
}

template <typename Kept, typename Message>
Kept through_a_pipe(const Message& message, Result<Message> (*decode)(ByteView)) {
    const auto bytes = encode(message);
    RC_ASSERT(bytes.has_value());
    auto back = decode(ByteView(*bytes).subspan(4));
    RC_ASSERT(back.has_value());
    RC_ASSERT(std::holds_alternative<Kept>(*back));
    return std::get<Kept>(std::move(*back));
}

RC_GTEST_PROP(Pipe, EverythingThatIsSaidToALeadComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    Lead lead;
    lead.load.context_tokens = static_cast<std::uint32_t>(rng.below(limits::context_tokens_max + 1));
    lead.load.sequences = static_cast<std::uint16_t>(1 + rng.below(limits::engine_sequences_max));
    lead.load.threads = static_cast<std::uint16_t>(rng.below(threads_max + 1));
    lead.load.cells = static_cast<std::uint32_t>(rng.below(1 << 26));
    lead.load.kv = static_cast<KvType>(rng.below(2));
    const auto skipped = static_cast<std::uint16_t>(1 + rng.below(limits::model_layers_max - 1));
    const bool skips = rng.below(2) == 1;
    if (skips) lead.load.drafts.skipped = {skipped, limits::model_layers_max};
    lead.load.drafts.repeats = rng.below(2) == 1;
    lead.load.drafts.model = !skips && rng.below(2) == 1;
    lead.type = static_cast<wire::ActivationType>(rng.below(wire::activation_type_max + 1));
    lead.steps = static_cast<std::uint16_t>(1 + rng.below(limits::stage_unsettled_max));
    if (rng.below(2) == 1) {
        const auto first = static_cast<std::uint16_t>(1 + rng.below(limits::model_layers_max - 2));
        const auto more = static_cast<std::uint16_t>(1 + rng.below(limits::model_layers_max - 1 - first));
        lead.middle = wire::LayerRange{first, static_cast<std::uint16_t>(first + more)};
    }
    lead.pieces = rng.below(2) == 1;
    const Lead led = through_a_pipe<Lead>(ToWorker(lead), decode_to_worker);
    RC_ASSERT(led.load == lead.load && led.type == lead.type && led.steps == lead.steps && led.middle == lead.middle);
    RC_ASSERT(led.pieces == lead.pieces);
    const Bytes piece = rng.bytes(rng.below(piece_bytes_max + 1));
    RC_ASSERT(through_a_pipe<PieceBytes>(ToWorker(PieceBytes{piece}), decode_to_worker).bytes == piece);

    const Bytes tensor = rng.bytes(34 + rng.below(3000));
    RC_ASSERT(through_a_pipe<Returned>(ToWorker(Returned{tensor}), decode_to_worker).tensor == tensor);
    const std::string reason(rng.below(reason_bytes_max + 1), static_cast<char>(' ' + rng.below(95)));
    const wire::KvRows keys{wire::KvRowType::f16, static_cast<std::uint32_t>(2 * (1 + rng.below(1000)))};
    const Holds holds{wire::KvShape{{1 + rng.below(80), {keys, {}}}, 128, 0}};
    RC_ASSERT(through_a_pipe<Holds>(ToWorker(holds), decode_to_worker).kv == holds.kv);
    RC_ASSERT(!through_a_pipe<Holds>(ToWorker(Holds{}), decode_to_worker).kv);
    const Bytes given = rng.bytes(1 + rng.below(3000));
    RC_ASSERT(through_a_pipe<Given>(ToWorker(Given{given}), decode_to_worker).bytes == given);
    const bool for_good = rng.below(2) == 1;
    const auto broken = through_a_pipe<Broken>(ToWorker(Broken{for_good, reason}), decode_to_worker);
    RC_ASSERT(broken.reason == reason && broken.for_good == for_good);
}

RC_GTEST_PROP(Pipe, EverythingThatALeadSaysComesBack, (std::uint64_t seed)) {
    TestRng rng(seed);
    const auto width = static_cast<std::uint32_t>(32 * (1 + rng.below(limits::stage_width_max / 32)));
    const auto layers = static_cast<std::uint16_t>(1 + rng.below(limits::model_layers_max));
    const Ends ends = through_a_pipe<Ends>(FromWorker(Ends{width, layers}), decode_from_worker);
    RC_ASSERT(ends.width == width && ends.layers == layers);
    const auto sequence = static_cast<std::uint16_t>(rng.below(limits::engine_sequences_max));
    const auto length = static_cast<std::uint32_t>(rng.below(limits::context_tokens_max));
    const Truncate truncate = through_a_pipe<Truncate>(FromWorker(Truncate{sequence, length}), decode_from_worker);
    RC_ASSERT(truncate.sequence == sequence && truncate.length == length);

    const auto tokens = static_cast<std::uint16_t>(1 + rng.below(limits::stage_rows_max));
    const Fill fill{{sequence, length % (limits::context_tokens_max - tokens), tokens, rng.bytes(tokens * 3UL)}};
    const Fill filled = through_a_pipe<Fill>(FromWorker(fill), decode_from_worker);
    RC_ASSERT(filled.rows.sequence == sequence && filled.rows.position == fill.rows.position);
    RC_ASSERT(filled.rows.rows == tokens && filled.rows.tensor == fill.rows.tensor);

    const Read read{{sequence, length + 1, wire::StageReadWhat::values, 3, length, 1}};
    RC_ASSERT(through_a_pipe<Read>(FromWorker(read), decode_from_worker).of == read.of);

    Want want{wire::PieceId(rng.array<32>()), rng.below(UINT64_MAX), 1};
    want.bytes += static_cast<std::uint32_t>(rng.below(piece_bytes_max));
    const Want wanted = through_a_pipe<Want>(FromWorker(want), decode_from_worker);
    RC_ASSERT(wanted.piece == want.piece && wanted.offset == want.offset && wanted.bytes == want.bytes);

    Forward forward;
    const auto rows = static_cast<std::uint16_t>(1 + rng.below(50));
    for (std::uint16_t i = 0; i < 3; ++i) {
        const auto position = static_cast<std::uint32_t>(rng.below(limits::context_tokens_max - rows));
        forward.rows.parts.push_back({static_cast<std::uint16_t>(sequence + i * 60), position, rows});
    }
    forward.rows.tensor = rng.bytes(std::size_t{3} * rows * (34 + rng.below(10)));
    const Forward out = through_a_pipe<Forward>(FromWorker(forward), decode_from_worker);
    RC_ASSERT(out.rows.parts == forward.rows.parts && out.rows.tensor == forward.rows.tensor);
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
