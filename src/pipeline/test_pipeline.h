// Coordinator and hosts together, over channels with a delay, beside one machine that holds all layers. For tests.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>

#include "base/test_rng.h"
#include "engine/fake_stage.h"
#include "pipeline/coordinator.h"
#include "pipeline/stage_host.h"

namespace shoal::pipeline {

inline constexpr std::uint32_t width = 32;
inline constexpr std::size_t row_bytes = 64;  // f16
inline constexpr std::uint16_t layers = 12;
inline constexpr std::size_t kv_bytes = layers * std::size_t{8};  // of a token (engine/fake_stage.h)
inline constexpr std::uint32_t context = 4096;
inline constexpr std::uint16_t sequences = 4;
inline constexpr Duration delay = 5ms;

inline NodeId node(std::uint8_t number) {
    return NodeId(ByteArray<32>{number, 0x0D});
}
inline const NodeId leader = node(200);

class PipelineTest : public ::testing::Test {
protected:
    struct Machine {
        engine::FakeStageEngine engine;
        std::unique_ptr<StageHost> host;
        bool alive = true;
        bool stopped = false;
        explicit Machine(Duration row_time) : engine(row_time) {}
    };
    struct End {
        NodeId node;
        ChannelId channel;
        auto operator<=>(const End&) const = default;
    };

    PipelineTest() {
        reference_.open(now_, whole_, {ModelId(), {0, layers}, wire::ActivationType::f16, width, context, sequences});
    }

    // Hops of equal size over machines 1 to n; machines 101 to 100+n are their standbys.
    void start(std::size_t hops, bool standbys = true) {
        CoordinatorConfig config;
        config.self = leader;
        config.model = ModelId(ByteArray<32>{7});
        config.width = width;
        config.context = context;
        config.sequences = sequences;
        config.history_bytes_max = history_max_;
        const auto each = static_cast<std::uint16_t>(layers / hops);
        for (std::size_t i = 0; i < hops; ++i) {
            const auto first = static_cast<std::uint16_t>(i * each);
            const wire::LayerRange range{first, static_cast<std::uint16_t>(i + 1 == hops ? layers : first + each)};
            const auto number = static_cast<std::uint8_t>(i + 1);
            config.hops.push_back({node(number), range});
            if (!absent_.contains(node(number))) add(node(number));
            if (!standbys) continue;
            if (more_standbys_) {
                config.standbys.push_back({node(static_cast<std::uint8_t>(50 + number)), range});
                add(node(static_cast<std::uint8_t>(50 + number)));
            }
            config.standbys.push_back({node(static_cast<std::uint8_t>(100 + number)), range});
            add(node(static_cast<std::uint8_t>(100 + number)));
        }
        coordinator_ = std::make_unique<Coordinator>(now_, config, rng_);
        pass(1s);
    }
    void add(const NodeId& id) {
        auto machine = std::make_unique<Machine>(row_time_);
        StageHostConfig config;
        config.allowed = [](const NodeId& from) { return from == leader; };
        config.history_bytes_max = history_max_;
        machine->host = std::make_unique<StageHost>(config, machine->engine);
        machines_.emplace(id, std::move(machine));
    }

