#include "wire/prefix.h"

#include "wire/fields.h"

namespace shoal::wire {
namespace {

enum class Kind : std::uint8_t { fetch = 1, reading = 2, piece = 3, refused = 4 };

bool in_range(const PrefixFetch& m) {
    return !m.model.is_zero() && m.tokens >= 1 && m.tokens <= limits::context_tokens_max;
}
bool in_range(const PrefixBytes& m) {
    return !m.bytes.empty() && m.bytes.size() <= limits::prefix_piece_bytes;
}

struct BodyWriter {
    Writer& out;

    void operator()(const PrefixFetch& m) {
        ASSERT(in_range(m));
        out.u8(static_cast<std::uint8_t>(Kind::fetch));
        out.bytes(m.model.view());
        out.bytes(m.chain);
        out.u32(m.tokens);
    }
    void operator()(const PrefixReading&) { out.u8(static_cast<std::uint8_t>(Kind::reading)); }
    void operator()(const PrefixBytes& m) {
        ASSERT(in_range(m));
        out.u8(static_cast<std::uint8_t>(Kind::piece));
        out.u8(m.last ? 1 : 0);
        out.bytes_u32(m.bytes);
    }
    void operator()(const PrefixRefused& m) {
        out.u8(static_cast<std::uint8_t>(Kind::refused));
        out.u8(static_cast<std::uint8_t>(m.reason));
    }
};

Result<PrefixMessage> read_fetch(Reader& in) {
    PrefixFetch m;
    m.model = ModelId(in.array<32>());
    m.chain = in.array<32>();
    m.tokens = in.u32();
    TRY(in.finish("prefix fetch"));
    if (!in_range(m)) return fail(Errc::invalid, "prefix fetch: of no model, or of no such number of tokens");
    return PrefixMessage(m);
}

Result<PrefixMessage> read_piece(Reader& in) {
    PrefixBytes m;
    m.last = TRY(read_bool(in, "prefix piece"));
    const std::uint32_t size = in.u32();
    TRY(in.check("prefix piece"));
    if (size == 0 || size > limits::prefix_piece_bytes) return fail(Errc::invalid, "prefix piece: a size out of range");
    m.bytes = to_bytes(in.bytes(size));
    TRY(in.finish("prefix piece"));
    return PrefixMessage(std::move(m));
}

Result<PrefixMessage> read_refused(Reader& in) {
    const PrefixRefused m{TRY(read_enum<PrefixRefusal>(in, prefix_refusal_max, "prefix refused"))};
    TRY(in.finish("prefix refused"));
    return PrefixMessage(m);
}

}  // namespace

Bytes encode_prefix_message(const PrefixMessage& message) {
    const auto* piece = std::get_if<PrefixBytes>(&message);
    Writer out(1 + (piece != nullptr ? 5 + piece->bytes.size() : ModelId::size + 32 + 4));
    std::visit(BodyWriter{out}, message);
    return out.take();
}

Result<PrefixMessage> decode_prefix_message(ByteView in) {
    Reader reader(in);
    switch (static_cast<Kind>(reader.u8())) {
        case Kind::fetch: return read_fetch(reader);
        case Kind::reading: {
            TRY(reader.finish("prefix reading"));
            return PrefixMessage(PrefixReading{});
        }
        case Kind::piece: return read_piece(reader);
        case Kind::refused: return read_refused(reader);
    }
    return fail(Errc::malformed, "prefix: unknown message");
}

}  // namespace shoal::wire
