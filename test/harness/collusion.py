"""What relays that put everything together could do to a question: take what they peeled for the records of cloves,
join the shares and the fragments, and decrypt (protocol/record.md). Works when the records are not sealed, and only
then."""

import struct

FIRST, MORE = 1, 2                 # kinds of a record
FIRST_HEAD, FIRST_BYTES = 60, 1290  # of CLOVE_FIRST: what stands before the fragment, and it
POLYNOMIAL = 0x11D                 # of GF(2^8)


def recovered(bodies):
    """Plaintexts of all messages that the bodies of DATA cells give."""
    cloves = {}
    for stream in bodies:
        for message, clove in read_cloves(stream):
            cloves.setdefault(message, {})[clove["index"]] = clove
    found = []
    for parts in cloves.values():
        chosen = list(parts.values())[:next(iter(parts.values()))["k"]]
        if len(chosen) == chosen[0]["k"] and len({len(clove["fragment"]) for clove in chosen}) == 1:
            found.append(join(chosen))
    return found


def read_cloves(stream):
    """The cloves that one proxy's cells hold: [(message id, {k, index, share, fragment, size})]."""
    found, clove, left = [], None, 0
    for body in stream:
        kind, _, length = struct.unpack_from("<BBH", body)
        record = body[4:4 + length]
        if kind == FIRST and length == FIRST_HEAD + FIRST_BYTES:
            k, n, index, _ = record[:4]
            total, size, _ = struct.unpack_from("<HIH", record, 20)
            if not 1 <= index <= n or not 1 <= k <= n:
                continue
            clove = {"k": k, "index": index, "share": record[28:60], "fragment": record[60:], "size": size}
            found.append((record[4:20], clove))
            left = total - 1
        elif kind == MORE and clove and left and record[0] == clove["index"]:
            clove["fragment"] += record[4:]
            left -= 1
    return found


def join(cloves):
    """Shamir's secret at 0 is the key; the fragments at 1, 2 … k are the ciphertext."""
    points = [clove["index"] for clove in cloves]
    key = interpolate(points, [clove["share"] for clove in cloves], 0)
    fragments = [clove["fragment"] for clove in cloves]
    sealed = b"".join(interpolate(points, fragments, at) for at in range(1, len(points) + 1))
    return chacha20(key, sealed[:cloves[0]["size"] - 16])


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= POLYNOMIAL
        b >>= 1
    return product


def inverse(a):
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


def interpolate(points, values, at):
    """The values at `at` of the polynomials through `values` at `points`, one a byte."""
    total = 0
    for point, value in zip(points, values, strict=True):
        factor = 1
        for other in points:
            if other != point:
                factor = multiply(factor, multiply(at ^ other, inverse(point ^ other)))
        table = bytes(multiply(factor, byte) for byte in range(256))
        total ^= int.from_bytes(value.translate(table), "big")
    return total.to_bytes(len(values[0]), "big")


def chacha20(key, sealed):
    """RFC 8439's stream from block 1 on, where AEAD begins, with the nonce zero."""
    out = bytearray()
    for counter in range(1, len(sealed) // 64 + 2):
        block = chacha20_block(key, counter)
        out += bytes(a ^ b for a, b in zip(sealed[64 * counter - 64:64 * counter], block))
    return bytes(out)


def chacha20_block(key, counter, nonce=bytes(12)):
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter,
             *struct.unpack("<3I", nonce)]
    state = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(state, a, b, c, d)
    return struct.pack("<16I", *((one + two) & 0xFFFFFFFF for one, two in zip(start, state, strict=True)))


def quarter(state, a, b, c, d):
    for one, two, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[one] = (state[one] + state[two]) & 0xFFFFFFFF
        mixed = state[three] ^ state[one]
        state[three] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF
