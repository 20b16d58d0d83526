// Every limit and protocol number of Shoal, with its reason. A queue without a line here is a bug.
//
// Units stand last in a name. Sizes on the wire are fixed by protocol/*.md; the static_asserts below say how the
// numbers hang together, so that one cannot be changed alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace shoal::limits {

// ---- cells (protocol/cell.md) --------------------------------------------------------------------------------------
// 1400 bytes + 22 of TLS record fit the 1428-byte segment of IPv6 with timestamps, and hold a hybrid CREATE of 1312.
inline constexpr std::size_t cell_bytes = 1400;
inline constexpr std::size_t cell_header_bytes = 8;
inline constexpr std::size_t cell_body_bytes = cell_bytes - cell_header_bytes;
// Inside the onion: 16 zero bytes that authenticate, then 6 of header.
inline constexpr std::size_t relay_header_bytes = 22;
inline constexpr std::size_t relay_data_bytes = cell_body_bytes - relay_header_bytes;
// One sealed record fills the data of one relay cell exactly.
inline constexpr std::size_t sealed_record_bytes = relay_data_bytes;
inline constexpr std::size_t aead_tag_bytes = 16;
inline constexpr std::size_t record_bytes = sealed_record_bytes - aead_tag_bytes;
inline constexpr std::size_t record_header_bytes = 4;
inline constexpr std::size_t record_body_bytes = record_bytes - record_header_bytes;
inline constexpr std::size_t clove_first_header_bytes = 4 + 16 + 2 + 4 + 2 + 32;
inline constexpr std::size_t clove_first_fragment_bytes = record_body_bytes - clove_first_header_bytes;
inline constexpr std::size_t clove_more_header_bytes = 1 + 1 + 2;
inline constexpr std::size_t clove_more_fragment_bytes = record_body_bytes - clove_more_header_bytes;
static_assert(cell_body_bytes == 1392 && relay_data_bytes == 1370 && record_bytes == 1354);
static_assert(clove_first_fragment_bytes == 1290 && clove_more_fragment_bytes == 1346);

// ---- links -------------------------------------------------------------------------------------------------------
// Circuits of one link: a busy guard serves some hundred clients, each with tens of circuits, each client on a link of
// its own; relay to relay links carry the rest.
inline constexpr std::size_t circuits_per_link_max = 4096;
inline constexpr std::size_t link_streams_per_link_max = 4096;
// Cells waiting on one link. The holder is the link; above this, circuits that add to it are destroyed.
inline constexpr std::size_t link_queue_cells_max = 8192;
// What TLS and the socket may hold back before the link stops handing over cells, so that priorities still count.
inline constexpr std::size_t link_in_flight_bytes_max = 128 * 1024;
inline constexpr std::size_t links_max = 2048;
// A link that has not finished its handshake and VERSIONS by then is closed.
inline constexpr Duration link_handshake_timeout = 10s;
// A link with no circuit and no stream. At least ten minutes, so that a proxy's link to a model node stays warm.
inline constexpr Duration link_idle_timeout = 10min;
// Nothing heard in this time while circuits are open: a PADDING cell asks; as long again without a cell: dead.
inline constexpr Duration link_keepalive = 30s;
// PINGs that a link answers at once, and one more each interval: a measurement takes some thirty.
inline constexpr int link_pings_at_once = 256;
inline constexpr Duration link_ping_interval = 10ms;
inline constexpr Duration dial_backoff_min = 250ms;
inline constexpr Duration dial_backoff_max = 30s;
// Dials under way at once.
inline constexpr std::size_t dials_max = 64;
// Handshakes under way that others began: half-open connections must not take the places of links.
inline constexpr std::size_t accepts_pending_max = 512;
// From goodbye to the cut, for a peer that does not say goodbye too.
inline constexpr Duration link_close_timeout = 2s;

