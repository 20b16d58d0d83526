"""B5: a stage whose whole node stands still (SIGSTOP: its links stay open and silent) is replaced after 1.5 s of
silence; the answer is the same, with a pause of less than 3 s. When it moves again after 10 s, nobody minds what it
still says, and it stands by."""
# alone

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

HOPS = [(0, 3), (3, 6), (6, 8)]
ASK = {"max_tokens": 900, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
STOP_AT = 20
PAUSE_SECONDS_MAX = 3
STAND_SECONDS = 10


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=HOPS) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        stage, lead, stopped = net.stages[1], net.models[0].process, []

        def on_text(reply):
            if len(reply.times) == STOP_AT:
                stage.process.signal(signal.SIGSTOP)
                stopped.append(time.monotonic())

        try:
            reply = net.client.api.chat(PROMPT, on_text=on_text, **ASK)
            until(lambda: time.monotonic() > stopped[0] + STAND_SECONDS, "it has stood still for long enough")
        finally:
            stage.process.signal(signal.SIGCONT)
        check(reply.text == undisturbed.text and reply.error is None, f"another answer: {reply.error}")
        pause = max(later - earlier for earlier, later in zip(reply.times, reply.times[1:]))
        print(f"longest pause {pause:.2f} s")
        check(1 < pause < PAUSE_SECONDS_MAX, f"a pause of {pause:.2f} s: not by silence, or too long")
        until(lambda: f"standby {stage.id()} is back, for hop 2" in lead.output(), "it stands by", 60)
        check(net.client.api.chat(PROMPT, **ASK).text == undisturbed.text, "another answer after it moved again")
        check(lead.output().count("all layers of the model are together") == 1, "the session was opened anew")


main(test)
