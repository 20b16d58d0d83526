// An engine whose second door (engine/prefixes.h) a test uses, and a conversation of two turns. For tests.
#pragma once

#include "backend/test_engine.h"

namespace shoal::backend {

using engine::Finished;
using engine::PrefixGone;
using engine::PrefixPiece;
using engine::PrefixRefused;
using engine::PrefixWanted;

inline const PrefixScope scope(ByteArray<32>{1});

// An engine with what its second door says.
struct PrefixRig : Rig {
    explicit PrefixRig(WorkerOptions options) : Rig(std::move(options)) {
        on_drained = [this] {
            while (auto event = engine->prefixes()->poll_prefix()) {
                if (auto* each = std::get_if<PrefixWanted>(&*event)) wanted.push_back(*each);
                if (auto* each = std::get_if<PrefixRefused>(&*event)) refused.push_back(*each);
                if (auto* each = std::get_if<PrefixPiece>(&*event)) pieces.push_back(std::move(*each));
                if (std::holds_alternative<PrefixGone>(*event)) ++gone;
            }
        };
    }
    engine::Prefixes& door() { return *engine->prefixes(); }
    // By value: events that come later move those that are there.
    std::optional<Finished> ask(std::uint64_t id, const std::vector<ChatMessage>& messages,
                                std::optional<PrefixSource> source = std::nullopt) {
        start(id, messages, source);
        EXPECT_TRUE(until([&] { return ended(id); }));
        const Finished* finished = of<Finished>(id);
        return finished != nullptr ? std::optional(*finished) : std::nullopt;
    }
    void start(std::uint64_t id, const std::vector<ChatMessage>& messages, std::optional<PrefixSource> source) {
        engine::Job job = job_of(id, "");
        job.request.messages = messages;
        job.request.scope = scope;
        job.request.source = source;
        submit(std::move(job));
    }
    // Empty: it is not there.
    Bytes read(std::uint64_t id, const ByteArray<32>& chain, std::uint32_t tokens) {
        pieces.clear();
        gone = 0;
        door().open(loop.now(), PrefixReadId(id), chain, tokens);
        drain();
        Bytes out;
        for (std::size_t next = 0;; ++next) {
            EXPECT_TRUE(until([&] { return pieces.size() > next || gone > 0; }));
            if (gone > 0 || pieces.size() <= next) return {};
            EXPECT_EQ(pieces.size(), next + 1) << "a piece that was not asked for";
            append(out, pieces[next].bytes);
            if (pieces[next].last) return out;
            door().more(loop.now(), PrefixReadId(id));
            drain();
        }
    }
    void give(std::uint64_t job, ByteView bytes) {
        while (!bytes.empty() && refused.empty()) {
            ASSERT_TRUE(until([&] { return door().takes(JobId(job)) || !refused.empty() || ended(job); }));
            const ByteView part = bytes.first(std::min(limits::prefix_piece_bytes, bytes.size()));
            bytes = bytes.subspan(part.size());
            door().give(loop.now(), JobId(job), to_bytes(part), bytes.empty());
            drain();
        }
    }

    std::vector<PrefixWanted> wanted;
    std::vector<PrefixRefused> refused;
    std::vector<PrefixPiece> pieces;
    std::size_t gone = 0;
};

// Enough of it that reading takes limits::prefix_recompute_min and more.
inline std::vector<ChatMessage> first_turn(int lines = 40) {
    std::string text;
    for (int i = 0; i < lines; ++i) text += "line " + std::to_string(i) + " of a long story about the sea; ";
    return {{Role::user, Plaintext(std::move(text))}};
}
inline std::vector<ChatMessage> second_turn(int lines = 40) {
    std::vector<ChatMessage> out = first_turn(lines);
    out.push_back({Role::assistant, Plaintext("I see.")});
    out.push_back({Role::user, Plaintext("and then?")});
    return out;
}

}  // namespace shoal::backend