// ---- channels (protocol/channel.md) ------------------------------------------------------------------------------
inline constexpr std::size_t channels_per_link_max = 64;
// The largest message: a tensor of stage_tensor_bytes_max with its parts, below.
inline constexpr std::size_t channel_message_bytes_max = 32 * 1024 * 1024 + 8 * 1024;
// Of one direction, that the other side has not taken yet. Enough to fill a line of 60 ms there and back at 500 Mbit/s.
inline constexpr std::size_t channel_window_bytes = 4 * 1024 * 1024;
inline constexpr std::size_t channel_window_messages = 32;
// What was taken is said at the latest when it is this much: so the other side never has less than half a window.
inline constexpr std::size_t channel_credit_bytes = channel_window_bytes / 2;
inline constexpr std::size_t channel_credit_messages = channel_window_messages / 2;
// What waits behind the window, of messages that cannot wait elsewhere: said on a control channel.
inline constexpr std::size_t channel_queued_messages_max = 256;

// ---- event loop --------------------------------------------------------------------------------------------------
// Threads for work that blocks, and jobs that wait for one.
inline constexpr std::size_t blocking_threads = 2;
inline constexpr std::size_t blocking_jobs_max = 256;
// Addresses that one name may stand for; the rest are dropped.
inline constexpr std::size_t resolved_endpoints_max = 16;
// Of a child process: one line of its output, and what waits to be read by it (two frames of the engine's pipe).
inline constexpr std::size_t child_line_bytes_max = 4096;
inline constexpr std::size_t child_unsent_bytes_max = 2 * 1024 * 1024;

// ---- circuits (protocol/relay.md) --------------------------------------------------------------------------------
inline constexpr std::size_t hops = 3;
// More would let a client make the network amplify; eight leaves room for longer paths (Tor's number).
inline constexpr std::size_t relay_early_per_circuit_max = 8;
inline constexpr std::size_t streams_per_circuit_max = 16;
// Window of one stream in relay cells, each direction, and how many cells one SENDME gives back.
inline constexpr std::uint32_t stream_window_cells = 100;
inline constexpr std::uint32_t sendme_cells = 50;
static_assert(stream_window_cells == 2 * sendme_cells);
// Window of one stream between proxy and model node. Small: what waits here cannot be merged into fuller records.
inline constexpr std::uint32_t link_stream_window_cells = 16;
inline constexpr std::uint32_t link_sendme_cells = 8;
static_assert(link_stream_window_cells == 2 * link_sendme_cells);
// END and SENDME cells that wait at a terminus for the pacer: each stream's END and its two SENDMEs, twice over.
inline constexpr std::size_t terminus_answers_max = 2 * 3 * streams_per_circuit_max;
inline constexpr std::uint32_t circuit_cells_max = 65'536;
inline constexpr std::uint32_t layer_rekey_cells = 4096;
inline constexpr Duration circuit_idle_lifetime_min = 8min;
inline constexpr Duration circuit_idle_lifetime_max = 12min;
inline constexpr Duration circuit_lifetime = 30min;
inline constexpr Duration circuit_build_timeout_min = 3s;
// The relay drops a circuit of which it has heard nothing in this time: longer than any client keeps one.
inline constexpr Duration relay_circuit_idle = 35min;
static_assert(relay_circuit_idle > circuit_lifetime);
// 16 bytes a CREATE for the life of an onion key; a day of 100 a second.
inline constexpr std::size_t create_replays_max = 8'640'000;
// Circuits ready and not in use that a client keeps: one message and one in reserve.
inline constexpr std::size_t circuits_ready_target = 8;
inline constexpr std::size_t circuits_building_max = 16;
inline constexpr std::size_t client_circuits_max = 512;
// Selective denial of service steers paths; so building backs off after this many failures in the window.
inline constexpr std::size_t build_failures_max = 6;
inline constexpr Duration build_failure_window = 5min;
inline constexpr Duration build_backoff_min = 500ms;
inline constexpr Duration build_backoff_max = 30s;
inline constexpr std::size_t guards = 2;
inline constexpr Duration guard_lifetime_min = 30 * 24h;
inline constexpr Duration guard_lifetime_max = 60 * 24h;
// Guards a client ever looks at: the two, and two that stand in while one is unreachable. Who can block a client's
// guards must not thereby make it draw until it meets his own.
inline constexpr std::size_t guards_sampled_max = 4;
// Kept this long while the directory does not list it: an operator's holiday is no reason for a new draw.
inline constexpr Duration guard_unlisted_max = 7 * 24h;
// Unlisted ones do not count against guards_sampled_max, but they end somewhere too.
inline constexpr std::size_t guards_kept_max = 16;
// Failures in a row that make a guard unreachable; then it is tried again after min, doubling to max.
inline constexpr std::uint32_t guard_failures_max = 3;
inline constexpr Duration guard_retry_min = 30s;
inline constexpr Duration guard_retry_max = 30min;
static_assert(guards < guards_sampled_max && guards_sampled_max < guards_kept_max);
// A relay's record of success is judged after this many builds, and dropped below this share.
inline constexpr std::uint32_t relay_builds_judged = 20;
inline constexpr double relay_success_min = 0.70;

