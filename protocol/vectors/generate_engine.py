#!/usr/bin/env python3
"""Writes pipe.json, sampling.json and the seeds of two fuzz targets, from the pages and not from the C++.

Run it again only when pipe.md, sampling.md or model_id.md changes, and read the difference.
"""
import hashlib
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
CORPORA = HERE.parent.parent / "test" / "corpus"


def p(form, *values): return struct.pack("<" + form, *values)
def t16(text): return p("H", len(text.encode())) + text.encode()
def blake(data): return hashlib.blake2b(data, digest_size=32).digest()
def frame(kind, body): return p("IB", 1 + len(body), kind) + body


def chat(text="hi", temperature=0.0):
    body = p("BQfffffIIBH", 0, 0, temperature, 1.0, 0.0, 0.0, 0.0, 0, 16, 0, 1)
    return body + p("BI", 1, len(text.encode())) + text.encode()


def submit(body): return frame(2, p("Q", 7) + bytes(range(32)) + p("I", len(body)) + body)


def load(context=0, sequences=16, threads=0, cells=0, cache=0, repeats=0, model=0, skipped=(0, 0)):
    return p("IHHIBBBHH", context, sequences, threads, cells, cache, repeats, model, *skipped)


def lead(*fields, kind=1, steps=8, first=0, end=0, pieces=0, **named):
    if not fields: named = {"context": 4096, "sequences": 4, "threads": 2} | named
    return frame(4, load(*fields, **named) + p("BHHHB", kind, steps, first, end, pieces))


def rows(parts, tensor):
    return p("H", len(parts)) + b"".join(p("HIH", *part) for part in parts) + p("I", len(tensor)) + tensor


def broken(reason, for_good=0):
    return frame(6, p("B", for_good) + t16(reason))


def returned(tensor): return frame(5, p("I", len(tensor)) + tensor)
def forward(parts, tensor): return frame(25, rows(parts, tensor))
def fill(sequence=3, position=5, rows=2, tensor=b"abcd"):
    return frame(33, p("HIHI", sequence, position, rows, len(tensor)) + tensor)


def piece(data): return frame(12, p("I", len(data)) + data)
def want(offset, count, of=bytes(range(1, 33))): return frame(36, of + p("QI", offset, count))


def finished(reason, prompt, completion, reused, kept=None):
    tail = b"\1" + p("IQ", *kept[:2]) + kept[2] if kept else b"\0"
    return frame(20, p("QBIII", 7, reason, prompt, completion, reused) + tail)


def give(data, last=0): return frame(7, p("QBI", 7, last, len(data)) + data)
def prefix_piece(data, last=0): return frame(30, p("QBI", 5, last, len(data)) + data)
def prefix_open(tokens): return frame(9, p("Q", 5) + CHAIN + p("I", tokens))
def ask(us): return frame(28, p("Q", 7) + CHAIN + p("Q", us))


