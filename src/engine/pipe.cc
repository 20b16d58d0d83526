#include "engine/pipe.h"

#include <algorithm>
#include <cmath>

#include "wire/chat.h"
#include "wire/stage.h"
#include "wire/text.h"

namespace shoal::engine::pipe {
namespace {

enum class Kind : std::uint8_t {
    load = 1,
    submit = 2,
    cancel = 3,
    lead = 4,
    returned = 5,
    broken = 6,
    prefix_give = 7,
    prefix_give_up = 8,
    prefix_open = 9,
    prefix_more = 10,
    prefix_close = 11,
    piece = 12,
    filled = 13,
    holds = 14,
    given = 15,
    loading = 16,
    ready = 17,
    started = 18,
    text = 19,
    finished = 20,
    failed = 21,
    fatal = 22,
    working = 23,
    ends = 24,
    forward = 25,
    truncate = 26,
    cleared = 27,
    prefix_ask = 28,
    prefix_refused = 29,
    prefix_piece = 30,
    prefix_gone = 31,
    placed = 32,
    fill = 33,
    read = 34,
    want = 36,
};
constexpr std::size_t submit_fixed_bytes = 1 + 8 + 32 + 4;
static_assert(submit_fixed_bytes + limits::chat_body_bytes_max <= limits::engine_frame_bytes_max);
static_assert(1 + 8 + 4 + 2 + text_bytes_max <= limits::engine_frame_bytes_max);

// That reading a prompt can take; nobody waits so long.
constexpr std::chrono::microseconds recompute_max = 24h;
static_assert(1 + 8 + 1 + 4 + limits::prefix_piece_bytes <= limits::engine_frame_bytes_max);

Error bad(std::string_view what) {
    return fail(Errc::invalid, "pipe: " + std::string(what));
}

// ---- rules of the fields: the same on both ways, so that what is refused by one side is never sent by the other ----

Status check(const Drafts& m) {
    if (m.skipped == wire::LayerRange{}) return ok();
    const bool fits =
        m.skipped.first >= 1 && m.skipped.first < m.skipped.end && m.skipped.end <= limits::model_layers_max;
    if (!fits) return bad("no range of layers to skip");
    return m.model ? Status(bad("two models that draft")) : ok();
}
Status check(const Load& m) {
    if (m.context_tokens > limits::context_tokens_max) return bad("context_tokens is too large");
    if (m.sequences < 1 || m.sequences > limits::engine_sequences_max) return bad("sequences is out of range");
    if (m.threads > threads_max) return bad("threads is too large");
    if (m.cells > limits::context_tokens_max * limits::engine_sequences_max) return bad("cells is too large");
    if (m.kv != KvType::f16 && m.kv != KvType::q8_0) return bad("unknown kv type");
    return check(m.drafts);
}
Status check(const Lead& m) {
    if (static_cast<std::uint8_t>(m.type) > wire::activation_type_max) return bad("unknown activation type");
    if (m.steps < 1 || m.steps > limits::stage_unsettled_max) return bad("steps is out of range");
    if (m.middle &&
        !(m.middle->first > 0 && m.middle->first < m.middle->end && m.middle->end < limits::model_layers_max)) {
        return bad("the layers elsewhere are no middle");
    }
    return check(m.load);
}
Status check(const Returned& m) {
    const std::size_t least = wire::activation_row_bytes(wire::ActivationType::q8_0, 32);  // one row
    const bool fits = m.tensor.size() >= least && m.tensor.size() <= limits::stage_tensor_bytes_max;
    return fits ? ok() : Status(bad("a tensor of an impossible size"));
}
Status check(const Job& m) {
    return wire::check_chat_request(m.request);
}
Status check(const Cancel&) {
    return ok();
}
Status check(const Loading& m) {
    if (!(m.share >= 0.0F && m.share <= 1.0F)) return bad("share is not between 0 and 1");  // NaN fails both
    return std::signbit(m.share) ? Status(bad("share is negative zero")) : ok();
}
Status check(const Ready& m) {
    const ModelInfo& model = m.model;
    if (model.id.is_zero()) return bad("the model has no id");
    if (model.architecture.empty() || model.architecture.size() > architecture_bytes_max ||
        !wire::is_plain_text(model.architecture)) {
        return bad("architecture is not a short plain text");
    }
    if (model.name.size() > name_bytes_max || !wire::is_plain_text(model.name)) return bad("name is not plain text");
    if (model.context_tokens < 1 || model.context_tokens > limits::context_tokens_max)
        return bad("context is out of range");
    if (model.sequences < 1 || model.sequences > limits::engine_sequences_max) return bad("sequences is out of range");
    return ok();
}
Status check(const Started&) {
    return ok();
}
Status check(const Text& m) {
    if (m.text.empty() || m.text.size() > text_bytes_max) return bad("text is empty or too long");
    return wire::is_utf8(m.text.expose()) ? ok() : Status(bad("text is not UTF-8"));
}
Status check(const Usage& m) {
    if (m.reused > m.prompt) return bad("more tokens reused than the prompt has");
    return ok();
}
Status check_tokens(std::uint32_t tokens) {
    const bool fits = tokens >= 1 && tokens <= limits::context_tokens_max;
    return fits ? ok() : Status(bad("a prefix of no possible length"));
}
Status check(const Finished& m) {
    if (m.reason != FinishReason::stop && m.reason != FinishReason::length) return bad("unknown reason");
    const std::string_view fault = m.kept ? wire::kept_prefix_fault(*m.kept) : std::string_view();
    if (!fault.empty()) return fail(Errc::invalid, "pipe: finished: " + std::string(fault));
    return check(m.usage);
}
Status check(const PrefixGive& m) {
    if (m.bytes.empty() && !m.last) return bad("nothing of a snapshot");
    return m.bytes.size() <= limits::prefix_piece_bytes ? ok() : Status(bad("too much of a snapshot"));
}
Status check(const PrefixGiveUp&) {
    return ok();
}
Status check(const PrefixOpen& m) {
    return check_tokens(m.tokens);
}
Status check(const PrefixMore&) {
    return ok();
}
Status check(const PrefixClose&) {
    return ok();
}
Status check(const PrefixAsk& m) {
    return m.recompute >= Duration::zero() && m.recompute <= recompute_max ? ok() : Status(bad("no possible time"));
}
Status check(const PrefixPiece& m) {
    const bool fits = !m.bytes.empty() && m.bytes.size() <= limits::prefix_piece_bytes;
    return fits ? ok() : Status(bad("a piece of no possible size"));
}
Status check(const PrefixGone&) {
    return ok();
}
Status check_line(const std::string& line) {
    if (line.size() > reason_bytes_max || !wire::is_plain_text(line)) return bad("a message is not one plain line");
    return ok();
}
Status check(const Broken& m) {
    return check_line(m.reason);
}
Status check(const PrefixRefused& m) {
    return m.reason.empty() ? Status(bad("a reason is missing")) : check_line(m.reason);
}
Status check(const Ends& m) {
    const bool fits = m.width > 0 && m.width % 32 == 0 && m.width <= limits::stage_width_max;
    if (!fits) return bad("width is out of range");
    return m.layers >= 1 && m.layers <= limits::model_layers_max ? ok() : Status(bad("layers is out of range"));
}
Status check(const Forward& m) {
    const std::string_view fault = wire::stage_rows_fault(m.rows, false);
    return fault.empty() ? ok() : Status(fail(Errc::invalid, std::string(fault)));
}
Status check(const Truncate& m) {
    if (m.sequence >= limits::engine_sequences_max) return bad("no such sequence");
    return m.length < limits::context_tokens_max ? ok() : Status(bad("no such position"));
}
Status check(const Fill& m) {
    if (const std::string_view wrong = wire::kv_rows_fault(m.rows); !wrong.empty()) return bad(wrong);
    if (m.rows.sequence >= limits::engine_sequences_max) return bad("no such sequence");
    return m.rows.tensor.empty() ? Status(bad("nothing to fill in")) : ok();
}
Status check(const Filled&) {
    return ok();
}
Status check(const Read& m) {
    if (const std::string_view wrong = wire::read_of_fault(m.of); !wrong.empty()) return bad(wrong);
    return m.of.sequence < limits::engine_sequences_max ? ok() : Status(bad("no such sequence"));
}
Status check(const Given& m) {
    const bool fits = !m.bytes.empty() && m.bytes.size() <= limits::stage_tensor_bytes_max;
    return fits ? ok() : Status(bad("bytes of an impossible size"));
}
Status check(const Holds& m) {
    const std::string_view fault = m.kv ? wire::kv_shape_fault(*m.kv) : std::string_view();
    return fault.empty() ? ok() : Status(bad(fault));
}
Status check(const Cleared&) {
    return ok();
}
Status check(const Placed& m) {
    const std::string_view fault = placed_fault(m);
    return fault.empty() ? ok() : Status(fail(Errc::invalid, "pipe: " + std::string(fault)));
}
Status check(const Want& m) {
    const std::string_view fault = want_fault(m);
    return fault.empty() ? ok() : Status(bad(fault));
}
Status check(const PieceBytes& m) {
    return m.bytes.size() <= piece_bytes_max ? ok() : Status(bad("more of a piece than is asked for"));
}
// An engine knows these five; the other faults of AskFault are made by those who carry a request.
Status check(const Failed& m) {
    TRY(check(m.usage));
    switch (m.fault) {
        case AskFault::bad_request:
        case AskFault::context_exceeded:
        case AskFault::overloaded:
        case AskFault::engine_failed:
        case AskFault::cancelled: return check_line(m.message);
        default: return bad("a fault that no engine has");
    }
}
Status check(const Working&) {
    return ok();
}
Status check(const Fatal& m) {
    return m.reason.empty() ? Status(bad("a reason is missing")) : check_line(m.reason);
}

// ---- bodies --------------------------------------------------------------------------------------------------------

void put_usage(Writer& out, const Usage& usage) {
    out.u32(usage.prompt.value());
    out.u32(usage.completion.value());
    out.u32(usage.reused.value());
}
Usage read_usage(Reader& in) {
    Usage usage;
    usage.prompt = TokenCount(in.u32());
    usage.completion = TokenCount(in.u32());
    usage.reused = TokenCount(in.u32());
    return usage;
}
void put_kind(Writer& out, Kind kind) {
    out.u8(static_cast<std::uint8_t>(kind));
}

void put_load(Writer& out, const Load& m) {
    out.u32(m.context_tokens);
    out.u16(m.sequences);
    out.u16(m.threads);
    out.u32(m.cells);
    out.u8(static_cast<std::uint8_t>(m.kv));
    out.u8(m.drafts.repeats ? 1 : 0);
    out.u8(m.drafts.model ? 1 : 0);
    out.u16(m.drafts.skipped.first);
    out.u16(m.drafts.skipped.end);
}
Status put(Writer& out, const Load& m) {
    put_kind(out, Kind::load);
    put_load(out, m);
    return ok();
}
Status put(Writer& out, const Lead& m) {
    put_kind(out, Kind::lead);
    put_load(out, m.load);
    out.u8(static_cast<std::uint8_t>(m.type));
    out.u16(m.steps);
    out.u16(m.middle ? m.middle->first : 0);
    out.u16(m.middle ? m.middle->end : 0);
    out.u8(m.pieces ? 1 : 0);
    return ok();
}
Status put(Writer& out, const Returned& m) {
    put_kind(out, Kind::returned);
    out.bytes_u32(m.tensor);
    return ok();
}
Status put(Writer& out, const Broken& m) {
    put_kind(out, Kind::broken);
    out.u8(m.for_good ? 1 : 0);
    out.text_u16(m.reason);
    return ok();
}
Status put(Writer& out, const Ends& m) {
    put_kind(out, Kind::ends);
    out.u32(m.width);
    out.u16(m.layers);
    return ok();
}
Status put(Writer& out, const Forward& m) {
    put_kind(out, Kind::forward);
    wire::put_stage_rows(out, m.rows);
    return ok();
}
Status put(Writer& out, const Fill& m) {
    put_kind(out, Kind::fill);
    wire::put_kv_rows(out, m.rows);
    return ok();
}
Status put(Writer& out, const Filled&) {
    put_kind(out, Kind::filled);
    return ok();
}
Status put(Writer& out, const Read& m) {
    put_kind(out, Kind::read);
    wire::put_read_of(out, m.of);
    return ok();
}
Status put(Writer& out, const Given& m) {
    put_kind(out, Kind::given);
    out.bytes_u32(m.bytes);
    return ok();
}
Status put(Writer& out, const Holds& m) {
    put_kind(out, Kind::holds);
    wire::put_kv_shape(out, m.kv);
    return ok();
}
Status put(Writer& out, const Truncate& m) {
    put_kind(out, Kind::truncate);
    out.u16(m.sequence);
    out.u32(m.length);
    return ok();
}
Status put(Writer& out, const Job& m) {
    put_kind(out, Kind::submit);
    out.u64(m.id.value());
    out.bytes(m.client_seed);
    out.bytes_u32(TRY(wire::encode_chat_request(m.request)));
    return ok();
}
Status put(Writer& out, const Cancel& m) {
    put_kind(out, Kind::cancel);
    out.u64(m.job.value());
    return ok();
}
Status put(Writer& out, const Loading& m) {
    put_kind(out, Kind::loading);
    out.f32(m.share);
    return ok();
}
Status put(Writer& out, const Ready& m) {
    put_kind(out, Kind::ready);
    out.bytes(m.model.id.view());
    out.u64(m.model.parameters);
    out.u8(m.model.quantisation);
    out.u32(m.model.context_tokens);
    out.u32(m.model.sequences);
    out.text_u16(m.model.architecture);
    out.text_u16(m.model.name);
    return ok();
}
Status put(Writer& out, const Started& m) {
    put_kind(out, Kind::started);
    out.u64(m.job.value());
    out.u32(m.prompt.value());
    return ok();
}
Status put(Writer& out, const Text& m) {
    put_kind(out, Kind::text);
    out.u64(m.job.value());
    out.u32(m.completion.value());
    out.text_u16(m.text.expose());
    return ok();
}
Status put(Writer& out, const Finished& m) {
    put_kind(out, Kind::finished);
    out.u64(m.job.value());
    out.u8(static_cast<std::uint8_t>(m.reason));
    put_usage(out, m.usage);
    out.u8(m.kept ? 1 : 0);
    if (m.kept) wire::put_kept_prefix(out, *m.kept);
    return ok();
}
Status put(Writer& out, const Failed& m) {
    put_kind(out, Kind::failed);
    out.u64(m.job.value());
    out.u8(static_cast<std::uint8_t>(m.fault));
    put_usage(out, m.usage);
    out.text_u16(m.message);
    return ok();
}
Status put(Writer& out, const Working&) {
    put_kind(out, Kind::working);
    return ok();
}
Status put(Writer& out, const Fatal& m) {
    put_kind(out, Kind::fatal);
    out.u8(m.permanent ? 1 : 0);
    out.text_u16(m.reason);
    return ok();
}

Status put(Writer& out, const Cleared&) {
    put_kind(out, Kind::cleared);
    return ok();
}
Status put(Writer& out, const PrefixGive& m) {
    put_kind(out, Kind::prefix_give);
    out.u64(m.job.value());
    out.u8(m.last ? 1 : 0);
    out.bytes_u32(m.bytes);
    return ok();
}
Status put(Writer& out, const PrefixGiveUp& m) {
    put_kind(out, Kind::prefix_give_up);
    out.u64(m.job.value());
    return ok();
}
Status put(Writer& out, const PrefixOpen& m) {
    put_kind(out, Kind::prefix_open);
    out.u64(m.read.value());
    out.bytes(m.chain);
    out.u32(m.tokens);
    return ok();
}
Status put(Writer& out, const PrefixMore& m) {
    put_kind(out, Kind::prefix_more);
    out.u64(m.read.value());
    return ok();
}
Status put(Writer& out, const PrefixClose& m) {
    put_kind(out, Kind::prefix_close);
    out.u64(m.read.value());
    return ok();
}
Status put(Writer& out, const PrefixAsk& m) {
    put_kind(out, Kind::prefix_ask);
    out.u64(m.job.value());
    out.bytes(m.chain);
    out.u64(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(m.recompute).count()));
    return ok();
}
Status put(Writer& out, const PrefixRefused& m) {
    put_kind(out, Kind::prefix_refused);
    out.u64(m.job.value());
    out.text_u16(m.reason);
    return ok();
}
Status put(Writer& out, const PrefixPiece& m) {
    put_kind(out, Kind::prefix_piece);
    out.u64(m.read.value());
    out.u8(m.last ? 1 : 0);
    out.bytes_u32(m.bytes);
    return ok();
}
Status put(Writer& out, const PrefixGone& m) {
    put_kind(out, Kind::prefix_gone);
    out.u64(m.read.value());
    return ok();
}

Status put(Writer& out, const Placed& m) {
    put_kind(out, Kind::placed);
    out.u16(m.layers);
    out.u16(m.all);
    return ok();
}
Status put(Writer& out, const Want& m) {
    put_kind(out, Kind::want);
    put_want(out, m);
    return ok();
}
Status put(Writer& out, const PieceBytes& m) {
    put_kind(out, Kind::piece);
    put_piece(out, m);
    return ok();
}

template <typename Message>
Result<Bytes> encode_any(const Message& message) {
    Writer body;
    const auto write = [&body](const auto& m) -> Status {
        TRY(check(m));
        return put(body, m);
    };
    TRY(std::visit(write, message));
    Bytes spent = body.take();
    Bytes frame = frame_of(spent);
    wipe(spent.data(), spent.size());
    return frame;
}

// ---- reading -----------------------------------------------------------------------------------------------------

Result<bool> read_flag(Reader& in, const char* what) {
    const std::uint8_t flag = in.u8();
    if (flag > 1) return fail(Errc::malformed, std::string("pipe: ") + what + ": neither 0 nor 1");
    return flag == 1;
}
Result<Load> read_load(Reader& in) {
    Load m;
    m.context_tokens = in.u32();
    m.sequences = in.u16();
    m.threads = in.u16();
    m.cells = in.u32();
    m.kv = static_cast<KvType>(in.u8());
    m.drafts.repeats = TRY(read_flag(in, "repeats"));
    m.drafts.model = TRY(read_flag(in, "model"));
    m.drafts.skipped = {in.u16(), in.u16()};
    return m;
}
Result<Lead> read_lead(Reader& in) {
    const Load load = TRY(read_load(in));
    Lead m{load, static_cast<wire::ActivationType>(in.u8()), in.u16()};
    const wire::LayerRange middle{in.u16(), in.u16()};
    if (middle != wire::LayerRange{}) m.middle = middle;
    m.pieces = TRY(read_flag(in, "pieces"));
    return m;
}
Result<Job> read_job(Reader& in) {
    Job m;
    m.id = JobId(in.u64());
    m.client_seed = in.array<32>();
    const ByteView chat = in.bytes_u32(limits::chat_body_bytes_max);
    TRY(in.check("pipe: submit"));
    m.request = TRY(wire::decode_chat_request(chat));
    return m;
}
Ready read_ready(Reader& in) {
    Ready m;
    m.model.id = ModelId(in.array<32>());
    m.model.parameters = in.u64();
    m.model.quantisation = in.u8();
    m.model.context_tokens = in.u32();
    m.model.sequences = in.u32();
    m.model.architecture = in.text_u16(architecture_bytes_max);
    m.model.name = in.text_u16(name_bytes_max);
    return m;
}
Text read_text(Reader& in) {
    Text m;
    m.job = JobId(in.u64());
    m.completion = TokenCount(in.u32());
    m.text = Plaintext(in.text_u16(text_bytes_max));
    return m;
}
Failed read_failed(Reader& in) {
    Failed m;
    m.job = JobId(in.u64());
    m.fault = static_cast<AskFault>(in.u8());
    m.usage = read_usage(in);
    m.message = in.text_u16(reason_bytes_max);
    return m;
}
Result<Fatal> read_fatal(Reader& in) {
    Fatal m;
    m.permanent = TRY(read_flag(in, "fatal"));
    m.reason = in.text_u16(reason_bytes_max);
    return m;
}

Result<Finished> read_finished(Reader& in) {
    Finished m;
    m.job = JobId(in.u64());
    m.reason = static_cast<FinishReason>(in.u8());
    m.usage = read_usage(in);
    if (TRY(read_flag(in, "finished"))) m.kept = TRY(wire::read_kept_prefix(in));
    return m;
}
Result<PrefixGive> read_give(Reader& in) {
    PrefixGive m;
    m.job = JobId(in.u64());
    m.last = TRY(read_flag(in, "give"));
    m.bytes = to_bytes(in.bytes_u32(limits::prefix_piece_bytes));
    return m;
}
Result<PrefixPiece> read_prefix_piece(Reader& in) {
    PrefixPiece m;
    m.read = PrefixReadId(in.u64());
    m.last = TRY(read_flag(in, "piece"));
    m.bytes = to_bytes(in.bytes_u32(limits::prefix_piece_bytes));
    return m;
}
Result<PrefixAsk> read_ask(Reader& in) {
    PrefixAsk m;
    m.job = JobId(in.u64());
    m.chain = in.array<32>();
    const std::uint64_t us = in.u64();
    if (us > static_cast<std::uint64_t>(recompute_max.count())) return bad("no possible time");
    m.recompute = std::chrono::microseconds(us);
    return m;
}

// The end of every decoder: nothing missing, nothing left, and the rules of the fields.
template <typename Out, typename Message>
Result<Out> whole(const Reader& in, Message message, const char* what) {
    TRY(in.finish(what));
    TRY(check(message));
    return Out(std::move(message));
}

}  // namespace

