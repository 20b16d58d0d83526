#include "wire/profile.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

constexpr std::string_view magic = "SC1P";
constexpr std::uint8_t version = 1;
constexpr std::size_t rate_bytes = 1 + 3 * 8 + 4;
constexpr std::size_t link_bytes = 32 + 4 + 8;
constexpr std::size_t fixed_bytes = 4 + 1 + 32 + 3 * 8 + 4 + 2 + 1 + 1;
static_assert(fixed_bytes + limits::profile_rates_max * rate_bytes + limits::profile_links_max * link_bytes + 64 <=
              limits::profile_bytes_max);
static_assert(limits::stage_overhead_max.count() <= UINT32_MAX && limits::layer_overhead_max.count() <= UINT32_MAX);

Error no(const char* why) {
    return fail(Errc::invalid, std::string("profile: ") + why);
}

bool is_rate(std::uint64_t ps_per_mib) {
    return ps_per_mib >= limits::rate_ps_per_mib_min && ps_per_mib <= limits::rate_ps_per_mib_max;
}

// An item at or before its predecessor: the list is not sorted, or has one twice.
template <typename List, typename Key>
bool ascends(const List& list, Key key) {
    return std::ranges::adjacent_find(list, [&](const auto& a, const auto& b) { return !(key(a) < key(b)); }) ==
           list.end();
}

Measurements read_measurements(Reader& in) {
    Measurements m;
    m.memory_bytes = in.u64();
    m.stage_overhead_ns = in.u32();
    m.chunk_tokens = in.u16();
    const std::size_t rates = in.u8();
    for (std::size_t i = 0; i < rates && !in.failed(); ++i) {
        MeasuredRate r;
        r.quantisation = in.u8();
        r.decode_ps_per_mib = in.u64();
        r.batch_ps_per_mib = in.u64();
        r.prefill_ps_per_mib = in.u64();
        r.layer_overhead_ns = in.u32();
        m.rates.push_back(r);
    }
    return m;
}

void write_measurements(Writer& out, const Measurements& m) {
    out.u64(m.memory_bytes);
    out.u32(m.stage_overhead_ns);
    out.u16(m.chunk_tokens);
    out.u8(static_cast<std::uint8_t>(m.rates.size()));
    for (const MeasuredRate& r : m.rates) {
        out.u8(r.quantisation);
        out.u64(r.decode_ps_per_mib);
        out.u64(r.batch_ps_per_mib);
        out.u64(r.prefill_ps_per_mib);
        out.u32(r.layer_overhead_ns);
    }
}

Result<Profile> decode_profile_body(Reader& in) {
    const std::string_view found = as_text(in.bytes(magic.size()));
    const std::uint8_t found_version = in.u8();
    if (in.failed() || found != magic) return fail(Errc::malformed, "profile: does not begin as one");
    if (found_version != version) return fail(Errc::unsupported, "profile: another version");
    Profile p;
    p.node = NodeId(in.array<32>());
    p.valid_after = TRY(read_time(in, "profile"));
    p.valid_until = TRY(read_time(in, "profile"));
    p.measured = read_measurements(in);
    const std::size_t links = in.u8();
    for (std::size_t i = 0; i < links && !in.failed(); ++i) {
        MeasuredLink l;
        l.peer = NodeId(in.array<32>());
        l.rtt_us = in.u32();
        l.bytes_per_second = in.u64();
        p.links.push_back(l);
    }
    TRY(in.check("profile"));
    TRY(check_profile(p));
    return p;
}

}  // namespace

Status check_measurements(const Measurements& m) {
    if (m.memory_bytes < 1 || m.memory_bytes > limits::node_memory_bytes_max) return no("memory out of range");
    if (m.stage_overhead_ns > limits::stage_overhead_max.count()) return no("overhead of a stage out of range");
    if (m.chunk_tokens < 1 || m.chunk_tokens > limits::prefill_chunk_tokens) return no("chunk out of range");
    if (m.rates.empty() || m.rates.size() > limits::profile_rates_max) return no("1 to 8 rates");
    if (!ascends(m.rates, [](const MeasuredRate& r) { return r.quantisation; })) return no("rates out of order");
    for (const MeasuredRate& r : m.rates) {
        if (!is_rate(r.decode_ps_per_mib)) return no("decode rate out of range");
        if (!is_rate(r.batch_ps_per_mib)) return no("batch rate out of range");
        if (!is_rate(r.prefill_ps_per_mib)) return no("prefill rate out of range");
        if (r.layer_overhead_ns > limits::layer_overhead_max.count()) return no("overhead of a layer out of range");
    }
    return ok();
}

Status check_link(const MeasuredLink& link) {
    if (link.rtt_us < 1 || std::chrono::microseconds(link.rtt_us) > limits::link_rtt_max) {
        return no("round trip out of range");
    }
    if (link.bytes_per_second < limits::link_bytes_per_second_min ||
        link.bytes_per_second > limits::link_bytes_per_second_max) {
        return no("bandwidth out of range");
    }
    return ok();
}

Status check_profile(const Profile& p) {
    if (p.valid_until <= p.valid_after) return no("ends before it begins");
    if (p.valid_until - p.valid_after > limits::profile_age_max) return no("valid for longer than a week");
    TRY(check_measurements(p.measured));
    if (p.links.size() > limits::profile_links_max) return no("more than 64 links");
    if (!ascends(p.links, [](const MeasuredLink& l) { return l.peer; })) return no("links out of order");
    for (const MeasuredLink& l : p.links) {
        if (l.peer == p.node) return no("a link to itself");
        TRY(check_link(l));
    }
    return ok();
}

Bytes encode_profile_body(const Profile& p) {
    ASSERT(check_profile(p));
    Writer out(fixed_bytes + p.measured.rates.size() * rate_bytes + p.links.size() * link_bytes + 64);
    out.bytes(as_bytes(magic));
    out.u8(version);
    out.bytes(p.node.view());
    out.u64(unix_seconds(p.valid_after));
    out.u64(unix_seconds(p.valid_until));
    write_measurements(out, p.measured);
    out.u8(static_cast<std::uint8_t>(p.links.size()));
    for (const MeasuredLink& l : p.links) {
        out.bytes(l.peer.view());
        out.u32(l.rtt_us);
        out.u64(l.bytes_per_second);
    }
    return out.take();
}

Bytes encode(const SignedProfile& m) {
    Bytes out = encode_profile_body(m.profile);
    append(out, m.signature);
    return out;
}

Result<SignedProfile> decode_signed_profile(ByteView in) {
    if (in.size() > limits::profile_bytes_max) return fail(Errc::malformed, "profile: too long");
    Reader reader(in);
    SignedProfile m;
    m.profile = TRY(decode_profile_body(reader));
    m.signature = reader.array<64>();
    TRY(reader.finish("profile"));
    return m;
}

}  // namespace shoal::wire
