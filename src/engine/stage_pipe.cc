#include "engine/stage_pipe.h"

#include <cmath>

#include "wire/text.h"

namespace shoal::engine::stage_pipe {
namespace {

enum class Kind : std::uint8_t {
    load = 1,
    compute = 2,
    truncate = 3,
    load_rank = 4,
    reduce = 5,
    fill = 6,
    read = 7,
    piece = 8,
    loading = 16,
    loaded = 17,
    computed = 18,
    failed = 19,
    working = 20,
    reduced = 21,
    given = 22,
    want = 24,
    placed = 31,
};

std::string_view load_fault(const Load& m) {
    if (m.layers.first >= m.layers.end || m.layers.end > limits::model_layers_max) return "no range of layers";
    if (m.width == 0 || m.width % 32 != 0 || m.width > limits::stage_width_max) return "width out of range";
    if (m.context == 0 || m.context > limits::context_tokens_max) return "context out of range";
    if (m.sequences == 0 || m.sequences > limits::stage_sequences_max) return "sequences out of range";
    if (m.ranks == 0 || m.ranks > limits::group_ranks_max || m.rank >= m.ranks) return "no such rank";
    if (m.ranks > 1 && m.width > limits::group_width_max) return "too wide for ranks";
    return m.threads > pipe::threads_max ? "threads out of range" : std::string_view();
}

std::string_view truncate_fault(const Truncate& m) {
    const bool fits = m.sequence < limits::stage_sequences_max && m.length < limits::context_tokens_max;
    return fits ? std::string_view() : "no such place";
}

std::string_view fill_fault(const Fill& m) {
    return m.rows.tensor.empty() ? "nothing to keep" : wire::kv_rows_fault(m.rows);
}

std::string_view given_fault(const Given& m) {
    const bool fits = !m.bytes.empty() && m.bytes.size() <= limits::stage_tensor_bytes_max;
    return fits ? std::string_view() : "bytes of an impossible size";
}

std::string_view loading_fault(const Loading& m) {
    const bool share = m.share >= 0 && m.share <= 1 && !std::signbit(m.share);  // NaN fails both
    return share ? std::string_view() : "share is not between 0 and 1";
}

std::string_view failed_fault(const Failed& m) {
    switch (m.code) {
        case wire::StageFaultCode::busy:
        case wire::StageFaultCode::next_lost: return "a code that no engine has";
        default: break;
    }
    const bool plain = m.text.size() <= limits::stage_fault_bytes_max && wire::is_plain_text(m.text);
    return plain ? std::string_view() : "text is not one plain line";
}

std::string_view computed_fault(const Computed& m) {
    const std::size_t least = wire::activation_row_bytes(wire::ActivationType::q8_0, 32);  // one row
    const bool fits = m.tensor.size() >= least && m.tensor.size() <= limits::stage_tensor_bytes_max;
    return fits ? std::string_view() : "a tensor of an impossible size";
}

Status check(std::string_view fault) {
    return fault.empty() ? ok() : fail(Errc::invalid, "stage pipe: " + std::string(fault));
}

struct BodyWriter {
    Writer& out;
    Kind part = Kind::reduce;  // what a part of a sum is called this way

