"""F3: a process with another key on a relay's address is not taken for that relay; and what a link carries is not to be
seen on the wire: no cell, no key, no certificate.

That an old capture cannot be opened with the keys of today: f3_yesterdays_capture_does_not_open.py. A cell changed or
played again on the wire ends the connection: src/net/tls_test.cc."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import check, main, until
from harness.network import fixture
from harness.paths import Paths
from harness.wired import WithWire

PROMPT = "Nobody on the wire may read this sentence of mine."
RUN = 16


def test(folder):
    with WithWire(folder, relays=12, models=1, model_file=fixture("slow"), options=("--log-level", "debug")) as net:
        reply = net.client.api.chat(PROMPT, max_tokens=100, temperature=0)
        check(reply.done, f"no answer through the wire: {reply.error}")
        nothing_to_see(net, reply.text)
        an_impostor_is_refused(net)


def windows(data):
    return {data[at:at + RUN] for at in range(len(data) - RUN + 1)}


def nothing_to_see(net, answer):
    """Of what the model node handled in the clear, and of who the two ends are, no 16 bytes stand on the wire."""
    wire = net.wire
    check(wire.connections >= 2, f"only {wire.connections} links went through the wire")
    check(len(wire.sent) > 10_000 and len(wire.received) > 10_000, "hardly anything went through the wire")
    seen = windows(bytes(wire.sent)) | windows(bytes(wire.received))
    frames = [bytes.fromhex(line["bytes"]) for line in net.models[0].taps() if line["kind"] == "frame"]
    streams = [frame for frame in frames if len(frame) > RUN]
    check(len(streams) > 20, "the tap of the model node is empty")
    keys = [bytes.fromhex(node.id()) for node in (*net.relays, *net.models)]
    for what, clear in (("a cell", streams), ("a key", keys), ("the prompt", [PROMPT.encode()]),
                        ("the answer", [answer.encode()])):
        for data in clear:
            common = [run for run in windows(data) & seen if len(set(run)) > 1]
            check(not common, f"{what} is on the wire in clear: {common[:2]}")


def an_impostor_is_refused(net):
    """One of the client's guards ends, and on its address somebody else starts. The client dials it again and refuses;
    so does everybody; the client goes on over other relays."""
    guard = next(iter(Paths(net).built().values())).guard
    name = guard.id()
    guard.stop()
    keys = guard.state.with_name("its-own-keys")
    shutil.move(guard.state, keys)
    began = {node: len(node.trace()) for node in net.nodes() if node is not guard}
    guard.start()
    guard.process.wait_line("listens on")
    check(guard.id() != name, "the impostor has the guard's key")
    until(lambda: refusals(net.client, name), "the client dials its guard and refuses who answers", 60)
    for node, lines in began.items():
        taken = [line for line in node.trace()[lines:] if line.get("event") == "link_up" and line["peer"] == name]
        check(not taken, f"{node.name} took the impostor for the relay that was there: {taken}")
    net.wait_ready(net.client)
    check(net.client.api.chat("Still there?", max_tokens=5).done, "no answer without that guard")


def refusals(node, name):
    """Dials of that relay at which another key answered."""
    return [line for line in node.process.output().splitlines() if f"and not {name[:8]}" in line]


main(test)
