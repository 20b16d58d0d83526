#include "wire/snapshot.h"

#include <algorithm>

#include "wire/fields.h"
#include "wire/text.h"

namespace shoal::wire {
namespace {

constexpr std::string_view magic = "SC1S";
constexpr std::uint8_t version = 1;
constexpr std::uint16_t reputation_max = 1000;

Status malformed(const char* why) {
    return fail(Errc::malformed, std::string("snapshot: ") + why);
}

// All but the entries, which are checked as they are read.
Status check_head(const Snapshot& s) {
    if (s.epoch.value() == 0) return malformed("epochs begin at 1");
    if (s.epoch.value() == 1 && s.previous != ByteArray<32>{}) return malformed("nothing comes before epoch 1");
    if (s.fresh_until <= s.valid_after || s.valid_until < s.fresh_until)
        return malformed("times contradict each other");
    if (s.valid_until - s.valid_after > limits::snapshot_valid) return malformed("valid for too long");
    return ok();
}

// `before` is the node of the entry before, if there is one.
Status check_entry(const SnapshotEntry& entry, const NodeId* before) {
    if (before != nullptr && !(*before < entry.descriptor.node)) return malformed("entries out of order");
    if (entry.reputation > reputation_max) return malformed("a reputation above 1000 thousandths");
    return ok();
}

Result<Snapshot> read_body(Reader& in) {
    const std::string_view found = as_text(in.bytes(magic.size()));
    const std::uint8_t found_version = in.u8();
    if (in.failed() || found != magic) return fail(Errc::malformed, "snapshot: does not begin as one");
    if (found_version != version) return fail(Errc::unsupported, "snapshot: another version");
    Snapshot s;
    s.network = NetworkId(in.array<32>());
    s.epoch = Epoch(in.u64());
    s.valid_after = TRY(read_time(in, "snapshot"));
    s.fresh_until = TRY(read_time(in, "snapshot"));
    s.valid_until = TRY(read_time(in, "snapshot"));
    s.previous = in.array<32>();
    const std::size_t count = in.u32();
    TRY(in.check("snapshot"));
    TRY(check_head(s));
    if (count > limits::snapshot_nodes_max) return fail(Errc::malformed, "snapshot: too many nodes");
    // Grows with what is read: an announced number costs nothing.
    for (std::size_t i = 0; i < count; ++i) {
        SnapshotEntry entry;
        entry.descriptor = TRY(decode_descriptor_body(in));
        entry.weight = in.u32();
        entry.reputation = in.u16();
        TRY(in.check("snapshot"));
        TRY(check_entry(entry, s.entries.empty() ? nullptr : &s.entries.back().descriptor.node));
        s.entries.push_back(std::move(entry));
    }
    return s;
}

Result<std::vector<CommitteeSignature>> read_signatures(Reader& in) {
    std::vector<CommitteeSignature> out;
    const std::size_t count = in.u8();
    for (std::size_t i = 0; i < count; ++i) {
        CommitteeSignature one;
        one.index = in.u8();
        one.signature = in.array<64>();
        TRY(in.check("snapshot"));
        if (one.index >= limits::committee_max) return fail(Errc::malformed, "snapshot: a signer beyond the committee");
        if (!out.empty() && one.index <= out.back().index) {
            return fail(Errc::malformed, "snapshot: signatures out of order");
        }
        out.push_back(one);
    }
    return out;
}

}  // namespace

Bytes encode_snapshot_body(const Snapshot& s) {
    ASSERT(check_head(s));
    ASSERT(s.entries.size() <= limits::snapshot_nodes_max);
    Writer out;
    out.bytes(as_bytes(magic));
    out.u8(version);
    out.bytes(s.network.view());
    out.u64(s.epoch.value());
    out.u64(unix_seconds(s.valid_after));
    out.u64(unix_seconds(s.fresh_until));
    out.u64(unix_seconds(s.valid_until));
    out.bytes(s.previous);
    out.u32(static_cast<std::uint32_t>(s.entries.size()));
    const NodeId* before = nullptr;
    for (const SnapshotEntry& entry : s.entries) {
        ASSERT(check_entry(entry, before));
        before = &entry.descriptor.node;
        out.bytes(encode_descriptor_body(entry.descriptor));
        out.u32(entry.weight);
        out.u16(entry.reputation);
    }
    return out.take();
}

Bytes encode(const SignedSnapshot& m) {
    ASSERT(!m.body.empty());
    ASSERT(m.signatures.size() <= limits::committee_max);
    Writer out(m.body.size() + 1 + m.signatures.size() * 65);
    out.bytes(m.body);
    out.u8(static_cast<std::uint8_t>(m.signatures.size()));
    for (const CommitteeSignature& one : m.signatures) {
        out.u8(one.index);
        out.bytes(one.signature);
    }
    return out.take();
}

Result<SignedSnapshot> decode_signed_snapshot(ByteView in) {
    if (in.size() > limits::snapshot_bytes_max) return fail(Errc::malformed, "snapshot: too long");
    Reader reader(in);
    SignedSnapshot m;
    m.snapshot = TRY(read_body(reader));
    m.body = to_bytes(in.first(in.size() - reader.remaining()));
    m.signatures = TRY(read_signatures(reader));
    TRY(reader.finish("snapshot"));
    return m;
}

}  // namespace shoal::wire
