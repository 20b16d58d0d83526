"""What a hop of a model over several nodes got and gave, read from its tap: the messages of protocol/stage.md out of
the cells of protocol/channel.md, and the rows in them. And what of a GGUF file must not be among them."""

import struct
from dataclasses import dataclass

CELL_HEAD = 8  # circuit id 4, command 1, flags 1, length 2
OPEN, OPENED, JOIN, STEP, TRUNCATE, REPLAY, FAULT = 1, 2, 3, 5, 6, 7, 11
FIXED = {3: 17, 4: 9, 6: 22, 8: 32, 9: 16, 10: 0, OPEN: 96}  # bytes behind the kind
TYPE_AND_WIDTH = 16 + 32 + 2 + 2 + 1  # where they are in OPEN
VALUE_BYTES = {0: 4, 1: 2}            # of f32 and f16; q8_0 is not read here


@dataclass(frozen=True)
class Message:
    """`rows` are the bytes of each row of the hidden state, in their order."""

    direction: str
    peer: str
    kind: int
    places: tuple  # (sequence, position, rows) of each part
    rows: tuple
    raw: bytes


def messages(node):
    """All of a node's stage messages so far, each read to its last byte; AssertionError for one that is not."""
    row_bytes, out = None, []
    for direction, peer, raw in whole_messages(node.taps()):
        if raw[0] == OPEN:
            kind, width = struct.unpack_from("<BI", raw, 1 + TYPE_AND_WIDTH)
            row_bytes = VALUE_BYTES[kind] * width
        out.append(read(direction, peer, raw, row_bytes))
    return out


def whole_messages(taps):
    """(direction, peer, bytes) of each message of a channel."""
    parts = {}
    for line in taps:
        if line.get("command") != "CHANNEL_DATA":
            continue
        cell = bytes.fromhex(line["bytes"])
        channel, length = cell[:4], struct.unpack_from("<H", cell, 6)[0]
        payload = cell[CELL_HEAD:CELL_HEAD + length]
        at = (line["link"], channel, line["dir"])
        if payload[0] == 1:
            assert at not in parts, "a message begins within another"
            parts[at] = [struct.unpack_from("<I", payload, 1)[0], payload[5:]]
        else:
            parts[at][1] += payload[1:]
        total, data = parts[at]
        assert len(data) <= total, "more bytes than were announced"
        if len(data) == total:
            del parts[at]
            yield line["dir"], line["peer"], data


def read(direction, peer, raw, row_bytes):
    kind, places, rows, end = raw[0], (), (), None
    if kind in FIXED:
        end = 1 + FIXED[kind]
    elif kind == OPENED:
        layers = struct.unpack_from("<H", raw, 1)[0]
        end = 3 + (8 + 10 * layers if layers else 0)
    elif kind == FAULT:
        end = 4 + struct.unpack_from("<H", raw, 2)[0]
    elif kind in (STEP, REPLAY):
        at = 17 if kind == STEP else 10
        count = struct.unpack_from("<H", raw, at)[0]
        places = tuple(struct.unpack_from("<HIH", raw, at + 2 + 8 * i) for i in range(count))
        at += 2 + 8 * count
        size = struct.unpack_from("<I", raw, at)[0]
        end = at + 4 + size
        assert size == row_bytes * sum(part[2] for part in places), "a tensor that is not the rows of its parts"
        rows = tuple(raw[i:i + row_bytes] for i in range(at + 4, end, row_bytes))
    assert end == len(raw), f"a message of kind {kind} with {len(raw)} bytes that the page does not have"
    return Message(direction, peer, kind, places, rows, raw)


# ---- the file -----------------------------------------------------------------------------------------------------

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
F32, F16, Q8_0 = 0, 1, 8


def embedding_rows(path):
    """Each row of token_embd.weight as the bytes of f32 numbers; the place in the list is the token."""
    data = path.read_bytes()
    _, _, tensors, pairs = struct.unpack_from("<IIQQ", data)
    at = 24
    for _ in range(pairs):
        at = after_value(data, *key_at(data, at))
    found = None
    for _ in range(tensors):
        name, at = text(data, at)
        dims = struct.unpack_from("<I", data, at)[0]
        shape = struct.unpack_from(f"<{dims}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dims)
        at += 16 + 8 * dims
        if name == b"token_embd.weight":
            found = (*shape, kind, offset)
    width, tokens, kind, offset = found
    start = -(-at // 32) * 32 + offset
    row = {F32: 4 * width, F16: 2 * width, Q8_0: 34 * width // 32}[kind]
    return [as_f32(data[start + i * row:start + (i + 1) * row], kind) for i in range(tokens)]


def as_f32(row, kind):
    if kind == F32:
        return row
    if kind == F16:
        values = struct.unpack(f"<{len(row) // 2}e", row)
    else:
        values = []
        for at in range(0, len(row), 34):
            scale, *numbers = struct.unpack_from("<e32b", row, at)
            values += [scale * number for number in numbers]
    return struct.pack(f"<{len(values)}f", *values)


def text(data, at):
    length = struct.unpack_from("<Q", data, at)[0]
    return data[at + 8:at + 8 + length], at + 8 + length


def key_at(data, at):
    """The type behind a key, and where its value begins."""
    _, at = text(data, at)
    return struct.unpack_from("<I", data, at)[0], at + 4


def after_value(data, kind, at):
    if kind == TEXT:
        return text(data, at)[1]
    if kind != ARRAY:
        return at + struct.calcsize(NUMBERS[kind])
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind != TEXT:
        return at + count * struct.calcsize(NUMBERS[kind])
    for _ in range(count):
        at = text(data, at)[1]
    return at