CHAIN, DIGEST = bytes(range(0x80, 0xA0)), bytes(range(0xA0, 0xC0))
SNAPSHOT_MAX, DAY_US = 1 << 30, 86_400_000_000
# The least row that there is, width 32 in q8_0; and two of them.
ROW, TWO = bytes(range(0x40, 0x40 + 34)), bytes(range(0x50, 0x50 + 68))
MODEL = bytes(range(1, 33))
READY = p("QBII", 1_100_048_384, 7, 4096, 16) + t16("llama") + t16("TinyLlama 1.1B")
GOOD = [
    ("load_defaults", "to_worker", "load", frame(1, load(0, 16, 0, 0, 0))),
    ("load_everything", "to_worker", "load", frame(1, load(1 << 20, 64, 1024, 1 << 26, 1))),
    ("load_repeats", "to_worker", "load", frame(1, load(repeats=1))),
    ("load_draft_model", "to_worker", "load", frame(1, load(model=1))),
    ("load_skipped", "to_worker", "load", frame(1, load(repeats=1, skipped=(1, 512)))),
    ("submit", "to_worker", "submit", submit(chat())),
    ("cancel", "to_worker", "cancel", frame(3, p("Q", 2**64 - 1))),
    ("loading_none", "from_worker", "loading", frame(16, p("f", 0.0))),
    ("loading_half", "from_worker", "loading", frame(16, p("f", 0.5))),
    ("ready", "from_worker", "ready", frame(17, MODEL + READY)),
    ("started", "from_worker", "started", frame(18, p("QI", 7, 19))),
    ("text", "from_worker", "text", frame(19, p("QI", 7, 3) + t16("Größe 🐟"))),
    ("text_longest", "from_worker", "text", frame(19, p("QI", 7, 3) + t16("a" * 8192))),
    ("finished_stop", "from_worker", "finished", finished(0, 19, 4, 0)),
    ("finished_length", "from_worker", "finished", finished(1, 19, 16, 19)),
    ("finished_kept", "from_worker", "finished", finished(0, 80, 4, 0, (64, 12345, DIGEST))),
    ("finished_kept_least", "from_worker", "finished", finished(0, 80, 4, 0, (1, 1, bytes(32)))),
    ("finished_kept_most", "from_worker", "finished", finished(0, 80, 4, 0, (1 << 20, SNAPSHOT_MAX, DIGEST))),
    ("failed_context", "from_worker", "failed", frame(21, p("QBIII", 7, 1, 0, 0, 0) + t16("the prompt has 9 tokens"))),
    ("failed_cancelled", "from_worker", "failed", frame(21, p("QBIII", 7, 9, 19, 3, 16) + t16(""))),
    ("fatal", "from_worker", "fatal", frame(22, p("B", 1) + t16("not a GGUF file"))),
    ("working", "from_worker", "working", frame(23, b"")),
    ("lead", "to_worker", "lead", lead()),
    ("lead_least", "to_worker", "lead", lead(0, 1, 0, 0, 0, kind=0, steps=1)),
    ("lead_most", "to_worker", "lead", lead(1 << 20, 64, 1024, 1 << 26, 1, 1, 1, kind=2, steps=32, first=510, end=511)),
    ("lead_with_layers", "to_worker", "lead", lead(first=1, end=5)),
    ("lead_in_pieces", "to_worker", "lead", lead(pieces=1)),
    ("piece", "to_worker", "piece", piece(ROW)),
    ("piece_missing", "to_worker", "piece", piece(b"")),
    ("want", "from_worker", "want", want(0, 1)),
    ("want_most", "from_worker", "want", want(2**64 - 1, 1 << 18)),
    ("returned_row", "to_worker", "returned", returned(ROW)),
    ("returned_rows", "to_worker", "returned", returned(bytes(3 * 128))),
    ("broken", "to_worker", "broken", broken("a hop is gone")),
    ("broken_for_good", "to_worker", "broken", broken("a hop is gone", 1)),
    ("broken_without_reason", "to_worker", "broken", broken("")),
    ("broken_longest", "to_worker", "broken", broken("a" * 512)),
    ("ends_least", "from_worker", "ends", frame(24, p("IH", 32, 1))),
    ("ends_most", "from_worker", "ends", frame(24, p("IH", 65536, 512))),
    ("forward", "from_worker", "forward", forward([(0, 0, 1)], ROW)),
    ("forward_two_sequences", "from_worker", "forward", forward([(1, 5, 1), (255, 1048575, 1)], TWO)),
    ("forward_most_rows", "from_worker", "forward", forward([(3, 1048064, 512)], bytes(512 * 34))),
    ("truncate_to_nothing", "from_worker", "truncate", frame(26, p("HI", 0, 0))),
    ("truncate_last", "from_worker", "truncate", frame(26, p("HI", 63, (1 << 20) - 1))),
    ("fill", "from_worker", "fill", fill()),
    ("fill_last", "from_worker", "fill", fill(63, 1048574)),
    ("read_hashes", "from_worker", "read", frame(34, p("HIBHIH", 3, 64, 0, 0, 0, 0))),
    ("read_keys", "from_worker", "read", frame(34, p("HIBHIH", 63, 64, 1, 511, 5, 2))),
    ("given", "to_worker", "given", frame(15, p("I", 3) + b"abc")),
    ("filled", "to_worker", "filled", frame(13, b"")),
    ("holds", "to_worker", "holds", frame(14, p("HIIBIBI", 1, 128, 0, 0, 256, 1, 34))),
    ("holds_nothing", "to_worker", "holds", frame(14, p("H", 0))),
    ("cleared", "from_worker", "cleared", frame(27, b"")),
    ("prefix_give", "to_worker", "prefix_give", give(b"abc")),
    ("prefix_give_last", "to_worker", "prefix_give", give(b"a", 1)),
    ("prefix_give_only_the_end", "to_worker", "prefix_give", give(b"", 1)),
    ("prefix_give_up", "to_worker", "prefix_give_up", frame(8, p("Q", 7))),
    ("prefix_open", "to_worker", "prefix_open", prefix_open(64)),
    ("prefix_open_most", "to_worker", "prefix_open", prefix_open(1 << 20)),
    ("prefix_more", "to_worker", "prefix_more", frame(10, p("Q", 5))),
    ("prefix_close", "to_worker", "prefix_close", frame(11, p("Q", 5))),
    ("prefix_ask", "from_worker", "prefix_ask", ask(1_500_000)),
    ("prefix_ask_least", "from_worker", "prefix_ask", ask(0)),
    ("prefix_ask_most", "from_worker", "prefix_ask", ask(DAY_US)),
    ("prefix_refused", "from_worker", "prefix_refused", frame(29, p("Q", 7) + t16("it was altered"))),
    ("prefix_piece", "from_worker", "prefix_piece", prefix_piece(b"abc")),
    ("prefix_piece_last", "from_worker", "prefix_piece", prefix_piece(b"a", 1)),
    ("prefix_gone", "from_worker", "prefix_gone", frame(31, p("Q", 5))),
    ("placed_one", "from_worker", "placed", frame(32, p("HH", 1, 512))),
    ("placed_all", "from_worker", "placed", frame(32, p("HH", 512, 512))),
]
BAD = [
    ("unknown_kind_to", "to_worker", frame(15, b"")),
    ("unknown_kind_from", "from_worker", frame(1, load(0, 16, 0, 0, 0))),
    ("load_no_sequence", "to_worker", frame(1, load(0, 0, 0, 0, 0))),
    ("load_many_sequences", "to_worker", frame(1, load(0, 65, 0, 0, 0))),
    ("load_long_context", "to_worker", frame(1, load((1 << 20) + 1, 16, 0, 0, 0))),
    ("load_many_threads", "to_worker", frame(1, load(0, 16, 1025, 0, 0))),
    ("load_unknown_cache", "to_worker", frame(1, load(0, 16, 0, 0, 2))),
    ("load_repeats_twice", "to_worker", frame(1, load(repeats=2))),
    ("load_two_draft_models", "to_worker", frame(1, load(model=2))),
    ("load_skips_the_first", "to_worker", frame(1, load(skipped=(0, 3)))),
    ("load_skips_nothing", "to_worker", frame(1, load(skipped=(3, 3)))),
    ("load_skips_too_far", "to_worker", frame(1, load(skipped=(3, 513)))),
    ("load_model_and_skipped", "to_worker", frame(1, load(model=1, skipped=(1, 3)))),
    ("load_left_over", "to_worker", frame(1, load(0, 16, 0, 0, 0) + b"\0")),
    ("submit_temperature", "to_worker", submit(chat(temperature=2.5))),
    ("submit_not_a_number", "to_worker", submit(chat(temperature=float("nan")))),
    ("submit_short", "to_worker", submit(chat())[:-1]),
    ("loading_above_one", "from_worker", frame(16, p("f", 1.5))),
    ("loading_not_a_number", "from_worker", frame(16, p("f", float("nan")))),
    ("loading_negative_zero", "from_worker", frame(16, p("f", -0.0))),
    ("ready_no_id", "from_worker", frame(17, bytes(32) + READY)),
    ("ready_no_architecture", "from_worker", frame(17, MODEL + p("QBII", 1, 7, 4096, 16) + t16("") + t16("x"))),
    ("ready_control", "from_worker", frame(17, MODEL + p("QBII", 1, 7, 4096, 16) + t16("llama") + t16("a\x1b[2J"))),
    ("ready_no_context", "from_worker", frame(17, MODEL + p("QBII", 1, 7, 0, 16) + t16("llama") + t16(""))),
    ("text_empty", "from_worker", frame(19, p("QI", 7, 3) + t16(""))),
    ("text_too_long", "from_worker", frame(19, p("QI", 7, 3) + t16("a" * 8193))),
    ("text_no_utf8", "from_worker", frame(19, p("QI", 7, 3) + p("H", 1) + b"\xff")),
    ("finished_unknown", "from_worker", finished(2, 19, 4, 0)),
    ("finished_more_reused_than_read", "from_worker", finished(0, 19, 4, 20)),
    ("finished_without_a_flag", "from_worker", frame(20, p("QBIII", 7, 0, 19, 4, 0))),
    ("finished_kept_flag", "from_worker", frame(20, p("QBIIIB", 7, 0, 19, 4, 0, 2) + p("IQ", 64, 9) + DIGEST)),
    ("finished_kept_no_tokens", "from_worker", finished(0, 80, 4, 0, (0, 9, DIGEST))),
    ("finished_kept_many_tokens", "from_worker", finished(0, 80, 4, 0, ((1 << 20) + 1, 9, DIGEST))),
    ("finished_kept_no_bytes", "from_worker", finished(0, 80, 4, 0, (64, 0, DIGEST))),
    ("finished_kept_too_large", "from_worker", finished(0, 80, 4, 0, (64, SNAPSHOT_MAX + 1, DIGEST))),
    ("finished_kept_short", "from_worker", finished(0, 80, 4, 0, (64, 9, DIGEST[:31]))),
    ("finished_not_kept_and_more", "from_worker", frame(20, p("QBIIIB", 7, 0, 19, 4, 0, 0) + bytes(44))),
    ("failed_more_reused_than_read", "from_worker", frame(21, p("QBIII", 7, 9, 19, 3, 20) + t16(""))),
    ("failed_not_an_engines", "from_worker", frame(21, p("QBIII", 7, 7, 0, 0, 0) + t16("x"))),
    ("failed_two_lines", "from_worker", frame(21, p("QBIII", 7, 6, 0, 0, 0) + t16("a\nb"))),
    ("fatal_no_reason", "from_worker", frame(22, p("B", 1) + t16(""))),
    ("fatal_flag", "from_worker", frame(22, p("B", 2) + t16("x"))),
    ("unknown_kind_12_to", "to_worker", frame(12, b"")),
    ("unknown_kind_32_from", "from_worker", frame(32, b"")),
    ("prefix_give_nothing", "to_worker", give(b"")),
    ("prefix_give_flag", "to_worker", give(b"a", 2)),
    ("prefix_give_longer_than_the_frame", "to_worker", frame(7, p("QBI", 7, 0, 4) + b"abc")),
    ("prefix_give_left_over", "to_worker", frame(7, p("QBI", 7, 0, 2) + b"abc")),
    ("prefix_give_wrong_way", "from_worker", give(b"abc")),
    ("prefix_give_up_short", "to_worker", frame(8, p("I", 7))),
    ("prefix_give_up_left_over", "to_worker", frame(8, p("QB", 7, 0))),
    ("prefix_open_no_tokens", "to_worker", prefix_open(0)),
    ("prefix_open_many_tokens", "to_worker", prefix_open((1 << 20) + 1)),
    ("prefix_open_short", "to_worker", frame(9, p("Q", 5) + CHAIN)),
    ("prefix_open_wrong_way", "from_worker", prefix_open(64)),
    ("prefix_more_left_over", "to_worker", frame(10, p("QB", 5, 0))),
    ("prefix_close_short", "to_worker", frame(11, p("I", 5))),
    ("prefix_ask_longer_than_a_day", "from_worker", ask(DAY_US + 1)),
    ("prefix_ask_endless", "from_worker", ask(2**64 - 1)),
    ("prefix_ask_short", "from_worker", frame(28, p("Q", 7) + CHAIN)),
    ("prefix_ask_wrong_way", "to_worker", ask(1_500_000)),
    ("prefix_refused_no_reason", "from_worker", frame(29, p("Q", 7) + t16(""))),
    ("prefix_refused_two_lines", "from_worker", frame(29, p("Q", 7) + t16("a\nb"))),
    ("prefix_refused_too_long", "from_worker", frame(29, p("Q", 7) + t16("a" * 513))),
    ("prefix_piece_nothing", "from_worker", prefix_piece(b"")),
    ("prefix_piece_nothing_but_the_end", "from_worker", prefix_piece(b"", 1)),
    ("prefix_piece_flag", "from_worker", prefix_piece(b"a", 2)),
    ("prefix_piece_wrong_way", "to_worker", prefix_piece(b"a")),
    ("prefix_gone_left_over", "from_worker", frame(31, p("QB", 5, 0))),
    ("fill_nothing", "from_worker", fill(tensor=b"")),
    ("fill_odd", "from_worker", fill(tensor=b"abc")),
    ("fill_no_rows", "from_worker", fill(rows=0)),
    ("fill_sequence_64", "from_worker", fill(64)),
    ("fill_beyond_the_last", "from_worker", fill(position=1048575)),
    ("fill_wrong_way", "to_worker", fill()),
    ("read_sequence_64", "from_worker", frame(34, p("HIBHIH", 64, 64, 1, 2, 5, 2))),
    ("read_beyond_the_tokens", "from_worker", frame(34, p("HIBHIH", 3, 64, 1, 2, 63, 2))),
    ("read_wrong_way", "to_worker", frame(34, p("HIBHIH", 3, 64, 1, 2, 5, 2))),
    ("read_left_over", "from_worker", frame(34, p("HIBHIHB", 3, 64, 1, 2, 5, 2, 0))),
    ("given_nothing", "to_worker", frame(15, p("I", 0))),
    ("given_short", "to_worker", frame(15, p("I", 4) + b"abc")),
    ("given_left_over", "to_worker", frame(15, p("I", 3) + b"abcd")),
    ("given_wrong_way", "from_worker", frame(15, p("I", 3) + b"abc")),
    ("filled_left_over", "to_worker", frame(13, b"\0")),
    ("filled_wrong_way", "from_worker", frame(13, b"")),
    ("holds_no_keys", "to_worker", frame(14, p("HIIBIBI", 1, 128, 0, 0, 0, 1, 34))),
    ("holds_unknown_type", "to_worker", frame(14, p("HIIBIBI", 1, 128, 0, 2, 34, 1, 34))),
    ("holds_short", "to_worker", frame(14, p("HII", 1, 128, 0))),
    ("holds_left_over", "to_worker", frame(14, p("HB", 0, 0))),
    ("cleared_left_over", "from_worker", frame(27, b"\0")),
    ("lead_wrong_way", "from_worker", lead()),
    ("returned_wrong_way", "from_worker", returned(ROW)),
    ("broken_wrong_way", "from_worker", broken("a hop is gone")),
    ("ends_wrong_way", "to_worker", frame(24, p("IH", 64, 8))),
    ("forward_wrong_way", "to_worker", forward([(0, 0, 1)], ROW)),
    ("truncate_wrong_way", "to_worker", frame(26, p("HI", 0, 0))),
    ("lead_no_sequence", "to_worker", lead(sequences=0)),
    ("lead_many_sequences", "to_worker", lead(sequences=65)),
    ("lead_long_context", "to_worker", lead(context=(1 << 20) + 1)),
    ("lead_many_threads", "to_worker", lead(threads=1025)),
    ("lead_many_cells", "to_worker", lead(cells=(1 << 26) + 1)),
    ("lead_unknown_cache", "to_worker", lead(cache=2)),
    ("lead_unknown_type", "to_worker", lead(kind=3)),
    ("lead_no_steps", "to_worker", lead(steps=0)),
    ("lead_many_steps", "to_worker", lead(steps=33)),
    ("lead_nothing_first", "to_worker", lead(first=0, end=5)),
    ("lead_nothing_elsewhere", "to_worker", lead(first=5, end=5)),
    ("lead_without_an_end", "to_worker", lead(first=1, end=0)),
    ("lead_nothing_last", "to_worker", lead(first=1, end=512)),
    ("lead_unknown_pieces", "to_worker", lead(pieces=2)),
    ("lead_short", "to_worker", frame(4, load(4096, 4, 2) + p("BHHH", 1, 8, 0, 0))),
    ("lead_left_over", "to_worker", frame(4, load(4096, 4, 2) + p("BHHHBB", 1, 8, 0, 0, 0, 0))),
    ("piece_too_large", "to_worker", frame(12, p("I", (1 << 18) + 1) + ROW)),
    ("piece_longer_than_the_frame", "to_worker", frame(12, p("I", 35) + ROW)),
    ("piece_left_over", "to_worker", frame(12, p("I", 34) + ROW + b"\0")),
    ("piece_wrong_way", "from_worker", piece(ROW)),
    ("want_nothing", "from_worker", want(0, 0)),
    ("want_too_much", "from_worker", want(0, (1 << 18) + 1)),
    ("want_no_piece", "from_worker", want(0, 1, bytes(32))),
    ("want_short", "from_worker", frame(36, MODEL + p("QH", 0, 1))),
    ("want_left_over", "from_worker", frame(36, MODEL + p("QIB", 0, 1, 0))),
    ("want_wrong_way", "to_worker", want(0, 1)),
    ("returned_nothing", "to_worker", returned(b"")),
    ("returned_less_than_a_row", "to_worker", returned(ROW[:33])),
    ("returned_longer_than_the_frame", "to_worker", frame(5, p("I", 35) + ROW)),
    ("returned_too_large", "to_worker", frame(5, p("I", (1 << 25) + 1) + ROW)),
    ("returned_short", "to_worker", frame(5, p("H", 34))),
    ("returned_left_over", "to_worker", frame(5, p("I", 34) + ROW + b"\0")),
    ("broken_unknown_flag", "to_worker", broken("a hop is gone", 2)),
    ("broken_two_lines", "to_worker", broken("a\nb")),
    ("broken_control", "to_worker", broken("a\x1b[2J")),
    ("broken_no_utf8", "to_worker", frame(6, p("BH", 0, 1) + b"\xff")),
    ("broken_too_long", "to_worker", broken("a" * 513)),
    ("broken_short", "to_worker", frame(6, p("BH", 0, 2) + b"a")),
    ("broken_left_over", "to_worker", frame(6, p("B", 0) + t16("a") + b"\0")),
    ("ends_no_width", "from_worker", frame(24, p("IH", 0, 8))),
    ("ends_odd_width", "from_worker", frame(24, p("IH", 80, 8))),
    ("ends_too_wide", "from_worker", frame(24, p("IH", 65568, 8))),
    ("ends_no_layers", "from_worker", frame(24, p("IH", 64, 0))),
    ("ends_many_layers", "from_worker", frame(24, p("IH", 64, 513))),
    ("ends_short", "from_worker", frame(24, p("I", 64))),
    ("ends_left_over", "from_worker", frame(24, p("IHB", 64, 8, 0))),
    ("forward_no_rows", "from_worker", forward([], b"")),
    ("forward_no_tensor", "from_worker", forward([(0, 0, 1)], b"")),
    ("forward_part_without_rows", "from_worker", forward([(0, 0, 0)], ROW)),
    ("forward_sequence_256", "from_worker", forward([(256, 0, 1)], ROW)),
    ("forward_unsorted", "from_worker", forward([(1, 0, 1), (0, 0, 1)], TWO)),
    ("forward_beyond_the_last", "from_worker", forward([(0, 1048575, 2)], TWO)),
    ("forward_too_many_rows", "from_worker", forward([(0, 0, 513)], bytes(513 * 34))),
    ("forward_not_of_rows", "from_worker", forward([(0, 0, 2)], TWO + b"\0")),
    ("forward_longer_than_the_frame", "from_worker", frame(25, p("HHIHI", 1, 0, 0, 1, 35) + ROW)),
    ("forward_left_over", "from_worker", frame(25, rows([(0, 0, 1)], ROW) + b"\0")),
    ("truncate_sequence_64", "from_worker", frame(26, p("HI", 64, 0))),
    ("truncate_too_far", "from_worker", frame(26, p("HI", 0, 1 << 20))),
    ("truncate_short", "from_worker", frame(26, p("H", 0))),
    ("truncate_left_over", "from_worker", frame(26, p("HIB", 0, 0, 0))),
    ("placed_none", "from_worker", frame(32, p("HH", 0, 8))),
    ("placed_more_than_all", "from_worker", frame(32, p("HH", 9, 8))),
    ("placed_many", "from_worker", frame(32, p("HH", 8, 513))),
    ("placed_short", "from_worker", frame(32, p("H", 8))),
    ("placed_left_over", "from_worker", frame(32, p("HHB", 8, 8, 0))),
    ("placed_wrong_way", "to_worker", frame(32, p("HH", 8, 8))),
]


