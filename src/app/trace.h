// What a process saw, on file: for users (--trace), metadata only; for tests (--tap, test builds only), everything.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "circuit/relay.h"
#include "net/transport.h"
#include "node/node.h"

namespace shoal::app {

// One JSON object a line: {"t": seconds, "dir": "in"|"out", "peer": "…", "command": "…", "size": bytes}. Every build
// offers it. Never a body.
class Trace final : public node::CellObserver {
public:
    static Result<std::unique_ptr<Trace>> open(const std::string& path);
    ~Trace() override;
    void on_cell_seen(Now now, LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell) override;
    // A line of another kind: {"t": …, "event": name, …}; `fields` is JSON without braces.
    void note(Now now, const char* event, const std::string& fields);

private:
    explicit Trace(std::FILE* file) : file_(file) {}
    std::FILE* file_;
};

const char* command_name(wire::CellCommand command);

#ifdef SHOAL_TAP
// One JSON object a line: {"kind": "frame"|"peeled", "link": n, "dir": "in"|"out" or "forward", "peer": hex,
// "command": name, "bytes": hex}. A frame is a whole cell; peeled are the 1392 bytes after this relay's own layer.
class Tap final : public circuit::PeelObserver {
public:
    static Result<std::unique_ptr<Tap>> open(const std::string& path);
    ~Tap() override;
    void on_cell(LinkId link, const NodeId& peer, bool incoming, const wire::Cell& cell);
    void on_peeled(LinkId link, bool forward, ByteView block) override;

private:
    explicit Tap(std::FILE* file) : file_(file) {}
    std::FILE* file_;
};
#endif

}  // namespace shoal::app
