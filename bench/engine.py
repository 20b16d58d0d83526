#!/usr/bin/env python3
"""shoal-engine against llama.cpp's own benches: the same model, threads and library, interleaved pair by pair.

  bench/engine.py [--build build/release] [--model FILE] [--pairs 15] [--threads 1] [--json FILE]

Needs the tools of tools/setup/llama.sh --with-tools. Without --model a random llama of 178 M parameters in Q8_0 is made
(speed does not depend on what weights say). Prints a line a figure; with --json also a list of {name, value, unit, bar,
ok, peer, ratio, conditions}. Exit 1 when a bar is missed.

What is compared: reading a prompt of 512 tokens (llama-bench pp512), one stream (llama-bench tg64), eight streams
(llama-batched-bench, total tokens a second). Ours is measured at the pipe, with sampling, text and framing included.
"""
import argparse
import fcntl
import json
import os
import pathlib
import random
import socket
import statistics
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT_TOKENS, REPLY_TOKENS, STREAMS = 512, 64, 8
BARS = {"prefill": 0.97, "decode": 0.97, "streams": 0.95}
LOWER_BOUND = 0.93
KIND_LOAD, KIND_SUBMIT = 1, 2
KIND_READY, KIND_STARTED, KIND_TEXT, KIND_FINISHED, KIND_FAILED, KIND_FATAL, KIND_WORKING = 17, 18, 19, 20, 21, 22, 23


def frame(kind, body):
    return struct.pack("<IB", 1 + len(body), kind) + body


