#include "wire/record.h"

#include <algorithm>

#include "wire/chat.h"
#include "wire/fields.h"

namespace shoal::wire {
namespace {

enum class Kind : std::uint8_t {
    clove_first = 1,
    clove_more = 2,
    receipt = 3,
    got = 4,
    accepted = 5,
    reply = 6,
    resume = 7,
    cancel = 8,
    pad = 9,
    error = 10,
};
constexpr std::uint8_t last_flag = 1;  // of REPLY

bool is_clove_index(std::uint8_t index) {
    return index >= 1 && index <= limits::cloves_max;
}

bool is_bucket(std::uint16_t total) {
    return std::find(limits::bucket_cells.begin(), limits::bucket_cells.end(), total) != limits::bucket_cells.end();
}

// Empty: a clove that can be gathered.
std::string_view clove_fault(const CloveFirst& m) {
    if (m.k < 1 || m.k > m.n || m.n > limits::cloves_max) return "record: clove threshold out of range";
    if (m.index < 1 || m.index > m.n) return "record: clove index out of range";
    if (!is_bucket(m.total)) return "record: clove total is no bucket";
    if (m.ciphertext_bytes != m.k * clove_bytes(m.total)) return "record: ciphertext does not fill its cloves";
    if (m.fragment.size() != limits::clove_first_fragment_bytes) return "record: first fragment is not full";
    return {};
}

std::string_view clove_fault(const CloveMore& m) {
    if (!is_clove_index(m.index)) return "record: clove index out of range";
    if (m.sequence < 1 || m.sequence >= limits::bucket_cells.back()) return "record: clove sequence out of range";
    if (m.fragment.size() != limits::clove_more_fragment_bytes) return "record: fragment is not full";
    return {};
}

// ---- bodies out --------------------------------------------------------------------------------------------------

// Writes the body behind the header and gives kind and flags.
struct BodyWriter {
    struct Head {
        Kind kind;
        std::uint8_t flags = 0;
    };
    Writer& out;

