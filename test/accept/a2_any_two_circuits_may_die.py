"""A2: of the four circuits of a question any two may die, while it is sent and while it is answered, at the middle or
at the proxy. When three die the client mends it or says why not, and the next question is answered."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import ApiError, Network, TimedOut, check, main, until
from harness.network import fixture
from harness.paths import Paths

CLOVES, NEEDED = 4, 2
ASK = {"max_tokens": 300, "temperature": 0, "seed": 11}
PROMPT = "Tell me about the sea."


def test(folder):
    with Network(folder, relays=16, models=1, model_file=fixture("slow")) as net:
        whole = net.client.api.chat(PROMPT, stream=False, **ASK).text
        for hop in ("middle", "proxy"):
            for same_guard in (True, False):
                check_answer(die_while_it_is_sent(net, NEEDED, same_guard, hop), whole, f"sent, {hop}s, {same_guard=}")
                check_answer(die_while_it_is_answered(net, NEEDED, same_guard, hop), whole,
                             f"answered, {hop}s, {same_guard=}")
        three_die(net, whole, die_while_it_is_sent)
        three_die(net, whole, die_while_it_is_answered)


def check_answer(reply, whole, what):
    check(reply.done and reply.text == whole, f"two circuits died ({what}): {reply.finish}, {reply.error}, "
                                              f"{len(reply.text)} of {len(whole)} characters")


def three_die(net, whole, die):
    """n-k+1. Mended, or an error that says so; never an answer that is not the answer."""
    try:
        reply = die(net, CLOVES - NEEDED + 1, True, "middle")
        if reply.error:
            check(reply.error.get("code") in ("node_lost", "no_circuit"), f"an unclear error: {reply.error}")
            check(whole.startswith(reply.text), "what came before the error is not of the answer")
        else:
            check_answer(reply, whole, "three of four")
    except ApiError as refused:
        check(refused.status == 503 and "Retry-After" in refused.headers, f"an unclear refusal: {refused}")
    check_answer(net.client.api.chat(PROMPT, **ASK), whole, "and then none")


def die_while_it_is_sent(net, count, same_guard, hop):
    """All relays behind the guards stand still when the question is asked: it is on its way over four circuits, and
    beyond the guards it is nowhere. Then some of them end, and the others go on."""
    for _ in range(5):
        paths = start(net)
        guards = {circuit.guard for circuit in paths.built().values()}
        behind = [relay for relay in net.relays if relay not in guards]
        for relay in behind:
            relay.process.signal(signal.SIGSTOP)
        asked = net.client.api.chat_later(PROMPT, **ASK)
        killed = []
        try:
            killed = choose(paths.wait(CLOVES, 3), count, same_guard, hop)
        except TimedOut:
            pass  # no four of the ready circuits were disjoint, and no more can be built now: another try
        for relay in killed:
            relay.kill()
        for relay in behind:
            relay.process.signal(signal.SIGCONT)
        reply = asked()
        if killed:
            revive(net, killed)
            return reply
    raise AssertionError("the client never had four disjoint circuits ready")


def die_while_it_is_answered(net, count, same_guard, hop):
    """The engine stands still in the middle of the answer while circuits end."""
    paths = start(net)
    [worker] = net.models[0].process.children()
    killed = []

    def kill_once(reply):
        if killed or len(reply.times) < 5:
            return
        os.kill(worker, signal.SIGSTOP)
        killed.extend(choose(paths.wait(CLOVES), count, same_guard, hop))
        for relay in killed:
            relay.kill()
        os.kill(worker, signal.SIGCONT)

    reply = net.client.api.chat(PROMPT, on_text=kill_once, **ASK)
    check(killed, "the answer was over before anything could be killed")
    revive(net, killed)
    return reply


def start(net):
    """Waits until the client builds nothing: what it sends then is the question."""
    until(lambda: net.client.api.circuits() >= 2 * CLOVES, "the client has its circuits", 60)
    return Paths(net)


def choose(circuits, count, same_guard, hop):
    """`count` of the circuits: as many as can be of one guard, or of different ones in turn."""
    guards = sorted({circuit.guard.name for circuit in circuits})
    check(len(guards) == 2, f"the question goes over {guards}, not over two guards")
    sides = [[circuit for circuit in circuits if circuit.guard.name == guard] for guard in guards]
    check(min(map(len, sides)) == CLOVES // 2, f"the circuits are not two and two over the guards: {circuits}")
    order = sides[0] + sides[1] if same_guard else [circuit for pair in zip(*sides) for circuit in pair]
    return [getattr(circuit, hop) for circuit in order[:count]]


def revive(net, killed):
    """The killed relays come back as what they were, and the client finds them."""
    for relay in killed:
        relay.process.stop()
        relay.start()
    for relay in killed:
        relay.process.wait_line("listens on")
    net.wait_ready(net.client)


main(test)