    // ---- the net
    void later(const NodeId& at, std::function<void()> what, Duration more = Duration::zero()) {
        queue_.emplace(now_.mono + delay + more, Delivery{at, std::move(what)});
    }
    void connect(const NodeId& from, std::uint64_t token, const NodeId& to) {
        const auto machine = machines_.find(to);
        if (from == leader) ++dials_[to];
        if (to != leader && (machine == machines_.end() || !machine->second->alive)) {
            return later(from, [=, this] { connect_failed(from, token); });
        }
        const End ours{from, ChannelId(next_channel_++)};
        const End theirs{to, ChannelId(next_channel_++)};
        peers_[ours] = theirs;
        peers_[theirs] = ours;
        later(from, [=, this] {
            if (!peers_.contains(ours)) return connect_failed(from, token);
            if (from == leader) {
                coordinator_->on_connected(now_, token, ours.channel);
            } else {
                machines_.at(from)->host->on_connected(now_, token, ours.channel);
            }
        });
    }
    void connect_failed(const NodeId& from, std::uint64_t token) {
        if (from == leader) return coordinator_->on_connect_failed(now_, token);
        machines_.at(from)->host->on_connect_failed(now_, token);
    }
    void send(const End& from, wire::StageMessage message) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        const End to = peer->second;
        if (to.node == leader && std::holds_alternative<wire::StageStep>(message)) gave_ = from;
        // Over the codec, as it would travel.
        const Bytes bytes = wire::encode_stage_message(message);
        most_under_way_ = std::max(most_under_way_, ++under_way_[from]);
        Instant& free = free_[from];
        free = std::max(free, now_.mono) + byte_time_ * static_cast<std::int64_t>(bytes.size());
        const Duration busy = free - now_.mono;
        later(
            to.node,
            [=, this] {
                if (!peers_.contains(to)) return;
                auto decoded = wire::decode_stage_message(bytes);
                ASSERT_TRUE(decoded) << decoded.error().message;
                if (spoil) spoil(from.node, to.node, *decoded);
                if (to.node == leader)
                    return coordinator_->on_message(now_, to.channel, from.node, std::move(*decoded));
                machines_.at(to.node)->host->on_message(now_, to.channel, from.node, std::move(*decoded));
            },
            busy);
    }
    void close(const End& from) {
        const auto peer = peers_.find(from);
        if (peer == peers_.end()) return;
        const End to = peer->second;
        peers_.erase(from);
        later(to.node, [=, this] {
            if (peers_.erase(to) == 0) return;
            if (to.node == leader) return coordinator_->on_closed(now_, to.channel);
            machines_.at(to.node)->host->on_closed(now_, to.channel);
        });
    }
    // The channels from one machine to another end, and both live.
    void break_off(const NodeId& from, const NodeId& to) {
        std::vector<End> ends;
        for (const auto& [end, peer] : peers_) {
            if (end.node == from && peer.node == to) ends.push_back(end);
        }
        for (const End& end : ends) {
            const End there = peers_.at(end);
            close(end);
            peers_.emplace(end, there);
            close(there);
        }
    }
    void kill(const NodeId& id) {
        machines_.at(id)->alive = false;
        std::vector<End> ends;
        for (const auto& [end, peer] : peers_) {
            if (end.node == id) ends.push_back(end);
        }
        for (const End& end : ends) close(end);
    }

    // Started anew, and empty.
    void revive(const NodeId& id) {
        machines_.erase(id);
        add(id);
    }

