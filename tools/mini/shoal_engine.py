"""Runs our own shoal-engine on one model, by protocol/pipe.md, so that a GGUF is judged by the program that will serve
it. The same two calls as llama.py's Server."""

import fcntl
import os
import socket
import struct
import subprocess
from pathlib import Path

import bootstrap

LOAD, SUBMIT = 1, 2
READY, TEXT, FINISHED, FAILED, FATAL = 17, 19, 20, 21, 22
ROLES = {"system": 0, "user": 1, "assistant": 2}
CONTEXT = 1024
SILENCE_SECONDS = 120


def _frame(kind, body):
    return struct.pack("<IB", 1 + len(body), kind) + body


def _program(folder):
    """The command of the engine that was built there, under its own loader where it has one."""
    program, libraries = folder / "shoal-engine", folder / "engine-libs"
    if not program.exists():
        raise SystemExit(f"{program} is not there: ./run build makes it")
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), None)
    through = [str(loader), "--library-path", str(libraries)] if loader else []
    return [*through, str(program), "--backends", str(libraries / "ggml" / "backends0")]


class Engine:
    """A context manager; `chat` gives the text of a reply."""

    def __init__(self, gguf, folder=None, threads=1):
        self.gguf, self.threads = Path(gguf), threads
        self.folder = folder or bootstrap.ROOT / "build" / "release"
        self.received, self.jobs = b"", 0

    def __enter__(self):
        command = _program(self.folder)
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(SILENCE_SECONDS)
        with theirs, open(self.gguf, "rb") as model:
            # Either may be 3 or 4 already: they are moved out of the way before they take those places.
            high = [fcntl.fcntl(f.fileno(), fcntl.F_DUPFD_CLOEXEC, 50) for f in (theirs, model)]
            self.process = subprocess.Popen(command, preexec_fn=lambda: [os.dup2(high[i], 3 + i) for i in (0, 1)],
                                            pass_fds=(3, 4))
        for number in high:
            os.close(number)
        self.socket.sendall(_frame(LOAD, struct.pack("<IHHIBBBHH", CONTEXT, 1, self.threads, 0, 0, 0, 0, 0, 0)))
        try:
            self._until(READY)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.socket.close()  # the engine ends when its pipe does
        self.process.wait()

    def _frame_of(self, size):
        while len(self.received) < size:
            more = self.socket.recv(1 << 16)
            if not more:
                raise SystemExit("shoal-engine ended")
            self.received += more
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def _until(self, last):
        """The bodies of the TEXT frames that come before one of kind `last`."""
        texts = []
        while True:
            (length,) = struct.unpack("<I", self._frame_of(4))
            frame = self._frame_of(length)
            kind, body = frame[0], frame[1:]
            if kind in (FATAL, FAILED):
                raise SystemExit(f"shoal-engine: {body[3 if kind == FATAL else 23:].decode()}")
            if kind == TEXT:
                texts.append(body)
            if kind == last:
                return texts

    def chat(self, messages, temperature=1.0, seed=0, max_tokens=300):
        """The text of the reply to a list of (role, content)."""
        self.jobs += 1
        body = struct.pack("<BQfffffIIBH", 1, seed, temperature, 1.0, 0.0, 0.0, 0.0, 0, max_tokens, 0, len(messages))
        for role, content in messages:
            data = content.encode()
            body += struct.pack("<BI", ROLES[role], len(data)) + data
        self.socket.sendall(_frame(SUBMIT, struct.pack("<Q", self.jobs) + bytes(32)
                                   + struct.pack("<I", len(body)) + body))
        return b"".join(text[14:] for text in self._until(FINISHED)).decode()
