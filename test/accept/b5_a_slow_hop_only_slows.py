"""B5: a hop whose engine has a fifth of a processor, or stands still for two seconds, is waited for: it is alive and
says so. The answer is the one that was given undisturbed, nobody is replaced, and the log of the lead says how fast it
goes."""
# alone

import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture

HOPS = [(0, 3), (3, 6), (6, 8)]
ASK = {"max_tokens": 200, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
RUN_SECONDS, STAND_SECONDS = 0.01, 0.04


class Slowed:
    """The process runs a fifth of the time."""

    def __init__(self, pid):
        self.pid, self.over = pid, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.is_set():
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(STAND_SECONDS)
            os.kill(self.pid, signal.SIGCONT)
            time.sleep(RUN_SECONDS)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, kind, value, trace):
        self.over.set()
        self.thread.join()
        os.kill(self.pid, signal.SIGCONT)


def token_ms(reply):
    return (reply.times[-1] - reply.times[0]) * 1e3 / (len(reply.times) - 1)


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=HOPS) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        [worker] = net.stages[1].process.children()
        with Slowed(worker):
            slow = net.client.api.chat(PROMPT, **ASK)
        check(slow.text == undisturbed.text and slow.error is None, f"another answer: {slow.error}")

        def stand_still(reply):
            if len(reply.times) == 20:
                os.kill(worker, signal.SIGSTOP)
                threading.Timer(2, os.kill, (worker, signal.SIGCONT)).start()

        reply = net.client.api.chat(PROMPT, on_text=stand_still, **ASK)
        check(reply.text == undisturbed.text and reply.error is None, f"another answer: {reply.error}")
        pause = max(later - earlier for earlier, later in zip(reply.times, reply.times[1:]))
        print(f"a token in {token_ms(undisturbed):.1f} ms, with the second hop slow in {token_ms(slow):.1f} ms; "
              f"engine stopped for 2 s: pause {pause:.2f} s")
        check(pause > 1.5, f"a pause of {pause:.2f} s: it did not stand still")
        log = net.models[0].process.output()
        check("no more" not in log and log.count("all layers of the model are together") == 1, f"replaced: {log}")
        check("tokens/s" in log, f"nothing about how fast it goes: {log}")


main(test)
