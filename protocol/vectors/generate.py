#!/usr/bin/env python3
"""Writes protocol/vectors/*.json and the seeds of the fuzz targets, from the pages and not from the C++.

The files are fixed: run this again only when a page changes, and read the difference. An entry has a name, a type, the
bytes as hex, and either the fields that they mean or the kind of error ("malformed", "invalid", "unsupported").
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parent.parent / "test" / "corpus"
BUCKETS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
T0 = 1_800_000_000  # 2027-01-15
YEAR_2200 = 7_258_118_400


def u8(v): return struct.pack("<B", v)
def u16(v): return struct.pack("<H", v)
def u32(v): return struct.pack("<I", v)
def u64(v): return struct.pack("<Q", v)
def f32(v): return struct.pack("<f", v)
def run(start, count): return bytes((start + i) % 256 for i in range(count))
def zeros(count): return bytes(count)
def t16(data): return u16(len(data)) + data
def t32(data): return u32(len(data)) + data


class Page:
    """Collects the entries of one page. `selectors` numbers the types for the fuzz target, first byte of a seed."""

    def __init__(self, stem, selectors):
        self.stem, self.selectors, self.entries = stem, selectors, []

    def good(self, name, kind, data, /, **fields):
        self.entries.append({"name": name, "type": kind, "fields": fields, "hex": data.hex()})

    def bad(self, name, kind, data, error="malformed"):
        self.entries.append({"name": name, "type": kind, "error": error, "hex": data.hex()})

    def write(self):
        names = [e["name"] for e in self.entries]
        assert len(set(names)) == len(names), "two entries of one name"
        (HERE / f"{self.stem}.json").write_text(json.dumps(self.entries, indent=1) + "\n")
        folder = CORPUS / f"wire_{self.stem}_fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        for entry in self.entries:
            seed = (u8(self.selectors[entry["type"]]) if len(self.selectors) > 1 else b"") + bytes.fromhex(entry["hex"])
            if "fields" in entry and len(seed) < 2048:
                (folder / entry["name"]).write_bytes(seed)


# ---- cell ------------------------------------------------------------------------------------------------------------

def cell(id, command, length, body, flags=0):
    return u32(id) + u8(command) + u8(flags) + u16(length) + body + run(0xC0, 1392 - len(body))


def cell_page():
    p = Page("cell", {"cell": 0, "versions": 1, "handshake": 2, "destroy": 3, "stream_end": 4, "stream_open": 5,
                      "stream_sendme": 6, "link_pad_negotiate": 7, "ping": 8})

    def good_cell(name, id, command, body):
        data = cell(id, command, len(body), body)
        p.good(name, "cell", data, id=id, command=command, length=len(body), body=data[8:].hex())

    good_cell("destroy_cell", 0x80000001, 5, u8(2))
    good_cell("relay_cell", 7, 3, run(1, 1392))
    good_cell("relay_early_cell", 7, 4, run(2, 1392))
    good_cell("stream_data_cell", 0x80000002, 7, run(3, 1370))
    good_cell("padding_cell", 0, 0, b"")
    good_cell("directory_cell", 0, 12, run(4, 1392))
    good_cell("channel_close_cell", 0x80000003, 16, u8(0))
    good_cell("ping_cell", 0, 17, u64(0xA1A2A3A4A5A6A7A8))
    good_cell("pong_cell", 0, 18, u64(0xA1A2A3A4A5A6A7A8))
    p.bad("unknown_command", "cell", cell(7, 19, 0, b""))
    p.bad("flag_set", "cell", cell(7, 5, 1, u8(0), flags=0x80))
    p.bad("length_beyond_body", "cell", cell(7, 5, 1393, b""))
    p.bad("relay_not_full", "cell", cell(7, 3, 1391, run(1, 1391)))
    p.bad("relay_early_not_full", "cell", cell(7, 4, 0, b""))
    p.bad("stream_data_too_long", "cell", cell(7, 7, 1371, run(1, 1371)))
    p.bad("stream_data_too_short", "cell", cell(7, 7, 1369, run(1, 1369)))
    for name, command in (("padding", 0), ("versions", 9), ("pad_negotiate", 10), ("directory", 12), ("ping", 17),
                          ("pong", 18)):
        p.bad(f"id_on_{name}", "cell", cell(1, command, 0, b""))
    p.bad("cell_one_byte_more", "cell", cell(7, 5, 1, u8(0)) + b"\0")

    network = run(0x10, 32)
    p.good("versions", "versions", u16(1) + network + u64(T0), version=1, network=network.hex(), sent=T0)
    p.bad("versions_2", "versions", u16(2) + b"anything", "unsupported")
    p.bad("versions_after_year_2200", "versions", u16(1) + network + u64(YEAR_2200 + 1))
    p.bad("versions_left_over", "versions", u16(1) + network + u64(T0) + b"\0")
    hello = run(0x20, 128)
    p.good("handshake", "handshake", u16(3) + t16(hello), type=3, data=hello.hex())
    p.good("handshake_longest", "handshake", u16(3) + t16(run(0, 1334)), type=3, data=run(0, 1334).hex())
    p.bad("handshake_hybrid_reserved", "handshake", u16(4) + t16(hello), "unsupported")
    p.bad("handshake_empty", "handshake", u16(3) + t16(b""))
    p.bad("handshake_too_long", "handshake", u16(3) + t16(run(0, 1335)))
    p.bad("handshake_left_over", "handshake", u16(3) + t16(hello) + b"\0")
    p.good("destroy_busy", "destroy", u8(2), reason=2)
    p.good("destroy_stopping", "destroy", u8(7), reason=7)
    p.bad("destroy_unknown", "destroy", u8(8))
    p.bad("destroy_left_over", "destroy", u8(0) + b"\0")
    p.good("stream_end_unreachable", "stream_end", u8(2), reason=2)
    p.bad("stream_end_unknown", "stream_end", u8(8))
    p.bad("stream_end_left_over", "stream_end", u8(0) + b"\0")
    enc = run(0x40, 32)
    p.good("stream_open", "stream_open", u8(1) + enc, protocol=1, encapsulated=enc.hex())
    p.bad("stream_open_other_protocol", "stream_open", u8(2) + enc, "unsupported")
    p.bad("stream_open_left_over", "stream_open", u8(1) + enc + b"\0")
    p.good("stream_sendme", "stream_sendme", u16(8), cells=8)
    p.good("stream_sendme_most", "stream_sendme", u16(16), cells=16)
    p.bad("stream_sendme_nothing", "stream_sendme", u16(0))
    p.bad("stream_sendme_beyond_window", "stream_sendme", u16(17))
    p.good("link_padding_on", "link_pad_negotiate", u8(1), enabled=True)
    p.good("link_padding_off", "link_pad_negotiate", u8(0), enabled=False)
    p.bad("link_padding_two", "link_pad_negotiate", u8(2))
    p.good("ping", "ping", u64(0xA1A2A3A4A5A6A7A8), token=0xA1A2A3A4A5A6A7A8)
    p.good("ping_zero", "ping", u64(0), token=0)
    p.bad("ping_short", "ping", run(1, 7))
    p.bad("ping_left_over", "ping", u64(1) + b"\0")
    p.write()


# ---- relay -----------------------------------------------------------------------------------------------------------

def relay(command, stream, data, flags=0, length=None, recognised=zeros(16)):
    length = len(data) if length is None else length
    return recognised + u8(command) + u8(flags) + u16(stream) + u16(length) + data + zeros(1370 - len(data))


def relay_page():
    p = Page("relay", {"relay": 0, "connect": 1, "extend": 2, "sendme": 3, "pad_negotiate": 4})
    node, enc, hello = run(0x50, 32), run(0x40, 32), run(0x20, 128)
    connect = node + u8(1) + enc
    extend = node + u16(3) + t16(hello)

    def good_relay(name, command, stream, data):
        p.good(name, "relay", relay(command, stream, data), command=command, stream=stream, data=data.hex())

    good_relay("relay_connect", 1, 5, connect)
    good_relay("relay_data", 2, 5, run(0x60, 1370))
    good_relay("relay_end", 3, 5, u8(0))
    good_relay("relay_extend", 4, 0, extend)
    good_relay("relay_extended", 5, 0, u16(3) + t16(run(0x70, 64)))
    good_relay("relay_drop", 6, 0, b"")
    good_relay("relay_sendme", 7, 0xFFFF, run(0x80, 16))
    good_relay("relay_error", 8, 0, u8(4))
    good_relay("relay_pad_negotiate", 9, 0, u8(1) + u8(10))
    p.bad("not_recognised_first", "relay", relay(6, 0, b"", recognised=u8(1) + zeros(15)))
    p.bad("not_recognised_last", "relay", relay(6, 0, b"", recognised=zeros(15) + u8(0x80)))
    p.bad("command_0", "relay", relay(0, 0, b""))
    p.bad("command_10", "relay", relay(10, 0, b""))
    p.bad("flag_set", "relay", relay(6, 0, b"", flags=1))
    p.bad("length_beyond_data", "relay", relay(6, 0, run(0, 1370), length=1371))
    p.bad("padding_not_zero", "relay", relay(6, 0, b"\0\1", length=1))
    p.bad("last_byte_not_zero", "relay", relay(6, 0, zeros(1369) + b"\1", length=1369))
    p.bad("data_not_full", "relay", relay(2, 5, run(1, 1369)))
    for name, command in (("connect", 1), ("data", 2), ("end", 3), ("sendme", 7)):
        p.bad(f"{name}_without_stream", "relay", relay(command, 0, run(1, 1370)))
    for name, command in (("extend", 4), ("extended", 5), ("drop", 6), ("error", 8), ("pad_negotiate", 9)):
        p.bad(f"{name}_with_stream", "relay", relay(command, 5, run(1, 1370)))
    p.good("connect", "connect", connect, node=node.hex(), protocol=1, encapsulated=enc.hex())
    p.bad("connect_other_protocol", "connect", node + u8(9) + enc, "unsupported")
    p.bad("connect_left_over", "connect", connect + b"\0")
    p.good("extend", "extend", extend, node=node.hex(), type=3, data=hello.hex())
    p.bad("extend_left_over", "extend", extend + b"\0")
    p.good("sendme", "sendme", run(0x80, 16), tweak=run(0x80, 16).hex())
    p.bad("sendme_left_over", "sendme", run(0x80, 17))
    p.good("pad_shaped_20", "pad_negotiate", u8(1) + u8(20), mode=1, rate=20)
    p.good("pad_fast_5", "pad_negotiate", u8(0) + u8(5), mode=0, rate=5)
    p.bad("pad_mode_2", "pad_negotiate", u8(2) + u8(5))
    p.bad("pad_rate_6", "pad_negotiate", u8(1) + u8(6))
    p.bad("pad_left_over", "pad_negotiate", u8(1) + u8(5) + b"\0")
    p.write()


# ---- record ----------------------------------------------------------------------------------------------------------

def record(kind, body, flags=0, length=None, tail=b""):
    length = len(body) if length is None else length
    out = u8(kind) + u8(flags) + u16(length) + body + tail
    return out + zeros(1354 - len(out))


def clove_bytes(total): return 1290 + (total - 1) * 1346


def clove_first(k=2, n=4, index=3, zero=0, total=6, ciphertext=None, fragment=None, frag_len=None):
    ciphertext = k * clove_bytes(total) if ciphertext is None else ciphertext
    fragment = run(0x33, 1290) if fragment is None else fragment
    frag_len = len(fragment) if frag_len is None else frag_len
    return (u8(k) + u8(n) + u8(index) + u8(zero) + run(0xA0, 16) + u16(total) + u32(ciphertext) + u16(frag_len)
            + run(0xB0, 32) + fragment)


def clove_more(index=3, zero=0, sequence=5, count=1346):
    return u8(index) + u8(zero) + u16(sequence) + run(0x44, count)


def record_page():
    p = Page("record", {"record": 0})

    def good(name, data, /, **fields):
        p.good(name, "record", data, **fields)

    def bad(name, data, error="malformed"):
        p.bad(name, "record", data, error)

    share, message, request = run(0xB0, 32).hex(), run(0xA0, 16).hex(), run(0xD0, 16)
    good("clove_first", record(1, clove_first()), kind=1, k=2, n=4, index=3, message=message, total=6,
         ciphertext_bytes=2 * clove_bytes(6), share=share, fragment=run(0x33, 1290).hex())
    good("clove_first_smallest", record(1, clove_first(1, 1, 1, total=1)), kind=1, k=1, n=1, index=1, message=message,
         total=1, ciphertext_bytes=1290, share=share, fragment=run(0x33, 1290).hex())
    good("clove_first_largest", record(1, clove_first(16, 16, 16, total=64)), kind=1, k=16, n=16, index=16,
         message=message, total=64, ciphertext_bytes=16 * clove_bytes(64), share=share, fragment=run(0x33, 1290).hex())
    good("clove_more", record(2, clove_more()), kind=2, index=3, sequence=5, fragment=run(0x44, 1346).hex())
    good("got", record(4, u8(3)), kind=4, index=3)
    good("accepted", record(5, b""), kind=5)
    good("reply", record(6, u32(9) + run(0x55, 40)), kind=6, sequence=9, last=False, sealed=run(0x55, 40).hex())
    good("reply_last_and_longest", record(6, u32(2**32 - 1) + run(0x55, 1346), flags=1), kind=6, sequence=2**32 - 1,
         last=True, sealed=run(0x55, 1346).hex())
    good("reply_of_nothing", record(6, u32(0) + run(0x55, 16)), kind=6, sequence=0, last=False,
         sealed=run(0x55, 16).hex())
    good("resume", record(7, request + u32(12) + run(0xE0, 32)), kind=7, request=request.hex(), next=12,
         proof=run(0xE0, 32).hex())
    good("cancel", record(8, request), kind=8, request=request.hex())
    good("pad", record(9, b""), kind=9)
    text = "every slot is taken; try again in 3 s"
    good("error_overloaded", record(10, u8(3) + text.encode()), kind=10, fault=3, text=text)
    good("error_without_text", record(10, u8(10)), kind=10, fault=10, text="")
    good("error_longest", record(10, u8(0) + "é".encode() * 256), kind=10, fault=0, text="é" * 256)

    record_refusals(bad, request)
    p.write()


def record_refusals(bad, request):
    bad("kind_0", record(0, b""))
    bad("kind_11", record(11, b""))
    bad("receipt_reserved", record(3, run(1, 20)), "unsupported")
    bad("flag_on_got", record(4, u8(3), flags=1))
    bad("flag_2_on_reply", record(6, u32(9) + run(0x55, 40), flags=2))
    bad("length_beyond_body", record(9, zeros(1350), length=1351))
    bad("padding_not_zero", record(4, u8(3), tail=b"\1"))
    bad("last_byte_not_zero", record(4, u8(3), tail=zeros(1348) + b"\1"))
    bad("clove_k_0", record(1, clove_first(k=0, ciphertext=0)))
    bad("clove_k_above_n", record(1, clove_first(k=5)))
    bad("clove_n_17", record(1, clove_first(n=17)))
    bad("clove_index_0", record(1, clove_first(index=0)))
    bad("clove_index_above_n", record(1, clove_first(index=5)))
    bad("clove_reserved", record(1, clove_first(zero=1)))
    bad("clove_total_0", record(1, clove_first(total=0, ciphertext=0)))
    bad("clove_total_5_is_no_bucket", record(1, clove_first(total=5)))
    bad("clove_total_65", record(1, clove_first(total=65)))
    bad("clove_ciphertext_one_less", record(1, clove_first(ciphertext=2 * clove_bytes(6) - 1)))
    bad("clove_ciphertext_one_more", record(1, clove_first(ciphertext=2 * clove_bytes(6) + 1)))
    bad("clove_fragment_short", record(1, clove_first(fragment=run(0x33, 1289))))
    bad("clove_fragment_length_lies", record(1, clove_first(frag_len=1289)))
    bad("clove_more_index_0", record(2, clove_more(index=0)))
    bad("clove_more_index_17", record(2, clove_more(index=17)))
    bad("clove_more_reserved", record(2, clove_more(zero=1)))
    bad("clove_more_sequence_0", record(2, clove_more(sequence=0)))
    bad("clove_more_sequence_64", record(2, clove_more(sequence=64)))
    bad("clove_more_short", record(2, clove_more(count=1345)))
    bad("got_0", record(4, u8(0)))
    bad("got_17", record(4, u8(17)))
    bad("got_left_over", record(4, u8(3) + u8(0)))
    bad("accepted_with_body", record(5, u8(0)))
    bad("reply_shorter_than_tag", record(6, u32(9) + run(0x55, 15)))
    bad("resume_short", record(7, request + u32(12) + run(0xE0, 31)))
    bad("resume_left_over", record(7, request + u32(12) + run(0xE0, 33)))
    bad("cancel_left_over", record(8, request + b"\1"))
    bad("pad_with_body", record(9, u8(0)))
    bad("error_fault_11", record(10, u8(11)))
    bad("error_empty", record(10, b""))
    bad("error_text_513", record(10, u8(3) + b"x" * 513))
    bad("error_text_escape", record(10, u8(3) + b"\x1b[2J"))
    bad("error_text_c1", record(10, u8(3) + "\u009b2J".encode()))
    bad("error_text_delete", record(10, u8(3) + b"\x7f"))
    bad("error_text_not_utf8", record(10, u8(3) + b"\xff"))


# ---- request ---------------------------------------------------------------------------------------------------------

def request(version=1, flags=2, expires=T0 + 300, hold=run(2, 32), session=run(3, 32), qc=run(4, 65), body=b"body",
            qc_len=None, body_len=None):
    return (u8(version) + u8(flags) + run(0xD0, 16) + u64(expires) + run(1, 32) + hold + session + run(5, 32)
            + run(6, 32) + run(7, 32) + u16(len(qc) if qc_len is None else qc_len) + qc
            + u32(len(body) if body_len is None else body_len) + body)


def request_page():
    p = Page("request", {"request": 0})

    def good(name, data, padding, flags, hold, session, qc, body):
        p.good(name, "request", data + zeros(padding), padding=padding, unpaid=bool(flags & 1),
               no_hand_over=bool(flags & 2), pipelines_allowed=bool(flags & 4), id=run(0xD0, 16).hex(),
               expires=T0 + 300, model=run(1, 32).hex(), hold=hold.hex(), session_key=session.hex(),
               affinity=run(5, 32).hex(), client_seed=run(6, 32).hex(), reply_key=run(7, 32).hex(),
               hold_certificate=qc.hex(), body=body.decode())

    none = zeros(32)
    good("paid", request(), 0, 2, run(2, 32), run(3, 32), run(4, 65), b"body")
    good("unpaid", request(flags=5, hold=none, session=none, qc=b""), 0, 5, none, none, b"", b"body")
    good("unpaid_padded", request(flags=1, hold=none, session=none, qc=b"", body=b"a question"), 40, 1, none, none,
         b"", b"a question")
    good("longest_certificate", request(qc=run(0, 845), body=b""), 0, 2, run(2, 32), run(3, 32), run(0, 845), b"")
    p.bad("version_2", "request", request(version=2), "unsupported")
    p.bad("flag_8", "request", request(flags=8))
    p.bad("after_year_2200", "request", request(expires=YEAR_2200 + 1))
    p.bad("unpaid_with_hold", "request", request(flags=1, session=none, qc=b""), "invalid")
    p.bad("unpaid_with_session_key", "request", request(flags=1, hold=none, qc=b""), "invalid")
    p.bad("unpaid_with_certificate", "request", request(flags=1, hold=none, session=none), "invalid")
    p.bad("certificate_too_long", "request", request(qc=run(0, 846)))
    p.bad("body_longer_than_input", "request", request(body_len=5))
    p.bad("padding_not_zero", "request", request() + zeros(9) + b"\1")
    p.write()
    entries = json.loads((HERE / "request.json").read_text())
    for k in (1, 2, 3, 16):
        for cells in BUCKETS:
            entries.append({"name": f"bucket_{k}_{cells}", "type": "bucket", "k": k, "cells": cells,
                            "fragment_bytes": clove_bytes(cells), "padded_request_bytes": k * clove_bytes(cells) - 16})
    (HERE / "request.json").write_text(json.dumps(entries, indent=1) + "\n")


# ---- descriptor ------------------------------------------------------------------------------------------------------

def v4(a, b, c, d, port, kind=1): return zeros(10) + b"\xff\xff" + bytes([a, b, c, d]) + u16(port) + u8(kind)
def v6(text, port): return bytes.fromhex(text) + u16(port) + u8(1)
def model(id, name, quant=7, context=4096, price=zeros(32)):
    return id + u8(quant) + u32(context) + price + u8(len(name)) + name


TWO = [v4(127, 1, 2, 3, 9000), v6("20010db8000000000000000000000001", 9001)]


def descriptor(magic=b"SC1D", version=1, node=run(0x11, 32), roles=9, flags=0, addresses=None, sequence=5, after=T0,
               until=T0 + 86400, kem=zeros(32), family=run(0x66, 32), models=(), n_addr=None):
    addresses = sorted(TWO) if addresses is None else addresses
    return (magic + u8(version) + node + run(0x22, 32) + run(0x33, 32) + u16(roles) + u16(flags)
            + u8(len(addresses) if n_addr is None else n_addr) + b"".join(addresses) + u64(sequence) + u64(after)
            + u64(until) + u64(1000) + kem + family + u8(len(models)) + b"".join(models))


def descriptor_fields(node=run(0x11, 32), roles=9, addresses=("127.1.2.3:9000", "[2001:db8::1]:9001"), sequence=5,
                      until=T0 + 86400, models=()):
    return {"node": node.hex(), "onion_key": run(0x22, 32).hex(), "hpke_key": run(0x33, 32).hex(), "roles": roles,
            "addresses": list(addresses), "sequence": sequence, "valid_after": T0, "valid_until": until, "bond": 1000,
            "family": run(0x66, 32).hex(), "models": list(models)}


MODEL_FIELDS = [{"model": run(1, 32).hex(), "quantisation": 7, "context_tokens": 4096, "price": zeros(32).hex(),
                 "name": "shoal-mini"},
                {"model": run(2, 32).hex(), "quantisation": 15, "context_tokens": 2**20, "price": run(9, 32).hex(),
                 "name": "Llama-3.1_8B:q4.k"}]
MODELS = [model(run(1, 32), b"shoal-mini"), model(run(2, 32), b"Llama-3.1_8B:q4.k", 15, 2**20, run(9, 32))]


def descriptor_page():
    p = Page("descriptor", {"signed_descriptor": 0})
    sig = run(0x77, 64)

    def good(name, data, fields):
        p.good(name, "signed_descriptor", data + sig, **fields, signature=sig.hex())

    def bad(name, error="invalid", **d):
        p.bad(name, "signed_descriptor", descriptor(**d) + sig, error)

    # Addresses sort by their 16 bytes: IPv4, under ::ffff:0:0/96, comes before 2001::.
    good("relay_and_guard", descriptor(), descriptor_fields())
    good("model_node", descriptor(roles=2, models=MODELS), descriptor_fields(roles=2, models=MODEL_FIELDS))
    good("lead", descriptor(roles=32, models=MODELS), descriptor_fields(roles=32, models=MODEL_FIELDS))
    good("every_role_and_four_addresses",
         descriptor(roles=29, until=T0 + 1, addresses=[v4(10, 0, 0, 1, 1), v4(10, 0, 0, 1, 2), v4(10, 0, 0, 2, 1),
                                                       v4(223, 255, 255, 255, 65535)]),
         descriptor_fields(roles=29, until=T0 + 1,
                           addresses=["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "223.255.255.255:65535"]))
    bad("magic", "malformed", magic=b"SC1E")
    bad("version_2", "unsupported", version=2)
    bad("roles_none", roles=0)
    bad("roles_unknown", roles=0x41)
    bad("model_and_lead", roles=0x22)
    bad("guard_that_is_no_relay", roles=8)
    bad("flag_set", flags=1)
    bad("addresses_none", addresses=[])
    bad("addresses_five", addresses=[v4(10, 0, 0, i, 1) for i in range(1, 6)])
    bad("addresses_twice_the_same", addresses=[v4(10, 0, 0, 1, 1)] * 2)
    bad("addresses_out_of_order", addresses=[v4(10, 0, 0, 2, 1), v4(10, 0, 0, 1, 1)])
    bad("ports_out_of_order", addresses=[v4(10, 0, 0, 1, 256), v4(10, 0, 0, 1, 2)])
    bad("address_kind_2", "malformed", addresses=[v4(10, 0, 0, 1, 1, kind=2)])
    bad("port_0", addresses=[v4(10, 0, 0, 1, 0)])
    for name, address in (("unspecified", v4(0, 0, 0, 0, 1)), ("multicast", v4(224, 0, 0, 1, 1)),
                          ("broadcast", v4(255, 255, 255, 255, 1)), ("unspecified_v6", v6("00" * 16, 1)),
                          ("multicast_v6", v6("ff02" + "00" * 13 + "01", 1))):
        bad(f"address_{name}", addresses=[address])
    bad("ends_as_it_begins", until=T0)
    bad("ends_before_it_begins", until=T0 - 1)
    bad("longer_than_a_day", until=T0 + 86401)
    bad("after_year_2200", "malformed", after=YEAR_2200 + 1, until=YEAR_2200 + 2)
    bad("hybrid_key_reserved", kem=zeros(31) + b"\1")
    bad("models_without_role", models=MODELS)
    bad("models_out_of_order", roles=2, models=MODELS[::-1])
    bad("models_twice_the_same", roles=2, models=MODELS[:1] * 2)
    bad("models_17", roles=2, models=[model(run(i, 32), b"m") for i in range(1, 18)])
    bad("model_without_name", roles=2, models=[model(run(1, 32), b"")])
    bad("model_name_65", roles=2, models=[model(run(1, 32), b"m" * 65)])
    bad("model_name_with_slash", roles=2, models=[model(run(1, 32), b"a/b")])
    bad("model_name_not_ascii", roles=2, models=[model(run(1, 32), "ä".encode())])
    bad("model_context_0", roles=2, models=[model(run(1, 32), b"m", context=0)])
    bad("model_context_too_large", roles=2, models=[model(run(1, 32), b"m", context=2**20 + 1)])
    p.bad("left_over", "signed_descriptor", descriptor() + sig + b"\0")
    p.write()


# ---- snapshot --------------------------------------------------------------------------------------------------------

def entry(node, weight=100, reputation=875, **d): return descriptor(node=node, **d) + u32(weight) + u16(reputation)


ENTRIES = [entry(run(0x11, 32)), entry(run(0x12, 32), 0, 1000, roles=2, models=MODELS)]


def snapshot(magic=b"SC1S", version=1, epoch=7, after=T0, fresh=T0 + 3600, until=T0 + 10800, previous=run(0x99, 32),
             entries=ENTRIES, count=None, signatures=((0, run(1, 64)), (30, run(2, 64))), n_sig=None):
    return (magic + u8(version) + run(0x10, 32) + u64(epoch) + u64(after) + u64(fresh) + u64(until) + previous
            + u32(len(entries) if count is None else count) + b"".join(entries)
            + u8(len(signatures) if n_sig is None else n_sig) + b"".join(u8(i) + s for i, s in signatures))


def snapshot_page():
    p = Page("snapshot", {"signed_snapshot": 0, "message": 1})

    def fields(epoch, previous, entries, signatures, until=T0 + 10800):
        return {"network": run(0x10, 32).hex(), "epoch": epoch, "valid_after": T0, "fresh_until": T0 + 3600,
                "valid_until": until, "previous": previous.hex(), "entries": entries,
                "signatures": [{"index": i, "signature": s.hex()} for i, s in signatures]}

    def bad(name, error="malformed", **s):
        p.bad(name, "signed_snapshot", snapshot(**s), error)

    two = [{"descriptor": descriptor_fields(run(0x11, 32)), "weight": 100, "reputation": 875},
           {"descriptor": descriptor_fields(run(0x12, 32), roles=2, models=MODEL_FIELDS), "weight": 0,
            "reputation": 1000}]
    sigs = ((0, run(1, 64)), (30, run(2, 64)))
    p.good("two_nodes", "signed_snapshot", snapshot(), **fields(7, run(0x99, 32), two, sigs))
    p.good("first_and_empty", "signed_snapshot",
           snapshot(epoch=1, previous=zeros(32), entries=[], signatures=(), until=T0 + 3600),
           **fields(1, zeros(32), [], (), until=T0 + 3600))
    bad("magic", magic=b"SC1D")
    bad("version_2", "unsupported", version=2)
    bad("epoch_0", epoch=0, previous=zeros(32))
    bad("epoch_1_with_a_past", epoch=1)
    bad("fresh_never", fresh=T0)
    bad("valid_shorter_than_fresh", until=T0 + 3599)
    bad("valid_too_long", until=T0 + 10801)
    bad("after_year_2200", after=YEAR_2200 + 1, fresh=YEAR_2200 + 2, until=YEAR_2200 + 3)
    bad("entries_out_of_order", entries=ENTRIES[::-1])
    bad("entries_twice_the_same", entries=ENTRIES[:1] * 2)
    bad("entry_invalid", "invalid", entries=[entry(run(0x11, 32), roles=0)])
    bad("reputation_1001", entries=[entry(run(0x11, 32), 1, 1001)])
    bad("entries_announced_too_many", count=20_001)
    bad("signer_31", signatures=((31, run(1, 64)),))
    bad("signers_out_of_order", signatures=((2, run(1, 64)), (1, run(2, 64))))
    bad("signers_twice_the_same", signatures=((2, run(1, 64)), (2, run(1, 64))))
    p.bad("left_over", "signed_snapshot", snapshot() + b"\0")

    p.good("get_snapshot", "message", u8(1) + u64(6), kind=1, epoch=6)
    p.good("not_newer", "message", u8(2) + u64(7), kind=2, epoch=7)
    p.good("snapshot_message", "message", u8(3) + snapshot(), kind=3, body=snapshot(signatures=())[:-1].hex(),
           signatures=2)
    published = descriptor() + run(0x77, 64)
    p.good("publish_descriptor", "message", u8(4) + published, kind=4, descriptor=published.hex())
    p.good("publish_accepted", "message", u8(5) + u8(1) + t16(b""), kind=5, accepted=True, reason="")
    p.good("publish_refused", "message", u8(5) + u8(0) + t16(b"a lower sequence than 9"), kind=5, accepted=False,
           reason="a lower sequence than 9")
    p.bad("message_empty", "message", b"")
    p.bad("message_kind_0", "message", u8(0))
    p.bad("message_kind_6", "message", u8(6))
    p.bad("get_snapshot_left_over", "message", u8(1) + u64(6) + b"\0")
    p.bad("not_newer_left_over", "message", u8(2) + u64(6) + b"\0")
    p.bad("publish_result_2", "message", u8(5) + u8(2) + t16(b""))
    p.bad("publish_reason_257", "message", u8(5) + u8(0) + t16(b"x" * 257))
    p.bad("publish_reason_escape", "message", u8(5) + u8(0) + t16(b"\x1b"))
    p.bad("publish_result_left_over", "message", u8(5) + u8(0) + t16(b"") + b"\0")
    p.write()


# ---- stage -----------------------------------------------------------------------------------------------------------

def stage_rows(parts, tensor):
    return u16(len(parts)) + b"".join(u16(s) + u32(p) + u16(n) for s, p, n in parts) + t32(tensor)


STAGE_SESSION, STAGE_MODEL, STAGE_NEXT = run(0x10, 16), run(0x20, 32), run(0x60, 32)
STAGE_ROW, STAGE_TWO_ROWS = run(0x40, 34), run(0x50, 68)


def stage_open(first=4, end=8, hop=2, kind=1, width=4096, context=8192, sequences=16, **names):
    return (u8(1) + names.get("session", STAGE_SESSION) + names.get("model", STAGE_MODEL) + u16(first) + u16(end) +
            u8(hop) + u8(kind) + u32(width) + u32(context) + u16(sequences) + names.get("next", STAGE_NEXT))


def stage_step(parts=((0, 0, 1),), tensor=STAGE_ROW, number=9, settled=8):
    return u8(5) + u64(number) + u64(settled) + stage_rows(parts, tensor)


def stage_opens(good, bad):
    def fields(**changed):
        return {"kind": 1, "session": STAGE_SESSION.hex(), "model": STAGE_MODEL.hex(), "first": 4, "end": 8, "hop": 2,
                "activations": 1, "width": 4096, "context": 8192, "sequences": 16, "next": STAGE_NEXT.hex()} | changed
    good("open", stage_open(), **fields())
    good("open_largest", stage_open(0, 512, 64, 2, 65536, 1048576, 256),
         **fields(first=0, end=512, hop=64, activations=2, width=65536, context=1048576, sequences=256))
    good("open_smallest", stage_open(0, 1, 1, 0, 32, 1, 1),
         **fields(first=0, end=1, hop=1, activations=0, width=32, context=1, sequences=1))
    for name, changed in (
            ("no_layers", {"first": 4, "end": 4}), ("layers_backwards", {"first": 8, "end": 4}),
            ("too_many_layers", {"first": 0, "end": 513}), ("hop_0", {"hop": 0}), ("hop_65", {"hop": 65}),
            ("no_width", {"width": 0}), ("odd_width", {"width": 4097}), ("width_too_large", {"width": 65568}),
            ("no_context", {"context": 0}), ("context_too_large", {"context": 1048577}),
            ("no_sequences", {"sequences": 0}), ("too_many_sequences", {"sequences": 257}),
            ("no_session", {"session": bytes(16)}), ("no_model", {"model": bytes(32)}), ("no_next", {"next": bytes(32)})
    ):
        bad(f"open_{name}", stage_open(**changed))
    bad("open_unknown_type", stage_open(kind=3), "malformed")
    bad("open_left_over", stage_open() + b"\0", "malformed")


# Two layers, of f16 and of q8_0 keys.
KV = {"turned": [128, 0], "layers": [[0, 256, 0, 128], [1, 34, 0, 2]]}


def kv_shape(turned=(128, 0), layers=((0, 256, 0, 128), (1, 34, 0, 2))):
    return u16(len(layers)) + u32(turned[0]) + u32(turned[1]) + b"".join(
        u8(k) + u32(keys) + u8(v) + u32(values) for k, keys, v, values in layers)


def kv_rows(sequence=3, position=5, rows=2, tensor=b"abcd"):
    return u16(sequence) + u32(position) + u16(rows) + t32(tensor)


def read_of(sequence=3, tokens=64, what=1, layer=2, position=5, rows=2):
    return u16(sequence) + u32(tokens) + u8(what) + u16(layer) + u32(position) + u16(rows)


def stage_reads(good, bad):
    def message(of, data=b"", number=9, settled=8):
        return u8(14) + u64(number) + u64(settled) + of + t32(data)

    fields = {"kind": 14, "number": 9, "settled": 8}
    names = ("sequence", "tokens", "what", "layer", "position", "rows")
    for name, of, data in (("hashes", (3, 64, 0, 0, 0, 0), b""),
                           ("hashes_of_two_layers", (3, 64, 0, 0, 0, 0), run(1, 64)),
                           ("keys", (3, 64, 1, 2, 5, 2), b""), ("keys_that_were_given", (3, 64, 1, 2, 5, 2), b"abcd"),
                           ("values", (255, 1048576, 2, 511, 1048575, 1), b"abc")):
        good(f"read_{name}", message(read_of(*of), data), **fields, **dict(zip(names, of)), bytes=data.hex())
    for name, of, data in (("sequence_256", read_of(256), b""), ("no_tokens", read_of(tokens=0), b""),
                           ("too_many_tokens", read_of(tokens=1048577), b""), ("layer_512", read_of(layer=512), b""),
                           ("no_rows", read_of(rows=0), b""), ("too_many_rows", read_of(tokens=1000, rows=513), b""),
                           ("beyond_the_tokens", read_of(position=63), b""), ("odd", read_of(), b"abc"),
                           ("hashes_of_a_layer", read_of(what=0, position=0, rows=0), b""),
                           ("hashes_of_rows", read_of(what=0, layer=0, position=0), b""),
                           ("half_a_hash", read_of(what=0, layer=0, position=0, rows=0), run(1, 33)),
                           ("too_many_hashes", read_of(what=0, layer=0, position=0, rows=0), zeros(513 * 32))):
        bad(f"read_{name}", message(of, data))
    bad("read_unknown", message(read_of(what=3)), "malformed")
    bad("read_settled_itself", message(read_of(), settled=9))
    bad("read_left_over", message(read_of()) + b"\0", "malformed")


def stage_fills(good, bad):
    fields = {"sequence": 3, "position": 5, "rows": 2, "tensor": b"abcd".hex()}
    good("opened", u8(2) + u16(0), kind=2)
    good("opened_that_can_be_filled", u8(2) + kv_shape(), kind=2, kv=KV)
    good("opened_without_values", u8(2) + kv_shape((0, 0), [(0, 2, 0, 0)]), kind=2,
         kv={"turned": [0, 0], "layers": [[0, 2, 0, 0]]})
    for name, layers in (("no_keys", [(0, 0, 0, 2)]), ("half_a_number", [(0, 3, 0, 2)]),
                         ("half_a_block", [(1, 35, 0, 2)]),
                         ("values_in_one", [(0, 2, 0, 2), (0, 2, 0, 0)]), ("a_type_of_nothing", [(0, 2, 1, 0)]),
                         ("keys_too_long", [(0, (1 << 20) + 2, 0, 2)]), ("too_many", [(0, 2, 0, 2)] * 513)):
        bad(f"opened_{name}", u8(2) + kv_shape(layers=layers))
    bad("opened_unknown_type", u8(2) + kv_shape(layers=[(2, 2, 0, 2)]), "malformed")
    bad("opened_left_over", u8(2) + u16(0) + b"\0", "malformed")
    bad("opened_short", u8(2) + kv_shape()[:-1], "malformed")
    good("fill", u8(12) + u64(9) + u64(8) + kv_rows(), kind=12, number=9, settled=8, rows=fields)
    good("fill_behind_the_last_hop", u8(12) + u64(9) + u64(8) + kv_rows(tensor=b""), kind=12, number=9, settled=8,
         rows=fields | {"tensor": ""})
    good("refill", u8(13) + kv_rows(), kind=13, rows=fields)
    for name, rows in (("sequence_256", kv_rows(256)), ("no_rows", kv_rows(rows=0, tensor=b"")),
                       ("too_many_rows", kv_rows(rows=513, tensor=b"")), ("odd", kv_rows(tensor=b"abc")),
                       ("beyond_the_last", kv_rows(position=1048575)),
                       ("position_out_of_range", kv_rows(position=1048576))):
        bad(f"fill_{name}", u8(12) + u64(9) + u64(8) + rows)
        bad(f"refill_{name}", u8(13) + rows)
    bad("fill_settled_itself", u8(12) + u64(9) + u64(9) + kv_rows())
    bad("fill_left_over", u8(12) + u64(9) + u64(8) + kv_rows() + b"\0", "malformed")
    bad("refill_left_over", u8(13) + kv_rows() + b"\0", "malformed")


def stage_joins(good, bad):
    good("join", u8(3) + STAGE_SESSION + u8(65), kind=3, session=STAGE_SESSION.hex(), hop=65)
    bad("join_hop_66", u8(3) + STAGE_SESSION + u8(66))
    bad("join_no_session", u8(3) + zeros(16) + u8(1))
    good("joined_fresh", u8(4) + u8(1) + u64(0), kind=4, fresh=True, received=0)
    good("joined", u8(4) + u8(0) + u64(77), kind=4, fresh=False, received=77)
    bad("joined_fresh_that_received", u8(4) + u8(1) + u64(1))
    bad("joined_fresh_2", u8(4) + u8(2) + u64(0), "malformed")


def stage_steps(good, bad, row=STAGE_ROW, two=STAGE_TWO_ROWS):
    good("step", stage_step(number=1, settled=0), kind=5, number=1, settled=0,
         rows={"parts": [[0, 0, 1]], "tensor": row.hex()})
    good("step_two_sequences", stage_step([(1, 5, 1), (255, 1048575, 1)], two, 40), kind=5, number=40, settled=8,
         rows={"parts": [[1, 5, 1], [255, 1048575, 1]], "tensor": two.hex()})
    for name, data in (
            ("number_0", stage_step(number=0, settled=0)), ("settled_itself", stage_step(settled=9)),
            ("no_rows", stage_step([], b"")), ("part_without_rows", stage_step([(0, 0, 0)])),
            ("sequence_256", stage_step([(256, 0, 1)])), ("unsorted", stage_step([(1, 0, 1), (0, 0, 1)], two)),
            ("twice_one_sequence", stage_step([(1, 0, 1), (1, 1, 1)], two)),
            ("position_out_of_range", stage_step([(0, 1048576, 1)])),
            ("position_overflow", stage_step([(0, 2**32 - 1, 1)])),
            ("rows_beyond_the_last", stage_step([(0, 1048575, 2)], two)),
            ("too_many_rows", stage_step([(0, 0, 513)], zeros(513 * 34))), ("33_unsettled", stage_step(number=41)),
            ("tensor_too_short", stage_step(tensor=row[:33])),
            ("tensor_not_of_rows", stage_step([(0, 0, 2)], two + row[:1])),
            ("too_many_parts", stage_step([(i, 0, 1) for i in range(257)], zeros(257 * 34)))):
        bad(f"step_{name}", data)
    bad("step_left_over", stage_step() + b"\0", "malformed")
    bad("step_tensor_longer_than_the_message",
        u8(5) + u64(9) + u64(8) + u16(1) + u16(0) + u32(0) + u16(1) + u32(99) + row, "malformed")
    good("truncate", u8(6) + u64(3) + u64(1) + u16(2) + u32(40), kind=6, number=3, settled=1, sequence=2, length=40)
    bad("truncate_sequence_256", u8(6) + u64(3) + u64(1) + u16(256) + u32(40))
    bad("truncate_too_long", u8(6) + u64(3) + u64(1) + u16(2) + u32(1048576))
    bad("truncate_settled_itself", u8(6) + u64(3) + u64(3) + u16(2) + u32(40))
    good("replay", u8(7) + u64(5) + u8(0) + stage_rows([(0, 0, 1)], row), kind=7, settled=5, final=False,
         rows={"parts": [[0, 0, 1]], "tensor": row.hex()})
    good("replay_final_and_empty", u8(7) + u64(5) + u8(1) + stage_rows([], b""), kind=7, settled=5, final=True,
         rows={"parts": [], "tensor": ""})
    bad("replay_empty", u8(7) + u64(5) + u8(0) + stage_rows([], b""))
    bad("replay_tensor_of_nothing", u8(7) + u64(5) + u8(1) + stage_rows([], row))
    bad("replay_final_2", u8(7) + u64(5) + u8(2) + stage_rows([(0, 0, 1)], row), "malformed")


def stage_page():
    p = Page("stage", {"stage": 0})

    def good(name, data, /, **fields):
        p.good(name, "stage", data, **fields)

    def bad(name, data, error="invalid"):
        p.bad(name, "stage", data, error)

    stage_opens(good, bad)
    stage_joins(good, bad)
    stage_fills(good, bad)
    stage_reads(good, bad)
    stage_steps(good, bad)
    good("reroute", u8(8) + STAGE_NEXT, kind=8, next=STAGE_NEXT.hex())
    bad("reroute_to_nobody", u8(8) + zeros(32))
    good("done", u8(9) + u64(3), kind=9, number=3)
    bad("done_0", u8(9) + u64(0))
    good("alive", u8(10), kind=10)
    bad("alive_left_over", u8(10) + b"\0", "malformed")
    good("fault", u8(11) + u8(5) + t16(b"the next hop is gone"), kind=11, code=5, text="the next hop is gone")
    good("fault_without_text", u8(11) + u8(0) + t16(b""), kind=11, code=0, text="")
    bad("fault_unknown", u8(11) + u8(6) + t16(b""), "malformed")
    bad("fault_not_plain", u8(11) + u8(0) + t16(b"a\x1bb"), "malformed")
    bad("fault_too_long", u8(11) + u8(0) + t16(b"x" * 513), "malformed")
    bad("unknown_kind", u8(12), "malformed")
    bad("kind_0", u8(0), "malformed")
    p.write()


# ---- profile ---------------------------------------------------------------------------------------------------------

def rate(quantisation=15, decode=95_000_000, batch=13_000_000, prefill=10_000_000, overhead=20_000):
    return u8(quantisation) + u64(decode) + u64(batch) + u64(prefill) + u32(overhead)


def link(peer, rtt=30_000, speed=1_250_000): return peer + u32(rtt) + u64(speed)


def profile(magic=b"SC1P", version=1, node=run(0x11, 32), after=T0, until=T0 + 86400, memory=2**33, overhead=190_000,
            chunk=512, rates=None, links=()):
    rates = [rate()] if rates is None else rates
    return (magic + u8(version) + node + u64(after) + u64(until) + u64(memory) + u32(overhead) + u16(chunk)
            + u8(len(rates)) + b"".join(rates) + u8(len(links)) + b"".join(links))


def profile_fields(until=T0 + 86400, memory=2**33, overhead=190_000, chunk=512, rates=None, links=()):
    rates = [(15, 95_000_000, 13_000_000, 10_000_000, 20_000)] if rates is None else rates
    names = ("quantisation", "decode_ps_per_mib", "batch_ps_per_mib", "prefill_ps_per_mib", "layer_overhead_ns")
    return {"node": run(0x11, 32).hex(), "valid_after": T0, "valid_until": until, "memory_bytes": memory,
            "stage_overhead_ns": overhead, "chunk_tokens": chunk, "rates": [dict(zip(names, r)) for r in rates],
            "links": [{"peer": peer.hex(), "rtt_us": rtt, "bytes_per_second": speed} for peer, rtt, speed in links]}


def profile_page():
    p = Page("profile", {"signed_profile": 0})
    sig = run(0x77, 64)
    near, far = run(0x10, 32), run(0x12, 32)

    def good(name, data, fields):
        p.good(name, "signed_profile", data + sig, **fields, signature=sig.hex())

    def bad(name, error="invalid", **d):
        p.bad(name, "signed_profile", profile(**d) + sig, error)

    good("alone", profile(), profile_fields())
    good("two_links", profile(links=[link(near), link(far, 80_000, 125_000)]),
         profile_fields(links=[(near, 30_000, 1_250_000), (far, 80_000, 125_000)]))
    good("least", profile(until=T0 + 1, memory=1, overhead=0, chunk=1, rates=[rate(0, 100, 100, 100, 0)],
                          links=[link(near, 1, 1000)]),
         profile_fields(T0 + 1, 1, 0, 1, [(0, 100, 100, 100, 0)], [(near, 1, 1000)]))
    most = (10**10, 10**10, 10**10, 10**8)
    peers = [run(i, 32) for i in range(0x20, 0x60)]
    good("most", profile(until=T0 + 7 * 86400, memory=2**44, overhead=10**9, rates=[rate(i, *most) for i in range(8)],
                         links=[link(peer, 10**7, 2**40) for peer in peers]),
         profile_fields(T0 + 7 * 86400, 2**44, 10**9, 512, [(i, *most) for i in range(8)],
                        [(peer, 10**7, 2**40) for peer in peers]))
    bad("magic", "malformed", magic=b"SC1D")
    bad("version_2", "unsupported", version=2)
    bad("ends_as_it_begins", until=T0)
    bad("ends_before_it_begins", until=T0 - 1)
    bad("longer_than_a_week", until=T0 + 7 * 86400 + 1)
    bad("after_year_2200", "malformed", after=YEAR_2200 + 1, until=YEAR_2200 + 2)
    bad("memory_none", memory=0)
    bad("memory_too_much", memory=2**44 + 1)
    bad("stage_overhead_too_long", overhead=10**9 + 1)
    bad("chunk_0", chunk=0)
    bad("chunk_513", chunk=513)
    bad("rates_none", rates=[])
    bad("rates_nine", rates=[rate(i) for i in range(9)])
    bad("rates_out_of_order", rates=[rate(2), rate(1)])
    bad("rates_twice_the_same", rates=[rate(2)] * 2)
    for name in ("decode", "batch", "prefill"):
        bad(f"{name}_for_nothing", rates=[rate(**{name: 0})])
        bad(f"{name}_too_fast", rates=[rate(**{name: 99})])
        bad(f"{name}_too_slow", rates=[rate(**{name: 10**10 + 1})])
        bad(f"{name}_overflows", rates=[rate(**{name: 2**64 - 1})])
    bad("layer_overhead_too_long", rates=[rate(overhead=10**8 + 1)])
    bad("links_65", links=[link(run(i, 32)) for i in range(0x20, 0x61)])
    bad("links_out_of_order", links=[link(far), link(near)])
    bad("links_twice_the_same", links=[link(near)] * 2)
    bad("link_to_itself", links=[link(run(0x11, 32))])
    bad("link_in_no_time", links=[link(near, rtt=0)])
    bad("link_too_far", links=[link(near, rtt=10**7 + 1)])
    bad("link_too_narrow", links=[link(near, speed=999)])
    bad("link_too_wide", links=[link(near, speed=2**40 + 1)])
    bad("link_overflows", links=[link(near, speed=2**64 - 1)])
    p.bad("left_over", "signed_profile", profile() + sig + b"\0")
    p.write()


if __name__ == "__main__":
    for page in (cell_page, relay_page, record_page, request_page, descriptor_page, snapshot_page,
                 stage_page, profile_page):
        page()
