#include "link/session.h"

namespace shoal::link {

Session::Session(Now now, NetworkId network, Rng& rng)
    : network_(network),
      rng_(rng),
      versions_(wire::make_cell(wire::CellCommand::versions, 0,
                                wire::encode(wire::Versions{.network = network, .sent = now.wall}), rng)),
      started_(now.mono),
      last_heard_(now.mono),
      last_sent_(now.mono),
      pongs_counted_(now.mono),
      queues_{BoundedQueue<wire::Cell>(limits::link_queue_cells_max),
              BoundedQueue<wire::Cell>(limits::link_queue_cells_max),
              BoundedQueue<wire::Cell>(limits::snapshot_bytes_max / limits::cell_body_bytes +
                                       2 * limits::directory_queued_cells_max)} {}

Session::Class Session::class_of(wire::CellCommand command) {
    switch (command) {
        case wire::CellCommand::relay:
        case wire::CellCommand::relay_early:
        case wire::CellCommand::stream_open:
        case wire::CellCommand::stream_data:
        case wire::CellCommand::stream_end:
        case wire::CellCommand::destroy: return data;
        case wire::CellCommand::directory: return bulk;
        default: return control;
    }
}

Status Session::on_bytes(Now now, ByteView bytes, CellSink& sink) {
    if (!partial_.empty()) {
        const std::size_t take = std::min(limits::cell_bytes - partial_.size(), bytes.size());
        append(partial_, bytes.first(take));
        bytes = bytes.subspan(take);
        if (partial_.size() < limits::cell_bytes) return ok();
        const Status taken = take_cell(now, ByteView(partial_).first<limits::cell_bytes>(), sink);
        partial_.clear();
        TRY(taken);
    }
    while (bytes.size() >= limits::cell_bytes) {
        TRY(take_cell(now, bytes.first<limits::cell_bytes>(), sink));
        bytes = bytes.subspan(limits::cell_bytes);
    }
    partial_.assign(bytes.begin(), bytes.end());
    return ok();
}

Status Session::take_cell(Now now, std::span<const std::uint8_t, limits::cell_bytes> raw, CellSink& sink) {
    const wire::Cell cell = TRY(wire::decode_cell(raw));
    ++stats_.cells_in;
    last_heard_ = now.mono;
    if (cell.command == wire::CellCommand::versions) {
        if (open_) return fail(Errc::malformed, "link: a second VERSIONS");
        const wire::Versions peer = TRY(wire::decode_versions(cell.payload()));
        if (peer.version != wire::link_version) return fail(Errc::unsupported, "link: peer speaks another version");
        if (peer.network != network_) return fail(Errc::unsupported, "link: peer belongs to another network");
        open_ = true;
        return ok();
    }
    if (!open_) return fail(Errc::malformed, "link: a cell before VERSIONS");
    if (cell.command == wire::CellCommand::ping) {
        answer(now, TRY(wire::decode_ping(cell.payload())));
        return ok();
    }
    if (cell.command != wire::CellCommand::padding) sink.on_cell(now, cell);
    return ok();
}

void Session::answer(Now now, const wire::Ping& ping) {
    const std::int64_t more = (now.mono - pongs_counted_) / limits::link_ping_interval;
    if (more > 0) {
        pongs_left_ = std::min<std::int64_t>(limits::link_pings_at_once, pongs_left_ + more);
        pongs_counted_ += more * limits::link_ping_interval;
    }
    if (pongs_left_ == 0) return;
    --pongs_left_;
    (void)send(wire::make_cell(wire::CellCommand::pong, 0, wire::encode(ping), rng_));
}

bool Session::send(const wire::Cell& cell) {
    return queues_[class_of(cell.command)].push(cell);
}

void Session::take_output(Now now, std::size_t bytes_max, Bytes& out) {
    const auto put = [&](const wire::Cell& cell) {
        const std::size_t at = out.size();
        out.resize(at + limits::cell_bytes);
        wire::encode_cell(cell, std::span(out).subspan(at).first<limits::cell_bytes>());
        bytes_max -= limits::cell_bytes;
        last_sent_ = now.mono;
        ++stats_.cells_out;
    };
    if (!versions_sent_ && bytes_max >= limits::cell_bytes) {
        put(versions_);
        versions_sent_ = true;
    }
    if (!open_) return;
    const auto put_all = [&](BoundedQueue<wire::Cell>& queue) {
        while (!queue.empty() && bytes_max >= limits::cell_bytes) {
            put(queue.front());
            queue.drop_front();
        }
    };
    put_all(queues_[control]);
    put_all(queues_[data]);
    while (source_ != nullptr && source_->has_cell() && bytes_max >= limits::cell_bytes) put(source_->next_cell());
    put_all(queues_[bulk]);
}

bool Session::has_output() const {
    if (!versions_sent_) return true;
    return open_ && (queued_cells() > 0 || (source_ != nullptr && source_->has_cell()));
}

Status Session::on_tick(Now now) {
    if (!open_ && now.mono - started_ >= limits::link_handshake_timeout) {
        return fail(Errc::timeout, "link: no VERSIONS from the peer");
    }
    if (now.mono - last_heard_ >= dead_after) return fail(Errc::timeout, "link: nothing heard from the peer");
    if (open_ && now.mono - last_sent_ >= limits::link_keepalive) {
        (void)queues_[control].push(wire::make_cell(wire::CellCommand::padding, 0, {}, rng_));
        last_sent_ = now.mono;
    }
    return ok();
}

Instant Session::next_deadline() const {
    if (!open_) return started_ + limits::link_handshake_timeout;
    return std::min(last_heard_ + dead_after, last_sent_ + limits::link_keepalive);
}

std::size_t Session::queued_cells() const {
    std::size_t sum = 0;
    for (const auto& queue : queues_) sum += queue.size();
    return sum;
}

}  // namespace shoal::link
