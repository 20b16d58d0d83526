// Server: the model node's end of sealed streams. Opens requests, answers over the streams that brought them, survives
// the loss of any of them.
//
//   a request:  gathering --k cloves--> running --end--> finished --reply_kept--> forgotten
//                   |                      | CANCEL, or no stream for orphan_decode: Stopped
//                   +-- too long: dropped  +--> finished (with what there is)
//
// Rules
//   1. A stream is bound to one message by its first record (a clove, RESUME) and does not change.
//   2. GOT answers a whole clove, ACCEPTED goes to every stream of the message once k are there, before any prefill.
//      The client's timers use these alone.
//   3. A request is taken once: its id is kept until it expires. A later message with the same id (a resend under new
//      cloves) joins the running request if its reply key is the same; else it is refused as a replay.
//   4. What expires too late, has expired, or was issued before this server started is refused. Rationale: after a
//      restart the ids seen before are gone, and whoever recorded a stream could play it again. `expires` is always
//      limits::request_expiry after the issue, so the time of issue is known. Issued less than limits::clock_skew
//      before the start it may be new all the same: overloaded, so that the client asks elsewhere or again.
//   5. Reply records go out on reply_copies streams: those of the client's latest attempt (RESUME, a new message)
//   first,
//      then one clove of odd and one of even index. Rationale: clients give odd and even cloves to different guards.
//   6. A stream has a credit in cells (STREAM_SENDME); without credit nothing is queued, text is merged instead.
//   7. Memory of what is gathered and of what is kept is bounded in bytes; overload answers ERROR{overloaded}. Room for
//      a clove is reserved when it begins, whether or not its message will ever be whole. Replies that were handed out
//      whole make way for new text, the oldest first; where none is left, the reply that grows ends with overloaded.
//      Rationale: what is kept for a RESUME that may never come must not cost the answer of somebody who waits.
//   8. While the model works and nothing is to be sent, a PAD leaves on the streams of the reply every
//      limits::reply_keepalive. Rationale: the client gives up a node that is silent (limits::silence_timeout), and a
//      queue and a long prompt may take longer than that.
//
// What a client can do: fill its share of the bounds. What a proxy can do: end streams.
// Pure; one thread. Cost of a stream: one or two Diffie-Hellmans (35 us each).
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/bounded.h"
#include "crypto/stream_seal.h"
#include "prompt/cloves.h"
#include "prompt/reply.h"
#include "wire/cell.h"

namespace shoal::prompt {

using Handle = StrongInt<struct HandleTag, std::uint64_t>;

struct ServerConfig {
    NodeId self;
    NetworkId network;
    UnixTime started{};
    std::size_t reply_bytes_max = limits::replies_kept_bytes_max;  // of all replies together
};

// Outputs
struct StreamCell {
    LinkId link;
    LinkStreamId id;
    wire::CellCommand command;
    Bytes payload;
};
struct Opened {
    Handle handle;
    wire::Request request;  // without the reply key, which stays here
};
// The client does not want it any more, or is gone: free what it holds. reply() must not be called again.
struct Stopped {
    Handle handle;
};
using ServerOutput = std::variant<StreamCell, Opened, Stopped>;

struct ServerStats {
    std::uint64_t streams = 0;
    std::uint64_t bad_seals = 0;    // a record that does not open
    std::uint64_t bad_records = 0;  // opens, and may not come here
    std::uint64_t replays = 0;
    std::uint64_t requests = 0;
    std::uint64_t resumes = 0;
    std::uint64_t refused = 0;
};

class Server {
public:
    explicit Server(ServerConfig config);
    ~Server();

    void set_hpke_keys(const crypto::KeyPair& current, const crypto::KeyPair* previous);

    // Stream cells of a link (STREAM_OPEN, STREAM_DATA, STREAM_END, STREAM_SENDME).
    void on_cell(Now now, LinkId link, const wire::Cell& cell);
    void on_link_down(Now now, LinkId link);

