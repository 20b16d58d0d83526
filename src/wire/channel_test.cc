#include "wire/channel.h"

#include <gtest/gtest.h>

#include "wire/vectors_test.h"

namespace shoal::wire {
namespace {

Json data_json(const ChannelData& m) {
    return {{"total", m.total}, {"bytes", to_hex(m.bytes)}};
}

std::map<std::string, VectorCodec> codecs() {
    std::map<std::string, VectorCodec> out;
    out["open"] = codec_of<ChannelOpen>(
        decode_channel_open,
        [](const ChannelOpen& m) -> Json {
            return {{"protocol", number(m.protocol)}};
        },
        [](const Json& f) { return ChannelOpen{unnumber<ChannelProtocol>(f["protocol"])}; });
    out["data"] = {[](ByteView in) -> Result<Json> { return data_json(TRY(decode_channel_data(in))); },
                   [](const Json& f) {
                       const Bytes bytes = unhex(f["bytes"]);
                       return encode(ChannelData{f["total"], bytes});
                   },
                   false};
    out["credit"] = codec_of<ChannelCredit>(
        decode_channel_credit,
        [](const ChannelCredit& m) -> Json {
            return {{"taken", m.taken}};
        },
        [](const Json& f) { return ChannelCredit{f["taken"]}; });
    out["close"] = codec_of<ChannelCloseReason>(
        decode_channel_close,
        [](const ChannelCloseReason& m) -> Json {
            return {{"reason", number(m)}};
        },
        [](const Json& f) { return unnumber<ChannelCloseReason>(f["reason"]); });
    return out;
}

TEST(Channel, VectorsHold) {
    check_vectors("channel", codecs());
}

}  // namespace
}  // namespace shoal::wire