// ---- messages (protocol/record.md, protocol/request.md) ----------------------------------------------------------
inline constexpr std::size_t cloves_max = 16;  // n; the selector uses at most 6
inline constexpr std::uint8_t cloves_default = 4;
inline constexpr std::uint8_t cloves_needed_default = 2;
// Cells a path: the buckets that a prompt's length is rounded up to, all that its size gives away.
inline constexpr std::array<std::uint16_t, 12> bucket_cells = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
// Of a message with wrong fragments, how many k-subsets are tried: all of (9, 4) and (16, 2), and 5 ms of work at most.
inline constexpr std::size_t clove_subsets_max = 128;
inline constexpr std::size_t fragment_bytes_max =
    clove_first_fragment_bytes + (bucket_cells.back() - 1) * clove_more_fragment_bytes;
inline constexpr Duration request_expiry = 5min;
inline constexpr Duration request_expiry_max = 10min;
// Clocks of volunteers differ; what is signed is taken this much too early.
inline constexpr Duration clock_skew = 90s;
// D keeps finished and running replies this long for RESUME.
inline constexpr Duration reply_kept = 60s;
// With no live stream D decodes this much longer, then frees the slot.
inline constexpr Duration orphan_decode = 5s;
// Cloves of a message that did not reach k; then they are dropped.
inline constexpr Duration clove_gather_timeout = 30s;
inline constexpr std::size_t messages_gathering_max = 1024;
// Cloves of the largest bucket are 86 kB each; a thousand messages of typical size, or a hundred of the largest.
inline constexpr std::size_t gathering_bytes_max = 64 * 1024 * 1024;
// Sealed streams at one model node.
inline constexpr std::size_t prompt_streams_max = 32'768;
inline constexpr std::size_t streams_per_message_max = 2 * cloves_max;  // first tries and resends
inline constexpr std::size_t requests_seen_max = 1 << 20;               // 24 bytes each, expire with the request
// Records that a client holds beyond the first missing one: two windows of every stream that may bring them.
inline constexpr std::size_t reply_early_max = 1024;
inline constexpr std::size_t replies_kept_max = 4096;
inline constexpr std::size_t replies_kept_bytes_max = 256 * 1024 * 1024;
// A model answers at most this much text; the engine stops there (finish reason length).
inline constexpr std::size_t reply_bytes_max = 4 * 1024 * 1024;
inline constexpr Duration reply_flush = 10ms;
// Copies of each reply record on streams with different guards (mode R0).
inline constexpr std::size_t reply_copies = 2;
inline constexpr Duration got_timeout_min = 400ms;
// A client that has heard nothing on any stream in this time gives the node up.
inline constexpr Duration accept_timeout = 10s;
inline constexpr Duration silence_timeout = 120s;
// A node that works on a request and has nothing to send says so (PAD): a long prompt must not look like a lost node.
inline constexpr Duration reply_keepalive = 30s;
static_assert(3 * reply_keepalive < silence_timeout);
inline constexpr std::size_t asks_max = 64;
// A question waits this long for circuits (a set, or one more for a lost lane), then fails with no_circuit.
inline constexpr Duration circuits_wait = 15s;
// Model nodes that one question may try before its first token.
inline constexpr unsigned nodes_per_ask_max = 3;
// A model node that failed is not chosen for this long, while there is another.
inline constexpr Duration node_shunned = 30s;
inline constexpr unsigned message_attempts_max = 4;
static_assert(asks_max * cloves_default < client_circuits_max);