    // Answers of the model for an opened request. After ChatEnd or ChatFault nothing more may come.
    // False: the request is stopped, too long or without room by now; the caller cancels the work.
    [[nodiscard]] bool reply(Now now, Handle handle, const wire::ReplyFrame& frame);

    void on_tick(Now now);
    Instant next_deadline() const;
    std::optional<ServerOutput> poll();

    struct Usage {
        std::size_t streams = 0;
        std::size_t gathering = 0;
        std::size_t gathering_bytes = 0;
        std::size_t replies = 0;
        std::size_t reply_bytes = 0;
    };
    Usage usage() const;
    bool uses_link(LinkId link) const;
    const ServerStats& stats() const { return stats_; }

private:
    struct Key {
        LinkId link;
        LinkStreamId id;
        friend auto operator<=>(const Key&, const Key&) = default;
    };
    struct Answer;
    struct Stream;

    void on_open(Now now, const Key& key, const wire::Cell& cell);
    void on_data(Now now, const Key& key, const wire::Cell& cell);
    void on_record(Now now, const Key& key, Stream& stream, wire::Record record);
    Status on_clove(Now now, Stream& stream);
    Status on_resume(Now now, Stream& stream, const wire::Resume& resume);
    Status on_cancel(Now now, Stream& stream, const wire::Cancel& cancel);
    void open_message(Now now, MessageId message);
    // Binds every stream of the message to the answer and tells them.
    void accept(Now now, MessageId message, Answer& answer);
    std::variant<Answer*, wire::RecordError> admit(Now now, MessageId message, wire::Request request);
    void refuse_message(Now now, MessageId message, const wire::RecordError& error);
    // By value: the key may be that of the stream that goes.
    void detach(Now now, Key key);
    // Counts what the reply grows by. False: as of Reply::add.
    [[nodiscard]] bool add(Answer& answer, const wire::ReplyFrame& frame);
    void choose_copies(Answer& answer);
    // The first k cloves may all be of one parity: when one of the other comes, it takes over from the second copy.
    void spread_copies(Answer& answer);
    void flush(Now now, Answer& answer);
    void flush_stream(Now now, Stream& stream);
    void send(Stream& stream, const wire::Record& record);
    // What was reserved for the clove that it brings.
    void release(Stream& stream);
    void end_stream(Now now, Key key, wire::StreamEndReason reason);
    void stop(Answer& answer, const ChatFault& why);
    // Room for `more` bytes of reply text, by rule 7. Forgets other answers.
    [[nodiscard]] bool make_room(Now now, std::size_t more);
    // Ended, and nobody is there who still waits for a part of it.
    bool may_go(const Answer& answer) const;
    // Rule 8.
    void keep_alive(Now now, Answer& answer);
    void forget(Now now, Handle handle);
    std::optional<crypto::StreamRecord> unseal(Stream& stream, const wire::Cell& cell);
    void arm(Instant when) { deadline_ = std::min(deadline_, when); }

    ServerConfig config_;
    std::optional<crypto::KeyPair> hpke_key_;
    std::optional<crypto::KeyPair> previous_hpke_key_;
    std::map<Key, Stream> streams_;                       // bounded: prompt_streams_max, link_streams_per_link_max
    std::map<LinkId, std::size_t> streams_on_;            // bounded: as streams_
    std::unordered_map<MessageId, Gathering> gathering_;  // bounded: messages_gathering_max, gathering_bytes_max
    std::size_t gathering_bytes_ = 0;
    std::unordered_map<MessageId, Handle> messages_;    // bounded: message_attempts_max an answer
    std::unordered_map<Handle, Answer> answers_;        // bounded: replies_kept_max, replies_kept_bytes_max
    std::unordered_map<RequestId, Handle> by_request_;  // bounded: as answers_
    std::unordered_map<RequestId, UnixTime> seen_;      // bounded: requests_seen_max
    std::size_t reply_bytes_ = 0;
    std::uint64_t next_handle_ = 1;
    Instant deadline_ = Instant::max();
    Instant next_sweep_ = Instant::min();
    std::deque<ServerOutput> out_;  // bounded: drained after every input
    ServerStats stats_;
};

}  // namespace shoal::prompt
