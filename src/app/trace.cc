#include "app/trace.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace shoal::app {
namespace {

Result<std::FILE*> create(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "we");
    if (file == nullptr) {
        return fail(Errc::io, fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    }
    return file;
}

double seconds(Now now) {
    return to_seconds(now.mono.time_since_epoch());
}

}  // namespace

const char* command_name(wire::CellCommand command) {
    switch (command) {
        case wire::CellCommand::padding: return "PADDING";
        case wire::CellCommand::create: return "CREATE";
        case wire::CellCommand::created: return "CREATED";
        case wire::CellCommand::relay: return "RELAY";
        case wire::CellCommand::relay_early: return "RELAY_EARLY";
        case wire::CellCommand::destroy: return "DESTROY";
        case wire::CellCommand::stream_open: return "STREAM_OPEN";
        case wire::CellCommand::stream_data: return "STREAM_DATA";
        case wire::CellCommand::stream_end: return "STREAM_END";
        case wire::CellCommand::versions: return "VERSIONS";
        case wire::CellCommand::pad_negotiate: return "PAD_NEGOTIATE";
        case wire::CellCommand::stream_sendme: return "STREAM_SENDME";
        case wire::CellCommand::directory: return "DIRECTORY";
        case wire::CellCommand::channel_open: return "CHANNEL_OPEN";
        case wire::CellCommand::channel_data: return "CHANNEL_DATA";
        case wire::CellCommand::channel_credit: return "CHANNEL_CREDIT";
        case wire::CellCommand::channel_close: return "CHANNEL_CLOSE";
        case wire::CellCommand::ping: return "PING";
        case wire::CellCommand::pong: return "PONG";
    }
    return "?";
}

Result<std::unique_ptr<Trace>> Trace::open(const std::string& path) {
    std::FILE* file = TRY(create(path));
    return std::unique_ptr<Trace>(new Trace(file));
}

Trace::~Trace() {
    std::fclose(file_);
}

void Trace::on_cell_seen(Now now, LinkId, const NodeId& peer, bool incoming, const wire::Cell& cell) {
    fmt::print(file_, "{{\"t\":{:.6f},\"dir\":\"{}\",\"peer\":\"{}\",\"command\":\"{}\",\"size\":{}}}\n", seconds(now),
               incoming ? "in" : "out", peer.hex(), command_name(cell.command), limits::cell_bytes);
    std::fflush(file_);
}

void Trace::note(Now now, const char* event, const std::string& fields) {
    fmt::print(file_, "{{\"t\":{:.6f},\"event\":\"{}\"{}{}}}\n", seconds(now), event, fields.empty() ? "" : ",",
               fields);
    std::fflush(file_);
}

#ifdef SHOAL_TAP
Result<std::unique_ptr<Tap>> Tap::open(const std::string& path) {
    std::FILE* file = TRY(create(path));
    return std::unique_ptr<Tap>(new Tap(file));
}

Tap::~Tap() {
    std::fclose(file_);
}

void Tap::on_cell(LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell) {
    ByteArray<limits::cell_bytes> raw;
    wire::encode_cell(cell, raw);
    fmt::print(
        file_,
        "{{\"kind\":\"frame\",\"link\":{},\"dir\":\"{}\",\"peer\":\"{}\",\"command\":\"{}\",\"bytes\":\"{}\"}}\n",
        link.value(), incoming ? "in" : "out", peer.hex(), command_name(cell.command), to_hex(raw));
    std::fflush(file_);
}

void Tap::on_peeled(LinkId link, bool forward, ByteView block) {
    fmt::print(file_, "{{\"kind\":\"peeled\",\"link\":{},\"dir\":\"{}\",\"bytes\":\"{}\"}}\n", link.value(),
               forward ? "forward" : "backward", to_hex(block));
    std::fflush(file_);
}
#endif

}  // namespace shoal::app
