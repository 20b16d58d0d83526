"""B17: `shoal bench` measures this machine on a model and signs what it finds; `shoal plan` takes the file, of its own
network and unchanged only. How well two measurements agree is bench/'s business: it depends on what else runs."""
# build: accept

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.network import engine_environment, fixture
from harness.run import build_folder

PLAN = """
[model]
name = "small"
layers = 4
layer_bytes = 1_000_000
kv_bytes_per_token = 0
embedding_bytes = 10_000
head_bytes = 10_000
hidden_size = 64
quantisation = "Q8_0"

[[node]]
name = "here"
profile = "here.profile"
"""


class Bench:
    def __init__(self, folder):
        self.program = build_folder() / "shoal"
        if not self.program.exists():
            raise Skip(f"{self.program} is not built")
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")} | engine_environment()
        self.networks = [folder / name / "network.toml" for name in ("ours", "other")]
        for network in self.networks:
            done = self.run("genesis", "--dir", network.parent, "--verifier-address", "127.1.0.1:9000")
            check(done.returncode == 0, f"genesis: {done}")
        self.profile = folder / "here.profile"
        (folder / "plan.toml").write_text(PLAN)

    def run(self, *words):
        return subprocess.run([str(word) for word in (self.program, *words)], capture_output=True, text=True,
                              check=False, env=self.environment, timeout=280)

    def measure(self, *words):
        return self.run("bench", "--state", self.folder / "state", "--network", self.networks[0], "--out", self.profile,
                        *words)

    def plan(self, network):
        return self.run("plan", self.folder / "plan.toml", "--network", network)

    def refused(self, done, *named):
        check(done.returncode == 2 and not done.stdout, f"not refused: {done}")
        check(done.stderr.startswith("shoal: ") and done.stderr.count("\n") == 1, f"not one line: {done.stderr!r}")
        for word in named:
            check(str(word) in done.stderr, f"'{word}' is not in: {done.stderr}")


def test(folder):
    bench = Bench(folder)
    nothing = folder / "nothing.gguf"
    bench.refused(bench.measure("--model", nothing), nothing, "GGUF")
    nothing.write_bytes(b"no model\n" * 9)
    bench.refused(bench.measure("--model", nothing), nothing, "GGUF")
    check(not bench.profile.exists(), "a profile of nothing was written")

    done = bench.measure("--model", fixture(), "--memory", "64")
    check(done.returncode == 0, f"bench: {done}")
    for name in ("decode", "batch", "prefill"):
        shown = re.search(rf"^{name}_gb_per_s = ([\d.]+)", done.stdout, re.M)
        check(shown and float(shown.group(1)) >= 0, f"no {name}: {done.stdout}")
    check("memory_bytes = 67108864" in done.stdout, f"the memory that is offered: {done.stdout}")

    done = bench.plan(bench.networks[0])
    check(done.returncode == 0 and re.search(r"^here +0-3 ", done.stdout, re.M), f"the plan: {done}")
    check("67.11 MB" in done.stdout or "67.1 MB" in done.stdout, f"the profile's memory: {done.stdout}")
    bench.refused(bench.plan(bench.networks[1]), bench.profile, "signature")

    signed = bench.profile.read_bytes()
    for at in (len(signed) - 1, 60):  # the signature, and the memory
        bench.profile.write_bytes(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1:])
        bench.refused(bench.plan(bench.networks[0]), bench.profile)
    bench.profile.write_bytes(signed[:-1])
    bench.refused(bench.plan(bench.networks[0]), bench.profile, "profile")


main(test)
