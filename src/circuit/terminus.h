// Terminus: the end of one circuit at its proxy. Carries streams between the client and model nodes.
//
//   CONNECT -> [connecting] --link ready--> [open] --END from either side, link lost--> gone
//
// Rules
//   1. DATA may follow CONNECT at once; up to a window of it waits for the link.
//   2. The model node may have link_stream_window_cells unanswered cells here; STREAM_SENDME goes out as they leave
//      towards the client. Rationale: what is not yet sent stays at the model node, which merges text into fuller
//      records instead of queueing (docs/adr/0005).
//   3. END keeps its place behind the data of its stream.
//
// What a malicious client can do: fill streams_per_circuit_max windows, 2.2 MB. A malicious model node: the same
// towards one client, then its stream ends.
// Pure; owned by the Relay, which does the onion layer and the links.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "circuit/window.h"
#include "wire/relay.h"

namespace shoal::circuit {

// One cell towards the client, before its onion layer.
struct BackItem {
    wire::RelayCommand command = wire::RelayCommand::drop;
    StreamId stream;
    Bytes data;
};

class Terminus {
public:
    struct WantLink {
        StreamId stream;
        NodeId node;
    };
    struct LinkCell {
        LinkId link;
        wire::CellCommand command;
        LinkStreamId id;
        Bytes payload;
    };
    using Output = std::variant<WantLink, LinkCell>;

    // A payload of the client; `tweak` is that of the forward cipher after this cell. An error ends the circuit.
    Status on_payload(const wire::RelayPayload& payload, const Tweak& tweak);
    // The link for a connecting stream, with the id that the stream has there.
    void on_link_ready(StreamId stream, LinkId link, LinkStreamId id);
    void on_link_failed(StreamId stream, wire::StreamEndReason reason);
    // Cells of the model node on an open stream.
    void on_link_data(StreamId stream, ByteView sealed);
    void on_link_end(StreamId stream, wire::StreamEndReason reason);
    // Every stream ends, as the circuit does. Gives STREAM_END cells for the links.
    void close(wire::StreamEndReason reason);

    // How many cells could go back now.
    std::size_t waiting() const;
    // The next of them; only if waiting() > 0.
    BackItem take();
    // The DATA cell just taken has got its layer; `tweak` is that of the backward cipher after it.
    void sent_data(StreamId stream, const Tweak& tweak);

    std::optional<Output> poll();
    std::size_t streams() const { return streams_.size(); }
    std::optional<StreamId> find(LinkId link, LinkStreamId id) const;

private:
    struct Stream {
        bool open = false;
        NodeId node;
        wire::StreamOpen request;
        LinkId link;
        LinkStreamId id;
        std::deque<Bytes> forward;  // bounded: stream_window_cells; waits for the link
        ReceiveWindow from_client;
        SendWindow to_client;
        std::deque<Bytes> back;  // bounded: link_stream_window_cells
        std::uint32_t back_taken = 0;
        std::optional<wire::StreamEndReason> ended;  // by the model node or the link; goes after `back`
    };

    Status on_connect(const wire::RelayPayload& payload);
    Status on_data(const wire::RelayPayload& payload, const Tweak& tweak);
    void pass_forward(StreamId id, Stream& stream, Bytes sealed);
    bool ready(const Stream& stream) const;

    std::map<StreamId, Stream> streams_;  // bounded: streams_per_circuit_max
    std::deque<BackItem> control_;        // bounded: terminus_answers_max
    StreamId last_served_;
    std::deque<Output> out_;  // bounded: drained after every input
};

}  // namespace shoal::circuit
