"""The harness itself: processes end, waits give up, replies and bytes are read right."""

import asyncio
import json
import random
import socket
import sys
import tempfile
import threading
import time
import tomllib
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import Api, ApiError, Process, ProcessDied, Tapped, TimedOut, common_runs, read_lines, until  # noqa: E402
from harness import collusion, delay, mutants, tls  # noqa: E402
from harness.run import ROOT  # noqa: E402


class Folder(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = Path(self._folder.name)

    def python(self, code):
        process = Process("python", [sys.executable, "-uc", code], self.folder / "python.log")
        self.addCleanup(process.stop)
        return process


class Processes(Folder):
    def test_a_line_is_waited_for(self):
        process = self.python("print('port 7'); input = __import__('time').sleep(60)")
        self.assertEqual(process.wait_line(r"port (\d)")[1], "7")

    def test_a_process_that_dies_ends_the_wait_with_its_log(self):
        with self.assertRaisesRegex(ProcessDied, "status 3.*\n.*why"):
            self.python("print('why'); raise SystemExit(3)").wait_line("never")

    def test_stop_ends_also_what_the_process_started(self):
        process = self.python("import subprocess, sys, time\n"
                              "child = subprocess.Popen(['sleep', '60']); print('child', child.pid); time.sleep(60)")
        child = int(process.wait_line(r"child (\d+)")[1])
        self.assertEqual(process.children(), [child])
        process.stop()
        until(lambda: not running(child), "the grandchild is gone", 5)

    def test_a_process_that_ignores_sigterm_is_killed(self):
        process = self.python("import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)")
        process.wait_line("up")
        self.assertEqual(process.stop(timeout=0.2), -9)

    def test_what_the_kernel_says_is_read(self):
        process = self.python("print('up'); __import__('time').sleep(60)")
        process.wait_line("up")
        self.assertGreater(process.rss_kib(), 1000)
        self.assertGreaterEqual(process.cpu_seconds(), 0)

    def test_a_condition_that_never_comes_is_named(self):
        with self.assertRaisesRegex(TimedOut, "rain: not within 0.1 s"):
            until(lambda: False, "rain", 0.1)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Gateway(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200 if self.path == "/v1/models" else 503, {"data": [{"id": "m"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] != "m":
            return self.answer(400, {"error": {"param": "model"}})
        self.send_response(200)
        self.end_headers()
        for text in ("a", "b", "c"):
            data = {"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": None}]}
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
                         b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\ndata: [DONE]\n\n')

    def answer(self, status, value):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_):
        pass


class ApiClient(unittest.TestCase):
    def setUp(self):
        self.server = HTTPServer(("127.0.0.1", 0), Gateway)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.api = Api(self.server.server_port)

    def test_a_stream_is_put_together(self):
        reply = self.api.chat("hello")
        usage = {"completion_tokens": 3}
        self.assertEqual((reply.text, reply.finish, reply.done, reply.usage), ("abc", "stop", True, usage))
        self.assertEqual(len(reply.times), 3)

    def test_a_stream_can_be_left_early(self):
        reply = self.api.chat("hello", on_text=lambda so_far: True)
        self.assertEqual((reply.text, reply.done), ("a", False))

    def test_a_refusal_names_the_parameter(self):
        with self.assertRaises(ApiError) as caught:
            self.api.chat("hello", model="x")
        self.assertEqual((caught.exception.status, caught.exception.error["param"]), (400, "model"))

    def test_not_ready_and_not_there_are_not_ready(self):
        self.assertFalse(self.api.is_ready())
        self.assertFalse(Api(1).is_ready())


class Traces(Folder):
    def test_a_line_that_is_being_written_is_left_out(self):
        path = self.folder / "t"
        self.assertEqual(read_lines(path), [])
        path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
        self.assertEqual(read_lines(path), [{"a": 1}, {"a": 2}])

    def test_a_common_run_is_found_wherever_it_stands(self):
        secret = bytes(range(100, 116))
        groups = {"one": [b"x" * 7 + secret + b"y"], "two": [b"abc" + secret], "three": [secret[:15]]}
        self.assertEqual(common_runs(groups), [("one", "two", secret)])

    def test_bodies_of_one_link_and_runs_of_one_byte_do_not_count(self):
        self.assertEqual(common_runs({"one": [b"same bytes, sixteen", b"same bytes, sixteen"], "two": [bytes(40)],
                                      "three": [bytes(40)]}), [])


class Wires(unittest.TestCase):
    def test_bytes_pass_and_are_recorded_until_the_wire_is_cut(self):
        with socket.create_server(("127.0.0.1", 0)) as server, \
                Tapped(("127.0.0.1", 0), server.getsockname()) as wire:
            client = socket.create_connection(wire.address)
            near, _ = server.accept()
            client.sendall(b"question")
            self.assertEqual(near.recv(100), b"question")
            near.sendall(b"answer")
            self.assertEqual(client.recv(100), b"answer")
            self.assertEqual((bytes(wire.sent), bytes(wire.received)), (b"question", b"answer"))
            wire.cut()
            with self.assertRaises(ConnectionResetError):
                client.recv(100)
            near.close()
            client.close()


class Tls(unittest.TestCase):
    def test_x25519_is_that_of_rfc_7748(self):
        scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
        point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
        self.assertEqual(tls.x25519(scalar, point).hex(),
                         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")

    def test_gcm_is_that_of_its_specification(self):
        cipher = tls.Gcm(bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2))
        nonce, header = bytes.fromhex("cafebabefacedbaddecaf888"), bytes.fromhex("feedfacedeadbeef" * 2 + "abaddad2")
        sealed = bytes.fromhex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b0"
                               "8b1056828838c5f61e6393ba7a0abcc9f662")
        plain = cipher.open(nonce, header, sealed + bytes.fromhex("76fc6ece0f4e1768cddf8853bb2d551b"))
        self.assertEqual(plain[:8].hex(), "d9313225f88406e5")
        self.assertIsNone(cipher.open(nonce, header, sealed + bytes(16)))