def noise(seed, prompt, position):
    digest = blake(b"".join(p("I", t) for t in prompt))
    word = hashlib.shake_256(b"sc1/noise" + seed + digest + p("Q", position)).digest(8)
    return (int.from_bytes(word, "little") >> 11) * 2.0**-53


def sampling_entries():
    out = []
    for prompt in ([1, 5, 9], [0], list(range(300))):
        for position in (0, 7, 2**40):
            seed = blake(bytes(prompt[:1]))
            out.append({"client_seed": seed.hex(), "prompt": prompt, "position": position,
                        "noise": noise(seed, prompt, position)})
            out.append({"client_seed": seed.hex(), "seed": 42, "prompt": prompt, "position": position,
                        "noise": noise(blake(b"sc1/seed" + p("Q", 42)), prompt, position)})
    return out


def small_gguf(pairs, dims=(8,), tensor_type=0):
    """The file of model_id.md's example, with more metadata where asked."""
    t64 = lambda text: p("Q", len(text)) + text.encode()
    head = b"GGUF" + p("IQQ", 3, 1, 1 + len(pairs)) + t64("general.architecture") + p("I", 8) + t64("llama")
    head += b"".join(t64(key) + value for key, value in pairs)
    head += t64("a") + p("I", len(dims)) + p(f"{len(dims)}Q", *dims) + p("IQ", tensor_type, 0)
    return head + bytes(-len(head) % 32) + bytes(64)


