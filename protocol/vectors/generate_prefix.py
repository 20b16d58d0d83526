#!/usr/bin/env python3
"""Writes prefix.json and the seeds of its fuzz target, from the page and not from the C++.

Run it again only when prefix.md changes, and read the difference.
"""
from generate import Page, run, u8, u32, zeros

TOKENS_MAX = 2**20
PIECE_MAX = 256 * 1024


def fetch(model=run(1, 32), chain=run(2, 32), tokens=640): return u8(1) + model + chain + u32(tokens)
def piece(last, data): return u8(3) + u8(last) + u32(len(data)) + data


def main():
    p = Page("prefix", {"fetch": 0})

    def good_fetch(name, tokens):
        p.good(name, "fetch", fetch(tokens=tokens), model=run(1, 32).hex(), chain=run(2, 32).hex(), tokens=tokens)

    good_fetch("fetch", 640)
    good_fetch("fetch_largest", TOKENS_MAX)
    p.bad("fetch_nothing", "fetch", fetch(tokens=0), "invalid")
    p.bad("fetch_too_many", "fetch", fetch(tokens=TOKENS_MAX + 1), "invalid")
    p.bad("fetch_of_no_model", "fetch", fetch(model=zeros(32)), "invalid")
    p.bad("fetch_left_over", "fetch", fetch() + b"\0")
    p.good("reading", "reading", u8(2))
    p.bad("reading_left_over", "reading", u8(2) + b"\0")
    p.good("piece", "piece", piece(0, run(3, 100)), bytes=run(3, 100).hex(), last=False)
    p.good("piece_last", "piece", piece(1, b"\x07"), bytes="07", last=True)
    p.bad("piece_without_bytes", "piece", piece(1, b""), "invalid")
    p.bad("piece_flag_2", "piece", piece(2, b"x"))
    p.bad("piece_longer_than_announced", "piece", piece(0, b"xy") + b"z")
    p.bad("piece_too_large", "piece", u8(3) + u8(0) + u32(PIECE_MAX + 1), "invalid")
    for reason, name in enumerate(("gone", "busy", "stranger")):
        p.good(f"refused_{name}", "refused", u8(4) + u8(reason), reason=reason)
    p.bad("refused_3", "refused", u8(4) + u8(3))
    p.bad("refused_left_over", "refused", u8(4) + u8(0) + b"\0")
    p.bad("kind_0", "fetch", u8(0))
    p.bad("kind_5", "fetch", u8(5))
    p.write()


main()
