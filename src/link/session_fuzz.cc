#include "link/session.h"

#include <algorithm>

#include "base/test_rng.h"

namespace {

struct Count final : shoal::link::CellSink {
    std::size_t cells = 0;
    void on_cell(shoal::Now, const shoal::wire::Cell&) override { ++cells; }
};

}  // namespace

// Bytes of a peer in pieces. The input is a list of steps: a byte that says how long the piece is (0: time passes, odd:
// a cell whose header is the next eight bytes and whose body is zeros, else that many bytes), then the bytes. With the
// first bit of the first byte set, the peer's VERSIONS came before.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    ByteView in(data, size);
    if (in.empty()) return 0;
    TestRng rng(1);
    Now now{Instant(std::chrono::hours(1)), from_unix_seconds(1'800'000'000)};
    const NetworkId network(ByteArray<32>{7});
    link::Session session(now, network, rng);
    Count sink;
    const auto give = [&](ByteView bytes) {
        const bool fine = bool(session.on_bytes(now, bytes, sink));
        ASSERT(session.partial_bytes() < limits::cell_bytes);
        ASSERT(sink.cells <= session.stats().cells_in);
        ASSERT(session.open() || sink.cells == 0);
        return fine;
    };
    if ((in[0] & 1) != 0) {
        link::Session peer(now, network, rng);
        Bytes versions;
        peer.take_output(now, limits::cell_bytes, versions);
        ASSERT(give(versions) && session.open());
    }
    in = in.subspan(1);
    while (!in.empty()) {
        const std::uint8_t step = in[0];
        in = in.subspan(1);
        if (step == 0) {
            now.mono += std::chrono::seconds(7);
            if (!session.on_tick(now)) return 0;
            ASSERT(session.next_deadline() > now.mono);
        } else if (step % 2 != 0) {
            Bytes cell(limits::cell_bytes);
            const std::size_t header = std::min<std::size_t>(in.size(), 8 + step / 2U);
            std::copy_n(in.begin(), header, cell.begin());
            in = in.subspan(header);
            if (!give(cell)) return 0;
        } else {
            const std::size_t piece = std::min<std::size_t>(in.size(), step);
            if (!give(in.first(piece))) return 0;
            in = in.subspan(piece);
        }
        Bytes out;
        session.take_output(now, 4 * limits::cell_bytes, out);
        ASSERT(out.size() % limits::cell_bytes == 0);
    }
    return 0;
}