// ---- comparison of replies (src/client/quorum.h) -----------------------------------------------------------------
// Nodes that answer one question. Each costs a whole answer; five outvote two liars.
inline constexpr std::uint8_t compared_nodes_max = 5;
// Once a reply is agreed on, slower nodes are heard this much longer: a liar must not escape by being late.
inline constexpr Duration compared_linger = 60s;
// A node that others contradicted is asked last for so long, each time twice as long. It ends: arithmetic that differs
// in its last digits contradicts too.
inline constexpr Duration suspicion_min = 10min;
inline constexpr Duration suspicion_max = 24h;
inline constexpr std::size_t suspects_max = 4096;

// ---- chat (protocol/chat.md) -------------------------------------------------------------------------------------
inline constexpr std::size_t chat_messages_max = 512;
inline constexpr std::size_t chat_body_bytes_max = 96 * 1024;
inline constexpr std::size_t stop_strings_max = 16;
inline constexpr std::size_t stop_string_bytes_max = 256;
inline constexpr std::uint32_t top_k_max = 100'000;
// k = 2 of the default profile must carry the largest request in the largest bucket.
static_assert(chat_body_bytes_max + 4096 <= cloves_needed_default * fragment_bytes_max);

// ---- directory (protocol/descriptor.md, snapshot.md) -------------------------------------------------------------
inline constexpr std::size_t addresses_per_node_max = 4;
inline constexpr std::size_t models_per_node_max = 16;
inline constexpr std::size_t committee_max = 31;
inline constexpr std::size_t snapshot_nodes_max = 20'000;
inline constexpr std::size_t snapshot_bytes_max = 16 * 1024 * 1024;
inline constexpr std::size_t descriptor_bytes_max = 4096;
inline constexpr Duration descriptor_age_max = 24h;
inline constexpr Duration snapshot_fresh = 1h;
inline constexpr Duration snapshot_valid = 3h;
// Between two snapshots that a verifier signs because something changed.
inline constexpr Duration snapshot_interval_min = 1s;
inline constexpr Duration directory_retry_min = 500ms;
inline constexpr Duration directory_retry_max = 60s;
inline constexpr Duration directory_fetch_timeout = 20s;
// Fetches given up whose answers may still come: over a slow link an honest source is late, not hostile.
inline constexpr std::size_t directory_answers_owed_max = 8;
// Directory cells on one link above which a further message is not queued. One snapshot of the largest size fits the
// queue behind them (link/session.h).
inline constexpr std::size_t directory_queued_cells_max = 64;
inline constexpr std::size_t bootstraps_max = 32;
// Those who serve the directory to others ask this often, slower while nothing changes.
inline constexpr Duration directory_poll_min = 2s;
inline constexpr Duration directory_poll_max = 60s;
static_assert(directory_poll_max <= snapshot_fresh / 4);
// Somebody named a node that this directory lacks: it is asked for again this soon after the last time, and what was
// named waits this long for it. A directory that is a second old knows no node of that second; a client's may.
inline constexpr Duration directory_hurry_interval = 250ms;
inline constexpr Duration unknown_node_wait = 1s;
inline constexpr std::size_t unknown_nodes_held_max = 256;
static_assert(2 * directory_hurry_interval < unknown_node_wait && directory_hurry_interval < directory_poll_min);
// A descriptor is offered again until the directory shows it: soon after a refusal or silence, later once accepted.
inline constexpr Duration publish_retry_min = 1s;
inline constexpr Duration publish_retry_max = 5min;
inline constexpr Duration publish_accepted_retry = 60s;
inline constexpr Duration publish_timeout = 20s;
// A verifier lets this many entries of a snapshot cost one more snapshot_interval_min, so that the bytes of directory
// a second that the network carries do not grow with its square.
inline constexpr std::size_t snapshot_entries_per_interval = 100;
// Sum of the committee's weights: three times it fits in 64 bits with room to spare.
inline constexpr std::uint64_t committee_weight_max = 1'000'000'000;
inline constexpr std::size_t network_name_bytes_max = 64;
inline constexpr Duration onion_key_lifetime = 24h;
inline constexpr Duration hpke_key_lifetime = 7 * 24h;

