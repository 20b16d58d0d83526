// The messages that carry directories over a link.
#include "wire/snapshot.h"

#include <algorithm>

#include "wire/fields.h"
#include "wire/text.h"

namespace shoal::wire {
namespace {

enum class Kind : std::uint8_t { get_snapshot = 1, not_newer = 2, snapshot = 3, publish = 4, publish_result = 5 };

struct MessageWriter {
    Writer& out;

    void kind(Kind k) { out.u8(static_cast<std::uint8_t>(k)); }
    void operator()(const GetSnapshot& m) {
        kind(Kind::get_snapshot);
        out.u64(m.newer_than.value());
    }
    void operator()(const NotNewer& m) {
        kind(Kind::not_newer);
        out.u64(m.have.value());
    }
    void operator()(const SignedSnapshot& m) {
        kind(Kind::snapshot);
        out.bytes(encode(m));
    }
    void operator()(const PublishDescriptor& m) {
        kind(Kind::publish);
        out.bytes(encode(m.descriptor));
    }
    void operator()(const PublishResult& m) {
        kind(Kind::publish_result);
        out.u8(m.accepted ? 1 : 0);
        out.text_u16(plain_text(m.reason, publish_reason_bytes_max));
    }
};

Result<DirectoryMessage> read_publish_result(Reader& in) {
    PublishResult m;
    m.accepted = TRY(read_bool(in, "publish result"));
    m.reason = in.text_u16(publish_reason_bytes_max);
    TRY(in.finish("publish result"));
    if (!is_plain_text(m.reason)) return fail(Errc::malformed, "publish result: a reason that is not plain text");
    return DirectoryMessage(std::move(m));
}

}  // namespace

Bytes encode_directory_message(const DirectoryMessage& m) {
    Writer out;
    std::visit(MessageWriter{out}, m);
    return out.take();
}

Bytes encode_snapshot_message(ByteView encoded_snapshot) {
    Writer out(1 + encoded_snapshot.size());
    out.u8(static_cast<std::uint8_t>(Kind::snapshot));
    out.bytes(encoded_snapshot);
    return out.take();
}

Result<DirectoryMessage> decode_directory_message(ByteView in) {
    Reader reader(in);
    const auto kind = static_cast<Kind>(reader.u8());
    TRY(reader.check("directory message"));
    switch (kind) {
        case Kind::get_snapshot: {
            const Epoch epoch(reader.u64());
            TRY(reader.finish("get snapshot"));
            return DirectoryMessage(GetSnapshot{epoch});
        }
        case Kind::not_newer: {
            const Epoch epoch(reader.u64());
            TRY(reader.finish("not newer"));
            return DirectoryMessage(NotNewer{epoch});
        }
        case Kind::snapshot: return DirectoryMessage(TRY(decode_signed_snapshot(reader.rest())));
        case Kind::publish: return DirectoryMessage(PublishDescriptor{TRY(decode_signed_descriptor(reader.rest()))});
        case Kind::publish_result: return read_publish_result(reader);
    }
    return fail(Errc::malformed, "directory message: unknown kind");
}

std::vector<Bytes> fragment_directory(ByteView message) {
    ASSERT(!message.empty() && message.size() <= UINT32_MAX);
    std::vector<Bytes> out;
    const std::size_t total = message.size();
    while (!message.empty()) {
        const bool first = out.empty();
        const ByteView part =
            message.first(std::min(message.size(), first ? directory_first_bytes : directory_more_bytes));
        Writer payload(limits::cell_body_bytes);
        payload.u8(first ? 1 : 0);
        if (first) payload.u32(static_cast<std::uint32_t>(total));
        payload.bytes(part);
        out.push_back(payload.take());
        message = message.subspan(part.size());
    }
    return out;
}

Result<std::optional<Bytes>> DirectoryAssembler::feed(ByteView payload) {
    // Taken out first: whatever goes wrong below, nothing of the broken message stays.
    Bytes message = std::exchange(buffer_, {});
    std::size_t expected = std::exchange(expected_, 0);
    Reader in(payload);
    const bool first = TRY(read_bool(in, "directory fragment"));
    if (first != (expected == 0)) return fail(Errc::malformed, "directory fragment: out of place");
    if (first) {
        expected = in.u32();
        if (expected > bytes_max_) {
            return fail(Errc::exhausted, "directory fragment: a message of " + std::to_string(expected) +
                                             " bytes, at most " + std::to_string(bytes_max_) + " are taken");
        }
    }
    TRY(in.check("directory fragment"));
    const ByteView part = in.rest();
    const std::size_t whole = first ? directory_first_bytes : directory_more_bytes;
    // A fragment that is neither full nor the last would let a peer stretch one message over any number of cells.
    if (part.empty() || part.size() != std::min(whole, expected - message.size())) {
        return fail(Errc::malformed, "directory fragment: not as long as its place demands");
    }
    append(message, part);
    if (message.size() == expected) return std::optional<Bytes>(std::move(message));
    expected_ = expected;
    buffer_ = std::move(message);
    return std::optional<Bytes>();
}

}  // namespace shoal::wire
