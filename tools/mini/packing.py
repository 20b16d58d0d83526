"""Packs conversations into rows of fixed length.

Everything is a function of a seed: step `i` of training sees `batch(i)`, computed when it is needed, so that a run
can be killed and resumed and the same command gives the same model.
"""

import random
from dataclasses import dataclass

import numpy as np

import corpus
import intents
import stories


@dataclass(frozen=True)
class BatchSize:
    """Shapes of one step's rows: (rows, length, places in the loss)."""

    short: tuple
    long: tuple
    full: tuple | None


_SHORT = (16, 96, 16 * 96 // 2)
_LONG = (4, 272, 4 * 272 * 9 // 10)  # two stories a row
TRUNK_BATCH = BatchSize(_SHORT, _LONG, None)
BRANCH_BATCH = BatchSize(_SHORT, _LONG, (1, 1024, 1024 * 9 // 10))
FULL_EVERY = 8


class Packer:
    """Fills rows of fixed length with whole conversations: short ones and long ones apart, since attention costs by the
    square of the length. One step in eight sees rows of the full context, made of many turns, instead of long ones.

    Before the step `parts_from` stories give any part to any name. What does not fit at the end of a row is left out.
    Steps are small: early on, a step teaches nearly the same however many rows it sees.
    """

    def __init__(self, tokenizer, seed, size, parts_from=0):
        self.tokenizer, self.seed = tokenizer, seed
        self.size, self.parts_from = size, parts_from

    def batch(self, step):
        """The two sub-batches of one training step."""
        rng = random.Random(f"{self.seed}/{step}")
        slots = stories.SLOTS if step >= self.parts_from else stories.ANY_PART
        size = self.size
        short, long = size.short, size.long
        pools = {short: [], long: []}
        out = {}
        if size.full and step % FULL_EVERY == FULL_EVERY - 1:
            out[long] = pack([self._full(rng, size.full[1], slots)], *size.full)
        while len(out) < 2:
            tokens, weights = corpus.encode(self.tokenizer, *corpus.conversation(rng, slots))
            shape = short if len(tokens) <= short[1] else long
            if len(tokens) > shape[1] or shape in out:
                continue
            pools[shape].append((tokens, weights))
            if sum(len(t) for t, _ in pools[shape]) > shape[0] * shape[1] * 1.08:
                out[shape] = pack(pools[shape], *shape)
        return [out[short], out[long]]

    def _full(self, rng, length, slots):
        """One conversation of as many turns as the context holds."""
        system, turns = corpus.conversation(rng, slots)
        best = corpus.encode(self.tokenizer, system, turns)
        while True:
            turns = turns + [t for t in corpus.conversation(rng, slots)[1] if t[1] != intents.NO_NAME]
            longer = corpus.encode(self.tokenizer, system, turns)
            if len(longer[0]) > length:
                return best
            best = longer


def pack(conversations, rows, length, places):
    """Best-fit, longest first; the few conversations that find no room are left out."""
    room, kept = [length] * rows, [[] for _ in range(rows)]
    for item in sorted(conversations, key=lambda c: -len(c[0])):
        fitting = [r for r in range(rows) if room[r] >= len(item[0])]
        if fitting:
            row = min(fitting, key=lambda r: room[r])
            kept[row].append(item)
            room[row] -= len(item[0])
    tokens, segments, positions = (np.zeros((rows, length), np.int32) for _ in range(3))
    segments -= 1
    picked, targets, weights = [], [], []
    for row, items in enumerate(kept):
        at = 0
        for number, (ids, importance) in enumerate(items):
            end = at + len(ids)
            tokens[row, at:end] = ids
            segments[row, at:end] = number
            positions[row, at:end] = range(len(ids))
            for i in range(1, len(ids)):
                if importance[i] > 0:
                    picked.append(row * length + at + i - 1)
                    targets.append(ids[i])
                    weights.append(importance[i])
            at = end
    pad = max(0, places - len(picked))
    fit = lambda xs, kind: np.array((xs + [0] * pad)[:places], kind)
    return {"tokens": tokens, "segments": segments, "positions": positions, "picked": fit(picked, np.int32),
            "targets": fit(targets, np.int32), "weights": fit(weights, np.float32)}