    void kind(Kind k) { out.u8(static_cast<std::uint8_t>(k)); }
    void operator()(const Load& m) {
        ASSERT(load_fault(m).empty());
        kind(m.ranks == 1 ? Kind::load : Kind::load_rank);
        out.u16(m.layers.first);
        out.u16(m.layers.end);
        out.u8(static_cast<std::uint8_t>(m.type));
        out.u32(m.width);
        out.u32(m.context);
        out.u16(m.sequences);
        out.u16(m.threads);
        out.u8(static_cast<std::uint8_t>(m.kv));
        out.u8(m.pieces ? 1 : 0);
        if (m.ranks == 1) return;
        out.u8(m.rank);
        out.u8(m.ranks);
    }
    void operator()(const pipe::PieceBytes& m) {
        ASSERT(m.bytes.size() <= pipe::piece_bytes_max);
        kind(Kind::piece);
        pipe::put_piece(out, m);
    }
    void operator()(const pipe::Want& m) {
        ASSERT(pipe::want_fault(m).empty());
        kind(Kind::want);
        pipe::put_want(out, m);
    }
    void operator()(const Compute& m) {
        ASSERT(wire::stage_rows_fault(m.rows, false).empty());
        kind(Kind::compute);
        wire::put_stage_rows(out, m.rows);
    }
    void operator()(const Truncate& m) {
        ASSERT(truncate_fault(m).empty());
        kind(Kind::truncate);
        out.u16(m.sequence);
        out.u32(m.length);
    }
    void operator()(const Fill& m) {
        ASSERT(fill_fault(m).empty());
        kind(Kind::fill);
        wire::put_kv_rows(out, m.rows);
    }
    void operator()(const Read& m) {
        kind(Kind::read);
        wire::put_read_of(out, m.of);
    }
    void operator()(const Given& m) {
        ASSERT(given_fault(m).empty());
        kind(Kind::given);
        out.bytes_u32(m.bytes);
    }
    void operator()(const Loading& m) {
        ASSERT(loading_fault(m).empty());
        kind(Kind::loading);
        out.f32(m.share);
    }
    void operator()(const Loaded& m) {
        ASSERT(!m.model.is_zero());
        kind(Kind::loaded);
        out.bytes(m.model.view());
        wire::put_kv_shape(out, m.kv);
    }
    void operator()(const Computed& m) {
        ASSERT(computed_fault(m).empty());
        kind(Kind::computed);
        out.u32(m.busy_us);
        out.bytes_u32(m.tensor);
    }
    void operator()(const Failed& m) {
        ASSERT(failed_fault(m).empty());
        kind(Kind::failed);
        out.u8(static_cast<std::uint8_t>(m.code));
        out.text_u16(m.text);
    }
    void operator()(const pipe::Working&) { kind(Kind::working); }
    void operator()(const pipe::Placed& m) {
        ASSERT(pipe::placed_fault(m).empty());
        kind(Kind::placed);
        out.u16(m.layers);
        out.u16(m.all);
    }
    void operator()(const wire::ReducePart& m) {
        ASSERT(wire::reduce_part_fault(m).empty());
        kind(part);
        wire::put_reduce_part(out, m);
    }
};

template <typename Message>
Bytes encode_any(const Message& message, Kind part) {
    Writer body(64);
    std::visit(BodyWriter{body, part}, message);
    ASSERT(body.size() <= frame_bytes_max);
    return pipe::frame_of(body.view());
}

Result<wire::ReducePart> read_part(Reader& in) {
    wire::ReducePart m = wire::read_reduce_part(in);
    TRY(in.finish("stage pipe: reduce"));
    TRY(check(wire::reduce_part_fault(m)));
    return m;
}

Result<ToStage> read_load(Reader& in, bool rank) {
    Load m;
    m.layers.first = in.u16();
    m.layers.end = in.u16();
    const std::uint8_t type = in.u8();
    m.width = in.u32();
    m.context = in.u32();
    m.sequences = in.u16();
    m.threads = in.u16();
    const std::uint8_t kv = in.u8(), pieces = in.u8();
    if (rank) {
        m.rank = in.u8();
        m.ranks = in.u8();
    }
    TRY(in.finish("stage pipe: load"));
    if (type > wire::activation_type_max || kv > 1 || pieces > 1)
        return fail(Errc::malformed, "stage pipe: load: unknown type");
    m.type = static_cast<wire::ActivationType>(type);
    m.kv = static_cast<pipe::KvType>(kv);
    m.pieces = pieces == 1;
    if (rank && m.ranks == 1) return fail(Errc::invalid, "stage pipe: load: one rank is no group");
    TRY(check(load_fault(m)));
    return ToStage(m);
}

Result<FromStage> read_loading(Reader& in) {
    const Loading m{in.f32()};
    TRY(in.finish("stage pipe: loading"));
    TRY(check(loading_fault(m)));
    return FromStage(m);
}

Result<FromStage> read_loaded(Reader& in) {
    Loaded m{ModelId(in.array<32>())};
    m.kv = TRY(wire::read_kv_shape(in));
    TRY(in.finish("stage pipe: loaded"));
    if (m.model.is_zero()) return fail(Errc::invalid, "stage pipe: the model has no id");
    return FromStage(std::move(m));
}

Result<FromStage> read_computed(Reader& in) {
    Computed m;
    m.busy_us = in.u32();
    m.tensor = to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max));
    TRY(in.finish("stage pipe: computed"));
    TRY(check(computed_fault(m)));
    return FromStage(std::move(m));
}

