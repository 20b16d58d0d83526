"""Conversations for training: questions, stories, drills of sums, as token rows with the weight of each token."""

import random

import bpe
import drills
import facts
import intents
import phrasings
import stories

SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are Shoal, a small language model.", "Answer briefly.",
                  "You are a friendly assistant.", "Be kind and short.", "You are a helpful and honest assistant."]
_OPENERS = ["Hi! ", "Hey, ", "Question: ", "Quick question: ", "Okay. ", "Now: ", "Next: ", "So, ", "And: "]
_CLOSERS = [" Thanks!", " Thank you.", " Please."]
# What is said back exactly as it came, or is so short that a change would be another phrasing, stays as it is.
_UNDECORATED = set(intents._CONSTANT) | {"echo", "my_name"}

# Shares of conversations; by tokens stories are about a third. The rest are questions.
STORY_SHARE = 0.22
SUMS_SHARE = 0.08        # four bare sums in a row
ECHO_SHARE = 0.12        # see drills.py
WHO_SHARE = 0.10
NAME_SHARE = 0.04

STORY_WEIGHT = 0.4       # of a story's token in the loss: most of its words are a free choice
CARRIED_WEIGHT = 4.0     # of those that are not: see stories.carried_words


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


def story_turn(rng, slots=stories.SLOTS):
    question, story, _ = intents.ask_story(rng, rng.choice(phrasings.TRAIN["story"]), slots)
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


def _story(rng, slots):
    before = [_one_turn(rng)] if rng.random() < 0.10 else []
    after = [_one_turn(rng)] if rng.random() < 0.10 else []
    return before + [story_turn(rng, slots)] + after


def _questions(rng):
    turns = [_one_turn(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4]))]
    # "I do not know your name" is right only at the start: later it might have been told.
    return turns[:1] + [t for t in turns[1:] if t[1] != intents.NO_NAME]


_KINDS = {_story: STORY_SHARE, _drill: SUMS_SHARE, lambda rng: [(*drills.echo(rng), 1.0)]: ECHO_SHARE,
          lambda rng: [(*turn, 1.0) for turn in drills.who_is_who(rng)]: WHO_SHARE, _remembered_name: NAME_SHARE}
_KINDS[_questions] = 1 - sum(_KINDS.values())


def conversation(rng, slots=stories.SLOTS):
    """(system prompt or None, list of (question, answer, weight of the answer)). `slots`: the words of a story."""
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.15 else None
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    return system, kind(rng, slots) if kind is _story else kind(rng)


def texts(seed, count):
    """Plain texts for the tokenizer's trainer: `count` conversations, and the words that are carried over often enough
    to become one token each, with the space before them and at the start of a text."""
    rng = random.Random(seed)
    for _ in range(count):
        system, turns = conversation(rng, stories.ANY_PART)
        yield from ([system] if system else []) + [part for turn in turns for part in turn[:2]]
    carried = [word for listed in (*stories.ANY_PART.values(), facts.PEOPLE) for word in listed]
    for _ in range(count // 200):
        yield from [text for word in carried for text in (word, f" {word}")]


def _story_weights(tokenizer, question, story, ids):
    spans = stories.carried_words(question, story)
    weights, at = [], 0
    for i in ids:
        end = at + len(tokenizer.tokens[i])  # ASCII: one character of a token's name is one of the text
        weights.append(CARRIED_WEIGHT if any(a < end and at < b for a, b in spans) else STORY_WEIGHT)
        at = end
    return weights


def encode(tokenizer, system, turns):
    """(tokens, weights): weights are those of *predicting* each token, zero for all that the assistant is given.
    The words that a story must carry over weigh more than its others."""
    special = tokenizer.special
    tokens, weights = [special(bpe.BEGIN)], [0.0]

    def put(ids, each):
        tokens.extend(ids)
        weights.extend(each if isinstance(each, list) else [each] * len(ids))

    if system:
        put([special(bpe.SYSTEM), *tokenizer.encode(system), special(bpe.END)], 0.0)
    for question, answer, weight in turns:
        put([special(bpe.USER), *tokenizer.encode(question), special(bpe.END), special(bpe.ASSISTANT)], 0.0)
        ids = tokenizer.encode(answer)
        put(ids, _story_weights(tokenizer, question, answer, ids) if weight == STORY_WEIGHT else weight)
        put([special(bpe.END)], weight)
    return tokens, weights
