#!/usr/bin/env python3
"""Writes stage_pipe.json and the seeds of its fuzz target, from the page and not from the C++.

Run it again only when stage_pipe.md, stage.md or pipe.md changes, and read the difference.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE.parent.parent / "test" / "corpus" / "engine_stage_pipe_fuzz"
TENSOR_MAX = 32 * 1024 * 1024


def p(form, *values): return struct.pack("<" + form, *values)
def t16(text): return p("H", len(text)) + text
def t32(data): return p("I", len(data)) + data
def run(first, count): return bytes((first + i) % 256 for i in range(count))
def frame(kind, body): return p("IB", 1 + len(body), kind) + body


# The first line of the page's example.
LOAD = {"first": 2, "end": 4, "type": 1, "width": 64, "context": 128, "sequences": 2, "threads": 1, "cache": 0,
        "pieces": 0}
LARGEST = {"first": 511, "end": 512, "type": 2, "width": 65536, "context": 1 << 20, "sequences": 256, "threads": 1024,
           "cache": 1, "pieces": 1}
SMALLEST = {"first": 0, "end": 1, "type": 0, "width": 32, "context": 1, "sequences": 1, "threads": 0, "cache": 0,
            "pieces": 0}
MODEL = run(1, 32)
# The least row that there is, width 32 in q8_0; and two of them.
ROW, TWO = run(0x40, 34), run(0x50, 68)
FLOATS = bytes.fromhex("0000803f000000c0")  # 1, -2


def read(*of): return frame(7, p("HIBHIH", *of))


def fill(sequence=1, position=5, rows=2, tensor=b"abcd"):
    return frame(6, p("HIH", sequence, position, rows) + t32(tensor))


def load_body(**changed): return p("HHBIIHHBB", *(LOAD | changed).values())
def load(**changed): return frame(1, load_body(**changed))
def rows(parts, tensor): return p("H", len(parts)) + b"".join(p("HIH", *part) for part in parts) + t32(tensor)
def compute(parts=((0, 0, 1),), tensor=ROW): return frame(2, rows(parts, tensor))
def truncate(sequence, length): return frame(3, p("HI", sequence, length))
def loading(share): return frame(16, p("f", share))
def computed(busy, tensor): return frame(18, p("I", busy) + t32(tensor))
def piece(data): return frame(8, t32(data))
def want(offset, count, of=None): return frame(24, (of or MODEL) + p("QI", offset, count))
def load_rank(rank, ranks, **changed): return frame(4, load_body(**changed) + p("BB", rank, ranks))
def reduce(kind, reduction, step, data): return frame(kind, p("QB", reduction, step) + t32(data))
def failed(code, text=b""): return frame(19, p("B", code) + t16(text))


def good_to_stage():
    for name, changed in (("load", {}), ("load_largest", LARGEST), ("load_smallest", SMALLEST),
                          ("load_all_layers", {"first": 0, "end": 512})):
        yield name, "load", LOAD | changed, load(**changed)
    for name, parts, tensor in (
            ("compute", [(0, 0, 1)], bytes(128)), ("compute_least", [(0, 0, 1)], ROW),
            ("compute_two_sequences", [(1, 5, 1), (255, 1048575, 1)], TWO),
            ("compute_most_rows", [(3, 1048064, 512)], bytes(512 * 34)),
            ("compute_most_sequences", [(i, i, 2) for i in range(256)], bytes(512 * 34))):
        yield name, "compute", {"parts": parts, "tensor": tensor.hex()}, compute(parts, tensor)
    names = ("sequence", "tokens", "what", "layer", "position", "rows")
    for name, of in (("read_hashes", (1, 64, 0, 0, 0, 0)), ("read_keys", (1, 64, 1, 2, 5, 2)),
                     ("read_values", (255, 1048576, 2, 511, 1048575, 1))):
        yield name, "read", dict(zip(names, of)), read(*of)
    for name, sequence, position in (("fill", 1, 5), ("fill_first", 0, 0), ("fill_last", 255, 1048574)):
        yield name, "fill", {"sequence": sequence, "position": position, "rows": 2, "tensor": b"abcd".hex()}, fill(
            sequence, position)
    for name, sequence, length in (("truncate", 1, 40), ("truncate_all", 0, 0), ("truncate_last", 255, 1048575)):
        yield name, "truncate", {"sequence": sequence, "length": length}, truncate(sequence, length)
    for name, data in (("piece", ROW), ("piece_missing", b"")):
        yield name, "piece", {"bytes": data.hex()}, piece(data)
    for name, rank, ranks, changed in (("load_rank", 1, 2, {}), ("load_rank_last", 7, 8, {"width": 32768})):
        yield name, "load_rank", LOAD | changed | {"rank": rank, "ranks": ranks}, load_rank(rank, ranks, **changed)
    yield from good_reduces("reduce", 5)


def good_reduces(kind, number):
    for name, reduction, step, data in (("", 1, 0, FLOATS), ("_last", 2**64 - 1, 13, FLOATS[:4])):
        yield kind + name, kind, {"reduction": reduction, "step": step, "data": data.hex()}, reduce(
            number, reduction, step, data)


def bad_reduces(kind, number):
    for name, reduction, step, data in (("0", 0, 0, FLOATS), ("step_14", 1, 14, FLOATS), ("nothing", 1, 0, b""),
                                        ("half_a_float", 1, 0, FLOATS[:6])):
        yield f"{kind}_{name}", reduce(number, reduction, step, data)
    yield f"{kind}_too_large", frame(number, p("QBI", 1, 0, TENSOR_MAX + 4) + FLOATS)
    yield f"{kind}_short", frame(number, p("QB", 1, 0))
    yield f"{kind}_left_over", frame(number, p("QB", 1, 0) + t32(FLOATS) + b"\0")


def good_from_stage():
    for name, share in (("loading_none", 0.0), ("loading_quarter", 0.25), ("loading_all", 1.0)):
        yield name, "loading", {"share": share}, loading(share)
    yield "loaded", "loaded", {"model_id": MODEL.hex(), "kv": []}, frame(17, MODEL + p("H", 0))
    yield ("loaded_that_can_be_filled", "loaded", {"model_id": MODEL.hex(), "kv": [128, 0, [0, 256, 0, 128]]},
           frame(17, MODEL + p("HIIBIBI", 1, 128, 0, 0, 256, 0, 128)))
    for name, busy, tensor in (("computed", 1000, bytes(128)), ("computed_least", 0, ROW),
                               ("computed_long", 2**32 - 1, TWO)):
        yield name, "computed", {"busy_us": busy, "tensor": tensor.hex()}, computed(busy, tensor)
    for name, code, text in (
            ("failed_refused", 0, "the model's width is 64, not 32"), ("failed_protocol", 2, ""),
            ("failed_engine", 3, "Größe 🐟"), ("failed_not_finite", 4, "a" * 512)):
        yield name, "failed", {"code": code, "text": text}, failed(code, text.encode())
    yield "given", "given", {"bytes": ROW.hex()}, frame(22, t32(ROW))
    yield "given_least", "given", {"bytes": "07"}, frame(22, t32(b"\7"))
    yield "working", "working", {}, frame(20, b"")
    for name, offset, count in (("want", 0, 1), ("want_most", 2**64 - 1, 1 << 18)):
        yield name, "want", {"piece": MODEL.hex(), "offset": offset, "bytes": count}, want(offset, count)
    yield from good_reduces("reduced", 21)
    for name, layers, of in (("placed_one", 1, 512), ("placed_all", 512, 512)):
        yield name, "placed", {"layers": layers, "all": of}, frame(31, p("HH", layers, of))


def bad_to_stage():
    for name, changed in (
            ("no_layers", {"first": 4}), ("layers_backwards", {"first": 8}), ("too_many_layers", {"end": 513}),
            ("unknown_type", {"type": 3}), ("no_width", {"width": 0}), ("odd_width", {"width": 80}),
            ("width_too_large", {"width": 65568}), ("no_context", {"context": 0}),
            ("context_too_large", {"context": (1 << 20) + 1}), ("no_sequences", {"sequences": 0}),
            ("too_many_sequences", {"sequences": 257}), ("too_many_threads", {"threads": 1025}),
            ("unknown_cache", {"cache": 2}), ("unknown_pieces", {"pieces": 2})):
        yield f"load_{name}", load(**changed)
    yield "load_short", frame(1, load_body()[:-1])
    yield "load_left_over", frame(1, load_body() + b"\0")
    for name, parts, tensor in (
            ("no_rows", [], b""), ("tensor_of_nothing", [], ROW), ("no_tensor", [(0, 0, 1)], b""),
            ("part_without_rows", [(0, 0, 0)], ROW), ("sequence_256", [(256, 0, 1)], ROW),
            ("unsorted", [(1, 0, 1), (0, 0, 1)], TWO), ("twice_one_sequence", [(1, 0, 1), (1, 1, 1)], TWO),
            ("position_out_of_range", [(0, 1048576, 1)], ROW), ("position_overflow", [(0, 2**32 - 1, 1)], ROW),
            ("rows_beyond_the_last", [(0, 1048575, 2)], TWO), ("too_many_rows", [(0, 0, 513)], bytes(513 * 34)),
            ("too_many_parts", [(i, 0, 1) for i in range(257)], bytes(257 * 34)),
            ("tensor_too_short", [(0, 0, 1)], ROW[:33]), ("tensor_not_of_rows", [(0, 0, 2)], TWO + b"\0")):
        yield f"compute_{name}", compute(parts, tensor)
    yield "compute_tensor_longer_than_the_frame", frame(2, p("HHIHI", 1, 0, 0, 1, 35) + ROW)
    yield "compute_tensor_too_large", frame(2, p("HHIHI", 1, 0, 0, 1, TENSOR_MAX + 1) + ROW)
    yield "compute_short", frame(2, p("H", 1))
    yield "compute_left_over", frame(2, rows([(0, 0, 1)], ROW) + b"\0")
    yield "read_no_rows", read(1, 64, 1, 2, 5, 0)
    yield "read_beyond_the_tokens", read(1, 64, 1, 2, 63, 2)
    yield "read_unknown", read(1, 64, 3, 2, 5, 2)
    yield "read_short", frame(7, p("HIBHI", 1, 64, 1, 2, 5))
    yield "read_left_over", frame(7, p("HIBHIHB", 1, 64, 1, 2, 5, 2, 0))
    yield "fill_nothing", fill(tensor=b"")
    yield "fill_odd", fill(tensor=b"abc")
    yield "fill_no_rows", fill(rows=0)
    yield "fill_sequence_256", fill(256)
    yield "fill_beyond_the_last", fill(position=1048575)
    yield "fill_left_over", frame(6, p("HIH", 1, 5, 2) + t32(b"abcd") + b"\0")
    yield "truncate_sequence_256", truncate(256, 40)
    yield "truncate_too_long", truncate(1, 1 << 20)
    yield "truncate_short", frame(3, p("HH", 1, 40))
    yield "truncate_left_over", frame(3, p("HIB", 1, 40, 0))
    yield "piece_too_large", frame(8, p("I", (1 << 18) + 1) + ROW)
    yield "piece_longer_than_the_frame", frame(8, p("I", 35) + ROW)
    yield "piece_left_over", frame(8, t32(ROW) + b"\0")
    yield "unknown_kind_0_to", frame(0, b"")
    yield "unknown_kind_6_to", frame(6, b"")
    for name, rank, ranks, changed in (
            ("of_none", 0, 0, {}), ("of_one", 0, 1, {}), ("of_nine", 0, 9, {}), ("behind_the_last", 2, 2, {}),
            ("too_wide", 0, 2, {"width": 32800}), ("no_layers", 0, 2, {"first": 4})):
        yield f"load_rank_{name}", load_rank(rank, ranks, **changed)
    yield "load_rank_short", frame(4, load_body() + b"\0")
    yield "load_rank_left_over", frame(4, load_body() + b"\0\2\0")
    yield from bad_reduces("reduce", 5)
    for name, _, _, data in good_from_stage():
        yield f"wrong_way_{name}", data


def bad_from_stage():
    for name, share in (("above_one", 1.5), ("below_zero", -0.5), ("negative_zero", -0.0), ("endless", float("inf")),
                        ("not_a_number", float("nan"))):
        yield f"loading_{name}", loading(share)
    yield "loading_short", frame(16, p("H", 0))
    yield "loading_left_over", frame(16, p("fB", 0.5, 0))
    yield "want_nothing", want(0, 0)
    yield "want_too_much", want(0, (1 << 18) + 1)
    yield "want_no_piece", want(0, 1, bytes(32))
    yield "want_short", frame(24, MODEL + p("QH", 0, 1))
    yield "given_nothing", frame(22, t32(b""))
    yield "given_short", frame(22, p("I", 2) + b"a")
    yield "given_left_over", frame(22, t32(ROW) + b"\0")
    yield "loaded_no_id", frame(17, bytes(32) + p("H", 0))
    yield "loaded_short", frame(17, MODEL + b"\0")
    yield "loaded_left_over", frame(17, MODEL + p("HB", 0, 0))
    yield "loaded_no_keys", frame(17, MODEL + p("HIIBIBI", 1, 0, 0, 0, 0, 0, 128))
    yield "computed_no_tensor", computed(1000, b"")
    yield "computed_less_than_a_row", computed(1000, ROW[:33])
    yield "computed_tensor_longer_than_the_frame", frame(18, p("II", 1000, 35) + ROW)
    yield "computed_tensor_too_large", frame(18, p("II", 1000, TENSOR_MAX + 1) + ROW)
    yield "computed_short", frame(18, p("I", 1000))
    yield "computed_left_over", frame(18, p("I", 1000) + t32(ROW) + b"\0")
    for name, code, text in (
            ("busy", 1, b""), ("next_lost", 5, b""), ("unknown_code", 6, b""), ("two_lines", 3, b"a\nb"),
            ("escape", 3, b"a\x1b[2J"), ("no_utf8", 3, b"\xff"), ("too_long", 3, b"a" * 513)):
        yield f"failed_{name}", failed(code, text)
    yield "failed_short", frame(19, p("B", 3))
    yield "failed_text_longer_than_the_frame", frame(19, p("BH", 3, 2) + b"a")
    yield "failed_left_over", frame(19, p("B", 3) + t16(b"a") + b"\0")
    yield "working_left_over", frame(20, b"\0")
    yield "unknown_kind_15_from", frame(15, b"")
    yield "unknown_kind_22_from", frame(22, b"")
    yield from bad_reduces("reduced", 21)
    for name, layers, of in (("none", 0, 8), ("more_than_all", 9, 8), ("many", 8, 513)):
        yield f"placed_{name}", frame(31, p("HH", layers, of))
    yield "placed_short", frame(31, p("H", 8))
    yield "placed_left_over", frame(31, p("HHB", 8, 8, 0))
    for name, _, _, data in good_to_stage():
        if len(data) < 2048:
            yield f"wrong_way_{name}", data


def main():
    entries, seeds = [], {}
    for way, (kind, good) in enumerate((("to_stage", good_to_stage), ("from_stage", good_from_stage))):
        for name, what, fields, data in good():
            entries.append({"name": name, "type": kind, "kind": what, "fields": fields, "hex": data.hex()})
            if len(data) < 2048:
                seeds[name] = p("B", way) + data[4:]
    for kind, bad in (("to_stage", bad_to_stage), ("from_stage", bad_from_stage)):
        entries += [{"name": name, "type": kind, "error": True, "hex": data.hex()} for name, data in bad()]
    (HERE / "stage_pipe.json").write_text(json.dumps(entries, indent=1) + "\n")
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (SEEDS / name).write_bytes(data)


main()