// ---- engine ------------------------------------------------------------------------------------------------------
inline constexpr std::size_t engine_frame_bytes_max = 1024 * 1024;
inline constexpr std::size_t engine_sequences_max = 64;
inline constexpr std::size_t engine_jobs_queued_max = 256;
inline constexpr Duration engine_start_timeout = 120s;
inline constexpr Duration engine_restart_min = 500ms;
inline constexpr Duration engine_restart_max = 60s;
// A worker with jobs says this often that it computes; one that is silent for the longest time hangs and is killed.
// One operation of a large model on a slow machine takes seconds.
inline constexpr Duration engine_working_interval = 1s;
inline constexpr Duration engine_silence_max = 60s;
static_assert(10 * engine_working_interval < engine_silence_max);
// Snapshots of what an engine computed of a prompt, on their way to another engine (protocol/prefix.md). A read holds a
// copy of the snapshot in the engine that gives it.
inline constexpr std::size_t prefix_reads_max = 2;
inline constexpr std::size_t prefix_piece_bytes = 256 * 1024;
static_assert(prefix_piece_bytes + 64 <= engine_frame_bytes_max);
inline constexpr std::uint64_t prefix_snapshot_bytes_max = 1ULL << 30;
// Jobs of one node whose prefix is being fetched.
inline constexpr std::size_t prefix_fetches_max = 4;
// Where reading takes less, asking another node is not worth it: whether it answers shows within 4 % of this.
inline constexpr Duration prefix_recompute_min = 250ms;
// A reader that takes no piece for so long loses its place.
inline constexpr Duration prefix_read_idle = 5s;
// Nodes of which it is known how fast they gave, and for how long that is believed: lines and loads change.
inline constexpr std::size_t prefix_peers_max = 256;
inline constexpr Duration prefix_peer_memory = 10min;
// A node that gave other bytes than it had promised is not asked for so long.
inline constexpr Duration prefix_peer_shunned = 10min;
// Conversations of which a client knows who holds them; the one that was asked longest ago is forgotten.
inline constexpr std::size_t prefix_sources_max = 1024;
inline constexpr std::uint32_t context_tokens_max = 1 << 20;
inline constexpr std::uint32_t prefill_chunk_tokens = 512;

