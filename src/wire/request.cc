#include "wire/request.h"

#include "wire/fields.h"
#include "wire/record.h"

namespace shoal::wire {
namespace {

constexpr std::uint8_t unpaid_flag = 1 << 0;
constexpr std::uint8_t no_hand_over_flag = 1 << 1;
constexpr std::uint8_t pipelines_flag = 1 << 2;
constexpr std::uint8_t flags_all = unpaid_flag | no_hand_over_flag | pipelines_flag;
static_assert(request_header_bytes == 224);
// The default profile carries the largest body there is.
static_assert(request_header_bytes + request_qc_bytes_max + limits::chat_body_bytes_max + limits::aead_tag_bytes <=
              limits::cloves_needed_default * limits::fragment_bytes_max);

bool has_hold(const Request& r) {
    return r.hold != ByteArray<32>{} || r.session_key != ByteArray<32>{} || !r.hold_certificate.empty();
}

std::uint8_t flags_of(const Request& r) {
    std::uint8_t flags = 0;
    if (r.unpaid) flags |= unpaid_flag;
    if (r.no_hand_over) flags |= no_hand_over_flag;
    if (r.pipelines_allowed) flags |= pipelines_flag;
    return flags;
}

}  // namespace

Bytes encode_request(const Request& request) {
    ASSERT(!request.unpaid || !has_hold(request));
    ASSERT(request.hold_certificate.size() <= request_qc_bytes_max);
    ASSERT(request.body.size() <= limits::chat_body_bytes_max);
    // Exact, so that no half-grown copy of the prompt stays behind in freed memory.
    Writer out(request_header_bytes + request.hold_certificate.size() + request.body.size());
    out.u8(request_version);
    out.u8(flags_of(request));
    out.bytes(request.id.view());
    out.u64(unix_seconds(request.expires));
    out.bytes(request.model.view());
    out.bytes(request.hold);
    out.bytes(request.session_key);
    out.bytes(request.affinity);
    out.bytes(request.client_seed);
    out.bytes(request.reply_key.expose());
    out.bytes_u16(request.hold_certificate);
    out.text_u32(request.body.expose());
    return out.take();
}

Result<Request> decode_request(ByteView in) {
    Reader reader(in);
    const std::uint8_t version = reader.u8();
    const std::uint8_t flags = reader.u8();
    TRY(reader.check("request"));
    if (version != request_version) {
        return fail(Errc::unsupported, "request: version " + std::to_string(version) + ", this node reads " +
                                           std::to_string(request_version));
    }
    if ((flags & ~flags_all) != 0) return fail(Errc::malformed, "request: a reserved flag is set");
    Request r;
    r.unpaid = (flags & unpaid_flag) != 0;
    r.no_hand_over = (flags & no_hand_over_flag) != 0;
    r.pipelines_allowed = (flags & pipelines_flag) != 0;
    r.id = RequestId(reader.array<16>());
    r.expires = TRY(read_time(reader, "request"));
    r.model = ModelId(reader.array<32>());
    r.hold = reader.array<32>();
    r.session_key = reader.array<32>();
    r.affinity = reader.array<32>();
    r.client_seed = reader.array<32>();
    r.reply_key = Key32(reader.array<32>());
    r.hold_certificate = to_bytes(reader.bytes_u16(request_qc_bytes_max));
    r.body = Plaintext(reader.text_u32(limits::chat_body_bytes_max));
    reader.expect_zeros(reader.remaining());
    TRY(reader.finish("request"));
    if (r.unpaid && has_hold(r)) return fail(Errc::invalid, "request: unpaid, yet with a hold");
    return r;
}

Result<Bucket> choose_bucket(std::size_t request_bytes, unsigned k) {
    if (k < 1 || k > limits::cloves_max) return fail(Errc::invalid, "request: clove threshold out of range");
    for (const std::uint16_t cells : limits::bucket_cells) {
        Bucket bucket;
        bucket.cells = cells;
        bucket.fragment_bytes = clove_bytes(cells);
        bucket.padded_request_bytes = k * bucket.fragment_bytes - limits::aead_tag_bytes;
        if (request_bytes <= bucket.padded_request_bytes) return bucket;
    }
    return fail(Errc::exhausted, "request: longer than the largest bucket holds");
}

}  // namespace shoal::wire
