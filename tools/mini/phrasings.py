"""How people ask: one question template a line, for each intent. The lines are in phrasings.txt.

Slots are in braces and are filled by intents.py. Which lines are held out of training is decided by `is_held_out`
from the hash of the line alone, never by hand, so nobody (the author included) can pick the easy ones.
"""

import hashlib
import re
from pathlib import Path

HELD_OUT_SHARE = 6  # one line in six


def normal(text):
    """Lower case without punctuation marks: two lines that differ in nothing else count as one phrasing."""
    return " ".join(re.sub(r"[.,!?:;]", " ", text.lower()).split())


def is_held_out(intent, line):
    line = normal(line)
    return hashlib.sha256(f"{intent}|{line}".encode()).digest()[0] % HELD_OUT_SHARE == 0


def _parse(text):
    tables, name = {}, None
    for line in text.strip().splitlines():
        head = re.fullmatch(r"\[(\w+)\]", line)
        if head:
            name = head.group(1)
            tables[name] = []
        elif line:
            tables[name].append(line)
    return tables


ALL = _parse((Path(__file__).parent / "phrasings.txt").read_text())
TRAIN = {intent: [t for t in lines if not is_held_out(intent, t)] for intent, lines in ALL.items()}
HELD_OUT = {intent: [t for t in lines if is_held_out(intent, t)] for intent, lines in ALL.items()}
