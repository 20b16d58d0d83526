// The model node's end of sealed streams, between clients who may do anything and a model that answers: what is kept
// stays within its bounds and is forgotten in the end, and what leaves is what a client can read.
#include "prompt/server.h"

#include <algorithm>
#include <set>

#include "base/test_rng.h"
#include "crypto/init.h"

namespace shoal::prompt {
namespace {

constexpr std::size_t reply_bytes_max = 40'000;
constexpr std::size_t streams_max = 24;  // of the input; those of the server are bounded elsewhere

// Clients, proxies and a model around one server. Seals are real: the fuzzer chooses what is sealed, when and where.
class World {
public:
    World() : hpke_(crypto::KeyPair::generate(rng_)), server_(config()) {
        server_.set_hpke_keys(hpke_, nullptr);
        for (std::size_t i = 0; i < 2; ++i) {
            requests_.push_back(request(std::string(i * 2000 + 5, 'x')));
            messages_.push_back(*make_cloves(requests_.back(), 2, 4, rng_));
        }
        // A second message of the first request, as a client sends it that heard nothing.
        messages_.push_back(*make_cloves(requests_[0], 2, 4, rng_));
    }

    // One step; false: the input is used up.
    bool step(Reader& in) {
        const std::uint8_t what = in.u8();
        const std::uint8_t which = in.u8();
        if (!in.check("step")) return false;
        switch (what % 10) {
            case 0: open(which); break;
            case 1: clove(which, in.u8()); break;
            case 2: any_record(which, in); break;
            case 3: resume(which, in.u8()); break;
            case 4: sealed(which, wire::Cancel{requests_[which % requests_.size()].id}); break;
            case 5: any_cell(which, in); break;
            case 6: end(which); break;
            case 7: credit(which); break;
            case 8: model(which, in.u8()); break;
            default: pass(Duration(1ms) * (1 << which % 18)); break;
        }
        drain();
        check();
        return true;
    }

    // Everybody goes, and so does all that is kept.
    void finish() {
        for (std::uint64_t link = 0; link < 3; ++link) link_down(LinkId(link));
        for (int i = 0; i < 8; ++i) pass(limits::reply_kept);
        const Server::Usage usage = server_.usage();
        ASSERT(usage.streams == 0 && usage.gathering == 0 && usage.gathering_bytes == 0);
        ASSERT(usage.replies == 0 && usage.reply_bytes == 0);
    }

private:
    struct Stream {
        LinkId link;
        std::uint32_t id;
        crypto::StreamSealer sealer;
    };

    ServerConfig config() const {
        return {NodeId(ByteArray<32>{9}), NetworkId(ByteArray<32>{7}), now_.wall - 1s, reply_bytes_max};
    }
    wire::Request request(const std::string& text) {
        wire::Request out;
        out.unpaid = true;
        out.id = rng_.id<RequestId>();
        out.expires = now_.wall + std::chrono::duration_cast<std::chrono::seconds>(limits::request_expiry);
        out.reply_key = Key32(rng_.array<32>());
        out.body = Plaintext(text);
        return out;
    }
    Stream* stream(std::uint8_t which) { return streams_.empty() ? nullptr : &streams_[which % streams_.size()]; }
    void cell(const Stream& to, wire::CellCommand command, ByteView payload) {
        server_.on_cell(now_, to.link, wire::make_cell(command, to.id, payload, rng_));
    }
    void sealed_bytes(Stream& to, const wire::RecordBytes& record) {
        cell(to, wire::CellCommand::stream_data, to.sealer.seal(record));
    }
    void sealed(std::uint8_t which, const wire::Record& record) {
        if (Stream* to = stream(which)) sealed_bytes(*to, wire::encode_record(record));
    }

