#!/usr/bin/env python3
"""Writes shard.json and the seeds of its fuzz target, from the page and not from the C++.

Run it again only when shard.md changes, and read the difference.
"""
from generate import Page, run, t32, u8, u32, u64


def manifest(magic=b"SC1M", version=1, model=run(0x21, 32), head=b"GGUF and more", pieces=(), count=None):
    return (magic + u8(version) + model + t32(head) + u32(len(pieces) if count is None else count)
            + b"".join(id + u64(offset) + u64(size) for id, offset, size in pieces))


def main():
    p = Page("shard", {"manifest": 0})
    a, b = run(0x40, 32), run(0x80, 32)

    def good(name, head, pieces):
        p.good(name, "manifest", manifest(head=head, pieces=pieces), model=run(0x21, 32).hex(), head=head.hex(),
               pieces=[{"id": id.hex(), "offset": offset, "bytes": size} for id, offset, size in pieces])

    def bad(name, error="invalid", **d):
        d.setdefault("pieces", [(a, 32, 32)])
        p.bad(name, "manifest", manifest(**d), error)

    good("two_pieces", b"GGUF and more", [(a, 32, 100), (b, 160, 7)])
    good("without_a_gap", b"12345678", [(a, 8, 1), (a, 9, 1)])
    good("at_the_end_of_numbers", b"1", [(a, 2**64 - 2, 1)])
    bad("magic", "malformed", magic=b"SC1D")
    bad("version_2", "unsupported", version=2)
    bad("no_head", head=b"")
    bad("no_pieces", pieces=[])
    bad("piece_of_nothing", pieces=[(a, 32, 0)])
    bad("piece_in_the_head", pieces=[(a, 12, 8)])
    bad("pieces_out_of_order", pieces=[(a, 64, 32), (b, 32, 32)])
    bad("pieces_on_top_of_each_other", pieces=[(a, 32, 32), (b, 63, 32)])
    bad("piece_beyond_numbers", pieces=[(a, 2**64 - 1, 1)])
    bad("fewer_than_said", "malformed", count=2)
    bad("more_than_said", "malformed", pieces=[(a, 32, 32), (b, 64, 32)], count=1)
    bad("absurd_number", "malformed", count=2**32 - 1)
    p.write()


main()
