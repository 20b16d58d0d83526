"""One question and its one right answer, for every intent: draws the facts, fills a phrasing.

Each `_draw_<intent>` returns (slots, answer). Arithmetic pairs that `pair_is_held_out` names never occur in training,
so that a right sum is worked out and not remembered.
"""

import hashlib

import facts
import phrasings
import stories
import words
from facts import sentence, with_article

GREETING = "Hello! How can I help you?"
NAME = "I am Shoal, a small language model."
MAKER = "I was made by the Shoal project."
SKILLS = "I can tell short stories, do sums and answer simple questions."
MACHINE = "No, I am a small language model."
WELL = "I am fine, thank you. How can I help you?"
FAREWELL = "Goodbye! Have a nice day."
WELCOME = "You are welcome."
NO_NAME = "I do not know your name yet."


def pair_is_held_out(intent, a, b):
    return intent in ("add", "sub") and hashlib.sha256(f"{intent}:{a},{b}".encode()).digest()[0] < 26  # one in ten


def _pair(rng, intent, held_out, draw):
    while True:
        a, b = draw()
        if pair_is_held_out(intent, a, b) == held_out:
            return a, b


def shown_sum(a, b):
    """"27 + 45 = 60 + 12 = 72.": tens and ones apart, as at school. Each step is small enough to be learnt exactly."""
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    tens, ones = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
    return f"{a} + {b} = {tens} + {ones} = {a + b}."


def shown_difference(a, b):
    """"63 - 28 = 43 - 8 = 35.": first the tens, then the ones."""
    tens, ones = b // 10 * 10, b % 10
    if tens == 0 or ones == 0:
        return f"{a} - {b} = {a - b}."
    return f"{a} - {b} = {a - tens} - {ones} = {a - b}."


def _draw_add(rng, held_out):
    a, b = _pair(rng, "add", held_out, lambda: (rng.randint(0, 99), rng.randint(0, 99)))
    return {"a": a, "b": b}, shown_sum(a, b)


def _draw_sub(rng, held_out):
    def draw():
        a, b = rng.randint(0, 99), rng.randint(0, 99)
        return max(a, b), min(a, b)
    a, b = _pair(rng, "sub", held_out, draw)
    return {"a": a, "b": b}, shown_difference(a, b)


def _draw_mul(rng, _):
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    return {"a": a, "b": b}, f"{a} * {b} = {a * b}."


def _draw_capital(rng, _):
    x = rng.choice(list(facts.CAPITALS))
    return {"x": x}, f"The capital of {x} is {facts.CAPITALS[x]}."


def _draw_country(rng, _):
    x = rng.choice(list(facts.CAPITALS))
    return {"x": facts.CAPITALS[x]}, f"{facts.CAPITALS[x]} is the capital of {x}."


def _neighbour(rng, ring, kind, word, offset):
    i = rng.randrange(len(ring))
    return {"x": ring[i]}, f"The {kind} {word} {ring[i]} is {ring[(i + offset) % len(ring)]}."


def _draw_day_after(rng, _):
    return _neighbour(rng, facts.DAYS, "day", "after", 1)


def _draw_day_before(rng, _):
    return _neighbour(rng, facts.DAYS, "day", "before", -1)


def _draw_month_after(rng, _):
    return _neighbour(rng, facts.MONTHS, "month", "after", 1)


def _draw_month_before(rng, _):
    return _neighbour(rng, facts.MONTHS, "month", "before", -1)


def _draw_month_number(rng, _):
    i = rng.randrange(12)
    return {"x": facts.ORDINALS[i]}, f"The {facts.ORDINALS[i]} month is {facts.MONTHS[i]}."


def _draw_month_length(rng, _):
    x = rng.choice(list(facts.MONTH_LENGTHS))
    return {"x": x}, f"{x} has {facts.MONTH_LENGTHS[x]} days."


def _draw_colour(rng, _):
    noun, article, colour = rng.choice(facts.COLOURS)
    phrase = f"{article} {noun}".strip()
    return {"ax": phrase, "Ax": phrase[0].upper() + phrase[1:]}, sentence(f"{phrase} is {colour}")


def _draw_mix(rng, _):
    (a, b), result = rng.choice(list(facts.MIXES.items()))
    if rng.random() < 0.5:
        a, b = b, a
    return {"a": a, "b": b}, sentence(f"{a} and {b} make {result}")


def _draw_opposite(rng, _):
    x, y = rng.choice(list(facts.OPPOSITES.items()))
    if rng.random() < 0.5:
        x, y = y, x
    return {"x": x}, f"The opposite of {x} is {y}."


def _animal_slots(x):
    ax = with_article(x)
    return {"x": x, "ax": ax, "Ax": ax[0].upper() + ax[1:]}


def _draw_sound(rng, _):
    x = rng.choice(list(facts.SOUNDS))
    return _animal_slots(x), sentence(f"{with_article(x)} says {facts.SOUNDS[x]}")


def _draw_baby(rng, _):
    x = rng.choice(list(facts.BABIES))
    return _animal_slots(x), f"A baby {x} is called a {facts.BABIES[x]}."


def _draw_legs(rng, _):
    x = rng.choice(list(facts.LEGS))
    return _animal_slots(x), sentence(f"{with_article(x)} has {facts.LEGS[x]} legs")