// ---- profiles and plans of layer ranges (protocol/profile.md, src/pipeline) --------------------------------------
// A machine does not change from day to day and a new measurement loads it; a link that has become worse in the
// meantime is found by use.
inline constexpr Duration profile_age_max = 7 * 24h;
inline constexpr std::size_t profile_rates_max = 8;
inline constexpr std::size_t profile_links_max = 64;
inline constexpr std::size_t profile_bytes_max = 4096;
inline constexpr std::uint64_t node_memory_bytes_max = std::uint64_t{1} << 44;
// Picoseconds for a MiB of weights: from ten times the fastest memory there is to 100 MB/s, below which a node is of no
// use. These and the sizes below keep every time of a plan within 63 bits of nanoseconds.
inline constexpr std::uint64_t rate_ps_per_mib_min = 100;
inline constexpr std::uint64_t rate_ps_per_mib_max = 10'000'000'000;
inline constexpr Duration layer_overhead_max = 100ms;
inline constexpr Duration stage_overhead_max = 1s;
inline constexpr Duration link_rtt_max = 10s;
inline constexpr std::uint64_t link_bytes_per_second_min = 1000;
inline constexpr std::uint64_t link_bytes_per_second_max = std::uint64_t{1} << 40;
inline constexpr std::size_t model_layers_max = 512;
inline constexpr std::uint64_t layer_bytes_max = std::uint64_t{1} << 35;
inline constexpr std::uint64_t layer_kv_bytes_per_token_max = std::uint64_t{1} << 20;
inline constexpr std::uint32_t hidden_size_max = 1 << 17;
// Nodes that one plan chooses among: a bit each in a 64-bit set.
inline constexpr std::size_t plan_nodes_max = 64;
// Up to here the exact search takes some 20 ms; each node more doubles it.
inline constexpr std::size_t plan_exact_nodes_max = 12;
inline constexpr std::size_t plan_standbys_max = 4;
// A stage farther away costs each token more than its memory is worth (the bound that mesh-llm uses between its peers).
inline constexpr Duration plan_rtt_cap_default = 80ms;

// Measurement of a link (link/gauge.h). Of the pings the shortest counts: a busy machine only lengthens them.
inline constexpr int gauge_pings = 16;
// Trains of cells, each twice as long as the last, until one takes this long. The first is small enough for a line of a
// modem, all together fill a gigabit for an eighth of a second.
inline constexpr std::size_t gauge_train_cells_min = 16;
inline constexpr Duration gauge_train_time = 500ms;
inline constexpr std::size_t gauge_bytes_max = 16 * 1024 * 1024;
// All of it, from the link's being up. A peer that stalls costs no more.
inline constexpr Duration gauge_timeout = 10s;
static_assert(gauge_pings + 16 < link_pings_at_once);

// ---- stages (protocol/stage.md, src/pipeline) --------------------------------------------------------------------
inline constexpr std::size_t stage_hops_max = 64;
static_assert(stage_hops_max >= plan_nodes_max);
inline constexpr std::uint32_t stage_width_max = 65'536;  // of a hidden state; four times the widest known
inline constexpr std::uint16_t stage_sequences_max = 256;
// Of one operation: a chunk of prefill.
inline constexpr std::uint32_t stage_rows_max = prefill_chunk_tokens;
inline constexpr std::size_t stage_tensor_bytes_max = 32 * 1024 * 1024;
static_assert(stage_tensor_bytes_max + stage_sequences_max * 8 + 64 <= channel_message_bytes_max);
// Operations of a session that the coordinator has no result of: each hop keeps them. With 8 streams in flight over a
// pipeline of 4 hops this is as much as keeps all of them busy.
inline constexpr std::uint64_t stage_unsettled_max = 32;
inline constexpr std::size_t stage_fault_bytes_max = 512;
// That a hop keeps for the next one: while that one is replayed to nothing is settled, and as many come behind.
inline constexpr std::uint64_t stage_open_max = 2 * stage_unsettled_max;
// Of what is kept or filled in, in one message, if a token is not more: it goes well between two tokens of other
// answers, and a slow line has it through before who waits for it is missed.
inline constexpr std::size_t stage_piece_bytes = 256 * 1024;
// Sessions that a node computes stages for, and messages of one that wait for its engine: operations, and as many
// pieces of a replay.
inline constexpr std::size_t stage_sessions_max = 16;
inline constexpr std::size_t stage_queued_max = 2 * stage_open_max;
// Rows kept for whoever takes the next hop's place.
inline constexpr std::size_t stage_history_bytes_max = std::size_t{1} << 30;
// A hop that owes an operation says this often that it is there; one that is silent for the longest time is lost.
inline constexpr Duration stage_alive_interval = 500ms;
inline constexpr Duration stage_silence_max = 1500ms;
static_assert(2 * stage_alive_interval < stage_silence_max);
// What a hop has handed on it says after this time, unless the result is there by then.
inline constexpr Duration stage_done_delay = 100ms;
static_assert(2 * stage_done_delay < stage_alive_interval);
// A hop may have to load its layers.
inline constexpr Duration stage_open_timeout = 120s;
// Tries to reach the next hop before it is called lost.
inline constexpr int stage_dials_max = 3;
inline constexpr Duration stage_dial_interval = 200ms;
// A node that was lost is opened again as a standby this soon after, and twice as late each time it is lost again.
inline constexpr Duration stage_return_min = 1s;
inline constexpr Duration stage_return_max = 5min;

