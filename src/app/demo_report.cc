#include "app/demo_report.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "crypto/rng.h"

namespace shoal::app {
namespace {

// The value of a text field in one line of a trace, which this program has written.
std::string field(const std::string& line, const std::string& name) {
    const std::string key = "\"" + name + "\":\"";
    const std::size_t at = line.find(key);
    if (at == std::string::npos) return {};
    const std::size_t begin = at + key.size();
    return line.substr(begin, line.find('"', begin) - begin);
}

bool is_free(unsigned network, std::uint16_t port) {
    const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return false;
    // As a listener does: what a program that has ended left behind is not in the way.
    const int yes = 1;
    (void)setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(0x7F000001U | network << 16);
    const bool bound = bind(probe, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0;
    close(probe);
    return bound;
}

}  // namespace

TraceSummary read_trace(const std::string& path) {
    TraceSummary out;
    std::set<std::string> peers;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const std::string direction = field(line, "dir");
        if (direction.empty()) continue;
        (direction == "in" ? out.cells_in : out.cells_out) += 1;
        peers.insert(field(line, "peer"));
        out.streams += field(line, "command") == "STREAM_OPEN" ? 1 : 0;
    }
    out.peers = peers.size();
    return out;
}

std::string what_it_knows(const std::string& role, const TraceSummary& seen) {
    if (role == "verifier") return "who is a node; nothing of any question";
    if (role == "client") return "the question and the answer: they are its own";
    if (role == "model") {
        return seen.streams == 0 ? "nothing of this question" : "the question, from proxies; not who asks";
    }
    if (seen.streams > 0) return "a proxy: that a stream went to a model node; not what, not who";
    return "cells that look random; either who sent them or where they end, or neither";
}

Status check_api_port(std::uint16_t port) {
    if (is_free(0, port)) return ok();
    return fail(Errc::invalid, fmt::format("--port: port {} of 127.0.0.1 is in use; stop the other program or choose "
                                           "another port",
                                           port));
}

Result<std::uint16_t> find_free_port(unsigned networks) {
    crypto::OsRng rng;
    for (int tries = 0; tries < 200; ++tries) {
        // Below the range that the kernel takes for outgoing connections.
        const auto port = static_cast<std::uint16_t>(20'000 + rng.below(12'000));
        bool free = true;
        for (unsigned network = 1; free && network <= networks; ++network) free = is_free(network, port);
        if (free) return port;
    }
    return fail(Errc::unavailable, "no port is free on all loopback addresses 127.1.0.1 and up");
}

}  // namespace shoal::app