    void open(std::uint8_t which) {
        if (streams_.size() >= streams_max) return;
        auto client = crypto::StreamSealer::client(config().network, config().self, hpke_.public_key, rng_);
        streams_.push_back({LinkId(which % 3), ++last_id_, std::move(client->sealer)});
        cell(streams_.back(), wire::CellCommand::stream_open,
             wire::encode(wire::StreamOpen{wire::StreamProtocol::prompt, client->encapsulated}));
    }
    void clove(std::uint8_t which, std::uint8_t part) {
        const Cloves& cloves = messages_[part % messages_.size()];
        const auto& records = cloves.records[part / messages_.size() % cloves.records.size()];
        const std::size_t first = part >= 128 ? 1 : 0;  // without its head
        for (std::size_t i = first; i < records.size(); ++i) {
            if (Stream* to = stream(which)) sealed_bytes(*to, records[i]);
            drain();  // it may have ended
        }
    }
    void any_record(std::uint8_t which, Reader& in) {
        wire::RecordBytes record{};
        const ByteView bytes = in.bytes(std::min<std::size_t>(in.u8(), in.remaining()));
        std::copy(bytes.begin(), bytes.end(), record.begin());
        if (Stream* to = stream(which)) sealed_bytes(*to, record);
    }
    void resume(std::uint8_t which, std::uint8_t next) {
        const wire::Request& of = requests_[which % requests_.size()];
        const Key32 key(next >= 200 ? ByteArray<32>{} : ByteArray<32>(first_bytes<32>(of.reply_key.expose())));
        sealed(which, wire::Resume{of.id, next % 8U, resume_proof(key, of.id, next % 8U)});
    }
    void any_cell(std::uint8_t which, Reader& in) {
        const auto command = static_cast<wire::CellCommand>(6 + in.u8() % 6);
        Bytes payload = to_bytes(in.bytes(std::min<std::size_t>(in.u8(), in.remaining())));
        // The one length that wire/cell.h lets through.
        if (command == wire::CellCommand::stream_data) payload.resize(limits::sealed_record_bytes);
        if (const Stream* to = stream(which)) cell(*to, command, payload);
    }
    void end(std::uint8_t which) {
        if (which >= 250) {
            link_down(LinkId(which % 3));
        } else if (const Stream* to = stream(which)) {
            cell(*to, wire::CellCommand::stream_end, wire::encode(wire::StreamEndReason::link_lost));
            std::erase_if(streams_, [&, id = to->id](const Stream& one) { return one.id == id; });
        }
    }
    void link_down(LinkId link) {
        server_.on_link_down(now_, link);
        drain();  // one of its streams may still have been spoken to while another was taken away
        std::erase_if(streams_, [&](const Stream& one) { return one.link == link; });
    }
    void credit(std::uint8_t which) {
        if (const Stream* to = stream(which)) {
            cell(*to, wire::CellCommand::stream_sendme, wire::encode(wire::StreamSendme{}));
        }
    }
    void model(std::uint8_t which, std::uint8_t what) {
        if (running_.empty()) return;
        const Handle handle = running_[which % running_.size()];
        bool over = true;
        if (what < 200) {
            over = !server_.reply(now_, handle, ChatDelta{Plaintext(std::string(1U << what % 13, 'a'))});
        } else if (what < 230) {
            (void)server_.reply(now_, handle, ChatEnd{});
        } else {
            (void)server_.reply(now_, handle, ChatFault{AskFault::engine_failed, "died"});
        }
        if (over) std::erase(running_, handle);
    }
    void pass(Duration time) {
        now_.mono += time;
        now_.wall =
            from_unix_seconds(1'800'000'000) + std::chrono::floor<std::chrono::seconds>(now_.mono - Instant(1h));
        server_.on_tick(now_);
        drain();
        ASSERT(server_.next_deadline() > now_.mono);  // else the node would spin
    }

    // What leaves is for a stream that is there, opens in its order, and is a record that a client knows.
    void drain() {
        while (auto output = server_.poll()) {
            if (auto* opened = std::get_if<Opened>(&*output)) {
                ASSERT(std::none_of(requests_.begin(), requests_.end(), [&](const wire::Request& one) {
                    return one.id == opened->request.id && !taken_.insert(one.id).second;
                }));
                running_.push_back(opened->handle);
            } else if (const auto* stopped = std::get_if<Stopped>(&*output)) {
                std::erase(running_, stopped->handle);
            } else {
                take(std::get<StreamCell>(*output));
            }
        }
    }
    void take(const StreamCell& sent) {
        const auto at = std::find_if(streams_.begin(), streams_.end(), [&](const Stream& one) {
            return one.link == sent.link && one.id == sent.id.value();
        });
        if (sent.command == wire::CellCommand::stream_end) {
            if (at != streams_.end()) streams_.erase(at);
            return;
        }
        ASSERT(at != streams_.end() && sent.payload.size() == limits::sealed_record_bytes);
        const auto record = at->sealer.open(first_bytes<limits::sealed_record_bytes>(sent.payload));
        ASSERT(record.has_value() && wire::decode_record(*record).has_value());
    }
    void check() const {
        const Server::Usage usage = server_.usage();
        ASSERT(usage.streams <= streams_.size());
        // Beyond the limit there may be the ends of the replies that met it.
        ASSERT(usage.reply_bytes <= reply_bytes_max + 1024 * usage.replies);
        ASSERT(usage.gathering_bytes <= limits::gathering_bytes_max);
        ASSERT(usage.replies >= running_.size());
    }

    TestRng rng_{1};
    Now now_{Instant(1h), from_unix_seconds(1'800'000'000)};
    crypto::KeyPair hpke_;
    Server server_;
    std::vector<wire::Request> requests_;
    std::vector<Cloves> messages_;
    std::vector<Stream> streams_;
    std::vector<Handle> running_;
    std::set<RequestId> taken_;
    std::uint32_t last_id_ = 0;
};

}  // namespace
}  // namespace shoal::prompt

// A list of steps: what, on which stream, and what the step needs.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    shoal::crypto::init();
    shoal::prompt::World world;
    shoal::Reader in({data, size});
    while (in.remaining() > 1 && world.step(in)) {
    }
    world.finish();
    return 0;
}
