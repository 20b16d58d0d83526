#include "wire/stage.h"

#include <algorithm>

#include "wire/fields.h"
#include "wire/text.h"

namespace shoal::wire {
namespace {

enum class Kind : std::uint8_t {
    open = 1,
    opened = 2,
    join = 3,
    joined = 4,
    step = 5,
    truncate = 6,
    replay = 7,
    reroute = 8,
    done = 9,
    alive = 10,
    fault = 11,
    fill = 12,
    refill = 13,
    read = 14,
    group_open = 32,
    group_join = 33,
    group_probe = 34,
    group_echo = 35,
    group_compute = 36,
    group_truncate = 37,
    group_reduce = 38,
    group_agree = 39,
    group_alive = 40,
};

std::string_view group_fault(const StageOpen& m) {
    if (m.ranks.empty()) return m.rank == 0 ? std::string_view() : "stage: a rank of no group";
    if (m.ranks.size() < 2 || m.ranks.size() > limits::group_ranks_max) return "stage: ranks out of range";
    if (m.rank >= m.ranks.size()) return "stage: no such rank";
    if (m.width > limits::group_width_max) return "stage: too wide for a group";
    for (std::size_t i = 0; i < m.ranks.size(); ++i) {
        if (m.ranks[i].is_zero()) return "stage: a name is missing";
        if (std::find(m.ranks.begin(), m.ranks.begin() + static_cast<std::ptrdiff_t>(i), m.ranks[i]) !=
            m.ranks.begin() + static_cast<std::ptrdiff_t>(i)) {
            return "stage: a node is two ranks";
        }
    }
    return {};
}

std::string_view open_fault(const StageOpen& m) {
    if (m.session.is_zero() || m.model.is_zero() || m.next.is_zero()) return "stage: a name is missing";
    if (m.layers.first >= m.layers.end || m.layers.end > limits::model_layers_max) return "stage: no range of layers";
    if (m.hop < 1 || m.hop > limits::stage_hops_max) return "stage: hop out of range";
    if (m.width == 0 || m.width % 32 != 0 || m.width > limits::stage_width_max) return "stage: width out of range";
    if (m.context == 0 || m.context > limits::context_tokens_max) return "stage: context out of range";
    if (m.sequences == 0 || m.sequences > limits::stage_sequences_max) return "stage: sequences out of range";
    return group_fault(m);
}

std::string_view place_fault(std::uint16_t sequence, std::uint32_t length) {
    if (sequence >= limits::stage_sequences_max) return "stage: sequence out of range";
    return length >= limits::context_tokens_max ? "stage: length out of range" : std::string_view();
}

std::string_view probe_fault(std::uint8_t number) {
    return number == 0 || number > limits::group_probes_max ? "stage: no such probe" : std::string_view();
}

std::string_view join_fault(const GroupJoin& m) {
    if (m.session.is_zero()) return "stage: a name is missing";
    if (m.hop < 1 || m.hop > limits::stage_hops_max) return "stage: hop out of range";
    return m.rank >= limits::group_ranks_max ? "stage: no such rank" : std::string_view();
}

std::string_view numbers_fault(std::uint64_t number, std::uint64_t settled) {
    if (number == 0 || settled >= number) return "stage: operations out of order";
    return number - settled > limits::stage_unsettled_max ? "stage: too many operations without a result"
                                                          : std::string_view();
}

std::string_view read_fault(const StageRead& m) {
    if (m.of.what == StageReadWhat::hashes) {
        const bool fits = m.bytes.size() % 32 == 0 && m.bytes.size() / 32 <= limits::model_layers_max;
        return fits ? std::string_view() : "stage: no number of hashes";
    }
    if (m.bytes.size() % m.of.rows != 0) return "stage: the bytes are not of the rows";
    return m.bytes.size() > limits::stage_tensor_bytes_max ? "stage: too much is read" : std::string_view();
}

Status check(std::string_view fault) {
    return fault.empty() ? ok() : fail(Errc::invalid, std::string(fault));
}

struct BodyWriter {
    Writer& out;

