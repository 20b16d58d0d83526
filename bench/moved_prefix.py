"""The second turn of a conversation at another node than the first: that node fetches what the first one computed, or
reads the prompt. Time to the first token through real nodes, in pairs that take turns. Where weights are slow the fetch
is to be much faster; where reading is quick, or the way to the first node slow, trying must cost next to nothing."""

import os
import random
import signal
import statistics
import subprocess
import time

import engine
from figures import NotMeasured, at_least, at_most, printed
from local_network import Network, Skip, TimedOut, ProcessDied, default_model, new_folder, streams, wait_quiet

TURN_TOKENS = 640      # of the first turn's prompt, whole blocks of 16; the second has 32 or a few more
ASK = {"max_tokens": 1, "temperature": 0, "seed": 3}
HOME = 0               # the model node that holds the conversations that are measured
HOME_SECONDS_MAX = 120  # for one that has its home there, as half of them have; who stood still is shunned for 30 s
SLOW_LINE_MS = 150     # one way
LIGHT_AT_ONCE = 8      # of a model that reads so quickly that nothing is asked for
WORDS = ("river", "stone", "cloud", "winter", "garden", "letter", "engine", "harbour", "window", "mountain", "copper")


def heavy_model(build):
    """Many weights for each byte of a token's keys and values, as in large models."""
    path = build / "fixtures" / "heavy.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([build / "gguf_fixture", path, *("--layers 6 --embd 2048 --ff 16384 --heads 16 --kv-heads 2 "
                                                        "--vocab 4096 --type q8_0").split()], check=True)
    return path


def words(count):
    return " ".join(random.choice(WORDS) for _ in range(count))


def second_turn(text):
    # What random weights say is noise: something else is put in its place.
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "we do"},
            {"role": "user", "content": "and then?"}]


class Moves:
    """Two model nodes, and a client whose conversations began at the first of them."""

    def __init__(self, net, tokens):
        net.wait_models(2)
        self.home, self.other = net.models[HOME], net.models[1 - HOME]
        self.client = net.add_client("--reuse-prefixes")
        net.wait_ready(self.client)
        few, many = (self.client.api.chat(words(count), **ASK).usage["prompt_tokens"] for count in (10, 50))
        self.count = 10 + round((tokens - few) * 40 / (many - few))  # words of a turn

    def begin(self, length):
        """The text of a conversation of so many words whose first turn was read at `home`."""
        deadline = time.monotonic() + HOME_SECONDS_MAX
        while time.monotonic() < deadline:
            before, text = streams(self.home), words(length)
            reply = self.client.api.chat(text, **ASK)
            if not reply.done:
                raise NotMeasured(f"a first turn was not answered: {reply.error}")
            if streams(self.home) > before:
                return text
            time.sleep(1)  # a model may answer so quickly that all tries fall into the time in which it is shunned
        raise NotMeasured("no conversation has its home at the node that is to hold it")

    def pass_over_home(self, text):
        """It stands still while a conversation of its own is gone on with, and counts as lost for a while."""
        self.home.process.signal(signal.SIGSTOP)
        try:
            self.client.api.chat(second_turn(text), **ASK)
        finally:
            self.home.process.signal(signal.SIGCONT)
        wait_quiet([self.home.process])  # it has caught up

    def first_token(self, text):
        """(seconds, tokens of the prompt, of these reused), at the other node."""
        before = streams(self.other)
        reply = self.client.api.chat(second_turn(text), **ASK)
        if not reply.times:
            raise NotMeasured(f"a second turn was not answered: {reply.error}")
        if streams(self.other) == before:
            raise NotMeasured("a second turn went to the node that was to be passed over")
        return reply.times[0], reply.usage["prompt_tokens"], reply.usage["prompt_tokens_details"]["cached_tokens"]

    def pairs(self, count, at_once=1):
        """[(moved, read)], each what first_token() gives: of a conversation that the other node holds, and of one that
        nobody does. `at_once` conversations for each time that the first node stands still; a node keeps few tokens
        beside what it computes, so one where they are to be fetched."""
        found = []
        for i in range(count + 1):
            texts, lost = [self.begin(self.count) for _ in range(at_once)], self.begin(10)
            self.pass_over_home(lost)
            for j, text in enumerate(texts):
                sides = (text, words(self.count))
                times = {side: self.first_token(side) for side in (sides if (i + j) % 2 == 0 else reversed(sides))}
                found.append(tuple(times[side] for side in sides))
        return found[at_once:]  # before the first ones the two nodes had nothing to do with each other, and no link


def measured(build, folder, name, model, count, at_once=1, delay_ms=0):
    os.environ["SHOAL_BUILD"] = str(build)
    try:
        with Network(new_folder(folder, name), relays=12, models=2, model_file=model, tap=False,
                     options=("--threads", "1"), delay_ms=delay_ms) as net:
            return Moves(net, TURN_TOKENS).pairs(count, at_once)
    except (Skip, TimedOut, ProcessDied) as why:
        raise NotMeasured(f"{type(why).__name__}: {str(why).splitlines()[0]}") from why


def ratio(found, upside_down=False):
    each = [moved[0] / read[0] for moved, read in found]
    return statistics.median(1 / one for one in each) if upside_down else statistics.median(each)


def times(found):
    return {"moved ms": 1e3 * statistics.median(moved[0] for moved, _ in found),
            "read ms": 1e3 * statistics.median(read[0] for _, read in found),
            "prompt": found[0][0][1], "fetched": found[0][0][2], "pairs": len(found)}


def figures(build, folder, options):
    if not any((build / name).exists() for name in ("gguf_fixture", "fixtures/heavy.gguf")):
        raise NotMeasured("gguf_fixture is not built, so there is no model with slow weights")
    heavy = heavy_model(build)
    found = measured(build, folder, "moved-heavy", heavy, options.pairs)
    if any(moved[2] == 0 for moved, _ in found):
        yield printed("moved, slow weights: fetched in", sum(m[2] > 0 for m, _ in found), f"of {len(found)}")
    yield at_least("moved, slow weights: first token, times sooner", ratio(found, True), "x", 10, **times(found))
    found = measured(build, folder, "moved-light", default_model(), options.pairs, LIGHT_AT_ONCE)
    yield at_most("unfavourable: moved, quickly read, first token", ratio(found), "x read", 1.05, **times(found))
    found = measured(build, folder, "moved-far", engine.bench_model(build), options.pairs, delay_ms=SLOW_LINE_MS)
    yield at_most("unfavourable: moved, slow line, first token", ratio(found), "x read", 1.05, **times(found))
