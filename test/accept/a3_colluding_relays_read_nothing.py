"""A3: all relays put together what they peeled. They have no byte of the prompt or of the answer, not even by joining
cloves, and what two proxies carried of one question has nothing in common. The same search finds the prompt when a
record is not sealed: below on marked bytes, and in test/mutations.toml in a network whose streams are not."""
# build: accept

import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.collusion import recovered
from harness.network import fixture
from harness.paths import Paths

# Long enough for several cells a clove, and of words that no other part of the protocol holds.
PROMPT = " ".join(f"secret{number}word" for number in range(60))
RUN = 8
DATA, CONNECT, TAG, LENGTH_AT, DATA_AT = 2, 1, 16, 20, 22
CONNECT_HEAD = 32 + 1  # node id, protocol: the same for all streams to one node, as it must be


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        until(lambda: net.client.api.circuits() >= 8, "the client has its circuits", 60)
        paths = Paths(net)
        marks = {relay: len(relay.taps()) for relay in net.relays}
        reply = net.client.api.chat(PROMPT, max_tokens=150, temperature=0)
        check(reply.done and len(reply.text) > 50, f"no answer to look for: {reply}")
        circuits = paths.circuits()
        lines = {relay: relay.taps()[marks[relay]:] for relay in net.relays}
        pool = [bytes.fromhex(line["bytes"]) for seen in lines.values() for line in seen]
        for what, text in {"the prompt": PROMPT.encode(), "the answer": reply.text.encode()}.items():
            check(not shared_with(text, pool), f"{what} can be read: {shared_with(text, pool)}")
        streams = {circuit.proxy.name: opened(lines[circuit.proxy]) for circuit in circuits}
        check(len(streams) >= 4, f"only {len(streams)} proxies")
        for proxy, cells in streams.items():
            check(len(cells) >= 2, f"the tap of {proxy} has only {len(cells)} cells of the question")
        for plaintext in recovered(streams.values()):
            check(PROMPT.encode()[:48] not in plaintext, "the proxies together recovered the prompt")
        check(not linked(streams), f"streams of one question can be linked: {linked(streams)}")
        looks_random(streams)
        the_search_itself_finds(pool, streams, reply.text)


def opened(lines):
    """What a proxy peeled and could read the relay header of: the data of CONNECT and DATA, as it stands."""
    found = []
    for line in lines:
        if line["kind"] != "peeled" or line["dir"] != "forward":
            continue
        peeled = bytes.fromhex(line["bytes"])
        if any(peeled[:TAG]) or peeled[TAG] not in (CONNECT, DATA):
            continue
        length = int.from_bytes(peeled[LENGTH_AT:DATA_AT], "little")
        data = peeled[DATA_AT:DATA_AT + length]
        check(len(data) == length, "the tap's peeled cells are not what this test takes them for")
        found.append(data[CONNECT_HEAD:] if peeled[TAG] == CONNECT else data)
    return found


def runs(data):
    return {data[at:at + RUN] for at in range(len(data) - RUN + 1)}


def shared_with(text, pool):
    """Runs of eight bytes of the text that stand anywhere in the pool."""
    wanted = {run for run in runs(text) if len(set(run)) > 2}
    return sorted({run for body in pool for run in wanted & runs(body)})[:3]


def linked(streams):
    """Runs of eight bytes that stand in what two different proxies carried. By chance one such run would turn up in
    some 2^-64 of the pairs of places: with less than 2^18 places a stream never."""
    of = {proxy: set().union(*map(runs, cells)) for proxy, cells in streams.items()}
    return [(one, other, sorted(of[one] & of[other])[0].hex())
            for one, other in combinations(of, 2) if of[one] & of[other]]


def looks_random(streams):
    """Byte counts of all that was carried, against even ones: chi square of 255 degrees of freedom is under 380 but
    once in a million; a header of two fixed bytes a record would already push it over a thousand."""
    counts = Counter(byte for cells in streams.values() for data in cells for byte in data)
    total = sum(counts.values())
    expected = total / 256
    chi_square = sum((counts[byte] - expected) ** 2 / expected for byte in range(256))
    check(chi_square < 380, f"what the proxies carry is not even: chi square {chi_square:.0f} over {total} bytes")


def the_search_itself_finds(pool, streams, answer):
    """The twins: one body in clear among all, one identifier of eight bytes in two streams."""
    check(shared_with(PROMPT.encode(), [*pool, b"\0" * 60 + PROMPT.encode()[100:160]]),
          "a prompt in clear is not found")
    check(shared_with(answer.encode(), [*pool, answer.encode()[:200]]), "an answer in clear is not found")
    (one, first), (other, second) = list(streams.items())[:2]
    marked = {one: [*first, b"message1" + first[0]], other: [*second, second[0] + b"message1"]}
    check(linked(marked), "a common identifier is not found")


main(test)