    Kind operator()(const StageOpen& m) {
        ASSERT(open_fault(m).empty());
        out.bytes(m.session.view());
        out.bytes(m.model.view());
        out.u16(m.layers.first);
        out.u16(m.layers.end);
        out.u8(m.hop);
        out.u8(static_cast<std::uint8_t>(m.type));
        out.u32(m.width);
        out.u32(m.context);
        out.u16(m.sequences);
        out.bytes(m.next.view());
        if (m.ranks.empty()) return Kind::open;
        out.u8(m.rank);
        out.u8(static_cast<std::uint8_t>(m.ranks.size()));
        for (const NodeId& node : m.ranks) out.bytes(node.view());
        return Kind::group_open;
    }
    Kind operator()(const StageOpened& m) {
        put_kv_shape(out, m.kv);
        return Kind::opened;
    }
    Kind operator()(const StageJoin& m) {
        ASSERT(!m.session.is_zero() && m.hop >= 1 && m.hop <= limits::stage_hops_max + 1);
        out.bytes(m.session.view());
        out.u8(m.hop);
        return Kind::join;
    }
    Kind operator()(const StageJoined& m) {
        ASSERT(!m.fresh || m.received == 0);
        out.u8(m.fresh ? 1 : 0);
        out.u64(m.received);
        return Kind::joined;
    }
    Kind operator()(const StageStep& m) {
        ASSERT(numbers_fault(m.number, m.settled).empty() && stage_rows_fault(m.rows, false).empty());
        out.u64(m.number);
        out.u64(m.settled);
        put_stage_rows(out, m.rows);
        return Kind::step;
    }
    Kind operator()(const StageTruncate& m) {
        ASSERT(numbers_fault(m.number, m.settled).empty() && m.length < limits::context_tokens_max);
        out.u64(m.number);
        out.u64(m.settled);
        out.u16(m.sequence);
        out.u32(m.length);
        return Kind::truncate;
    }
    Kind operator()(const StageFill& m) {
        ASSERT(numbers_fault(m.number, m.settled).empty());
        out.u64(m.number);
        out.u64(m.settled);
        put_kv_rows(out, m.rows);
        return Kind::fill;
    }
    Kind operator()(const StageRefill& m) {
        put_kv_rows(out, m.rows);
        return Kind::refill;
    }
    Kind operator()(const StageRead& m) {
        ASSERT(numbers_fault(m.number, m.settled).empty() && read_fault(m).empty());
        out.u64(m.number);
        out.u64(m.settled);
        put_read_of(out, m.of);
        out.bytes_u32(m.bytes);
        return Kind::read;
    }
    Kind operator()(const StageReplay& m) {
        ASSERT(stage_rows_fault(m.rows, m.final).empty());
        out.u64(m.settled);
        out.u8(m.final ? 1 : 0);
        put_stage_rows(out, m.rows);
        return Kind::replay;
    }
    Kind operator()(const StageReroute& m) {
        ASSERT(!m.next.is_zero());
        out.bytes(m.next.view());
        return Kind::reroute;
    }
    Kind operator()(const StageDone& m) {
        ASSERT(m.number != 0);
        out.u64(m.number);
        return Kind::done;
    }
    Kind operator()(const StageAlive&) { return Kind::alive; }
    Kind operator()(const StageFault& m) {
        out.u8(static_cast<std::uint8_t>(m.code));
        out.text_u16(plain_text(m.text, limits::stage_fault_bytes_max));
        return Kind::fault;
    }
    Kind operator()(const GroupJoin& m) {
        ASSERT(join_fault(m).empty());
        out.bytes(m.session.view());
        out.u8(m.hop);
        out.u8(m.rank);
        return Kind::group_join;
    }
    Kind operator()(const GroupProbe& m) { return probe(Kind::group_probe, m.number); }
    Kind operator()(const GroupEcho& m) { return probe(Kind::group_echo, m.number); }
    Kind probe(Kind kind, std::uint8_t number) {
        ASSERT(probe_fault(number).empty());
        out.u8(number);
        return kind;
    }
    Kind operator()(const GroupCompute& m) {
        ASSERT(m.number != 0 && stage_rows_fault(m.rows, false).empty());
        out.u64(m.number);
        put_stage_rows(out, m.rows);
        return Kind::group_compute;
    }
    Kind operator()(const GroupTruncate& m) {
        ASSERT(place_fault(m.sequence, m.length).empty());
        out.u16(m.sequence);
        out.u32(m.length);
        return Kind::group_truncate;
    }
    Kind operator()(const ReducePart& m) {
        ASSERT(reduce_part_fault(m).empty());
        put_reduce_part(out, m);
        return Kind::group_reduce;
    }
    Kind operator()(const GroupAgree& m) {
        ASSERT(m.number != 0);
        out.u64(m.number);
        out.bytes(m.digest);
        return Kind::group_agree;
    }
    Kind operator()(const GroupAlive&) { return Kind::group_alive; }
};

Result<StageMessage> read_open(Reader& in, bool group) {
    StageOpen m;
    m.session = StageSessionId(in.array<16>());
    m.model = ModelId(in.array<32>());
    m.layers.first = in.u16();
    m.layers.end = in.u16();
    m.hop = in.u8();
    m.type = TRY(read_enum<ActivationType>(in, activation_type_max, "stage: activation type"));
    m.width = in.u32();
    m.context = in.u32();
    m.sequences = in.u16();
    m.next = NodeId(in.array<32>());
    if (group) {
        m.rank = in.u8();
        const std::uint8_t count = in.u8();
        if (count < 2 || count > limits::group_ranks_max) return fail(Errc::invalid, "stage: ranks out of range");
        for (std::uint8_t i = 0; i < count; ++i) m.ranks.emplace_back(in.array<32>());
    }
    TRY(in.finish("stage open"));
    TRY(check(open_fault(m)));
    return StageMessage(m);
}

Result<StageMessage> read_join(Reader& in) {
    StageJoin m;
    m.session = StageSessionId(in.array<16>());
    m.hop = in.u8();
    TRY(in.finish("stage join"));
    if (m.session.is_zero()) return fail(Errc::invalid, "stage: a name is missing");
    if (m.hop < 1 || m.hop > limits::stage_hops_max + 1) return fail(Errc::invalid, "stage: hop out of range");
    return StageMessage(m);
}

Result<StageMessage> read_joined(Reader& in) {
    StageJoined m;
    m.fresh = TRY(read_bool(in, "stage: fresh"));
    m.received = in.u64();
    TRY(in.finish("stage joined"));
    if (m.fresh && m.received != 0) return fail(Errc::invalid, "stage: a fresh hop that has received");
    return StageMessage(m);
}

Result<StageMessage> read_step(Reader& in) {
    StageStep m;
    m.number = in.u64();
    m.settled = in.u64();
    m.rows = TRY(read_stage_rows(in, false));
    TRY(in.finish("stage step"));
    TRY(check(numbers_fault(m.number, m.settled)));
    return StageMessage(m);
}

Result<StageMessage> read_truncate(Reader& in) {
    StageTruncate m;
    m.number = in.u64();
    m.settled = in.u64();
    m.sequence = in.u16();
    m.length = in.u32();
    TRY(in.finish("stage truncate"));
    TRY(check(numbers_fault(m.number, m.settled)));
    TRY(check(place_fault(m.sequence, m.length)));
    return StageMessage(m);
}

Result<StageMessage> read_opened(Reader& in) {
    StageOpened m;
    m.kv = TRY(read_kv_shape(in));
    TRY(in.finish("stage opened"));
    return StageMessage(std::move(m));
}

Result<StageMessage> read_fill(Reader& in) {
    StageFill m;
    m.number = in.u64();
    m.settled = in.u64();
    m.rows = TRY(read_kv_rows(in));
    TRY(in.finish("stage fill"));
    TRY(check(numbers_fault(m.number, m.settled)));
    return StageMessage(std::move(m));
}

Result<StageMessage> read_refill(Reader& in) {
    StageRefill m{TRY(read_kv_rows(in))};
    TRY(in.finish("stage refill"));
    return StageMessage(std::move(m));
}

Result<StageMessage> read_read(Reader& in) {
    StageRead m;
    m.number = in.u64();
    m.settled = in.u64();
    m.of = TRY(read_read_of(in));
    m.bytes = to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max));
    TRY(in.finish("stage read"));
    TRY(check(numbers_fault(m.number, m.settled)));
    TRY(check(read_fault(m)));
    return StageMessage(std::move(m));
}

