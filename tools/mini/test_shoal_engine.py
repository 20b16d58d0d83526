"""The grader's side of the pipe, against a stand-in for shoal-engine that says back what it was asked."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from shoal_engine import Engine  # noqa: E402

STAND_IN = """#!{python}
import os, socket, struct, sys
pipe = socket.socket(fileno=3).makefile("rwb")
frame = lambda kind, body: pipe.write(struct.pack("<IB", 1 + len(body), kind) + body)
def read():
    head = pipe.read(4)
    if not head:
        sys.exit(0)
    taken = pipe.read(struct.unpack("<I", head)[0])
    return taken[0], taken[1:]
kind, body = read()
assert kind == 1 and len(body) == 19
frame(17 if os.read(4, 99) == b"a model" else 22, bytes(3) + b"no model")
pipe.flush()
while True:
    kind, body = read()
    assert kind == 2
    job, chat = body[:8], body[44:]
    assert struct.unpack("<I", body[40:44])[0] == len(chat)
    said = chat[45:]
    frame(23, b"")
    if said == b"fail":
        frame(21, job + bytes(13) + struct.pack("<H", 3) + b"why")
    for part in (said[:2], said[2:]):
        frame(19, job + bytes(4) + struct.pack("<H", len(part)) + part)
    frame(20, job + bytes(13))
    pipe.flush()
"""


class Pipe(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "shoal-engine").write_text(STAND_IN.format(python=sys.executable))
        (self.folder / "shoal-engine").chmod(0o755)
        self.gguf = self.folder / "x.gguf"

    def test_a_reply_is_its_pieces_joined_and_a_second_question_works_too(self):
        self.gguf.write_text("a model")
        with Engine(self.gguf, self.folder) as engine:
            self.assertEqual(engine.chat([("user", "hello")]), "hello")
            self.assertEqual(engine.chat([("user", "and again")], temperature=0), "and again")
        self.assertEqual(engine.process.returncode, 0)

    def test_a_model_that_cannot_be_read_and_a_failed_job_end_with_the_reason(self):
        self.gguf.write_text("nothing")
        with self.assertRaisesRegex(SystemExit, "no model"):
            Engine(self.gguf, self.folder).__enter__()
        self.gguf.write_text("a model")
        with Engine(self.gguf, self.folder) as engine, self.assertRaisesRegex(SystemExit, "why"):
            engine.chat([("user", "fail")])

    def test_an_engine_that_was_not_built_is_said_so(self):
        with self.assertRaisesRegex(SystemExit, "./run build"):
            Engine(self.gguf, self.folder / "nowhere").__enter__()


if __name__ == "__main__":
    unittest.main()
