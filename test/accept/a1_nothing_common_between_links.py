"""A1: what a tap on every process sees of a question. Two different links carry no common bytes; relays that carry it
do no public-key operation; no link carries one cell twice, though all padding is alike before it is encrypted; the
prompt, the answer and the client's long-term key are nowhere, its address only at its guards and at its bootstrap.

The twins that must fail here are in test/mutations.toml: layers that leave the body as it is, cells that are not
chained, cloves whose header is not sealed. A cell that was flipped or played again dies with its circuit:
src/circuit/circuit_test.cc shows it and the counters, for nobody can do it here: between processes it would be TLS that
drops it (F3)."""
# build: accept

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, common_runs, main, until
from harness.network import fixture
from harness.paths import HEADER, Paths

PROMPT = "The password of the harbour master is seventeen blue herons, tell nobody."
BODIES = ("RELAY", "RELAY_EARLY", "STREAM_OPEN", "STREAM_DATA")
HANDSHAKES = ("CREATE", "CREATED")
PADDED = 500  # cells, each seen at some of six places
CIRCUIT_ID_DIGITS = 8  # hexadecimal, at the start of a cell


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        net.client.api.chat("warm up", max_tokens=5)  # the proxies' links to the model node
        for attempt in range(5):
            until(lambda: net.client.api.circuits() >= 8, "the client has its circuits", 60)
            paths = Paths(net)
            marks = {node: len(node.taps()) for node in net.nodes()}
            reply = net.client.api.chat(PROMPT, max_tokens=200, temperature=0)
            check(reply.done, f"no answer: {reply.error}")
            circuits = paths.circuits()
            check(len(circuits) >= 4, f"only {len(circuits)} circuits")
            tapped = {node: node.taps() for node in net.nodes()}
            # A client whose ready circuits overlap renews some when it is asked: then this question says nothing.
            # If questions needed handshakes, each of them would.
            made_for_it = handshakes_of_the_question(tapped, marks, circuits)
            if not made_for_it:
                break
        check(not made_for_it, made_for_it)
        nothing_in_common(net, tapped)
        nothing_readable(net, tapped, reply.text)
        address_only_at(net, {circuit.guard for circuit in paths.built().values()})
        nothing_repeated(net)


def nothing_in_common(net, tapped):
    """The bodies of each link, as its two ends tapped them, against those of every other link."""
    names = {node.id(): node.name for node in net.nodes()}
    links = {}
    for node, lines in tapped.items():
        for line in lines:
            if line["kind"] != "frame" or line["command"] not in BODIES:
                continue
            # The client's links are dialled with keys that nobody knows: they are what is not a node's.
            ends = frozenset((node.name, names.get(line["peer"], net.client.name)))
            links.setdefault(ends, set()).add(bytes.fromhex(line["bytes"])[HEADER:])
    check(len(links) > 12, f"the tap saw only {len(links)} links")
    check(sum(map(len, links.values())) > 500, "the tap saw hardly any cell")
    found = common_runs({" – ".join(sorted(ends)): bodies for ends, bodies in links.items()})
    check(not found, f"bytes in common: {[(one, other, run.hex()) for one, other, run in found]}")


def nothing_repeated(net):
    """A client with the pacer `shaped` sends and gets padding behind its question: cells of zeros, of which two would
    look the same on a link if each were encrypted for itself and not chained to those before it."""
    client = net.add_client(pacer="shaped")
    net.wait_ready(client)
    before = {node: len(node.taps()) for node in net.relays}
    check(client.api.chat("Short.", max_tokens=3).done, "no answer to the client with padding")

    def carried():
        cells = Counter()
        for node in net.relays:
            for line in node.taps()[before[node]:]:
                if line["kind"] == "frame" and line["command"] in BODIES:
                    cells[node.name, line["link"], line["dir"], line["bytes"][2 * HEADER:]] += 1
        return cells

    # Twenty cells a second and a circuit: some hundred of padding are there at once.
    cells = until(lambda: seen if (seen := carried()).total() >= PADDED else None, "padding goes over the links", 30)
    twice = [f"{name}, link {link}, {way}: {body[:64]}"
             for (name, link, way, body), count in cells.items() if count > 1]
    check(not twice, f"a link carries one cell twice: {twice[:3]}")


def nothing_readable(net, tapped, answer):
    """Neither of what is secret in anything that relays, proxies or the model node handle: frames and peeled cells."""
    key = bytes.fromhex(net.client.id())
    secrets = {"the prompt": PROMPT.encode()[:24], "the middle of it": PROMPT.encode()[24:48], "the client's key": key,
               "the client's key as text": key.hex().encode(), "the answer": answer.encode()[:24]}
    for node in (net.verifier, *net.relays, *net.models):
        for line in tapped[node]:
            seen = bytes.fromhex(line["bytes"])
            for what, secret in secrets.items():
                check(secret not in seen, f"{what} is in a {line['kind']} of {node.name}")
            check(line.get("peer") != key.hex(), f"{node.name} was dialled with the client's key")


def handshakes_of_the_question(tapped, marks, circuits):
    """CREATE is the cell that costs a relay public-key operations. The client builds circuits while it asks, in place
    of those that it takes, so such cells do come then: but each relay of the question carried it on a circuit for which
    it has got none since. The model node's side, STREAM_OPEN, is the proxy's to pass on and not to open."""
    for circuit in circuits:
        for relay in (circuit.guard, circuit.middle, circuit.proxy):
            made, carried = set(), []
            for line in tapped[relay][marks[relay]:]:
                place = (line["link"], line["bytes"][:CIRCUIT_ID_DIGITS])
                if line.get("command") in HANDSHAKES:
                    made.add(place)
                elif line.get("command") == "RELAY" and line["dir"] == "in":
                    carried.append(place)
            old = [place for place in carried if place not in made]
            if len(old) < 2:
                return f"{relay.name} carried the question on circuits that were made for it"
    ready = sum(line.get("command") == "CREATE" and line["dir"] == "in"
                for node, lines in tapped.items() for line in lines[:marks[node]])
    check(ready >= 12, f"only {ready} CREATE before the question: its circuits were not ready")
    return None


def address_only_at(net, guards):
    """Every process but the client has an address of its own; the client dials from 127.0.0.1."""
    for node in (net.verifier, *net.relays, *net.models):
        saw = [line for line in node.trace() if from_client(line)]
        if node in guards or node is net.verifier:
            continue
        check(not saw, f"{node.name} is no guard and was dialled from the client's address: {saw[:2]}")
    for guard in guards:
        check(any(from_client(line) for line in guard.trace()),
              f"{guard.name} should have been dialled by the client: is the address in the trace?")


def from_client(line):
    return line.get("event") == "link_up" and line["address"].startswith("127.0.0.1:")


main(test)