Result<StageMessage> read_replay(Reader& in) {
    StageReplay m;
    m.settled = in.u64();
    m.final = TRY(read_bool(in, "stage: final"));
    m.rows = TRY(read_stage_rows(in, m.final));
    TRY(in.finish("stage replay"));
    return StageMessage(m);
}

Result<StageMessage> read_done(Reader& in) {
    const StageDone m{in.u64()};
    TRY(in.finish("stage done"));
    if (m.number == 0) return fail(Errc::invalid, "stage: operation zero");
    return StageMessage(m);
}

Result<StageMessage> read_fault(Reader& in) {
    StageFault m;
    m.code = TRY(read_enum<StageFaultCode>(in, stage_fault_code_max, "stage: fault"));
    const ByteView text = in.bytes_u16(limits::stage_fault_bytes_max);
    TRY(in.finish("stage fault"));
    m.text = std::string(as_text(text));
    if (plain_text(m.text, limits::stage_fault_bytes_max) != m.text)
        return fail(Errc::malformed, "stage: text is not plain");
    return StageMessage(m);
}

template <typename Message>
Result<StageMessage> read_empty(Reader& in) {
    TRY(in.finish("stage"));
    return StageMessage(Message{});
}

Result<StageMessage> read_reroute(Reader& in) {
    const StageReroute m{NodeId(in.array<32>())};
    TRY(in.finish("stage reroute"));
    if (m.next.is_zero()) return fail(Errc::invalid, "stage: a name is missing");
    return StageMessage(m);
}

