"""B4: hidden states go from hop to hop and do not return to the lead in between. Over links of 50 ms one way a token
takes about the sum of the one-way delays, four of them for three hops; through the lead it would be six.

The time is the promise itself, so the clock is looked at here."""
# alone

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.waiting import until

HOPS = [(0, 3), (3, 6), (6, 8)]
DELAY_MS = 50
TOKENS = 24
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "Say something."


def data_between(sender, receiver):
    """CHANNEL_DATA cells that one node sent to another."""
    to = receiver.id()
    return sum(line.get("command") == "CHANNEL_DATA" and line["dir"] == "out" and line["peer"] == to
               for line in sender.trace())


def who_allows_no_pipelines_is_not_answered_by_one(net):
    """Every hop sees hidden states: a client that was not told to allow that does not even list the model."""
    client = net.add_client("--whole-only")
    until(lambda: client.api.circuits() >= 4, "circuits are built", 60)
    check(client.api.models() == [], f"lists {client.api.models()}")
    status, _, body = client.api.request("POST", "/v1/chat/completions", {
        "model": net.client.api.models()[0], "messages": [{"role": "user", "content": "hello"}]})
    check(status in (400, 404, 503), f"{status}: {body}")


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, delay_ms=DELAY_MS) as net:
        net.client.api.chat(PROMPT, **ASK)  # the first one may find cold links on its way
        chain = [net.models[0], *net.stages, net.models[0]]
        before = {pair: data_between(*pair) for pair in zip(chain, chain[1:])}
        returned = sum(data_between(stage, net.models[0]) for stage in net.stages[:-1])
        reply = net.client.api.chat(PROMPT, **ASK)
        check(reply.done and reply.usage["completion_tokens"] == TOKENS, f"not the whole answer: {reply}")
        token = statistics.median(later - earlier for earlier, later in zip(reply.times, reply.times[1:]))
        delays = (len(HOPS) + 1) * DELAY_MS / 1e3
        print(f"a token takes {token * 1e3:.0f} ms; {len(HOPS) + 1} one-way delays are {delays * 1e3:.0f} ms")
        check(delays <= token <= 1.1 * delays, f"a token takes {token:.3f} s, the delays are {delays:.3f} s")
        for pair, cells in before.items():
            moved = data_between(*pair) - cells
            check(moved >= TOKENS, f"{pair[0].name} sent {moved} cells to {pair[1].name}")
        # What the hops before the last say to the lead is DONE and ALIVE: at most a cell a token, never a row.
        said = sum(data_between(stage, net.models[0]) for stage in net.stages[:-1]) - returned
        who_allows_no_pipelines_is_not_answered_by_one(net)
        check(said <= 1.5 * len(net.stages[:-1]) * TOKENS, f"{said} cells to the lead from hops in between")


main(test)
