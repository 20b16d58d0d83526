"""What an attacker does with a recorded TLS 1.3 connection (RFC 8446): read its handshake, try secrets on it, open it.
X25519 (RFC 7748) and AES-256-GCM are written out here, slowly, because Python's library has neither."""

import hashlib
import hmac
import socket
from dataclasses import dataclass, field

CHANGE_CIPHER, HANDSHAKE, APPLICATION = 20, 22, 23           # content types
CLIENT_HELLO, SERVER_HELLO, NEW_TICKET, FINISHED = 1, 2, 4, 20
KEY_SHARE, PRE_SHARED_KEY, EARLY_DATA, VERSIONS, TICKET = 51, 41, 42, 43, 35
X25519 = 0x001D
AES_256_GCM_SHA384 = 0x1302
HASH = "sha384"
TAG = 16


# ---- reading -----------------------------------------------------------------------------------------------------


def records(stream):
    """(content type, header, body) of each whole record."""
    at, found = 0, []
    while at + 5 <= len(stream):
        length = int.from_bytes(stream[at + 3:at + 5], "big")
        if at + 5 + length > len(stream):
            break
        found.append((stream[at], bytes(stream[at:at + 5]), bytes(stream[at + 5:at + 5 + length])))
        at += 5 + length
    return found


def dial(address, first=b""):
    """A connection to there that has said `first`."""
    connection = socket.create_connection(address, timeout=10)
    connection.sendall(first)
    return connection


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("not the TLS that this reads: too short")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "big")

    def vector(self, length_bytes):
        return self.take(self.number(length_bytes))


@dataclass
class Hello:
    """ClientHello or ServerHello."""

    raw: bytes            # the handshake message, as the transcript has it
    random: bytes
    ciphers: list
    extensions: dict = field(default_factory=dict)  # {type: body}

    def versions(self):
        body = self.extensions[VERSIONS]
        body = body if len(body) == 2 else body[1:]
        return [int.from_bytes(body[at:at + 2], "big") for at in range(0, len(body), 2)]

    def key_shares(self):
        """{group: public key}."""
        body = Cursor(self.extensions[KEY_SHARE])
        if self.raw[0] == CLIENT_HELLO:
            body = Cursor(body.vector(2))
        shares = {}
        while body.at < len(body.data):
            group = body.number(2)
            shares[group] = body.vector(2)
        return shares


def read_hello(message):
    body = Cursor(message)
    kind = body.number(1)
    body = Cursor(body.vector(3))
    body.take(2)
    random = body.take(32)
    body.vector(1)  # session id
    if kind == CLIENT_HELLO:
        suites = body.vector(2)
        ciphers = [int.from_bytes(suites[at:at + 2], "big") for at in range(0, len(suites), 2)]
        body.vector(1)  # compression
    else:
        ciphers = [body.number(2)]
        body.take(1)
    hello = Hello(message, random, ciphers)
    rest = Cursor(body.vector(2))
    while rest.at < len(rest.data):
        number = rest.number(2)
        hello.extensions[number] = rest.vector(2)
    return hello


class Connection:
    """A recorded connection: both Hellos in clear, what was encrypted of each direction."""

    def __init__(self, capture):
        self.client, self.sent = self._split(capture.sent)
        self.server, self.received = self._split(capture.received)

    @staticmethod
    def _split(stream):
        hello, sealed = None, []
        for kind, header, body in records(stream):
            if kind == HANDSHAKE and hello is None:
                hello = read_hello(body)
            elif kind == APPLICATION:
                sealed.append((header, body))
            elif kind != CHANGE_CIPHER:
                raise ValueError(f"a record of type {kind} in clear")
        return hello, sealed


# ---- opening -----------------------------------------------------------------------------------------------------


