"""B5: a stage is killed at token 20 of an answer; its standby goes on, and the answer is the one that was given
undisturbed. Each hop of three in its turn, the first and the last included; the client sees a pause of less than 3 s.

The pause is the promise itself, so the clock is looked at here; the usual pause is printed beside it."""
# alone

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.waiting import until

HOPS = [(0, 3), (3, 6), (6, 8)]
TOKENS = 900
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
KILL_AT = 20
PAUSE_SECONDS_MAX = 3


def pauses(reply):
    return [later - earlier for earlier, later in zip(reply.times, reply.times[1:])]


def cells_handed_on(node):
    """At least one for each step that it computed."""
    return sum(line.get("command") == "CHANNEL_DATA" and line["dir"] == "out" for line in node.trace())


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=HOPS) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        for stage, standby in zip(net.stages, net.standby_stages):
            check(cells_handed_on(standby) < 10, f"{standby.name} has computed before anything was lost")
            reply = net.client.api.chat_while_killed(stage, KILL_AT, PROMPT, **ASK)
            check(reply.done and reply.error is None, f"{stage.name} killed: {reply.error}")
            check(reply.text == undisturbed.text, f"{stage.name} killed: another answer")
            print(f"{stage.name} killed: longest pause {max(pauses(reply)):.2f} s, "
                  f"undisturbed {max(pauses(undisturbed)):.2f} s, median {statistics.median(pauses(reply)):.3f} s")
            check(max(pauses(reply)) < PAUSE_SECONDS_MAX, f"a pause of {max(pauses(reply)):.2f} s")
            # Else it was killed when the rest had been computed already, which would show nothing.
            check(cells_handed_on(standby) > TOKENS / 4, f"{standby.name} handed on {cells_handed_on(standby)} cells")
        no_standby_is_left(net, undisturbed.text)


def no_standby_is_left(net, text):
    """One more is lost: the answer ends with an error that says so, and once all layers are together again the same
    question is answered as before."""
    lost = net.standby_stages[1]
    reply = net.client.api.chat_while_killed(lost, KILL_AT, PROMPT, **ASK)
    check(reply.error is not None, f"no error: {reply}")
    check(len(reply.text) < len(text) and text.startswith(reply.text), "what came is not the answer's beginning")
    net.stages[1].start()
    lead = net.models[0].process
    before = lead.output().count("all layers of the model are together")
    until(lambda: lead.output().count("all layers of the model are together") > before, "the layers are together", 60)
    check(net.client.api.chat(PROMPT, **ASK).text == text, "another answer after a new start")


main(test)