    // ---- time
    void settle() {
        for (bool more = true; more;) {
            more = false;
            while (auto output = coordinator_->poll()) {
                more = true;
                handle(std::move(*output));
            }
            while (auto output = coordinator_->poll_channels()) {
                more = true;
                handle(leader, *coordinator_, std::move(*output));
            }
            for (auto& [id, machine] : machines_) {
                if (!machine->alive) continue;
                while (auto output = machine->host->poll_channels()) {
                    more = true;
                    handle(id, *machine->host, std::move(*output));
                }
            }
        }
    }
    void handle(Coordinator::Output output) {
        if (auto* result = std::get_if<Coordinator::Result>(&output)) {
            ASSERT_TRUE(expected_.contains(result->number));
            EXPECT_EQ(result->rows.tensor, expected_.at(result->number)) << "operation " << result->number;
            expected_.erase(result->number);
            arrived_.push_back(now_.mono);
        } else if (std::holds_alternative<Coordinator::KeepsOther>(output)) {
            ++others_;
        } else if (auto* given = std::get_if<Coordinator::Given>(&output)) {
            ASSERT_TRUE(expected_.contains(given->number));
            EXPECT_EQ(given->bytes, expected_.at(given->number)) << "read " << given->number;
            expected_.erase(given->number);
        } else if (const auto* filled = std::get_if<Coordinator::Filled>(&output)) {
            EXPECT_EQ(expected_.erase(filled->number), 1U);
        } else if (const auto* replaced = std::get_if<Coordinator::Replaced>(&output)) {
            replaced_.push_back(*replaced);
        } else if (std::holds_alternative<Coordinator::StandbyLost>(output)) {
            ++lost_standbys_;
        } else if (const auto* back = std::get_if<Coordinator::StandbyBack>(&output)) {
            back_.push_back(back->node);
        } else if (const auto* over = std::get_if<Coordinator::Over>(&output)) {
            over_ = *over;
        }
    }
    void handle(const NodeId& id, ChannelUser& user, ChannelOutput output) {
        if (auto* send_ = std::get_if<SendMessage>(&output)) {
            send({id, send_->channel}, std::move(send_->message));
        } else if (const auto* data = std::get_if<HasData>(&output)) {
            pump(id, user, data->channel);
        } else if (const auto* took = std::get_if<Took>(&output)) {
            take({id, took->channel});
        } else if (const auto* connect_ = std::get_if<Connect>(&output)) {
            connect(id, connect_->token, connect_->node);
        } else {
            close({id, std::get<CloseChannel>(output).channel});
        }
    }
    // Rows go out while fewer than `window_` of them are not taken; messages that are sent at once count as well.
    void pump(const NodeId& id, ChannelUser& user, ChannelId channel) {
        const End from{id, channel};
        while (under_way_[from] < window_) {
            auto message = user.next_data(channel);
            if (!message) {
                waiting_.erase(from);
                return;
            }
            send(from, std::move(*message));
        }
        waiting_.insert(from);
    }
    void take(const End& at) {
        const auto peer = peers_.find(at);
        if (peer == peers_.end()) return;
        const End from = peer->second;
        later(from.node, [=, this] {
            --under_way_[from];
            if (!waiting_.contains(from)) return;
            if (from.node == leader) return pump(leader, *coordinator_, from.channel);
            pump(from.node, *machines_.at(from.node)->host, from.channel);
        });
    }
    void pass(Duration time) {
        const Instant end = now_.mono + time;
        settle();
        for (;;) {
            Instant next = std::min(end, coordinator_->next_deadline());
            if (!queue_.empty()) next = std::min(next, queue_.begin()->first);
            for (auto& [id, machine] : machines_) {
                if (!machine->alive || machine->stopped) continue;
                next = std::min(next, machine->host->next_deadline());
                if (const auto due = machine->engine.next_deadline()) next = std::min(next, *due);
            }
            now_.mono = std::max(now_.mono, next);
            if (now_.mono >= end && (queue_.empty() || queue_.begin()->first > end)) break;
            while (!queue_.empty() && queue_.begin()->first <= now_.mono) {
                Delivery delivery = std::move(queue_.begin()->second);
                queue_.erase(queue_.begin());
                const auto machine = machines_.find(delivery.to);
                if (machine != machines_.end() && !machine->second->alive) continue;
                if (machine != machines_.end() && machine->second->stopped) continue;
                delivery.what();
                settle();
            }
            coordinator_->on_tick(now_);
            for (auto& [id, machine] : machines_) {
                if (!machine->alive || machine->stopped) continue;
                machine->engine.on_tick(now_);
                machine->host->on_tick(now_);
            }
            settle();
        }
    }

