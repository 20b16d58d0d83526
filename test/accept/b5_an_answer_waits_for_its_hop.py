"""B5, without a standby: the only node with some of the layers is killed in the middle of an answer and started again.
The client sees a pause, and the tokens that were given undisturbed. Where it does not come back the answer ends with an
error that says why, not before 30 s and soon after (with SHOAL_LONG)."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

HOPS = [(0, 4), (4, 8)]
ASK = {"max_tokens": 400, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
KILL_AT = 20
PAUSE_MAX = 30  # src/pipeline/lead.h


def comes_back(net, undisturbed):
    lost, log = net.stages[1], net.models[0].process

    def kill(reply):
        if len(reply.times) == KILL_AT:
            lost.kill()

    asking = net.client.api.chat_later(PROMPT, on_text=kill, **ASK)
    until(lambda: "was lost" in log.output(), "the lead has seen it")
    lost.start()
    reply = asking()
    check(reply.done and reply.error is None, f"the answer broke off: {reply.error}")
    check(reply.text == undisturbed.text, "another answer")
    check(reply.usage == undisturbed.usage, f"{reply.usage} tokens, undisturbed {undisturbed.usage}")
    check(log.output().count("all layers of the model are together") == 2, f"no second session: {log.tail()}")
    print(f"the longest pause: {max(b - a for a, b in zip(reply.times, reply.times[1:])):.1f} s")


def stays_away(net):
    began = time.monotonic()
    reply = net.client.api.chat_while_killed(net.stages[1], KILL_AT, PROMPT, **ASK)
    took = time.monotonic() - began
    check(not reply.done and "hop 2" in str(reply.error), f"no error, or none that says why: {reply.error}")
    check(reply.text, "nothing of the answer came")
    check(PAUSE_MAX - 1 < took < PAUSE_MAX + 15, f"it ended after {took:.0f} s")


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        comes_back(net, undisturbed)
        if os.environ.get("SHOAL_LONG"):
            stays_away(net)


main(test)
