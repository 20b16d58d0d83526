"""B5: one hop with one standby is lost again and again: each time the other goes on, the answer is the one that was
given undisturbed, and the node that was lost stands by again once it has been started anew."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

HOPS = [(0, 4), (4, 8)]
TOKENS = 600
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
KILL_AT = 20


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=[HOPS[1]]) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        log = net.models[0].process
        here, other = net.stages[1], net.standby_stages[0]
        for loss in range(1, 5):
            reply = net.client.api.chat_while_killed(here, KILL_AT, PROMPT, **ASK)
            check(reply.done and reply.error is None, f"loss {loss}, of {here.name}: {reply.error}")
            check(reply.text == undisturbed.text, f"loss {loss}, of {here.name}: another answer")
            replaced = f"is {other.id()} now, no more {here.id()}"
            check(replaced in log.output(), f"loss {loss} was another's: {log.tail()}")
            back = f"standby {here.id()} is back, for hop 2"
            before = log.output().count(back)
            here.start()
            until(lambda: log.output().count(back) > before, f"{here.name} stands by again", 60)
            here, other = other, here
        check(log.output().count("all layers of the model are together") == 1, "the session was opened anew")


main(test)
