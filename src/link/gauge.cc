#include "link/gauge.h"

#include <algorithm>

namespace shoal::link {

using wire::CellCommand;

Gauge::Gauge(Now now, Rng& rng) : rng_(rng), deadline_(now.mono + limits::gauge_timeout) {
    rng_.fill(filler_);
    begin(now, 1);
}

void Gauge::begin(Now now, std::size_t cells) {
    token_ = rng_.u64();
    begun_ = now.mono;
    cells_ = left_ = cells;
    sent_bytes_ += cells * limits::cell_bytes;
}

wire::Cell Gauge::next_cell() {
    ASSERT(left_ > 0);
    --left_;
    if (left_ > 0) return wire::make_cell(CellCommand::padding, 0, filler_, rng_);
    return wire::make_cell(CellCommand::ping, 0, wire::encode(wire::Ping{token_}), rng_);
}

Status Gauge::on_cell(Now now, const wire::Cell& cell) {
    if (done_) return ok();
    if (cell.command != CellCommand::pong) return fail(Errc::malformed, "the peer sent what nobody asked for");
    const wire::Ping pong = TRY(wire::decode_ping(cell.payload()));
    if (pong.token != token_ || left_ > 0) return fail(Errc::malformed, "the peer answered what it had not been asked");
    const Duration took = std::max(now.mono - begun_, Duration(1));
    if (pings_ < limits::gauge_pings) {
        ++pings_;
        round_trip_ = std::min(round_trip_, took);
        begin(now, pings_ < limits::gauge_pings ? 1 : limits::gauge_train_cells_min);
        return ok();
    }
    on_train(took);
    const bool more = sent_bytes_ + 2 * cells_ * limits::cell_bytes <= limits::gauge_bytes_max;
    if (took < limits::gauge_train_time && more) {
        begin(now, 2 * cells_);
    } else {
        done_ = true;
    }
    return ok();
}

void Gauge::on_train(Duration took) {
    // The round trip has one cell of it.
    const double bytes = static_cast<double>((cells_ - 1) * limits::cell_body_bytes);
    const Duration there = std::max(took - round_trip_, Duration(1000));
    bytes_per_second_ = static_cast<std::uint64_t>(bytes / to_seconds(there));
}

Status Gauge::on_tick(Now now) {
    if (done_ || now.mono < deadline_) return ok();
    left_ = 0;
    if (!bytes_per_second_) return fail(Errc::timeout, "the link is too slow, or the peer does not answer");
    done_ = true;
    return ok();
}

LinkFigures Gauge::figures() const {
    ASSERT(done_);
    return {round_trip_, *bytes_per_second_};
}

}  // namespace shoal::link
