"""The texts of the attack: what the attacker learns from, and what he is to read, which he has not seen."""

import random
import re
import string
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "mini"))
import corpus  # noqa: E402
import intents  # noqa: E402
import phrasings  # noqa: E402
import words  # noqa: E402

LEARN_SEED, READ_SEED = 1101, 1102
STORIES_SHARE = 0.2


def as_turns(system, turns):
    out = [["system", system]] if system else []
    for question, answer, *_ in turns:
        out += [["user", question], ["assistant", answer]]
    return out


def noise(rng):
    """Words and strings in no order: an attacker who has the model makes states of whatever he likes."""
    def one():
        if rng.random() < 0.5:
            return rng.choice(words.ALL)
        return "".join(rng.choices(string.ascii_letters + "eeaaiioottnnssrr" + string.digits, k=rng.randint(1, 7)))

    parts = [one() + rng.choice(["", "", "", ",", ".", ":", ";", "-", "("]) for _ in range(rng.randint(10, 60))]
    return [["user", " ".join(parts)]]


def to_learn(count):
    """Two in three of the kind that the model was trained on, by its phrasings for training; one in three is noise."""
    rng = random.Random(LEARN_SEED)
    return [noise(rng) if number % 3 == 2 else as_turns(*corpus.conversation(rng)) for number in range(count)]


def held_out(count):
    """Conversations by phrasings that stand in no training text, of the model or of the attacker."""
    rng = random.Random(READ_SEED)
    lines = [(intent, line) for intent, found in phrasings.HELD_OUT.items() if intent != "story" for line in found]
    out = []
    for _ in range(count):
        if rng.random() < STORIES_SHARE:
            question, story, _ = intents.ask_story(rng, rng.choice(phrasings.HELD_OUT["story"]))
            out.append(as_turns(None, [(question, story)]))
        else:
            out.append(as_turns(None, [intents.ask_line(rng, *rng.choice(lines))]))
    return out


def foreign(count):
    """Sentences unlike anything that the model or the attacker was trained on: this project's pages."""
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "protocol").glob("*.md"))]
    plain = " ".join(re.sub(r"(?s)```.*?```|^[|#].*?$", " ", page.read_text(), flags=re.MULTILINE) for page in pages)
    sentences = [" ".join(one.split()) for one in re.split(r"(?<=[.:;])\s", plain)]
    sentences = [one for one in sentences if one.isascii() and 40 <= len(one) <= 300]
    return [[["user", one]] for one in random.Random(READ_SEED).sample(sentences, min(count, len(sentences)))]