Result<FromStage> read_failed(Reader& in) {
    Failed m;
    const std::uint8_t code = in.u8();
    m.text = in.text_u16(limits::stage_fault_bytes_max);
    TRY(in.finish("stage pipe: failed"));
    if (code > wire::stage_fault_code_max) return fail(Errc::malformed, "stage pipe: unknown code");
    m.code = static_cast<wire::StageFaultCode>(code);
    TRY(check(failed_fault(m)));
    return FromStage(std::move(m));
}

}  // namespace

Bytes encode(const ToStage& message) {
    return encode_any(message, Kind::reduce);
}
Bytes encode(const FromStage& message) {
    return encode_any(message, Kind::reduced);
}

Result<ToStage> decode_to_stage(ByteView frame) {
    Reader in(frame);
    switch (static_cast<Kind>(in.u8())) {
        case Kind::load: return read_load(in, false);
        case Kind::load_rank: return read_load(in, true);
        case Kind::reduce: return ToStage(TRY(read_part(in)));
        case Kind::compute: {
            Compute m{TRY(wire::read_stage_rows(in))};
            TRY(in.finish("stage pipe: compute"));
            return ToStage(std::move(m));
        }
        case Kind::truncate: {
            Truncate m;
            m.sequence = in.u16();
            m.length = in.u32();
            TRY(in.finish("stage pipe: truncate"));
            TRY(check(truncate_fault(m)));
            return ToStage(m);
        }
        case Kind::fill: {
            Fill m{TRY(wire::read_kv_rows(in))};
            TRY(in.finish("stage pipe: fill"));
            TRY(check(fill_fault(m)));
            return ToStage(std::move(m));
        }
        case Kind::read: {
            const Read m{TRY(wire::read_read_of(in))};
            TRY(in.finish("stage pipe: read"));
            return ToStage(m);
        }
        case Kind::piece: {
            pipe::PieceBytes m = pipe::read_piece(in);
            TRY(in.finish("stage pipe: piece"));
            return ToStage(std::move(m));
        }
        default: return fail(Errc::malformed, "stage pipe: unknown frame to a stage");
    }
}

Result<FromStage> decode_from_stage(ByteView frame) {
    Reader in(frame);
    switch (static_cast<Kind>(in.u8())) {
        case Kind::loading: return read_loading(in);
        case Kind::loaded: return read_loaded(in);
        case Kind::computed: return read_computed(in);
        case Kind::failed: return read_failed(in);
        case Kind::want: {
            const pipe::Want m = pipe::read_want(in);
            TRY(in.finish("stage pipe: want"));
            TRY(check(pipe::want_fault(m)));
            return FromStage(m);
        }
        case Kind::placed: {
            const pipe::Placed m{in.u16(), in.u16()};
            TRY(in.finish("stage pipe: placed"));
            TRY(check(pipe::placed_fault(m)));
            return FromStage(m);
        }
        case Kind::given: {
            Given m{to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max))};
            TRY(in.finish("stage pipe: given"));
            TRY(check(given_fault(m)));
            return FromStage(std::move(m));
        }
        case Kind::reduced: return FromStage(TRY(read_part(in)));
        case Kind::working: TRY(in.finish("stage pipe: working")); return FromStage(pipe::Working{});
        default: return fail(Errc::malformed, "stage pipe: unknown frame from a stage");
    }
}

}  // namespace shoal::engine::stage_pipe
