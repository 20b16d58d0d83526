#!/usr/bin/env python3
"""Writes stage_group.json and its seeds for the fuzz target of stage messages, from the page and not from the C++.

Run it again only when stage_group.md or stage.md changes, and read the difference.
"""
import json

from generate import CORPUS, HERE, run, t32, u8, u16, u32, u64, zeros

SESSION, MODEL, NEXT = run(0x10, 16), run(0x20, 32), run(0x60, 32)
RANKS = [run(0x81 + i, 32) for i in range(8)]
# The least row that there is, width 32 in q8_0; and two of them.
ROW, TWO = run(0x40, 34), run(0x50, 68)
ENTRIES = []


def good(name, data, /, **fields):
    ENTRIES.append({"name": name, "type": "stage_group", "fields": fields, "hex": data.hex()})


def bad(name, data, error="invalid"):
    ENTRIES.append({"name": name, "type": "stage_group", "error": error, "hex": data.hex()})


def rows(parts, tensor):
    return u16(len(parts)) + b"".join(u16(s) + u32(p) + u16(n) for s, p, n in parts) + t32(tensor)


def open_body(width=4096, hop=2):
    return SESSION + MODEL + u16(4) + u16(8) + u8(hop) + u8(1) + u32(width) + u32(8192) + u16(16) + NEXT


def group_open(rank=0, ranks=RANKS[:2], count=None, **changed):
    return u8(32) + open_body(**changed) + u8(rank) + u8(len(ranks) if count is None else count) + b"".join(ranks)


def opens():
    fields = {"kind": 32, "session": SESSION.hex(), "model": MODEL.hex(), "first": 4, "end": 8, "hop": 2,
              "activations": 1, "width": 4096, "context": 8192, "sequences": 16, "next": NEXT.hex()}
    for name, rank, ranks in (("open", 0, RANKS[:2]), ("open_last_of_three", 2, RANKS[:3]), ("open_most", 7, RANKS)):
        good(name, group_open(rank, ranks), **fields, rank=rank, ranks=[node.hex() for node in ranks])
    good("open_widest", group_open(width=32768), **fields | {"width": 32768}, rank=0,
         ranks=[node.hex() for node in RANKS[:2]])
    bad("open_of_none", group_open(ranks=[]))
    bad("open_of_one", group_open(ranks=RANKS[:1]))
    bad("open_of_nine", group_open(ranks=[*RANKS, run(1, 32)]))
    bad("open_rank_behind_the_last", group_open(rank=2))
    bad("open_node_twice", group_open(ranks=[RANKS[0], RANKS[1], RANKS[0]]))
    bad("open_no_node", group_open(ranks=[RANKS[0], zeros(32)]))
    bad("open_too_wide", group_open(width=32800))
    bad("open_hop_0", group_open(hop=0))
    bad("open_rank_missing", group_open(count=3), "malformed")
    bad("open_left_over", group_open() + b"\0", "malformed")


def ring():
    good("join", u8(33) + SESSION + u8(64) + u8(7), kind=33, session=SESSION.hex(), hop=64, rank=7)
    bad("join_hop_65", u8(33) + SESSION + u8(65) + u8(0))
    bad("join_hop_0", u8(33) + SESSION + u8(0) + u8(0))
    bad("join_rank_8", u8(33) + SESSION + u8(1) + u8(8))
    bad("join_no_session", u8(33) + zeros(16) + u8(1) + u8(1))
    for kind, name in ((34, "probe"), (35, "echo")):
        good(name, u8(kind) + u8(1), kind=kind, number=1)
        good(f"{name}_last", u8(kind) + u8(8), kind=kind, number=8)
        bad(f"{name}_0", u8(kind) + u8(0))
        bad(f"{name}_9", u8(kind) + u8(9))
        bad(f"{name}_left_over", u8(kind) + u8(1) + b"\0", "malformed")
    good("alive", u8(40), kind=40)
    bad("alive_left_over", u8(40) + b"\0", "malformed")


def computing():
    good("compute", u8(36) + u64(1) + rows([(0, 0, 1)], ROW), kind=36, number=1,
         rows={"parts": [[0, 0, 1]], "tensor": ROW.hex()})
    good("compute_two_sequences", u8(36) + u64(2**64 - 1) + rows([(1, 5, 1), (255, 1048575, 1)], TWO), kind=36,
         number=2**64 - 1, rows={"parts": [[1, 5, 1], [255, 1048575, 1]], "tensor": TWO.hex()})
    bad("compute_0", u8(36) + u64(0) + rows([(0, 0, 1)], ROW))
    bad("compute_no_rows", u8(36) + u64(1) + rows([], b""))
    bad("compute_left_over", u8(36) + u64(1) + rows([(0, 0, 1)], ROW) + b"\0", "malformed")
    good("truncate", u8(37) + u16(255) + u32(1048575), kind=37, sequence=255, length=1048575)
    bad("truncate_sequence_256", u8(37) + u16(256) + u32(0))
    bad("truncate_too_long", u8(37) + u16(0) + u32(1048576))
    bad("truncate_left_over", u8(37) + u16(0) + u32(0) + b"\0", "malformed")
    floats = bytes.fromhex("0000803f000000c0")  # 1, -2
    good("reduce", u8(38) + u64(1) + u8(0) + t32(floats), kind=38, reduction=1, step=0, data=floats.hex())
    good("reduce_last_step", u8(38) + u64(2**64 - 1) + u8(13) + t32(floats[:4]), kind=38, reduction=2**64 - 1, step=13,
         data=floats[:4].hex())
    bad("reduce_0", u8(38) + u64(0) + u8(0) + t32(floats))
    bad("reduce_step_14", u8(38) + u64(1) + u8(14) + t32(floats))
    bad("reduce_nothing", u8(38) + u64(1) + u8(0) + t32(b""))
    bad("reduce_half_a_float", u8(38) + u64(1) + u8(0) + t32(floats[:6]))
    bad("reduce_left_over", u8(38) + u64(1) + u8(0) + t32(floats) + b"\0", "malformed")
    good("agree", u8(39) + u64(3) + run(0xA0, 32), kind=39, number=3, digest=run(0xA0, 32).hex())
    bad("agree_0", u8(39) + u64(0) + run(0xA0, 32))
    bad("agree_left_over", u8(39) + u64(3) + run(0xA0, 32) + b"\0", "malformed")
    bad("unknown_kind_31", u8(31), "malformed")
    bad("unknown_kind_41", u8(41), "malformed")


opens()
ring()
computing()
(HERE / "stage_group.json").write_text(json.dumps(ENTRIES, indent=1) + "\n")
for entry in ENTRIES:
    if "fields" in entry:
        (CORPUS / "wire_stage_fuzz" / f"group_{entry['name']}").write_bytes(bytes.fromhex(entry["hex"]))