    // ---- operations, and what one machine makes of them
    bool step(std::vector<wire::StagePart> parts) {
        wire::StageRows rows;
        rows.parts = std::move(parts);
        for (const wire::StagePart& part : rows.parts) {
            for (std::size_t i = 0; i < part.rows; ++i) {
                Bytes row(row_bytes);
                store_le<std::uint64_t>(row.data(), rng_.u64());
                append(rows.tensor, row);
            }
        }
        const auto number = coordinator_->step(now_, rows);
        if (!number) return false;
        reference_.compute(now_, whole_, rows);
        reference_.on_tick({Instant::max(), now_.wall});
        while (auto event = reference_.poll()) {
            if (auto* computed = std::get_if<engine::StageComputed>(&*event)) {
                expected_.emplace(*number, std::move(computed->tensor));
            }
        }
        for (const wire::StagePart& part : rows.parts) lengths_[part.sequence] += part.rows;
        settle();
        return true;
    }
    bool truncate(std::uint16_t sequence, std::uint32_t length) {
        if (!coordinator_->truncate(now_, sequence, length)) return false;
        reference_.truncate(now_, whole_, sequence, length);
        lengths_[sequence] = length;
        settle();
        return true;
    }
    bool grow(std::uint16_t sequence, std::uint16_t rows) { return step({{sequence, lengths_[sequence], rows}}); }
    // What a machine with all layers keeps of so many tokens that nobody has seen here.
    Bytes kept_elsewhere(std::uint16_t tokens) {
        engine::FakeStageEngine other;
        const engine::StageHandle handle(1);
        other.open(now_, handle, {ModelId(), {0, layers}, wire::ActivationType::f16, width, context, 1});
        wire::StageRows rows{{{0, 0, tokens}}, rng_.bytes(tokens * row_bytes)};
        other.compute(now_, handle, rows);
        return other.kept(handle, 0, tokens);
    }
    // Behind what the sequence was filled with.
    bool fill(std::uint16_t sequence, const Bytes& kept) {
        const auto tokens = static_cast<std::uint16_t>(kept.size() / kv_bytes);
        const wire::StageKvRows rows{sequence, lengths_[sequence], tokens, kept};
        const auto number = coordinator_->fill(now_, rows);
        if (!number) return false;
        reference_.fill(now_, whole_, rows);
        expected_.emplace(*number, Bytes());
        lengths_[sequence] += tokens;
        settle();
        return true;
    }
    bool read(const wire::StageReadOf& of) {
        const auto number = coordinator_->read(now_, of);
        if (!number) return false;
        reference_.read(now_, whole_, of);
        reference_.on_tick({Instant::max(), now_.wall});
        while (auto event = reference_.poll()) {
            if (auto* given = std::get_if<engine::StageGiven>(&*event)) expected_.emplace(*number, given->bytes);
        }
        settle();
        return true;
    }
    // Everything from the start, for another run.
    void forget() {
        machines_.clear();
        peers_.clear();
        queue_.clear();
        lengths_.clear();
        replaced_.clear();
        back_.clear();
        expected_.clear();
        over_.reset();
        others_ = 0;
        for (std::uint16_t i = 0; i < sequences; ++i) reference_.truncate(now_, whole_, i, 0);
    }

    struct Delivery {
        NodeId to;
        std::function<void()> what;
    };
    Now now_{Instant(1h), UnixTime(std::chrono::seconds(1'800'000'000))};
    TestRng rng_{3};
    Duration row_time_ = 20us;  // of one layer
    Duration byte_time_{};      // on a channel
    std::map<End, Instant> free_;
    std::size_t history_max_ = std::size_t{1} << 20;
    std::map<NodeId, std::unique_ptr<Machine>> machines_;
    std::unique_ptr<Coordinator> coordinator_;
    std::multimap<Instant, Delivery> queue_;
    std::map<End, End> peers_;
    std::uint64_t next_channel_ = 1;
    engine::FakeStageEngine reference_;
    const engine::StageHandle whole_{1};
    std::map<std::uint64_t, Bytes> expected_;
    std::map<std::uint16_t, std::uint32_t> lengths_;
    std::vector<Instant> arrived_;
    std::vector<Coordinator::Replaced> replaced_;
    std::optional<Coordinator::Over> over_;
    std::set<NodeId> absent_;
    bool more_standbys_ = false;
    std::size_t lost_standbys_ = 0;
    std::size_t others_ = 0;
    std::vector<NodeId> back_;
    std::optional<End> gave_;              // the last result
    std::map<NodeId, std::size_t> dials_;  // of the coordinator
    std::size_t window_ = 32;
    std::map<End, std::size_t> under_way_;
    std::set<End> waiting_;  // for the window
    std::size_t most_under_way_ = 0;
    std::function<void(const NodeId& from, const NodeId& to, wire::StageMessage&)> spoil;
};

}  // namespace shoal::pipeline
