// One client and one model node over lanes that delay, end and swallow, in virtual time: for the tests of this room.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "crypto/rng.h"
#include "prompt/asker.h"
#include "prompt/server.h"
#include "wire/chat.h"

namespace shoal::prompt {

struct PromptWorld {
    // A lane: a circuit to a proxy and that proxy's stream to the node. Its number is that of its link and stream.
    struct Road {
        Duration delay = 10ms;
        bool alive = true;           // false: both ends were told that it ended
        bool swallows = false;       // loses everything from now on and tells nobody
        std::uint32_t taken = 0;     // records since the last SENDME
        bool gives_credit = true;    // towards the node
        std::vector<Bytes> forward;  // what the client sent, STREAM_OPEN first
        std::uint8_t index = 0;
    };

    explicit PromptWorld(std::uint64_t seed, std::uint8_t n = 4, std::uint8_t k = 2) : rng(seed) {
        now = {Instant(1h), from_unix_seconds(1'800'000'000)};
        hpke.emplace(crypto::KeyPair::generate(rng));
        config.network = NetworkId(ByteArray<32>{7});
        config.node = NodeId(ByteArray<32>{9});
        config.hpke_key = hpke->public_key;
        config.n = n;
        config.k = k;
        config.round_trip = 40ms;
        restart();
    }
    // A node that has forgotten everything but its keys.
    void restart() {
        server = std::make_unique<Server>(ServerConfig{config.node, config.network, now.wall});
        server->set_hpke_keys(*hpke, nullptr);
    }

    wire::Request request(const std::string& text) {
        wire::Request out;
        out.unpaid = true;
        out.id = rng.id<RequestId>();
        out.expires = now.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
        out.reply_key = Key32(rng.array<32>());
        out.body = Plaintext(text);
        return out;
    }
    void ask(wire::Request r) {
        request_id = r.id;
        auto started = Asker::start(now, config, std::move(r), rng);
        ASSERT(started);
        asker = std::make_unique<Asker>(std::move(*started));
        pump();
    }
    void ask(const std::string& text) { ask(request(text)); }

    // ---- the model -----------------------------------------------------------------------------------------------
    bool say(const std::string& text) { return reply(ChatDelta{Plaintext(text)}); }
    bool finish() { return reply(ChatEnd{FinishReason::stop, {TokenCount(1), TokenCount(2)}}); }
    bool reply(const wire::ReplyFrame& frame) {
        const bool taken = server->reply(now, opened.back().handle, frame);
        pump();
        return taken;
    }

    // ---- lanes ---------------------------------------------------------------------------------------------------
    void end_lane(LaneId lane, wire::StreamEndReason reason = wire::StreamEndReason::link_lost) {
        Road& road = roads.at(lane);
        if (!road.alive) return;
        road.alive = false;
        to_server(road, lane, wire::CellCommand::stream_end, wire::encode(reason));
        at(road.delay, [this, lane, reason] {
            if (asker) asker->on_lane_end(now, lane, reason);
        });
    }
    void cell(LaneId lane, wire::CellCommand command, ByteView payload) {
        server->on_cell(now, LinkId(lane.value()), wire::make_cell(command, lane.value(), payload, rng));
    }
    std::vector<LaneId> living() const {
        std::vector<LaneId> out;
        for (const auto& [lane, road] : roads) {
            if (road.alive) out.push_back(lane);
        }
        return out;
    }

    // ---- time ----------------------------------------------------------------------------------------------------
    bool run_until(const std::function<bool()>& condition, Duration limit) {
        const Instant end = now.mono + limit;
        std::size_t same = 0;
        while (!condition()) {
            Instant next = events.empty() ? Instant::max() : events.begin()->first;
            if (asker) next = std::min(next, asker->next_deadline());
            next = std::min(next, server->next_deadline());
            if (next > end) {
                advance(end);
                return condition();
            }
            // A timer that is still due after its tick would never let time go on.
            same = next <= now.mono ? same + 1 : 0;
            ASSERT(same < 10'000);
            advance(std::max(next, now.mono));
            while (!events.empty() && events.begin()->first <= now.mono) {
                const auto action = std::move(events.begin()->second);
                events.erase(events.begin());
                action();
                pump();
            }
            if (asker && asker->next_deadline() <= now.mono) asker->on_tick(now);
            if (server->next_deadline() <= now.mono) server->on_tick(now);
            pump();
        }
        return true;
    }
    void run(Duration time) {
        (void)run_until([] { return false; }, time);
    }
    void advance(Instant to) {
        now.mono = to;
        now.wall =
            from_unix_seconds(1'800'000'000) + std::chrono::duration_cast<std::chrono::seconds>(to - Instant(1h));
    }
    void at(Duration in, std::function<void()> action) { events.emplace(now.mono + in, std::move(action)); }

    void pump() {
        bool any = true;
        while (any) {
            any = false;
            while (asker) {
                auto output = asker->poll();
                if (!output) break;
                any = true;
                from_asker(std::move(*output));
            }
            while (auto output = server->poll()) {
                any = true;
                from_server(std::move(*output));
            }
        }
    }

    crypto::SeededRng rng;
    Now now{};
    std::optional<crypto::KeyPair> hpke;
    AskerConfig config;
    std::unique_ptr<Server> server;
    std::unique_ptr<Asker> asker;
    RequestId request_id;
    std::multimap<Instant, std::function<void()>> events;
    std::map<LaneId, Road> roads;
    std::uint32_t lane_base = 0;  // of the present asker: numbers of lanes differ between askers of one world
    // Called for a wanted lane, with its road still to be changed; false: there is no circuit for it.
    std::function<bool(LaneId, Road&)> on_wanted;
    // Called for each record on its way to the client; may change it.
    std::function<void(LaneId, Bytes&)> on_back;

    std::vector<Opened> opened;
    std::vector<Handle> stopped;
    std::string heard;
    std::optional<ChatEnd> ended;
    std::vector<Over> overs;
    std::size_t outputs_after_over = 0;

private:
    void to_server(Road& road, LaneId lane, wire::CellCommand command, Bytes payload) {
        at(road.delay, [this, lane, command, payload = std::move(payload)] {
            if (!roads.at(lane).swallows) cell(lane, command, payload);
        });
    }

    void from_asker(AskerOutput output) {
        if (!overs.empty()) ++outputs_after_over;
        if (const auto* wanted = std::get_if<LaneWanted>(&output)) {
            Road& road = roads[wanted->lane];
            road.index = wanted->index;
            if (on_wanted && !on_wanted(wanted->lane, road)) {
                road.alive = false;
                at(100ms, [this, lane = wanted->lane] { asker->on_lane_failed(now, lane); });
                return;
            }
            const Bytes open = wire::encode(wanted->connect.open);
            road.forward.push_back(open);
            to_server(road, wanted->lane, wire::CellCommand::stream_open, open);
            asker->on_lane_open(now, wanted->lane);
        } else if (const auto* send = std::get_if<LaneSend>(&output)) {
            Road& road = roads.at(send->lane);
            road.forward.push_back(to_bytes(send->sealed));
            if (road.alive) to_server(road, send->lane, wire::CellCommand::stream_data, to_bytes(send->sealed));
        } else if (const auto* lane_end = std::get_if<LaneEnd>(&output)) {
            Road& road = roads.at(lane_end->lane);
            if (!std::exchange(road.alive, false)) return;
            to_server(road, lane_end->lane, wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::done));
        } else if (auto* delta = std::get_if<ChatDelta>(&output)) {
            heard += delta->text.expose();
        } else if (const auto* done = std::get_if<ChatEnd>(&output)) {
            ended = *done;
        } else {
            overs.push_back(std::get<Over>(std::move(output)));
        }
    }

    void from_server(ServerOutput output) {
        if (auto* sent = std::get_if<StreamCell>(&output)) {
            const LaneId lane(sent->id.value());
            const auto found = roads.find(lane);
            if (found == roads.end() || !found->second.alive) return;
            at(found->second.delay,
               [this, lane, command = sent->command, payload = std::move(sent->payload)]() mutable {
                   arrive(lane, command, std::move(payload));
               });
        } else if (auto* open = std::get_if<Opened>(&output)) {
            opened.push_back(std::move(*open));
        } else {
            stopped.push_back(std::get<Stopped>(output).handle);
        }
    }

    void arrive(LaneId lane, wire::CellCommand command, Bytes payload) {
        Road& road = roads.at(lane);
        if (!road.alive || road.swallows) return;
        if (command == wire::CellCommand::stream_end) {
            road.alive = false;
            if (asker) asker->on_lane_end(now, lane, *wire::decode_stream_end(payload));
            return;
        }
        if (road.gives_credit && ++road.taken == limits::link_sendme_cells) {
            road.taken = 0;
            to_server(road, lane, wire::CellCommand::stream_sendme, wire::encode(wire::StreamSendme{}));
        }
        if (on_back) on_back(lane, payload);
        if (asker) asker->on_lane_data(now, lane, first_bytes<limits::sealed_record_bytes>(payload));
    }
};

}  // namespace shoal::prompt