class Collusion(unittest.TestCase):
    def test_the_stream_is_that_of_rfc_8439(self):
        block = collusion.chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
        self.assertEqual(block[:16].hex(), "10f1e7e4d13b5915500fdd1fa32071c4")

    def test_any_two_points_give_the_line(self):
        # p(x) = 7 + 5x in GF(2^8): 1, 2, 3 give 2, 13, 8.
        for points, values in (((1, 2), (2, 13)), ((2, 3), (13, 8)), ((1, 3), (2, 8))):
            self.assertEqual(collusion.interpolate(points, [bytes([value]) for value in values], 0), b"\x07")

    def test_noise_is_no_clove(self):
        self.assertEqual(collusion.recovered([[bytes(range(256)) * 5, bytes(1370)]]), [])


class Mutations(unittest.TestCase):
    def test_each_takes_out_something_that_is_there(self):
        mutants.check_listed(tomllib.loads((ROOT / "test" / "mutations.toml").read_text())["mutation"])


class Delays(Folder):
    """harness.delay as a process, and its bounds with ends that are played."""

    def link(self, *options):
        """(dialling end, accepted end) of a delayed link."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            near = probe.getsockname()
        process = Process("delay", [sys.executable, "-m", "harness.delay", f"127.0.0.1:{near[1]}",
                                    f"127.0.0.1:{server.getsockname()[1]}", *options], self.folder / "delay.log",
                          cwd=ROOT / "test")
        self.addCleanup(process.stop)
        process.wait_line("listening")
        ends = socket.create_connection(near, timeout=30), server.accept()[0]
        for end in ends:
            end.settimeout(30)
            self.addCleanup(end.close)
        return ends

    def test_both_directions_are_delayed_and_in_order(self):
        near, far = self.link("--delay-ms", "60", "--jitter-ms", "5")
        for sender, receiver in ((near, far), (far, near)):
            began = time.monotonic()
            sent = bytes(index % 251 for index in range(100_000))
            sender.sendall(sent)
            got = receiver.recv(1)
            self.assertGreaterEqual(time.monotonic() - began, 0.06)
            while len(got) < len(sent):
                got += receiver.recv(1 << 16)
            self.assertEqual(got, sent)

    def test_the_end_of_one_direction_leaves_the_other(self):
        near, far = self.link("--delay-ms", "1")
        near.sendall(b"question")
        near.shutdown(socket.SHUT_WR)
        got = b""
        while piece := far.recv(100):
            got += piece
        self.assertEqual(got, b"question")
        far.sendall(b"answer")
        self.assertEqual(near.recv(100), b"answer")

    def test_a_rate_makes_much_take_longer(self):
        near, far = self.link("--rate", "1000000")
        began = time.monotonic()
        near.sendall(bytes(200_000))
        left = 200_000
        while left:
            left -= len(far.recv(left))
        # The last chunk of at most 64 KiB may leave when it has come.
        self.assertGreaterEqual(time.monotonic() - began, (200_000 - delay.CHUNK) / 1e6)

    def read_by(self, writer, chunk):
        """Bytes that forward() takes from an endless reader before it waits for `writer`, or sees that it is gone."""
        taken = 0

        class Reader:
            async def read(self, size):
                nonlocal taken
                taken += len(chunk)
                await asyncio.sleep(0)
                return chunk

        async def run():
            task = asyncio.create_task(delay.forward(Reader(), writer, options, random.Random(1), 0))
            last = None
            while taken != last and not task.done():  # until a hundred turns of the loop bring nothing
                last = taken
                for _ in range(100):
                    await asyncio.sleep(0)
            ended = task.done()
            task.cancel()
            return ended

        options = SimpleNamespace(delay_ms=0, jitter_ms=0, rate=0)
        return asyncio.run(run()), taken

    def test_what_is_under_way_is_bounded_by_bytes_and_by_chunks(self):
        class Stuck:
            def write(self, data):
                pass

            async def drain(self):
                await asyncio.Event().wait()

        with mock.patch.object(delay, "UNDER_WAY_MAX", 10_000), mock.patch.object(delay, "CHUNKS_MAX", 50):
            ended, taken = self.read_by(Stuck(), bytes(1000))
            self.assertFalse(ended)
            self.assertLessEqual(taken, 12_000)
            ended, taken = self.read_by(Stuck(), b"x")
            self.assertFalse(ended)
            self.assertLessEqual(taken, 53)

    def test_a_lost_receiver_ends_the_reading(self):
        class Lost:
            def write(self, data):
                raise ConnectionResetError

            def can_write_eof(self):
                return False

        ended, _ = self.read_by(Lost(), b"x")
        self.assertTrue(ended)


if __name__ == "__main__":
    unittest.main()
