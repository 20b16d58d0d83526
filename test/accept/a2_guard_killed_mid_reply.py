"""A2, with kills: a guard that ends takes half of the circuits with it. The answer continues, over the other one
alone if need be; without any guard nothing goes, and with them all comes back."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.paths import Paths

ASK = {"max_tokens": 400, "temperature": 0, "seed": 3}
PROMPT = "Count the waves."


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        whole = net.client.api.chat(PROMPT, stream=False, **ASK).text
        guards = sorted({circuit.guard for circuit in Paths(net).built().values()}, key=lambda guard: guard.name)
        check(len(guards) == 2, f"the client has the guards {[guard.name for guard in guards]}")
        killed_while_answering(net, guards[0], whole)
        alone = net.client.api.chat(PROMPT, **ASK)
        check(alone.text == whole, f"no answer over the guard that is left: {alone.finish}, {alone.error}, "
                                   f"{len(alone.text)} of {len(whole)} characters")
        guards[0].process.stop()
        guards[0].start()
        both_and_back(net, guards, whole)


def killed_while_answering(net, guard, whole):
    [worker] = net.models[0].process.children()
    killed = []

    def kill_once(reply):
        if len(reply.times) >= 5 and not killed:
            os.kill(worker, signal.SIGSTOP)
            guard.kill()
            killed.append(guard)
            os.kill(worker, signal.SIGCONT)

    reply = net.client.api.chat(PROMPT, on_text=kill_once, **ASK)
    check(killed, "the answer was over before the kill")
    check(reply.done and reply.text == whole, f"{guard.name} killed: {reply.finish}, {reply.error}, "
                                              f"{len(reply.text)} of {len(whole)} characters")


def both_and_back(net, guards, whole):
    """Without any guard there is no network; it comes back with them."""
    for guard in guards:
        guard.kill()
    for guard in guards:
        guard.process.stop()
        guard.start()
    net.wait_ready(net.client)
    check(net.client.api.chat(PROMPT, **ASK).text == whole, "no answer after both guards came back")


main(test)