def expand(secret, label, context, length):
    """HKDF-Expand-Label of RFC 8446, 7.1."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes([len(out) // 48 + 1]), HASH)
        out += block
    return out[:length]


def server_handshake_secret(connection, shared):
    """From the secret that X25519 gave; without a pre-shared key."""
    empty = hashlib.new(HASH).digest()
    early = hmac.digest(bytes(48), bytes(48), HASH)
    handshake = hmac.digest(expand(early, b"derived", empty, 48), shared, HASH)
    transcript = hashlib.new(HASH, connection.client.raw + connection.server.raw).digest()
    return expand(handshake, b"s hs traffic", transcript, 48)


class Opener:
    """Opens the records of one direction in turn, under one traffic secret."""

    def __init__(self, secret):
        self.cipher = Gcm(expand(secret, b"key", b"", 32))
        self.iv = int.from_bytes(expand(secret, b"iv", b"", 12), "big")
        self.count = 0

    def open(self, header, body):
        """(content type, content), or None if it does not open."""
        plain = self.cipher.open((self.iv ^ self.count).to_bytes(12, "big"), header, body)
        if plain is None:
            return None
        self.count += 1
        plain = plain.rstrip(b"\0")
        return plain[-1], plain[:-1]


def opens(connection, shared):
    """Whether that X25519 result opens what the server said first."""
    header, body = connection.received[0]
    return Opener(server_handshake_secret(connection, shared)).open(header, body) is not None


def open_all(sealed, handshake_secret, traffic_secret):
    """(handshake messages, what came behind them as (content type, content)) of one direction."""
    messages, contents, opener, data = [], [], Opener(handshake_secret), b""
    for header, body in sealed:
        opened = opener.open(header, body)
        if opened is None:
            raise ValueError("a record does not open")
        kind, content = opened
        if messages and messages[-1][0] == FINISHED:
            contents.append((kind, content))
            continue
        data += content
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[1:4], "big"):
            end = 4 + int.from_bytes(data[1:4], "big")
            messages.append((data[0], data[4:end]))
            data = data[end:]
        if messages and messages[-1][0] == FINISHED:
            opener = Opener(traffic_secret)
    return messages, contents


# ---- X25519 ------------------------------------------------------------------------------------------------------

P = 2**255 - 19


def x25519(scalar, point):
    k = int.from_bytes(scalar, "little") & ~7 & (2**255 - 1) | 2**254
    u = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        swap = k >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


# ---- AES-256-GCM -------------------------------------------------------------------------------------------------


def _double(a):
    return (a << 1 ^ 0x11B) & 0xFF if a & 0x80 else a << 1


def _tables():
    power, log, a = [0] * 255, [0] * 256, 1
    for i in range(255):
        power[i], log[a] = a, i
        a ^= _double(a)  # times 3
    box = []
    for value in range(256):
        b = power[-log[value] % 255] if value else 0
        box.append(0x63 ^ b ^ _turn(b, 1) ^ _turn(b, 2) ^ _turn(b, 3) ^ _turn(b, 4))
    columns = []
    for byte in box:
        two = _double(byte)
        columns.append(two << 24 | byte << 16 | byte << 8 | two ^ byte)
    return box, columns


def _turn(byte, count):
    return (byte << count | byte >> 8 - count) & 0xFF


BOX, COLUMNS = _tables()


def _substitute(word):
    return BOX[word >> 24] << 24 | BOX[word >> 16 & 255] << 16 | BOX[word >> 8 & 255] << 8 | BOX[word & 255]


def _rotate(word, count):
    return (word >> count | word << 32 - count) & 0xFFFFFFFF


class Gcm:
    def __init__(self, key):
        words, constant = [int.from_bytes(key[at:at + 4], "big") for at in range(0, 32, 4)], 1
        for i in range(8, 60):
            word = words[i - 1]
            if i % 8 == 0:
                word = _substitute(_rotate(word, 24)) ^ constant << 24
                constant = _double(constant)
            elif i % 8 == 4:
                word = _substitute(word)
            words.append(words[i - 8] ^ word)
        self.words = words
        self.hash_key = int.from_bytes(self.block(bytes(16)), "big")

    def block(self, data):
        state = [int.from_bytes(data[4 * i:4 * i + 4], "big") ^ self.words[i] for i in range(4)]
        for turn in range(1, 14):
            state = [COLUMNS[state[i] >> 24] ^ _rotate(COLUMNS[state[(i + 1) % 4] >> 16 & 255], 8) ^
                     _rotate(COLUMNS[state[(i + 2) % 4] >> 8 & 255], 16) ^
                     _rotate(COLUMNS[state[(i + 3) % 4] & 255], 24) ^ self.words[4 * turn + i] for i in range(4)]
        out = [(BOX[state[i] >> 24] << 24 | BOX[state[(i + 1) % 4] >> 16 & 255] << 16 |
                BOX[state[(i + 2) % 4] >> 8 & 255] << 8 | BOX[state[(i + 3) % 4] & 255]) ^ self.words[56 + i]
               for i in range(4)]
        return b"".join(word.to_bytes(4, "big") for word in out)

    def _times(self, value):
        """value * H in GCM's field, whose bits run from the left."""
        product, power = 0, self.hash_key
        for bit in range(127, -1, -1):
            if value >> bit & 1:
                product ^= power
            power = power >> 1 ^ (0xE1 << 120 if power & 1 else 0)
        return product

    def open(self, nonce, header, sealed):
        """The plaintext, or None: the tag is another."""
        body, tag = sealed[:-TAG], sealed[-TAG:]
        check = 0
        for part in (header, body):
            for at in range(0, len(part), 16):
                check = self._times(check ^ int.from_bytes(part[at:at + 16].ljust(16, b"\0"), "big"))
        check = self._times(check ^ len(header) * 8 << 64 ^ len(body) * 8)
        check ^= int.from_bytes(self.block(nonce + bytes([0, 0, 0, 1])), "big")
        if check.to_bytes(16, "big") != tag:
            return None
        stream = b"".join(self.block(nonce + (2 + at // 16).to_bytes(4, "big")) for at in range(0, len(body), 16))
        return bytes(a ^ b for a, b in zip(body, stream))