    Head operator()(const CloveFirst& m) {
        ASSERT(clove_fault(m).empty());
        for (std::uint8_t byte : {m.k, m.n, m.index, std::uint8_t{0}}) out.u8(byte);
        out.bytes(m.message.view());
        out.u16(m.total);
        out.u32(m.ciphertext_bytes);
        out.u16(static_cast<std::uint16_t>(m.fragment.size()));
        out.bytes(m.share);
        out.bytes(m.fragment);
        return {Kind::clove_first};
    }
    Head operator()(const CloveMore& m) {
        ASSERT(clove_fault(m).empty());
        out.u8(m.index);
        out.u8(0);
        out.u16(m.sequence);
        out.bytes(m.fragment);
        return {Kind::clove_more};
    }
    Head operator()(const Got& m) {
        ASSERT(is_clove_index(m.index));
        out.u8(m.index);
        return {Kind::got};
    }
    Head operator()(const Accepted&) { return {Kind::accepted}; }
    Head operator()(const Reply& m) {
        ASSERT(m.sealed.size() >= limits::aead_tag_bytes && m.sealed.size() <= reply_sealed_bytes_max);
        out.u32(m.sequence);
        out.bytes(m.sealed);
        return {Kind::reply, m.last ? last_flag : std::uint8_t{0}};
    }
    Head operator()(const Resume& m) {
        out.bytes(m.request.view());
        out.u32(m.next);
        out.bytes(m.proof);
        return {Kind::resume};
    }
    Head operator()(const Cancel& m) {
        out.bytes(m.request.view());
        return {Kind::cancel};
    }
    Head operator()(const Pad&) { return {Kind::pad}; }
    Head operator()(const RecordError& m) {
        out.u8(static_cast<std::uint8_t>(m.fault));
        out.bytes(as_bytes(plain_text(m.text, record_error_bytes_max)));
        return {Kind::error};
    }
};

// ---- bodies in ---------------------------------------------------------------------------------------------------

Result<Record> read_clove_first(Reader& in) {
    CloveFirst m;
    m.k = in.u8();
    m.n = in.u8();
    m.index = in.u8();
    in.expect_zeros(1);
    m.message = MessageId(in.array<16>());
    m.total = in.u16();
    m.ciphertext_bytes = in.u32();
    const std::size_t fragment_bytes = in.u16();
    m.share = in.array<32>();
    m.fragment = to_bytes(in.bytes(fragment_bytes));
    TRY(in.finish("record: CLOVE_FIRST"));
    const std::string_view fault = clove_fault(m);
    if (!fault.empty()) return fail(Errc::malformed, std::string(fault));
    return Record(std::move(m));
}

Result<Record> read_clove_more(Reader& in) {
    CloveMore m;
    m.index = in.u8();
    in.expect_zeros(1);
    m.sequence = in.u16();
    m.fragment = to_bytes(in.bytes(in.remaining()));
    TRY(in.finish("record: CLOVE_MORE"));
    const std::string_view fault = clove_fault(m);
    if (!fault.empty()) return fail(Errc::malformed, std::string(fault));
    return Record(std::move(m));
}

Result<Record> read_got(Reader& in) {
    Got m;
    m.index = in.u8();
    TRY(in.finish("record: GOT"));
    if (!is_clove_index(m.index)) return fail(Errc::malformed, "record: clove index out of range");
    return Record(m);
}

Result<Record> read_reply(Reader& in, std::uint8_t flags) {
    Reply m;
    m.last = flags == last_flag;
    m.sequence = in.u32();
    m.sealed = to_bytes(in.bytes(in.remaining()));
    TRY(in.finish("record: REPLY"));
    if (m.sealed.size() < limits::aead_tag_bytes) return fail(Errc::malformed, "record: REPLY shorter than its tag");
    return Record(std::move(m));
}

Result<Record> read_resume(Reader& in) {
    Resume m;
    m.request = RequestId(in.array<16>());
    m.next = in.u32();
    m.proof = in.array<32>();
    TRY(in.finish("record: RESUME"));
    return Record(m);
}

Result<Record> read_cancel(Reader& in) {
    Cancel m;
    m.request = RequestId(in.array<16>());
    TRY(in.finish("record: CANCEL"));
    return Record(m);
}

Result<Record> read_error(Reader& in) {
    RecordError m;
    m.fault = TRY(read_enum<AskFault>(in, ask_fault_max, "record: ERROR"));
    m.text = std::string(as_text(in.bytes(in.remaining())));
    TRY(in.finish("record: ERROR"));
    if (m.text.size() > record_error_bytes_max || !is_plain_text(m.text)) {
        return fail(Errc::malformed, "record: ERROR with a text that is too long or not plain");
    }
    return Record(std::move(m));
}

Result<Record> read_empty(Reader& in, Record record, std::string_view what) {
    TRY(in.finish(what));
    return record;
}

}  // namespace

RecordBytes encode_record(const Record& record) {
    Writer body(limits::record_body_bytes);
    const auto head = std::visit(BodyWriter{body}, record);
    ASSERT(body.size() <= limits::record_body_bytes);
    RecordBytes out{};
    out[0] = static_cast<std::uint8_t>(head.kind);
    out[1] = head.flags;
    store_le<std::uint16_t>(out.data() + 2, static_cast<std::uint16_t>(body.size()));
    std::copy(body.view().begin(), body.view().end(), out.begin() + limits::record_header_bytes);
    return out;
}

Result<Record> decode_record(const RecordBytes& in) {
    Reader reader(in);
    const auto kind = static_cast<Kind>(reader.u8());
    const std::uint8_t flags = reader.u8();
    const ByteView bytes = reader.bytes_u16(limits::record_body_bytes);
    reader.expect_zeros(reader.remaining());
    TRY(reader.finish("record"));
    if ((flags & ~(kind == Kind::reply ? last_flag : 0)) != 0) {
        return fail(Errc::malformed, "record: a reserved flag is set");
    }
    Reader body(bytes);
    switch (kind) {
        case Kind::clove_first: return read_clove_first(body);
        case Kind::clove_more: return read_clove_more(body);
        case Kind::receipt: return fail(Errc::unsupported, "record: RECEIPT is reserved");
        case Kind::got: return read_got(body);
        case Kind::accepted: return read_empty(body, Accepted{}, "record: ACCEPTED");
        case Kind::reply: return read_reply(body, flags);
        case Kind::resume: return read_resume(body);
        case Kind::cancel: return read_cancel(body);
        case Kind::pad: return read_empty(body, Pad{}, "record: PAD");
        case Kind::error: return read_error(body);
    }
    return fail(Errc::malformed, "record: unknown kind");
}

}  // namespace shoal::wire