Result<StageMessage> read_group_join(Reader& in) {
    GroupJoin m;
    m.session = StageSessionId(in.array<16>());
    m.hop = in.u8();
    m.rank = in.u8();
    TRY(in.finish("stage group join"));
    TRY(check(join_fault(m)));
    return StageMessage(m);
}

template <typename Message>
Result<StageMessage> read_probe(Reader& in) {
    const Message m{in.u8()};
    TRY(in.finish("stage group probe"));
    TRY(check(probe_fault(m.number)));
    return StageMessage(m);
}

Result<StageMessage> read_group_compute(Reader& in) {
    GroupCompute m;
    m.number = in.u64();
    m.rows = TRY(read_stage_rows(in, false));
    TRY(in.finish("stage group compute"));
    if (m.number == 0) return fail(Errc::invalid, "stage: operation zero");
    return StageMessage(std::move(m));
}

Result<StageMessage> read_group_truncate(Reader& in) {
    GroupTruncate m;
    m.sequence = in.u16();
    m.length = in.u32();
    TRY(in.finish("stage group truncate"));
    TRY(check(place_fault(m.sequence, m.length)));
    return StageMessage(m);
}

Result<StageMessage> read_group_reduce(Reader& in) {
    ReducePart m = read_reduce_part(in);
    TRY(in.finish("stage group reduce"));
    TRY(check(reduce_part_fault(m)));
    return StageMessage(std::move(m));
}

Result<StageMessage> read_group_agree(Reader& in) {
    GroupAgree m;
    m.number = in.u64();
    m.digest = in.array<32>();
    TRY(in.finish("stage group agree"));
    if (m.number == 0) return fail(Errc::invalid, "stage: operation zero");
    return StageMessage(m);
}

}  // namespace

