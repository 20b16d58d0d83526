// What a client may ask of the last hop, and what it is refused.
#include "circuit/terminus.h"

#include <gtest/gtest.h>

namespace shoal::circuit {
namespace {

using wire::RelayCommand;

wire::RelayPayload payload(RelayCommand command, std::uint16_t stream, ByteView data) {
    return *wire::decode_relay(wire::encode_relay(command, StreamId(stream), data));
}

wire::RelayPayload connect(std::uint16_t stream) {
    const wire::Connect to{NodeId(ByteArray<32>{9}), {wire::StreamProtocol::prompt, {1}}};
    return payload(RelayCommand::connect, stream, wire::encode(to));
}

wire::RelayPayload data(std::uint16_t stream) {
    return payload(RelayCommand::data, stream, Bytes(limits::sealed_record_bytes, 1));
}

TEST(Terminus, AStreamIsOpenedOnce) {
    Terminus terminus;
    EXPECT_TRUE(terminus.on_payload(connect(1), {}));
    const Status again = terminus.on_payload(connect(1), {});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::malformed);
}

TEST(Terminus, StreamsAreBoundedAndTheOneTooManyIsTold) {
    Terminus terminus;
    for (std::uint16_t i = 1; i <= limits::streams_per_circuit_max; ++i) {
        ASSERT_TRUE(terminus.on_payload(connect(i), {}));
    }
    EXPECT_EQ(terminus.waiting(), 0U);
    ASSERT_TRUE(terminus.on_payload(connect(1000), {}));
    EXPECT_EQ(terminus.streams(), limits::streams_per_circuit_max);
    ASSERT_EQ(terminus.waiting(), 1U);
    const BackItem told = terminus.take();
    EXPECT_EQ(told.command, RelayCommand::end);
    EXPECT_EQ(told.stream, StreamId(1000));
    EXPECT_EQ(told.data, wire::encode(wire::StreamEndReason::busy));
}

TEST(Terminus, AnswersThatNobodyTakesEndTheCircuit) {
    Terminus terminus;
    std::uint16_t next = 1;
    for (; next <= limits::streams_per_circuit_max; ++next) ASSERT_TRUE(terminus.on_payload(connect(next), {}));
    for (std::size_t i = 0; i < limits::terminus_answers_max; ++i) {
        ASSERT_TRUE(terminus.on_payload(connect(next++), {}));
    }
    const Status more = terminus.on_payload(connect(next), {});
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, Errc::exhausted);
}

TEST(Terminus, DataPastTheWindowEndsTheCircuit) {
    Terminus terminus;
    ASSERT_TRUE(terminus.on_payload(connect(1), {}));
    // The link does not come up, so nothing is given back.
    for (std::uint32_t i = 0; i < limits::stream_window_cells; ++i) ASSERT_TRUE(terminus.on_payload(data(1), {}));
    const Status more = terminus.on_payload(data(1), {});
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, Errc::exhausted);
}

TEST(Terminus, ASendmeThatWasNotEarnedEndsTheCircuit) {
    Terminus terminus;
    ASSERT_TRUE(terminus.on_payload(connect(1), {}));
    const Status given = terminus.on_payload(payload(RelayCommand::sendme, 1, wire::encode(wire::Sendme{})), {});
    ASSERT_FALSE(given);
    EXPECT_EQ(given.error().code, Errc::unauthenticated);
}

TEST(Terminus, WhatOnlyATerminusSaysIsRefused) {
    Terminus terminus;
    EXPECT_FALSE(terminus.on_payload(payload(RelayCommand::extended, 0, {}), {}));
    EXPECT_FALSE(terminus.on_payload(payload(RelayCommand::error, 0, {}), {}));
}

}  // namespace
}  // namespace shoal::circuit
