#include "wire/descriptor.h"

#include <algorithm>

#include "wire/fields.h"

namespace shoal::wire {
namespace {

constexpr std::string_view magic = "SC1D";
constexpr std::uint8_t version = 1;
constexpr std::uint8_t kind_tcp = 1;
constexpr std::size_t address_bytes = 16 + 2 + 1;
constexpr std::size_t model_bytes_max = 32 + 1 + 4 + 32 + 1 + model_name_bytes_max;
constexpr std::size_t fixed_bytes = 4 + 1 + 3 * 32 + 2 + 2 + 1 + 4 * 8 + 32 + 32 + 1;
static_assert(fixed_bytes + limits::addresses_per_node_max * address_bytes +
                  limits::models_per_node_max * model_bytes_max + 64 <=
              limits::descriptor_bytes_max);

// An item at or before its predecessor: the list is not sorted, or has one twice.
template <typename List, typename Key>
bool ascends(const List& list, Key key) {
    const auto falls = [&](const auto& a, const auto& b) { return !(key(a) < key(b)); };
    return std::adjacent_find(list.begin(), list.end(), falls) == list.end();
}

Status check_models(const Descriptor& d) {
    const auto no = [](const char* why) { return fail(Errc::invalid, std::string("descriptor: ") + why); };
    if (!d.models.empty() && (d.roles & (role_model | role_lead)) == 0)
        return no("models without the role that serves them");
    if (d.models.size() > limits::models_per_node_max) return no("too many models");
    if (!ascends(d.models, [](const OfferedModel& m) { return m.model; })) return no("models out of order");
    for (const OfferedModel& m : d.models) {
        if (!is_model_name(m.name)) return no("a model name that is empty, too long or not of [A-Za-z0-9._:-]");
        if (m.context_tokens < 1 || m.context_tokens > limits::context_tokens_max) return no("a context out of range");
    }
    return ok();
}

Address read_address(Reader& in, bool& known_kind) {
    Address a;
    a.ip = in.array<16>();
    a.port = in.u16();
    known_kind = known_kind && in.u8() == kind_tcp;
    return a;
}

OfferedModel read_model(Reader& in) {
    OfferedModel m;
    m.model = ModelId(in.array<32>());
    m.quantisation = in.u8();
    m.context_tokens = in.u32();
    m.price = in.array<32>();
    const std::size_t name_bytes = in.u8();
    m.name = std::string(as_text(in.bytes(name_bytes)));
    return m;
}

}  // namespace

bool is_model_name(std::string_view name) {
    if (name.empty() || name.size() > model_name_bytes_max) return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == ':' || c == '-';
    });
}

Status check_descriptor(const Descriptor& d) {
    const auto no = [](const char* why) { return fail(Errc::invalid, std::string("descriptor: ") + why); };
    if (d.roles == 0 || (d.roles & ~role_bits_all) != 0) return no("no role, or one that is not known");
    if ((d.roles & role_guard) != 0 && (d.roles & role_relay) == 0) return no("a guard must be a relay");
    // Whoever asks must know who reads along.
    if ((d.roles & role_model) != 0 && (d.roles & role_lead) != 0) return no("whole models and models over stages");
    if (d.flags != 0) return no("a reserved flag is set");
    if (d.addresses.empty() || d.addresses.size() > limits::addresses_per_node_max) return no("1 to 4 addresses");
    if (!ascends(d.addresses, [](const Address& a) { return a; })) return no("addresses out of order");
    if (!std::all_of(d.addresses.begin(), d.addresses.end(), is_dialable)) return no("an address nobody can dial");
    if (d.valid_until <= d.valid_after) return no("ends before it begins");
    if (d.valid_until - d.valid_after > limits::descriptor_age_max) return no("valid for longer than a day");
    if (d.kem_key_hash != ByteArray<32>{}) return no("a key of the hybrid handshake, which does not exist yet");
    return check_models(d);
}

Bytes encode_descriptor_body(const Descriptor& d) {
    ASSERT(check_descriptor(d));
    Writer out(fixed_bytes + d.addresses.size() * address_bytes + d.models.size() * model_bytes_max);
    out.bytes(as_bytes(magic));
    out.u8(version);
    out.bytes(d.node.view());
    out.bytes(d.onion_key);
    out.bytes(d.hpke_key);
    out.u16(d.roles);
    out.u16(d.flags);
    out.u8(static_cast<std::uint8_t>(d.addresses.size()));
    for (const Address& a : d.addresses) {
        out.bytes(a.ip);
        out.u16(a.port);
        out.u8(kind_tcp);
    }
    out.u64(d.sequence);
    out.u64(unix_seconds(d.valid_after));
    out.u64(unix_seconds(d.valid_until));
    out.u64(d.bond);
    out.bytes(d.kem_key_hash);
    out.bytes(d.family.view());
    out.u8(static_cast<std::uint8_t>(d.models.size()));
    for (const OfferedModel& m : d.models) {
        out.bytes(m.model.view());
        out.u8(m.quantisation);
        out.u32(m.context_tokens);
        out.bytes(m.price);
        out.u8(static_cast<std::uint8_t>(m.name.size()));
        out.bytes(as_bytes(m.name));
    }
    return out.take();
}

Result<Descriptor> decode_descriptor_body(Reader& in) {
    const std::string_view found = as_text(in.bytes(magic.size()));
    const std::uint8_t found_version = in.u8();
    if (in.failed() || found != magic) return fail(Errc::malformed, "descriptor: does not begin as one");
    if (found_version != version) return fail(Errc::unsupported, "descriptor: another version");
    Descriptor d;
    d.node = NodeId(in.array<32>());
    d.onion_key = in.array<32>();
    d.hpke_key = in.array<32>();
    d.roles = in.u16();
    d.flags = in.u16();
    const std::size_t addresses = in.u8();
    bool known_kind = true;
    for (std::size_t i = 0; i < addresses && !in.failed(); ++i) d.addresses.push_back(read_address(in, known_kind));
    d.sequence = in.u64();
    d.valid_after = TRY(read_time(in, "descriptor"));
    d.valid_until = TRY(read_time(in, "descriptor"));
    d.bond = in.u64();
    d.kem_key_hash = in.array<32>();
    d.family = FamilyId(in.array<32>());
    const std::size_t models = in.u8();
    for (std::size_t i = 0; i < models && !in.failed(); ++i) d.models.push_back(read_model(in));
    TRY(in.check("descriptor"));
    if (!known_kind) return fail(Errc::malformed, "descriptor: an address of unknown kind");
    TRY(check_descriptor(d));
    return d;
}

Bytes encode(const SignedDescriptor& m) {
    Bytes out = encode_descriptor_body(m.descriptor);
    append(out, m.signature);
    return out;
}

Result<SignedDescriptor> decode_signed_descriptor(ByteView in) {
    if (in.size() > limits::descriptor_bytes_max) return fail(Errc::malformed, "descriptor: too long");
    Reader reader(in);
    SignedDescriptor m;
    m.descriptor = TRY(decode_descriptor_body(reader));
    m.signature = reader.array<64>();
    TRY(reader.finish("descriptor"));
    return m;
}

}  // namespace shoal::wire