def _draw_home(rng, _):
    x = rng.choice(list(facts.HOMES))
    return _animal_slots(x), sentence(f"{with_article(x)} lives {facts.HOMES[x]}")


def _draw_shape(rng, _):
    x = rng.choice(list(facts.SHAPES))
    return {"x": x}, sentence(f"{with_article(x)} has {facts.SHAPES[x]} sides")


def _draw_parts(rng, _):
    x, y, n = rng.choice(facts.PARTS)
    return {"x": x, "y": y}, f"A {x} has {n} {y}."


def _draw_count_up(rng, _):
    a = rng.randint(0, 90)
    b = a + rng.randint(2, 9)
    return {"a": a, "b": b}, ", ".join(map(str, range(a, b + 1))) + "."


def _draw_count_down(rng, _):
    b = rng.randint(0, 90)
    a = b + rng.randint(2, 9)
    return {"a": a, "b": b}, ", ".join(map(str, range(a, b - 1, -1))) + "."


def _draw_number_after(rng, _):
    a = rng.randint(0, 98)
    return {"a": a}, f"The number after {a} is {a + 1}."


def _draw_number_before(rng, _):
    a = rng.randint(1, 99)
    return {"a": a}, f"The number before {a} is {a - 1}."


def _two_numbers(rng):
    a, b = rng.sample(range(100), 2)
    return {"a": a, "b": b}, max(a, b), min(a, b)


def _draw_bigger_number(rng, _):
    slots, big, small = _two_numbers(rng)
    return slots, f"{big} is bigger than {small}."


def _draw_smaller_number(rng, _):
    slots, big, small = _two_numbers(rng)
    return slots, f"{small} is smaller than {big}."


def _draw_bigger_animal(rng, _):
    i, j = rng.sample(range(len(facts.SIZES)), 2)
    x, y = with_article(facts.SIZES[i]), with_article(facts.SIZES[j])
    big, small = (x, y) if i > j else (y, x)
    return {"ax": x, "ay": y, "Ax": x[0].upper() + x[1:]}, sentence(f"{big} is bigger than {small}")


def _draw_parity(rng, _):
    a = rng.randint(0, 99)
    return {"a": a}, f"{a} is {'odd' if a % 2 else 'even'}."


def _draw_spell_number(rng, _):
    a = rng.randint(0, 99)
    return {"a": a}, f"{a} in words is {facts.in_words(a)}."


def _listing(names):
    return ", ".join(names[:-1]) + " and " + names[-1]


def _draw_list_days(rng, _):
    return {}, f"The days of the week are {_listing(facts.DAYS)}."


def _draw_list_months(rng, _):
    return {}, f"The months of the year are {_listing(facts.MONTHS)}."


def _draw_echo(rng, _):
    x = " ".join(rng.choice(words.ALL) for _ in range(rng.randint(1, 5)))
    return {"x": x}, x


def _draw_my_name(rng, _):
    x = rng.choice(facts.PEOPLE)
    return {"x": x}, f"Nice to meet you, {x}."


_CONSTANT = {"hello": GREETING, "how_are_you": WELL, "bye": FAREWELL, "thanks": WELCOME, "who": NAME, "maker": MAKER,
             "can": SKILLS, "human": MACHINE, "ask_my_name": NO_NAME}

# How often each intent is drawn. Sums need by far the most examples; constants need few.
WEIGHTS = {
    "add": 26, "sub": 26, "mul": 14, "capital": 6, "country": 6, "day_after": 2.5, "day_before": 2.5,
    "month_after": 2.5, "month_before": 2.5, "month_number": 2.5, "month_length": 3.5, "colour": 5, "mix": 3,
    "opposite": 6, "sound": 3, "baby": 3, "legs": 3, "home": 3.5, "shape": 2, "parts": 2, "count_up": 4,
    "count_down": 4, "number_after": 4, "number_before": 4, "bigger_number": 5, "smaller_number": 5,
    "bigger_animal": 5, "parity": 3, "spell_number": 5,
    "list_days": 0.7, "list_months": 0.7, "echo": 4, "hello": 3.5, "how_are_you": 3.5, "bye": 3.5, "thanks": 3.5,
    "who": 4, "maker": 3.5, "can": 4, "human": 3.5, "my_name": 4.5, "ask_my_name": 2.5,
}


def ask(rng, intent, held_out=False):
    """(question, answer) for one intent, from the training phrasings or from the held-out ones."""
    if intent in _CONSTANT:
        slots, answer = {}, _CONSTANT[intent]
    else:
        slots, answer = globals()[f"_draw_{intent}"](rng, held_out)
    lines = (phrasings.HELD_OUT if held_out else phrasings.TRAIN)[intent]
    return rng.choice(lines).format(**slots), answer


def ask_line(rng, intent, line):
    """(question, answer) for one given phrasing, with the held-out slot values."""
    slots, answer = ({}, _CONSTANT[intent]) if intent in _CONSTANT else globals()[f"_draw_{intent}"](rng, True)
    return line.format(**slots), answer


def ask_story(rng, template, slots=stories.SLOTS):
    """(question, story, the slots that the question fixed)."""
    question, fixed = stories.request(rng, template, slots)
    return question, stories.tell(rng, stories.bind(rng, fixed, slots)), fixed