std::string_view reduce_part_fault(const ReducePart& part) {
    if (part.reduction == 0) return "stage: reduction zero";
    if (part.step >= 2 * (limits::group_ranks_max - 1)) return "stage: no such step of a reduction";
    if (part.data.empty() || part.data.size() % 4 != 0) return "stage: a part of no floats";
    return part.data.size() > limits::stage_tensor_bytes_max ? "stage: the part is too large" : std::string_view();
}

void put_reduce_part(Writer& out, const ReducePart& part) {
    out.u64(part.reduction);
    out.u8(part.step);
    out.bytes_u32(part.data);
}

ReducePart read_reduce_part(Reader& in) {
    ReducePart out;
    out.reduction = in.u64();
    out.step = in.u8();
    out.data = to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max));
    return out;
}

std::size_t activation_row_bytes(ActivationType type, std::uint32_t width) {
    switch (type) {
        case ActivationType::f32: return std::size_t{width} * 4;
        case ActivationType::f16: return std::size_t{width} * 2;
        case ActivationType::q8_0: return std::size_t{width} / 32 * 34;
    }
    return 0;
}

std::string_view stage_rows_fault(const StageRows& rows, bool may_be_empty) {
    if (rows.parts.empty()) {
        return may_be_empty && rows.tensor.empty() ? std::string_view() : "stage: an operation without rows";
    }
    std::size_t count = 0;
    for (std::size_t i = 0; i < rows.parts.size(); ++i) {
        const StagePart& part = rows.parts[i];
        if (part.sequence >= limits::stage_sequences_max) return "stage: sequence out of range";
        if (i > 0 && part.sequence <= rows.parts[i - 1].sequence) return "stage: sequences are not sorted";
        if (part.rows == 0) return "stage: a part without rows";
        if (part.position >= limits::context_tokens_max || limits::context_tokens_max - part.position < part.rows) {
            return "stage: position out of range";
        }
        count += part.rows;
    }
    if (count == 0 || count > limits::stage_rows_max) return "stage: too many rows in one operation, or none";
    // A row of the least width in the smallest type.
    if (rows.tensor.size() < count * 34 || rows.tensor.size() % count != 0)
        return "stage: the tensor is not of its rows";
    return rows.tensor.size() > limits::stage_tensor_bytes_max ? "stage: the tensor is too large" : std::string_view();
}

void put_stage_rows(Writer& out, const StageRows& rows) {
    out.u16(static_cast<std::uint16_t>(rows.parts.size()));
    for (const StagePart& part : rows.parts) {
        out.u16(part.sequence);
        out.u32(part.position);
        out.u16(part.rows);
    }
    out.bytes_u32(rows.tensor);
}

Result<StageRows> read_stage_rows(Reader& in, bool may_be_empty) {
    StageRows rows;
    const std::uint16_t count = in.u16();
    if (count > limits::stage_sequences_max) return fail(Errc::invalid, "stage: too many sequences in one operation");
    for (std::uint16_t i = 0; i < count; ++i) rows.parts.push_back({in.u16(), in.u32(), in.u16()});
    rows.tensor = to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max));
    TRY(in.check("stage"));
    TRY(check(stage_rows_fault(rows, may_be_empty)));
    return rows;
}

std::string_view kv_rows_fault(const StageKvRows& rows) {
    if (rows.sequence >= limits::stage_sequences_max) return "stage: sequence out of range";
    if (rows.rows == 0 || rows.rows > limits::stage_rows_max) return "stage: too many rows in one operation, or none";
    if (rows.position >= limits::context_tokens_max || limits::context_tokens_max - rows.position < rows.rows) {
        return "stage: position out of range";
    }
    if (rows.tensor.size() % rows.rows != 0) return "stage: the tensor is not of its rows";
    return rows.tensor.size() > limits::stage_tensor_bytes_max ? "stage: the tensor is too large" : std::string_view();
}

void put_kv_rows(Writer& out, const StageKvRows& rows) {
    ASSERT(kv_rows_fault(rows).empty());
    out.u16(rows.sequence);
    out.u32(rows.position);
    out.u16(rows.rows);
    out.bytes_u32(rows.tensor);
}