Result<Bytes> encode(const ToWorker& message) {
    return encode_any(message);
}
Result<Bytes> encode(const FromWorker& message) {
    return encode_any(message);
}

Result<ToWorker> decode_to_worker(ByteView frame) {
    Reader in(frame);
    switch (static_cast<Kind>(in.u8())) {
        case Kind::load: {
            const Load m = TRY(read_load(in));
            return whole<ToWorker>(in, m, "pipe: load");
        }
        case Kind::lead: {
            const Lead m = TRY(read_lead(in));
            return whole<ToWorker>(in, m, "pipe: lead");
        }
        case Kind::returned: {
            Returned m{to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max))};
            return whole<ToWorker>(in, std::move(m), "pipe: returned");
        }
        case Kind::broken: {
            Broken m{TRY(read_flag(in, "broken")), in.text_u16(reason_bytes_max)};
            return whole<ToWorker>(in, std::move(m), "pipe: broken");
        }
        case Kind::submit: {
            Job m = TRY(read_job(in));
            return whole<ToWorker>(in, std::move(m), "pipe: submit");
        }
        case Kind::cancel: {
            const Cancel m{JobId(in.u64())};
            return whole<ToWorker>(in, m, "pipe: cancel");
        }
        case Kind::prefix_give: {
            PrefixGive m = TRY(read_give(in));
            return whole<ToWorker>(in, std::move(m), "pipe: prefix give");
        }
        case Kind::prefix_give_up: {
            const PrefixGiveUp m{JobId(in.u64())};
            return whole<ToWorker>(in, m, "pipe: prefix give up");
        }
        case Kind::prefix_open: {
            const PrefixOpen m{PrefixReadId(in.u64()), in.array<32>(), in.u32()};
            return whole<ToWorker>(in, m, "pipe: prefix open");
        }
        case Kind::prefix_more: {
            const PrefixMore m{PrefixReadId(in.u64())};
            return whole<ToWorker>(in, m, "pipe: prefix more");
        }
        case Kind::prefix_close: {
            const PrefixClose m{PrefixReadId(in.u64())};
            return whole<ToWorker>(in, m, "pipe: prefix close");
        }
        case Kind::piece: return whole<ToWorker>(in, read_piece(in), "pipe: piece");
        case Kind::filled: return whole<ToWorker>(in, Filled{}, "pipe: filled");
        case Kind::given: {
            Given m{to_bytes(in.bytes_u32(limits::stage_tensor_bytes_max))};
            return whole<ToWorker>(in, std::move(m), "pipe: given");
        }
        case Kind::holds: {
            Holds m{TRY(wire::read_kv_shape(in))};
            return whole<ToWorker>(in, std::move(m), "pipe: holds");
        }
        default: return fail(Errc::malformed, "pipe: unknown frame to a worker");
    }
}

