"""The second turn of a conversation with what the first one left in the engine, and without: time to the first token,
at the engine's pipe, in pairs that take turns. The cases in which nothing is gained are measured as well."""

import os
import statistics
import struct
import time

import engine
from figures import NotMeasured, at_least, at_most, printed

TURN_TOKENS = 640  # of the first turn's prompt; the second has 672 or a few more
KEPT = 12          # conversations that lie in the engine while another client asks
USER, ASSISTANT = 1, 2


class Conversations(engine.Engine):
    def ask(self, messages, scope=b""):
        """(seconds to the first token, tokens of the prompt, of these reused)"""
        chat = struct.pack("<BQfffffIIBH", 2 if scope else 0, 0, 0.0, 1.0, 0.0, 0.0, 0.0, 0, 1, 0, len(messages))
        for role, text in messages:
            data = text.encode()
            chat += struct.pack("<BI", role, len(data)) + data
        chat += scope
        job, self.next_job = self.next_job, self.next_job + 1
        first = None
        began = time.perf_counter()
        self.socket.sendall(engine.frame(engine.KIND_SUBMIT, struct.pack("<Q", job) + bytes(32)
                                         + struct.pack("<I", len(chat)) + chat))
        while True:
            kind, body = self.receive()
            if kind == engine.KIND_FAILED:
                raise NotMeasured("a job failed")
            if kind in (engine.KIND_TEXT, engine.KIND_FINISHED) and first is None:
                first = time.perf_counter() - began
            if kind == engine.KIND_FINISHED:
                prompt, _, reused = struct.unpack_from("<III", body, 9)
                return first, prompt, reused

    def close(self):
        self.socket.close()
        self.process.wait()


def in_turns(pairs, one, other):
    """The seconds of both, measured so often; whoever goes first meets a cooler machine."""
    times = ([], [])
    for i in range(pairs):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            times[side].append((one, other)[side]())
    return times


def ratio(times):
    return statistics.median(a / b for a, b in zip(*times))


def first_token_of_second_turn(worker, text, pairs):
    found = {}

    def second_turn(scope):
        worker.ask([(USER, text)], scope)
        # What random weights say is noise, and comes back as other tokens: something else is put in its place.
        messages = [(USER, text), (ASSISTANT, "we do"), (USER, "and then?")]
        seconds, found["prompt"], reused = worker.ask(messages, scope)
        if scope:
            found["reused"] = reused
        return seconds

    times = in_turns(pairs, lambda: second_turn(b""), lambda: second_turn(os.urandom(32)))
    yield printed("second turn, first token, all computed", 1e3 * statistics.median(times[0]), "ms",
                  prompt=found["prompt"], pairs=pairs)
    yield printed("second turn, first token, prefix reused", 1e3 * statistics.median(times[1]), "ms",
                  prompt=found["prompt"], reused=found["reused"])
    yield at_least("second turn, first token, times sooner", ratio(times), "x", 10)


def nothing_to_reuse(worker, text, pairs):
    """What asking for it costs where it is of no use."""
    plain = lambda: worker.ask([(USER, text)])[0]
    times = in_turns(pairs, lambda: worker.ask([(USER, text)], os.urandom(32))[0], plain)
    yield at_most("unfavourable: nothing to reuse, first token", ratio(times), "x plain", 1.05)

    begin, found = " ".join(text.split()[:20]), {}
    changed = f"{begin} other {text[len(begin):]}"

    def one_block():
        scope = os.urandom(32)
        worker.ask([(USER, begin)], scope)
        seconds, _, found["reused"] = worker.ask([(USER, changed)], scope)
        return seconds

    times = in_turns(pairs, one_block, lambda: worker.ask([(USER, changed)])[0])
    yield at_most("unfavourable: a short beginning, first token", ratio(times), "x plain", 1.05,
                  reused=found["reused"])


def beside_what_is_kept(build, model, text, pairs):
    """Another client, in an engine that is full of conversations and in one that is empty."""
    full, empty = Conversations(build, model, 1), Conversations(build, model, 1)
    for _ in range(KEPT):
        full.ask([(USER, text)], os.urandom(32))
    empty.ask([(USER, text)])
    times = in_turns(pairs, lambda: full.ask([(USER, text)])[0], lambda: empty.ask([(USER, text)])[0])
    yield at_most("unfavourable: beside what others left, first token", ratio(times), "x empty", 1.05,
                  left=KEPT * TURN_TOKENS)
    for worker in (full, empty):
        worker.close()


def figures(build, options):
    if not any((build / name).exists() for name in ("gguf_fixture", "fixtures/bench.gguf")):
        raise NotMeasured("gguf_fixture is not built, so there is no model of a real size")
    model = engine.bench_model(build)
    worker = Conversations(build, model, 1)
    text = worker.text_of(TURN_TOKENS)
    yield from first_token_of_second_turn(worker, text, options.pairs)
    yield from nothing_to_reuse(worker, text, options.pairs)
    worker.close()
    yield from beside_what_is_kept(build, model, text, options.pairs)