// ---- groups of ranks that share one hop (protocol/stage.md, engine/ring.h) ---------------------------------------
// Each rank more halves less of the work and waits for one neighbour more.
inline constexpr std::size_t group_ranks_max = 8;
// Two reductions a layer, each of 2 (ranks - 1) messages one after another: 32 layers over two ranks 10 ms apart
// already cost .6 s a token.
inline constexpr Duration group_rtt_max = 10ms;
// Probes of a neighbour: the shortest of them counts, since a busy machine only lengthens them.
inline constexpr int group_probes_max = 8;
// So that the part of a reduction of the most rows fits a message; the widest model known has 18,432.
inline constexpr std::uint32_t group_width_max = 32'768;
static_assert(std::uint64_t{group_width_max} * stage_rows_max * 4 / 2 + 64 <= channel_message_bytes_max);

// ---- admission (sched) -------------------------------------------------------------------------------------------
// Requests that wait for a slot at a model node. Full: 503 with Retry-After.
inline constexpr std::size_t sched_queue_max = 128;
inline constexpr Duration sched_wait_max = 60s;

// ---- gateway -----------------------------------------------------------------------------------------------------
inline constexpr std::uint16_t api_port_default = 8642;
inline constexpr std::size_t http_header_bytes_max = 32 * 1024;
inline constexpr std::size_t http_body_bytes_max = 1024 * 1024;
inline constexpr std::size_t http_connections_max = 256;
inline constexpr Duration http_idle_timeout = 60s;
// What a program may send ahead of the answer to its last request.
inline constexpr std::size_t http_pipeline_bytes_max = 64 * 1024;
// As a client: silence of the other side (a first token may take long), and the size of one answer.
inline constexpr Duration http_client_silence_timeout = 180s;
inline constexpr std::size_t http_response_bytes_max = 64 * 1024 * 1024;
inline constexpr std::size_t sse_buffer_bytes_max = 1024 * 1024;
inline constexpr std::size_t json_depth_max = 64;
// Values in one JSON text. A chat of chat_messages_max messages of parts has a tenth; each costs up to 100 bytes of
// memory.
inline constexpr std::size_t json_values_max = 65'536;
// One event that a client of ours takes: a chunk is far below, an error or another server's first chunk may be longer.
inline constexpr std::size_t sse_event_bytes_max = 1024 * 1024;
// A stream that has nothing to say sends a comment: proxies and clients often give up after 30 s or 60 s of silence.
inline constexpr Duration sse_keepalive = 15s;
static_assert(2 * sse_keepalive < http_idle_timeout);
// What a program should wait after 503: slots and circuits come back in seconds, a model node has to appear first.
inline constexpr std::chrono::seconds retry_after_busy = 2s;
inline constexpr std::chrono::seconds retry_after_absent = 5s;
// A reason that came from another machine, as it is shown to the user.
inline constexpr std::size_t error_text_bytes_max = 512;
// In a list of models: what a directory can have at most is far above what a person can choose from.
inline constexpr std::size_t models_listed_max = 1024;

}  // namespace shoal::limits