def gguf_seeds():
    strings = p("IQ", 8, 2) + (p("Q", 2) + b"ab") * 2
    return {
        "smallest": small_gguf([]),
        "values": small_gguf([("general.file_type", p("II", 4, 7)), ("general.alignment", p("II", 4, 32)),
                              ("flag", p("IB", 7, 1)), ("far", p("Id", 12, 0.5))]),
        "arrays": small_gguf([("t", p("I", 9) + strings), ("n", p("IIQ", 9, 6, 2) + bytes(8))]),
        "quantised": small_gguf([], dims=(32, 1), tensor_type=8),
    }


def main():
    entries = [{"name": n, "type": t, "kind": k, "hex": d.hex()} for n, t, k, d in GOOD]
    entries += [{"name": n, "type": t, "error": True, "hex": d.hex()} for n, t, d in BAD]
    (HERE / "pipe.json").write_text(json.dumps(entries, indent=1) + "\n")
    (HERE / "sampling.json").write_text(json.dumps(sampling_entries()) + "\n")
    seeds = {name: p("B", 0 if kind == "to_worker" else 1) + data for name, kind, _, data in GOOD if len(data) < 2048}
    for target, files in (("engine_pipe_fuzz", seeds), ("engine_worker_gguf_fuzz", gguf_seeds())):
        (CORPORA / target).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (CORPORA / target / name).write_bytes(data)


main()