Result<StageKvRows> read_kv_rows(Reader& in) {
    StageKvRows rows{in.u16(), in.u32(), in.u16(), {}};
    rows.tensor = to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max));
    TRY(in.check("stage"));
    TRY(check(kv_rows_fault(rows)));
    return rows;
}

std::string_view read_of_fault(const StageReadOf& of) {
    if (of.sequence >= limits::stage_sequences_max) return "stage: sequence out of range";
    if (of.tokens == 0 || of.tokens > limits::context_tokens_max) return "stage: tokens out of range";
    if (of.what == StageReadWhat::hashes) {
        const bool none = of.layer == 0 && of.position == 0 && of.rows == 0;
        return none ? std::string_view() : "stage: hashes are of all layers";
    }
    if (of.layer >= limits::model_layers_max) return "stage: layer out of range";
    if (of.rows == 0 || of.rows > limits::stage_rows_max) return "stage: too many rows in one operation, or none";
    const bool within = of.position < of.tokens && of.tokens - of.position >= of.rows;
    return within ? std::string_view() : "stage: position out of range";
}

void put_read_of(Writer& out, const StageReadOf& of) {
    ASSERT(read_of_fault(of).empty());
    out.u16(of.sequence);
    out.u32(of.tokens);
    out.u8(static_cast<std::uint8_t>(of.what));
    out.u16(of.layer);
    out.u32(of.position);
    out.u16(of.rows);
}

Result<StageReadOf> read_read_of(Reader& in) {
    StageReadOf of;
    of.sequence = in.u16();
    of.tokens = in.u32();
    of.what = TRY(read_enum<StageReadWhat>(in, stage_read_what_max, "stage: what to read"));
    of.layer = in.u16();
    of.position = in.u32();
    of.rows = in.u16();
    TRY(in.check("stage"));
    TRY(check(read_of_fault(of)));
    return of;
}

std::size_t read_bytes(const StageReadOf& of, const KvShape& shape) {
    if (of.what == StageReadWhat::hashes) return 32 * shape.layers.size();
    if (of.layer >= shape.layers.size()) return 0;
    const KvLayer& layer = shape.layers[of.layer];
    return std::size_t{of.rows} * (of.what == StageReadWhat::keys ? layer.keys : layer.values).bytes;
}

Bytes encode_stage_message(const StageMessage& message) {
    Writer out;
    out.u8(0);
    const Kind kind = std::visit(BodyWriter{out}, message);
    Bytes bytes = out.take();
    bytes[0] = static_cast<std::uint8_t>(kind);
    return bytes;
}

Result<StageMessage> decode_stage_message(ByteView in) {
    Reader reader(in);
    switch (static_cast<Kind>(reader.u8())) {
        case Kind::open: return read_open(reader, false);
        case Kind::opened: return read_opened(reader);
        case Kind::join: return read_join(reader);
        case Kind::joined: return read_joined(reader);
        case Kind::step: return read_step(reader);
        case Kind::truncate: return read_truncate(reader);
        case Kind::replay: return read_replay(reader);
        case Kind::reroute: return read_reroute(reader);
        case Kind::done: return read_done(reader);
        case Kind::alive: return read_empty<StageAlive>(reader);
        case Kind::fault: return read_fault(reader);
        case Kind::fill: return read_fill(reader);
        case Kind::refill: return read_refill(reader);
        case Kind::read: return read_read(reader);
        case Kind::group_open: return read_open(reader, true);
        case Kind::group_join: return read_group_join(reader);
        case Kind::group_probe: return read_probe<GroupProbe>(reader);
        case Kind::group_echo: return read_probe<GroupEcho>(reader);
        case Kind::group_compute: return read_group_compute(reader);
        case Kind::group_truncate: return read_group_truncate(reader);
        case Kind::group_reduce: return read_group_reduce(reader);
        case Kind::group_agree: return read_group_agree(reader);
        case Kind::group_alive: return read_empty<GroupAlive>(reader);
    }
    return fail(Errc::malformed, "stage: unknown message");
}

}  // namespace shoal::wire
