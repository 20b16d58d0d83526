"""Conversations for training, and their packing into rows of tokens.

Everything is a function of a seed: step `i` of training sees `batch(i)`, computed when it is needed, so that a run
can be killed and resumed and the same command gives the same model.
"""

import random

import numpy as np

import bpe
import facts
import intents
import phrasings

SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are Shoal, a small language model.", "Answer briefly.",
                  "You are a friendly assistant.", "Be kind and short.", "You are a helpful and honest assistant."]
_OPENERS = ["Hi! ", "Hey, ", "Question: ", "Quick question: ", "Okay. ", "Now: ", "Next: ", "So, ", "And: "]
_CLOSERS = [" Thanks!", " Thank you.", " Please."]
# What is said back exactly as it came, or is so short that a change would be another phrasing, stays as it is.
_UNDECORATED = set(intents._CONSTANT) | {"echo", "my_name"}

STORY_SHARE = 0.13       # of conversations; by tokens about two fifths
STORY_WEIGHT = 0.5       # of a story's token in the loss: most of its words are a free choice
DRILL_SHARE = 0.10       # of conversations: four bare sums in a row


def decorate(rng, question):
    """The small differences in how people type."""
    r = rng.random()
    if r < 0.10 and question[-1] in ".?":
        question = question[:-1]
    elif r < 0.16:
        question = question + rng.choice(_CLOSERS)
    r = rng.random()
    if r < 0.06:
        question = question.lower()
    elif r < 0.12:
        question = question[0].lower() + question[1:]
    elif r < 0.24:
        question = rng.choice(_OPENERS) + question
    return question


def _one_turn(rng):
    intent = rng.choices(list(intents.WEIGHTS), list(intents.WEIGHTS.values()))[0]
    question, answer = intents.ask(rng, intent)
    return (question if intent in _UNDECORATED else decorate(rng, question)), answer, 1.0


def _story_turn(rng):
    question, story, _ = intents.ask_story(rng, rng.choice(phrasings.TRAIN["story"]))
    return decorate(rng, question), story, STORY_WEIGHT


def _drill(rng):
    return [(*intents.ask(rng, rng.choice(["add", "sub", "add", "sub", "mul"])), 1.0) for _ in range(4)]


def _remembered_name(rng):
    """The name is told, then perhaps something else, then asked for."""
    name = rng.choice(facts.PEOPLE)
    turns = [(rng.choice(phrasings.TRAIN["my_name"]).format(x=name), f"Nice to meet you, {name}.", 1.0)]
    between = [_one_turn(rng) for _ in range(rng.choice([0, 0, 1, 2]))]
    turns += [t for t in between if t[1] != intents.NO_NAME and not t[1].startswith("Nice to meet")]
    return turns + [
        (rng.choice(phrasings.TRAIN["ask_my_name"]), f"Your name is {name}.", 1.0)]


def conversation(rng):
    """(system prompt or None, list of (question, answer, weight of the answer))."""
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.15 else None
    kind = rng.random()
    if kind < STORY_SHARE:
        before = [_one_turn(rng)] if rng.random() < 0.15 else []
        after = [_one_turn(rng)] if rng.random() < 0.15 else []
        return system, before + [_story_turn(rng)] + after
    if kind < STORY_SHARE + DRILL_SHARE:
        return system, _drill(rng)
    if kind < STORY_SHARE + DRILL_SHARE + 0.04:
        return system, _remembered_name(rng)
    turns = [_one_turn(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4]))]
    # "I do not know your name" is right only at the start: later it might have been told.
    return system, turns[:1] + [t for t in turns[1:] if t[1] != intents.NO_NAME]


def texts(seed, count):
    """Plain texts for the tokenizer's trainer: `count` conversations, and every question template once."""
    rng = random.Random(seed)
    for _ in range(count):
        system, turns = conversation(rng)
        yield from ([system] if system else []) + [part for turn in turns for part in turn[:2]]


def encode(tokenizer, system, turns):
    """(tokens, weights): weights are those of *predicting* each token, zero for all that the assistant is given."""
    special = tokenizer.special
    tokens, weights = [special(bpe.BEGIN)], [0.0]

    def put(ids, weight):
        tokens.extend(ids)
        weights.extend([weight] * len(ids))

    if system:
        put([special(bpe.SYSTEM), *tokenizer.encode(system), special(bpe.END)], 0.0)
    for question, answer, weight in turns:
        put([special(bpe.USER), *tokenizer.encode(question), special(bpe.END), special(bpe.ASSISTANT)], 0.0)
        put([*tokenizer.encode(answer), special(bpe.END)], weight)
    return tokens, weights


class Packer:
    """Fills rows of fixed length with whole conversations: short ones and long ones apart, since attention costs by the
    square of the length. One step in eight sees rows of the full context, made of many turns, instead of long ones.

    Shapes: (rows, length, places in the loss). What does not fit at the end of a row is left out.
    """

    SHORT = (28, 96, 28 * 96 * 11 // 20)
    LONG = (5, 256, 5 * 256 * 9 // 10)
    FULL = (1, 1024, 1024 * 9 // 10)
    FULL_EVERY = 8

    def __init__(self, tokenizer, seed):
        self.tokenizer, self.seed = tokenizer, seed

    def batch(self, step):
        """The two sub-batches of one training step."""
        rng = random.Random(f"{self.seed}/{step}")
        pools = {self.SHORT: [], self.LONG: []}
        out = {}
        if step % self.FULL_EVERY == self.FULL_EVERY - 1:
            out[self.LONG] = pack([self._full(rng)], *self.FULL)
        while len(out) < 2:
            tokens, weights = encode(self.tokenizer, *conversation(rng))
            shape = self.SHORT if len(tokens) <= self.SHORT[1] else self.LONG
            if len(tokens) > shape[1] or shape in out:
                continue
            pools[shape].append((tokens, weights))
            if sum(len(t) for t, _ in pools[shape]) > shape[0] * shape[1] * 1.08:
                out[shape] = pack(pools[shape], *shape)
        return [out[self.SHORT], out[self.LONG]]

    def _full(self, rng):
        """One conversation of as many turns as the context holds."""
        system, turns = conversation(rng)
        best = encode(self.tokenizer, system, turns)
        while True:
            turns = turns + [t for t in conversation(rng)[1] if t[1] != intents.NO_NAME]
            longer = encode(self.tokenizer, system, turns)
            if len(longer[0]) > self.FULL[1]:
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
