"""Byte-level BPE, as llama.cpp's "qwen2" pre-tokenizer splits it: digits stand alone, so that sums can be learnt.

Own trainer and encoder, standard library only. The generated corpus is ASCII; `encode` refuses anything else, because
Python's `re` knows no Unicode classes (the GGUF carries the full vocabulary of 256 bytes; llama.cpp encodes the rest).
"""

import heapq
import json
import re
from collections import Counter, defaultdict

BEGIN, END, SYSTEM, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS = [BEGIN, END, SYSTEM, USER, ASSISTANT]

# The ASCII reading of the expression behind llama.cpp's pre-tokenizer named "qwen2".
PRETOKEN = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*"
                      r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def _byte_names():
    """GPT-2's printable names of the 256 bytes."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    names, extra = {}, 0
    for b in range(256):
        if b in kept:
            names[b] = chr(b)
        else:
            names[b] = chr(256 + extra)
            extra += 1
    return names


BYTE_NAMES = _byte_names()


def _named(text):
    return tuple(BYTE_NAMES[b] for b in text.encode())


def train(texts, size):
    """Merges, most frequent pair first (ties by spelling), until specials + bytes + merges make `size` tokens."""
    counts = Counter(p for text in texts for p in PRETOKEN.findall(text))
    words = [(list(_named(w)), n) for w, n in sorted(counts.items())]
    pairs, where = Counter(), defaultdict(set)
    for i, (symbols, n) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += n
            where[pair].add(i)
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while len(SPECIALS) + 256 + len(merges) < size:
        if not heap:
            raise ValueError(f"the corpus has too few different words for {size} tokens")
        n, pair = heapq.heappop(heap)
        if -n != pairs[pair] or n == 0:
            if pairs[pair] > 0 and -n != pairs[pair]:
                heapq.heappush(heap, (-pairs[pair], pair))
            continue
        merges.append(pair)
        for changed in _apply(words, where, pairs, pair):
            heapq.heappush(heap, (-pairs[changed], changed))
    return merges


def _apply(words, where, pairs, pair):
    """Joins `pair` in every word that holds it; returns the pairs whose counts grew."""
    grown = set()
    for i in sorted(where.pop(pair)):
        symbols, n = words[i]
        for old in zip(symbols, symbols[1:]):
            pairs[old] -= n
        joined = _merge(symbols, pair)
        words[i] = (joined, n)
        for new in zip(joined, joined[1:]):
            pairs[new] += n
            where[new].add(i)
            grown.add(new)
    pairs[pair] = 0
    grown.discard(pair)
    return grown


def _merge(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


class Tokenizer:
    """Token ids: the specials, the 256 bytes, then one token a merge, in order of merging."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.tokens = SPECIALS + [BYTE_NAMES[b] for b in range(256)] + [a + b for a, b in self.merges]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self._bytes = {name: b for b, name in BYTE_NAMES.items()}
        self._cache = {}

    def special(self, name):
        return SPECIALS.index(name)

    def _encode_word(self, word):
        symbols = list(_named(word))
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if best not in self.rank:
                break
            symbols = _merge(symbols, best)
        return [self.ids[s] for s in symbols]

    def encode(self, text):
        """Plain text; the names of special tokens are not recognised here."""
        if not text.isascii():
            raise ValueError("the corpus is ASCII only")
        out = []
        for word in PRETOKEN.findall(text):
            if word not in self._cache:
                self._cache[word] = self._encode_word(word)
            out += self._cache[word]
        return out

    def decode(self, ids):
        data = bytearray()
        for i in ids:
            data += self.tokens[i].encode() if i < len(SPECIALS) else bytes(self._bytes[c] for c in self.tokens[i])
        return data.decode(errors="replace")

    def save(self, path):
        path.write_text(json.dumps({"merges": [" ".join(m) for m in self.merges]}, indent=0) + "\n")

    @staticmethod
    def load(path):
        return Tokenizer([tuple(m.split(" ")) for m in json.loads(path.read_text())["merges"]])
