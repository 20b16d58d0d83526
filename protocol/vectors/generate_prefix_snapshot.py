#!/usr/bin/env python3
"""Writes prefix_snapshot.json and the seeds of two fuzz targets, from the page and not from the C++.

Run it again only when prefix.md changes, and read the difference.

An entry has `shape` (a list of [key type, key row, value type, value row], and the blocks in which rows were turned),
`tokens`, `digest` as the request names it, and `hex`. The rows are numbered bytes: byte i of a snapshot's rows is i mod
251. With `error` the snapshot is not the one that is asked for.
"""
import hashlib
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
CORPORA = HERE.parent.parent / "test" / "corpus"
F16, Q8_0 = 0, 1


def p(form, *values): return struct.pack("<" + form, *values)
def blake(*parts): return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def header(layers, tokens, turned=(0, 0), version=1, first=0, end=None):
    out = p("BIHHII", version, tokens, first, len(layers) if end is None else end, *turned)
    return out + b"".join(p("BIBI", *layer) for layer in layers)


def rows(layers, tokens):
    """The bytes of each layer."""
    out, at = [], 0
    for _, keys, _, values in layers:
        size = tokens * (keys + values)
        out.append(bytes((at + i) % 251 for i in range(size)))
        at += size
    return out


def snapshot(layers, tokens, **named):
    """(bytes, digest)"""
    data = rows(layers, tokens)
    head = header(layers, tokens, **named) + b"".join(blake(b"sc1/prefix-layer", layer) for layer in data)
    return head + b"".join(data), blake(b"sc1/prefix", head)


SMALL = [(F16, 4, F16, 4), (F16, 4, F16, 4)]
QUANTISED = [(Q8_0, 34, Q8_0, 68)]
LATENT = [(F16, 4, F16, 0), (F16, 6, F16, 0)]
UNEVEN = [(F16, 6, F16, 2), (F16, 2, Q8_0, 34), (Q8_0, 34, F16, 8)]


def entry(name, layers, tokens, data, digest, turned=(0, 0), error=False):
    out = {"name": name, "type": "snapshot", "shape": {"layers": layers, "turned": turned}, "tokens": tokens,
           "digest": digest.hex(), "hex": data.hex()}
    return out | {"error": True} if error else out


def good():
    for name, layers, tokens, turned in (("small", SMALL, 64, (0, 0)), ("quantised", QUANTISED, 64, (64, 128)),
                                         ("uneven", UNEVEN, 80, (0, 0)), ("without_values", LATENT, 64, (0, 0)),
                                         ("one_layer", SMALL[:1], 64, (0, 0))):
        data, digest = snapshot(layers, tokens, turned=turned)
        yield entry(name, layers, tokens, data, digest, turned)


def bad():
    data, digest = snapshot(SMALL, 64)
    size = len(header(SMALL, 64))
    def refused(name, altered, named=digest): return entry(name, SMALL, 64, altered, named, error=True)

    def flipped(at): return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
    yield refused("another_digest", data, blake(b"another"))
    yield refused("altered_version", flipped(0))
    yield refused("altered_tokens", flipped(1))
    yield refused("altered_form", flipped(size - 1))
    yield refused("altered_first_hash", flipped(size))
    yield refused("altered_last_hash", flipped(size + 63))
    yield refused("altered_first_key", flipped(size + 64))
    yield refused("altered_value_of_the_first_layer", flipped(size + 64 + 256))
    yield refused("altered_last_byte", flipped(len(data) - 1))
    yield refused("layers_in_the_other_order", data[:-1024] + data[-512:] + data[-1024:-512])
    yield refused("too_short", data[:-1])
    yield refused("too_long", data + b"\0")
    yield refused("nothing", b"")
    # Named rightly by whoever made them, and of something else.
    for name, layers, tokens, named in (
            ("another_version", SMALL, 64, {"version": 2}), ("fewer_tokens", SMALL, 48, {}),
            ("more_tokens", SMALL, 80, {}), ("other_layers", SMALL, 64, {"first": 1, "end": 3}),
            ("fewer_layers", SMALL[:1], 64, {}), ("more_layers", SMALL + SMALL[:1], 64, {}),
            ("a_layer_less_in_the_header_only", SMALL, 64, {"end": 1}), ("no_layers", [], 64, {}),
            ("turned", SMALL, 64, {"turned": (64, 0)}), ("another_type", [(Q8_0, 4, F16, 4), SMALL[1]], 64, {}),
            ("an_unknown_type", [(7, 4, F16, 4), SMALL[1]], 64, {}),
            ("wider_rows", [(F16, 8, F16, 4), SMALL[1]], 64, {}),
            ("keys_for_values", [(F16, 6, F16, 2), SMALL[1]], 64, {}),
            ("no_rows", [(F16, 0, F16, 8), SMALL[1]], 64, {})):
        data, digest = snapshot(layers, tokens, **named)
        yield refused(name, data, digest)
    for name, tokens in (("no_tokens", 0), ("all_tokens_that_there_are", 2**32 - 1)):
        head = header(SMALL, tokens) + blake(b"sc1/prefix-layer") * 2
        yield refused(name, head, blake(b"sc1/prefix", head))
    head = header([(F16, 2**32 - 1, F16, 2**32 - 1)] * 2, 64) + bytes(64)
    yield refused("endless_rows", head, blake(b"sc1/prefix", head))


def library(layers, tokens, turned=(0, 0), cells=None):
    """The bytes in which libllama 0.7 gives a sequence (src/engine_worker/kv_copy.h)."""
    out = p("IIII", 0xAF143CD8, 0, 1, tokens)
    out += b"".join(p("III", position, 1, 0) for position in cells or range(tokens))
    out += p("IIII", 0, len(layers), *turned)
    for side in (0, 2):
        for layer in layers:
            row = layer[side + 1]
            if row == 0: continue
            out += p("IQ", (1, 8)[layer[side]], row) + bytes((side + i) % 251 for i in range(tokens * row))
    return out


def main():
    entries = [*good(), *bad()]
    (HERE / "prefix_snapshot.json").write_text(json.dumps(entries, indent=1) + "\n")
    small = b"\x40" + snapshot(SMALL, 16)[0]  # how it is cut comes first
    seeds = {"engine_worker_kv_snapshot_fuzz": {"small": small, "short": small[:150], "altered": small[:-1] + b"\0"},
             "engine_worker_kv_copy_fuzz": {
                 "small": library(SMALL, 3), "quantised": library(QUANTISED, 2, (64, 64)),
                 "without_values": library(LATENT, 3), "shuffled": library(UNEVEN, 4, cells=[2, 3, 0, 1])}}
    for target, files in seeds.items():
        (CORPORA / target).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (CORPORA / target / name).write_bytes(data)


main()
