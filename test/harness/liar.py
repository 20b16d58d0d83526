"""An engine that lies: the real one, with its answers changed on the way to the node. It says what the real one says of
its model, so the node is listed for that model like any other.

  alter   one letter of the reply's second piece is another one
  stop    the reply ends after its first piece
  count   the reply is the true one, but its tokens are counted twice
  prefix  the last byte of what it computed of a prompt is another one, as another node gets it

Of a stage (protocol/stage_pipe.md), behind a colon the name of a file: as long as that is there, what is computed is

  nan     numbers that are none
  shape   a row less, or half of one
  noise   no frame at all
  hang    not given to the node, nor that anything is computed

or the engine, where it starts as long as that is there, may have

  memory  MEMORY_MIB of address space
"""

import os
import resource
import select
import socket
import struct
import subprocess
import sys

# protocol/pipe.md
TEXT, FINISHED, PREFIX_PIECE = 19, 20, 30
MEMORY_MIB = 280
COMPUTED, WORKING = 18, 20  # protocol/stage_pipe.md


class Frames:
    """Whole frames of a byte stream: (kind, body)."""

    def __init__(self):
        self.held = b""

    def feed(self, data):
        self.held += data
        while len(self.held) >= 4:
            size = struct.unpack_from("<I", self.held)[0]
            if len(self.held) < 4 + size:
                return
            yield self.held[4], self.held[5:4 + size]
            self.held = self.held[4 + size:]


def frame(kind, body):
    return struct.pack("<IB", 1 + len(body), kind) + body


class StageLiar:
    """Frames from the engine of a stage to the node."""

    def __init__(self, how, flag):
        self.how, self.flag = how, flag

    def change(self, kind, body):
        if self.how == "memory" or kind not in (COMPUTED, WORKING) or not os.path.exists(self.flag):
            return frame(kind, body)
        if self.how == "hang":
            return b""
        if kind == WORKING:
            return frame(kind, body)
        if self.how == "nan":
            return frame(kind, body[:8] + b"\xff" * (len(body) - 8))  # a NaN in f32 and in f16
        if self.how == "shape":
            half = (len(body) - 8) // 2
            return frame(kind, body[:4] + struct.pack("<I", half) + body[8:8 + half])
        return b"\xff" * 64


class Liar:
    """Frames from the engine to the node, changed."""

    def __init__(self, how):
        self.how = how
        self.pieces = {}  # job: pieces of text so far

    def change(self, kind, body):
        if kind == TEXT:
            return self.text(body)
        if kind == PREFIX_PIECE and self.how == "prefix" and body[8]:
            return frame(PREFIX_PIECE, body[:-1] + bytes([body[-1] ^ 1]))
        if kind == FINISHED:
            job, reason, prompt, completion, reused = struct.unpack_from("<QBIII", body)
            kept = body[21:]
            if self.how == "count":
                return frame(FINISHED, struct.pack("<QBIII", job, reason, prompt, 2 * completion, reused) + kept)
            if self.pieces.pop(job, 0) > 1 and self.how == "stop":
                return frame(FINISHED, struct.pack("<QBIII", job, 0, prompt, 1, reused) + kept)
        return frame(kind, body)

    def text(self, body):
        job, _, size = struct.unpack_from("<QIH", body)
        text = bytearray(body[14:14 + size])
        self.pieces[job] = self.pieces.get(job, 0) + 1
        if self.pieces[job] == 2 and self.how == "alter":
            index = next(index for index, byte in enumerate(text) if chr(byte).isascii() and chr(byte).isprintable())
            text[index] = ord("q") if text[index] != ord("q") else ord("z")
        if self.pieces[job] > 1 and self.how == "stop":
            return b""
        return frame(TEXT, body[:14] + bytes(text))


def main(command, how):
    """Stands between descriptor 3, the node, and the real engine, which gets a socket pair of its own."""
    node = socket.socket(fileno=3)
    near, far = socket.socketpair()

    def prepare():
        os.dup2(far.fileno(), 3)
        if how.startswith("memory:") and os.path.exists(how.split(":", 1)[1]):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MIB << 20, MEMORY_MIB << 20))

    # An arena for each thread would take address space as it comes.
    child = subprocess.Popen(command, pass_fds=(), close_fds=False, preexec_fn=prepare,
                             env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    far.close()
    frames = Frames()
    liar = StageLiar(*how.split(":", 1)) if ":" in how else Liar(how)
    heard = [node, near]
    while True:
        ready, _, _ = select.select(heard, [], [])
        if node in ready:
            data = node.recv(1 << 16)
            if not data:
                break
            try:
                near.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                heard = [near]  # the engine has ended: what it said last is still to be read
        if near in ready:
            try:
                data = near.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                break
            node.sendall(b"".join(liar.change(kind, body) for kind, body in frames.feed(data)))
    near.close()
    # The node is told how the engine ended.
    status = child.wait()
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)
