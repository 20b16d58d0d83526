"""A5: the first piece of an answer is there while the rest is still being computed, and the pieces keep their order
when the circuits deliver in another one."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.paths import Paths

TOKENS = 600
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "Say something long."


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        whole = net.client.api.chat(PROMPT, stream=False, **ASK)
        check(whole.finish == "length" and whole.usage["completion_tokens"] == TOKENS, f"not the whole answer: {whole}")
        first_while_the_engine_stands_still(net, whole.text)
        in_order_over_guards_that_take_turns(net, whole.text)


def first_while_the_engine_stands_still(net, whole):
    """The engine is frozen at the first piece: what has come by then came before the end, however fast the
    machine is."""
    [worker] = net.models[0].process.children()
    had = []

    def freeze_once(reply):
        if not had:
            os.kill(worker, signal.SIGSTOP)
            had.append(reply.text)
            os.kill(worker, signal.SIGCONT)

    reply = net.client.api.chat(PROMPT, on_text=freeze_once, **ASK)
    check(reply.done and reply.finish == "length", f"the stream did not end: {reply.finish}, {reply.error}")
    check(reply.text == whole, "the pieces together are not the answer")
    check(0 < len(had[0]) < len(whole) / 4, f"{len(had[0])} of {len(whole)} characters came at once")
    check(len(reply.times) > TOKENS / 10, f"only {len(reply.times)} pieces")
    check(reply.times[0] < reply.times[-1] / 2, f"the first piece came after {reply.times[0]} of {reply.times[-1]} s")


def in_order_over_guards_that_take_turns(net, whole):
    """The answer comes in two copies, one over each guard. Each guard stands still for a while, then delivers what it
    held back: behind, and between, what the other has brought meanwhile."""
    paths = Paths(net)
    guards = []
    turns = []

    def take_turns(reply):
        if not guards:
            guards.extend({circuit.guard.name: circuit.guard for circuit in paths.wait(4)}.values())
        if len(reply.times) // 40 <= len(turns):
            return
        still, moving = guards[len(turns) % 2], guards[1 - len(turns) % 2]
        moving.process.signal(signal.SIGCONT)
        still.process.signal(signal.SIGSTOP)
        turns.append(still.name)

    try:
        reply = net.client.api.chat(PROMPT, on_text=take_turns, **ASK)
    finally:
        for guard in guards:
            guard.process.signal(signal.SIGCONT)
    check(len(guards) == 2, f"the circuits use {len(guards)} guards")
    check(len(turns) >= 4, f"the guards took only {len(turns)} turns")
    check(reply.done and reply.finish == "length", f"the stream did not end: {reply.finish}, {reply.error}")
    check(reply.text == whole, "the order was not kept")


main(test)