class Engine:
    """One shoal-engine on one model, by protocol/pipe.md."""

    def __init__(self, build, model, threads):
        libs = build / "engine-libs"
        words = [str(build / "shoal-engine"), "--backends", str(libs / "ggml" / "backends0")]
        loader = next(iter(sorted(libs.glob("ld-linux-*.so.*"))), None)
        if loader:
            words = [str(loader), "--library-path", str(libs)] + words
        ours, theirs = socket.socketpair()
        file = os.open(model, os.O_RDONLY)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in (theirs.fileno(), file)]

        def place():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)
            os.closerange(5, 200)

        self.process = subprocess.Popen(words, preexec_fn=place, close_fds=False)
        for fd in high + [file]:
            os.close(fd)
        theirs.close()
        self.socket, self.buffer, self.next_job = ours, b"", 1
        self.socket.sendall(frame(KIND_LOAD, struct.pack("<IHHIBBBHH", 1024, 16, threads, 0, 0, 0, 0, 0, 0)))
        while True:
            kind, body = self.receive()
            if kind == KIND_FATAL:
                sys.exit("engine.py: " + body[3:].decode())
            if kind == KIND_READY:
                return

    def receive(self):
        """(kind, body) of the next frame that says something: the engine's signs of life are passed over."""
        while True:
            if len(self.buffer) >= 5:
                (length,) = struct.unpack_from("<I", self.buffer)
                if len(self.buffer) >= 4 + length:
                    kind, body = self.buffer[4], self.buffer[5:4 + length]
                    self.buffer = self.buffer[4 + length:]
                    if kind != KIND_WORKING:
                        return kind, body
                    continue
            more = self.socket.recv(1 << 16)
            if not more:
                sys.exit("engine.py: shoal-engine ended")
            self.buffer += more

    def submit(self, texts, tokens):
        """Submits all in one write, so that they begin in one step. Gives the job numbers."""
        jobs, out = [], b""
        for text in texts:
            data = text.encode()
            chat = struct.pack("<BQfffffIIBH", 0, 0, 0.0, 1.0, 0.0, 0.0, 0.0, 0, tokens, 0, 1)
            chat += struct.pack("<BI", 1, len(data)) + data
            seed = bytes(32)
            out += frame(KIND_SUBMIT, struct.pack("<Q", self.next_job) + seed + struct.pack("<I", len(chat)) + chat)
            jobs.append(self.next_job)
            self.next_job += 1
        self.socket.sendall(out)
        return jobs

    def run(self, texts, tokens):
        """(prompt tokens of the first, [(time, job, completion)], time of submission)."""
        begin = time.perf_counter()
        open_jobs, points, prompt = set(self.submit(texts, tokens)), [], 0
        while open_jobs:
            kind, body = self.receive()
            now = time.perf_counter()
            (job,) = struct.unpack_from("<Q", body)
            if kind == KIND_STARTED:
                (prompt,) = struct.unpack_from("<I", body, 8)
            elif kind == KIND_TEXT:
                points.append((now, job, struct.unpack_from("<I", body, 8)[0]))
            elif kind == KIND_FINISHED:
                points.append((now, job, struct.unpack_from("<I", body, 13)[0]))
                open_jobs.discard(job)
            elif kind == KIND_FAILED:
                sys.exit("engine.py: a job failed")
        return prompt, points, begin

    def prefill(self, text):
        prompt, points, begin = self.run([text], 1)
        return prompt / (points[0][0] - begin)

    def streams(self, count):
        """Tokens a second from the moment when every stream has begun."""
        _, points, _ = self.run([f"stream {i} says" for i in range(count)], REPLY_TOKENS)
        latest, last = {}, {}
        for _, job, done in points:
            last[job] = done
        for at, job, done in points:
            latest[job] = done
            if len(latest) == count:
                made = sum(last.values()) - sum(latest.values())
                return made / (points[-1][0] - at)
        return 0.0

    def text_of(self, tokens):
        """A message whose prompt has exactly this many tokens, template and all."""
        words = tokens // 2
        filler = 0
        for _ in range(60):
            text = "we " * words + "z" * filler
            prompt, _, _ = self.run([text], 1)
            if prompt == tokens:
                return text
            gap = tokens - prompt
            if abs(gap) > 3:
                words = max(words + gap // 2, 1)
            else:
                filler = max(filler + gap, 0) if gap > 0 or filler > 0 else filler
                words -= 1 if gap < 0 and filler == 0 else 0
        sys.exit("engine.py: found no text of the wanted length")


class Peer:
    """llama-bench and llama-batched-bench of the same prefix."""

    def __init__(self, prefix, model, threads):
        libs = next(iter(prefix.glob("usr/lib/*/libllama.so"))).parent
        loader = next(iter(sorted(libs.glob("ld-linux-*.so.*"))))
        self.base = [str(loader), "--library-path", f"{libs}:{libs}/llama"]
        self.bin, self.model, self.threads = prefix / "usr" / "bin", str(model), str(threads)
        # The variant that the engine picks as well: the best for this processor.
        self.environment = dict(os.environ, GGML_BACKEND_PATH=self.best_variant(libs))

    @staticmethod
    def best_variant(libs):
        flags = pathlib.Path("/proc/cpuinfo").read_text()
        order = [("zen4", "avx512_bf16"), ("icelake", "avx512_vnni"), ("skylakex", "avx512f"), ("haswell", "avx2")]
        order += [("x64", "")]
        if "amx_int8" in flags:
            order.insert(0, ("sapphirerapids", "amx_int8"))
        for name, flag in order:
            path = libs / "ggml" / "backends0" / f"libggml-cpu-{name}.so"
            if flag in flags and path.exists():
                return str(path)
        return ""

    def call(self, program, *words):
        done = subprocess.run(self.base + [str(self.bin / program), "-m", self.model, "-t", self.threads, *words],
                              env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"engine.py: {program} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def bench(self, prompt, reply):
        rows = json.loads(self.call("llama-bench", "-p", str(prompt), "-n", str(reply), "-r", "1", "-o", "json"))
        return rows[0]["avg_ts"]

    def streams(self, count):
        out = self.call("llama-batched-bench", "-c", "4096", "-npp", "24", "-ntg", str(REPLY_TOKENS),
                        "-npl", str(count), "--output-format", "jsonl")
        rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return rows[-1]["speed_tg"]


def bootstrap_lower(ratios, rounds=2000):
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return medians[int(rounds * 0.025)]


def measure(build, prefix, model, pairs, threads):
    engine, peer = Engine(build, model, threads), Peer(prefix, model, threads)
    text = engine.text_of(PROMPT_TOKENS)
    engine.streams(1)
    kinds = {
        "prefill": (lambda: engine.prefill(text), lambda: peer.bench(PROMPT_TOKENS, 0), "llama-bench pp512"),
        "decode": (lambda: engine.streams(1), lambda: peer.bench(0, REPLY_TOKENS), "llama-bench tg64"),
        "streams": (lambda: engine.streams(STREAMS), lambda: peer.streams(STREAMS), "llama-batched-bench, 8 streams"),
    }
    results = []
    for name, (ours, theirs, what) in kinds.items():
        mine, peers = [], []
        for i in range(pairs):
            # Whoever goes first meets a cooler machine: they take turns.
            for side in ((mine, ours), (peers, theirs))[:: 1 if i % 2 == 0 else -1]:
                side[0].append(side[1]())
        ratios = [a / b for a, b in zip(mine, peers)]
        ratio, low = statistics.median(ratios), bootstrap_lower(ratios)
        results.append({
            "name": f"engine.{name}", "value": round(statistics.median(mine), 2), "unit": "tokens/s", "bar": BARS[name],
            "ok": ratio >= BARS[name] and low >= LOWER_BOUND, "peer": round(statistics.median(peers), 2),
            "ratio": round(ratio, 4), "lower_bound": round(low, 4),
            "conditions": f"{what}; {pairs} pairs; {threads} threads; {pathlib.Path(model).name}",
        })
    engine.socket.close()
    engine.process.wait()
    return results


def bench_model(build):
    path = build / "fixtures" / "bench.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([build / "gguf_fixture", path, *("--layers 10 --embd 1024 --ff 2816 --heads 16 --kv-heads 4 "
                                                        "--vocab 32000 --type q8_0").split()], check=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--prefix", type=pathlib.Path, default=ROOT / "build" / "llama")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    results = measure(args.build, args.prefix, args.model or bench_model(args.build), args.pairs, args.threads)
    for r in results:
        print(f"{r['name']:16} {r['value']:10.1f} {r['unit']}  peer {r['peer']:10.1f}  ratio {r['ratio']:.3f} "
              f"(lower bound {r['lower_bound']:.3f}, bar {r['bar']})  {'ok' if r['ok'] else 'MISSED'}  "
              f"{r['conditions']}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(0 if all(r["ok"] for r in results) else 1)


if __name__ == "__main__":
    main()
