#include "link/channels.h"

namespace shoal::link {

using wire::CellCommand;
using wire::ChannelCloseReason;

namespace {
constexpr ChannelNumber initiator_bit = 0x8000'0000;
}

Channels::Channel* Channels::find(ChannelNumber number) {
    const auto at = channels_.find(number);
    return at == channels_.end() ? nullptr : &at->second;
}

void Channels::give_turn(ChannelNumber number, Channel& channel) {
    if (channel.has_turn || !channel.has_cell()) return;
    channel.has_turn = true;
    turns_.push_back(number);
}

// ---- out ---------------------------------------------------------------------------------------------------------

std::optional<ChannelNumber> Channels::open(wire::ChannelProtocol protocol) {
    if (channels_.size() >= limits::channels_per_link_max) return std::nullopt;
    ChannelNumber number = 0;
    do {
        number = static_cast<ChannelNumber>(rng_.u64()) & ~initiator_bit;
        if (number != 0 && we_dialled_) number |= initiator_bit;
    } while (number == 0 || channels_.contains(number));
    Channel& channel = channels_[number];
    channel.opening = protocol;
    give_turn(number, channel);
    return number;
}

bool Channels::may_send(ChannelNumber number) {
    Channel* channel = find(number);
    if (channel == nullptr || channel->closing) return false;
    const bool may = channel->queue.empty() && channel->credited > 0 && channel->has_window();
    if (!may) channel->wants_room = true;
    return may;
}

bool Channels::send(ChannelNumber number, Bytes message) {
    ASSERT(!message.empty() && message.size() <= limits::channel_message_bytes_max);
    Channel* channel = find(number);
    if (channel == nullptr || channel->closing) return false;
    const bool may_be_first = channel->credited > 0 || message.size() <= wire::channel_first_bytes_max;
    if (channel->queue.empty() && channel->has_window() && may_be_first) {
        begin(*channel, std::move(message));
        give_turn(number, *channel);
        return true;
    }
    if (channel->queue.size() >= limits::channel_queued_messages_max) return false;
    channel->queue.push_back(std::move(message));
    return true;
}

void Channels::begin(Channel& channel, Bytes message) {
    channel.under_way.push_back(message.size());
    channel.under_way_bytes += message.size();
    channel.outbox.push_back(std::move(message));
}

void Channels::close(ChannelNumber number, ChannelCloseReason reason) {
    if (Channel* channel = find(number)) stop(number, *channel, reason);
}

void Channels::stop(ChannelNumber number, Channel& channel, ChannelCloseReason reason) {
    if (channel.closing) return;
    channel.closing = reason;
    channel.queue.clear();
    channel.partial.clear();
    channel.credit_due = false;
    give_turn(number, channel);
}

// One cell's worth. The CLOSE comes when everything else has left.
Bytes Channels::next_payload(Channel& channel, CellCommand& command) {
    if (channel.opening) {
        command = CellCommand::channel_open;
        return encode(wire::ChannelOpen{*std::exchange(channel.opening, std::nullopt)});
    }
    if (channel.credit_due) {
        channel.credit_due = false;
        channel.said = channel.taken;
        channel.unsaid_bytes = 0;
        command = CellCommand::channel_credit;
        return encode(wire::ChannelCredit{channel.taken});
    }
    if (channel.outbox.empty()) {
        command = CellCommand::channel_close;
        return encode(*channel.closing);
    }
    const Bytes& message = channel.outbox.front();
    const bool first = channel.sent == 0;
    const std::size_t most = first ? wire::channel_first_bytes_max : wire::channel_more_bytes_max;
    const ByteView piece = ByteView(message).subspan(channel.sent);
    wire::ChannelData data{first ? static_cast<std::uint32_t>(message.size()) : 0,
                           piece.first(std::min(most, piece.size()))};
    command = CellCommand::channel_data;
    Bytes payload = encode(data);
    channel.sent += data.bytes.size();
    if (channel.sent == message.size()) {
        channel.outbox.pop_front();
        channel.sent = 0;
    }
    return payload;
}

wire::Cell Channels::next_cell() {
    ASSERT(!turns_.empty());
    const ChannelNumber number = turns_.front();
    turns_.pop_front();
    Channel& channel = channels_.at(number);
    channel.has_turn = false;
    CellCommand command{};
    const Bytes payload = next_payload(channel, command);
    if (command == CellCommand::channel_close) {
        channels_.erase(number);
    } else {
        give_turn(number, channel);
    }
    return wire::make_cell(command, number, payload, rng_);
}

// ---- in ----------------------------------------------------------------------------------------------------------

void Channels::on_cell(const wire::Cell& cell) {
    if (cell.command == CellCommand::channel_open) return on_open(cell);
    Channel* channel = find(cell.id);
    if (channel == nullptr) return;
    switch (cell.command) {
        case CellCommand::channel_data:
            if (!channel->closing) on_data(cell.id, *channel, cell);
            return;
        case CellCommand::channel_credit: return on_credit(cell.id, *channel, cell);
        case CellCommand::channel_close: {
            const auto reason = wire::decode_channel_close(cell.payload());
            const bool known_here = channel->closing.has_value();
            std::erase(turns_, cell.id);
            channels_.erase(cell.id);
            if (!known_here) out_.emplace_back(Closed{cell.id, reason ? *reason : ChannelCloseReason::protocol});
            return;
        }
        default: return;
    }
}

void Channels::on_open(const wire::Cell& cell) {
    const bool theirs = ((cell.id & initiator_bit) != 0) != we_dialled_;
    if (cell.id == 0 || !theirs) return;  // an id of ours: no channel to answer on
    if (Channel* channel = find(cell.id)) return fault(cell.id, *channel);
    if (channels_.size() >= 2 * limits::channels_per_link_max) return;  // refusals that it does not read
    Channel& channel = channels_[cell.id];
    const auto open = wire::decode_channel_open(cell.payload());
    if (!open) return stop(cell.id, channel, ChannelCloseReason::refused);
    if (channels_.size() > limits::channels_per_link_max) return stop(cell.id, channel, ChannelCloseReason::busy);
    out_.emplace_back(Opened{cell.id, open->protocol});
}

void Channels::on_data(ChannelNumber number, Channel& channel, const wire::Cell& cell) {
    const auto data = wire::decode_channel_data(cell.payload());
    if (!data || (data->total > 0) != (channel.total == 0)) return fault(number, channel);
    if (data->total > 0) {
        const bool has_window = channel.untaken_sizes.size() < limits::channel_window_messages &&
                                channel.untaken_bytes < limits::channel_window_bytes;
        if (!has_window) return fault(number, channel);
        if (channel.taken == 0 && data->total > wire::channel_first_bytes_max) return fault(number, channel);
        channel.total = data->total;
    }
    const std::size_t left = channel.total - channel.partial.size();
    const std::size_t most = data->total > 0 ? wire::channel_first_bytes_max : wire::channel_more_bytes_max;
    // Every cell but the last is full: so a message of n bytes costs no more cells than it must.
    if (data->bytes.size() != std::min(left, most)) return fault(number, channel);
    append(channel.partial, data->bytes);
    if (channel.partial.size() < channel.total) return;
    channel.untaken_sizes.push_back(channel.total);
    channel.untaken_bytes += channel.total;
    channel.total = 0;
    out_.emplace_back(Message{number, std::exchange(channel.partial, {})});
}

void Channels::took(ChannelNumber number) {
    Channel* channel = find(number);
    if (channel == nullptr || channel->closing) return;
    ASSERT(!channel->untaken_sizes.empty());
    const std::size_t size = channel->untaken_sizes.front();
    channel->untaken_bytes -= size;
    channel->untaken_sizes.pop_front();
    channel->unsaid_bytes += size;
    ++channel->taken;
    if (channel->taken > 1 && channel->taken - channel->said < limits::channel_credit_messages &&
        channel->unsaid_bytes < limits::channel_credit_bytes) {
        return;  // rule 5
    }
    channel->credit_due = true;
    give_turn(number, *channel);
}

void Channels::on_credit(ChannelNumber number, Channel& channel, const wire::Cell& cell) {
    const auto credit = wire::decode_channel_credit(cell.payload());
    // Of messages that have left whole.
    const std::uint64_t left_whole = channel.credited + channel.under_way.size() - channel.outbox.size();
    if (!credit || credit->taken <= channel.credited || credit->taken > left_whole) return fault(number, channel);
    for (; channel.credited < credit->taken; ++channel.credited) {
        channel.under_way_bytes -= channel.under_way.front();
        channel.under_way.pop_front();
    }
    while (!channel.queue.empty() && channel.has_window()) {
        begin(channel, std::move(channel.queue.front()));
        channel.queue.pop_front();
    }
    give_turn(number, channel);
    if (!channel.wants_room || !channel.queue.empty() || !channel.has_window() || channel.closing) return;
    channel.wants_room = false;
    out_.emplace_back(Room{number});
}

void Channels::fault(ChannelNumber number, Channel& channel) {
    if (channel.closing) return;
    channel.outbox.clear();
    channel.sent = 0;
    stop(number, channel, ChannelCloseReason::protocol);
    out_.emplace_back(Closed{number, ChannelCloseReason::protocol});
}

std::optional<Channels::Event> Channels::poll() {
    if (out_.empty()) return std::nullopt;
    Event next = std::move(out_.front());
    out_.pop_front();
    return next;
}

bool Channels::check() const {
    std::size_t turns = 0;
    for (const auto& [number, channel] : channels_) {
        std::size_t out = 0, in = 0;
        for (const std::size_t size : channel.under_way) out += size;
        for (const std::size_t size : channel.untaken_sizes) in += size;
        if (out != channel.under_way_bytes || in != channel.untaken_bytes) return false;
        if (channel.outbox.size() > channel.under_way.size()) return false;
        if (channel.has_turn != channel.has_cell()) return false;
        turns += channel.has_turn ? 1 : 0;
    }
    return turns == turns_.size();
}

}  // namespace shoal::link