namespace {

Result<FromWorker> decode_of_prefixes(Kind kind, Reader& in) {
    switch (kind) {
        case Kind::prefix_ask: {
            const PrefixAsk m = TRY(read_ask(in));
            return whole<FromWorker>(in, m, "pipe: prefix ask");
        }
        case Kind::prefix_refused: {
            PrefixRefused m{JobId(in.u64()), in.text_u16(reason_bytes_max)};
            return whole<FromWorker>(in, std::move(m), "pipe: prefix refused");
        }
        case Kind::prefix_piece: {
            PrefixPiece m = TRY(read_prefix_piece(in));
            return whole<FromWorker>(in, std::move(m), "pipe: prefix piece");
        }
        case Kind::prefix_gone: {
            const PrefixGone m{PrefixReadId(in.u64())};
            return whole<FromWorker>(in, m, "pipe: prefix gone");
        }
        default: return fail(Errc::malformed, "pipe: unknown frame from a worker");
    }
}

}  // namespace

Result<FromWorker> decode_from_worker(ByteView frame) {
    Reader in(frame);
    const auto kind = static_cast<Kind>(in.u8());
    switch (kind) {
        case Kind::loading: {
            const Loading m{in.f32()};
            return whole<FromWorker>(in, m, "pipe: loading");
        }
        case Kind::ready: {
            Ready m = read_ready(in);
            return whole<FromWorker>(in, std::move(m), "pipe: ready");
        }
        case Kind::started: {
            Started m;
            m.job = JobId(in.u64());
            m.prompt = TokenCount(in.u32());
            return whole<FromWorker>(in, m, "pipe: started");
        }
        case Kind::text: {
            Text m = read_text(in);
            return whole<FromWorker>(in, std::move(m), "pipe: text");
        }
        case Kind::finished: {
            const Finished m = TRY(read_finished(in));
            return whole<FromWorker>(in, m, "pipe: finished");
        }
        case Kind::failed: {
            Failed m = read_failed(in);
            return whole<FromWorker>(in, std::move(m), "pipe: failed");
        }
        case Kind::fatal: {
            Fatal m = TRY(read_fatal(in));
            return whole<FromWorker>(in, std::move(m), "pipe: fatal");
        }
        case Kind::ends: {
            const Ends m{in.u32(), in.u16()};
            return whole<FromWorker>(in, m, "pipe: ends");
        }
        case Kind::forward: {
            Forward m{TRY(wire::read_stage_rows(in))};
            return whole<FromWorker>(in, std::move(m), "pipe: forward");
        }
        case Kind::truncate: {
            const Truncate m{in.u16(), in.u32()};
            return whole<FromWorker>(in, m, "pipe: truncate");
        }
        case Kind::placed: {
            const Placed m{in.u16(), in.u16()};
            return whole<FromWorker>(in, m, "pipe: placed");
        }
        case Kind::cleared: return whole<FromWorker>(in, Cleared{}, "pipe: cleared");
        case Kind::working: return whole<FromWorker>(in, Working{}, "pipe: working");
        case Kind::want: return whole<FromWorker>(in, read_want(in), "pipe: want");
        case Kind::read: {
            const Read m{TRY(wire::read_read_of(in))};
            return whole<FromWorker>(in, m, "pipe: read");
        }
        case Kind::fill: {
            Fill m{TRY(wire::read_kv_rows(in))};
            return whole<FromWorker>(in, std::move(m), "pipe: fill");
        }
        default: return decode_of_prefixes(kind, in);
    }
}

}  // namespace shoal::engine::pipe
