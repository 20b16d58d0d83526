// The links of this machine to other nodes, as `shoal bench --peer` measures them (link/gauge.h): over links like those
// of a running node, one after the other.
//
// Rules
//   1. Every link is dialled under a key that is drawn for this run. Rationale: under the node's own key a peer would
//      take it for the node, which may be running, and send it what is the node's. The peer's key is checked as ever;
//      whose profile the figures get into is said by its signature.
//   2. A peer that cannot be reached or measured costs link_handshake_timeout and gauge_timeout at most, and is left
//      out.
//
// Thread: the loop's.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/rng.h"
#include "directory/genesis.h"
#include "net/endpoint.h"
#include "net/loop.h"
#include "wire/profile.h"

namespace shoal::app {

struct PeerGaugeOptions {
    directory::Genesis genesis;
    std::vector<NodeId> peers;               // each once
    std::optional<net::Endpoint> from = {};  // local address of dials; its port is ignored
};

struct PeerOutcome {
    NodeId peer;
    Result<wire::MeasuredLink> link;  // within its bounds; or why it could not be measured, in a line
};

// One outcome a peer, in the order of `options.peers`. Blocks: it runs the loop. `on_peer` is called before each.
// Errc::io: no temporary folder; Errc::timeout: no directory could be had.
Result<std::vector<PeerOutcome>> measure_links(net::Loop& loop, Log& log, Rng& rng, const PeerGaugeOptions& options,
                                               const std::function<void(std::size_t index)>& on_peer);

}  // namespace shoal::app
