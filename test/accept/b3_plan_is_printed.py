"""B3: `shoal plan` prints who runs which layers and how fast, or what is missing layer by layer; docs/plan-70b.md is
what it prints; a bad file gets one line that says where."""
# build: accept

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.run import ROOT, build_folder

# Ten layers of 100 MB between two nodes of 500 MB and a fast one that is too far; `home` leads and holds nothing.
SMALL = """
[model]
name = "small"
layers = 10
layer_bytes = 100_000_000
kv_bytes_per_token = 0
embedding_bytes = 10_000_000
head_bytes = 10_000_000
hidden_size = 1024
quantisation = "Q8_0"

[[node]]
name = "home"
""" + "".join(f"""
[[node]]
name = "{name}"
memory_bytes = {memory}
[[node.rate]]
quantisation = "Q8_0"
decode_gb_per_s = {speed}
prefill_gb_per_s = 100
""" for name, memory, speed in (("ann", 500_000_000, 10), ("bob", 500_000_000, 20), ("far", 900_000_000, 1000))) + """
[[link]]
between = ["home", "ann", "bob", "far"]
rtt_ms = 20
mbit_per_s = 100
[[link]]
between = ["far", "home", "ann", "bob"]
rtt_ms = 81
mbit_per_s = 100
[[link]]
between = ["home", "ann", "bob"]
rtt_ms = 20
mbit_per_s = 100
"""
# What is changed in it: what the one line must name.
BROKEN = {
    ("layers = 10", "layers = 0"): ("layers", "1 to 512"),
    ("layers = 10", "layers = -1"): ("line 4", "layers", "not negative"),
    ("layer_bytes = 100_000_000", "layer_bytes = [1, 2]"): ("layer_bytes", "10 of them"),
    ("layer_bytes = 100_000_000", "layer_bytes = 9223372036854775807"): ("layer 0", "bytes"),
    ("hidden_size", "hiden_size"): ("hidden_size is missing",),
    ("\"Q8_0\"\n\n", "\"Q9\"\n\n"): ("quantisation", "Q4_K_M"),
    ("decode_gb_per_s = 10\n", "decode_gb_per_s = nan\n"): ("decode_gb_per_s",),
    ("decode_gb_per_s = 10\n", "decode_gb_per_s = 0\n"): ("decode_gb_per_s", "between"),
    ("decode_gb_per_s = 10\n", "decode_gb_per_s = inf\n"): ("decode_gb_per_s",),
    ("name = \"bob\"", "name = \"ann\""): ("two", "ann"),
    ("name = \"bob\"", "name = \"b b\""): ("name", "A-Z"),
    ("rtt_ms = 20\n", "rtt_ms = 0\n"): ("rtt_ms", "round trip"),
    ("rtt_ms = 20\n", "rtt_ms = 1e9\n"): ("rtt_ms", "10000"),
    ("mbit_per_s = 100\n", "mbit_per_s = 0\n"): ("bandwidth",),
    ("[\"home\", \"ann\", \"bob\", \"far\"]", "[\"home\", \"eve\"]"): ("eve",),
    ("[model]", "[modle]"): ("[model]",),
    ("[model]", "[workload]\ncontext = 0\n[model]"): ("context",),
    ("[model]", "[workload]\nbatch = 9\n[model]"): ("a step",),
    ("[model]", "[plan]\ncoordinator = \"eve\"\n[model]"): ("eve",),
    ("[model]", "[plan]\nstandbys = 5\n[model]"): ("standbys",),
    ("[model]", "[plan]\ncoordinator_serves = 1\n[model]"): ("coordinator_serves",),
    ("[model]", "[other]\n[model]"): ("other is not known",),
    ("[model]", "[model"): ("plan.toml:",),
    ("memory_bytes = 900000000", "profile = \"far.profile\""): ("far.profile", "--network"),
}


class Planner:
    def __init__(self, folder):
        self.program = build_folder() / "shoal"
        if not self.program.exists():
            raise Skip(f"{self.program} is not built")
        self.file = folder / "plan.toml"

    def run(self, text, *words):
        self.file.write_text(text)
        return subprocess.run([self.program, "plan", self.file, *words], capture_output=True, text=True, check=False,
                              timeout=60)

    def stages(self, text, *words):
        """[(node, layers)] of a plan, and all that was printed."""
        done = self.run(text, *words)
        check(done.returncode == 0 and not done.stderr, f"no plan: {done}")
        rows = re.findall(r"^(\S+) +(\d+-\d+) ", done.stdout, re.M)
        return rows, done.stdout


def plans(planner):
    stages, shown = planner.stages(SMALL)
    check(stages == [("ann", "0-4"), ("bob", "5-9")] or stages == [("bob", "0-4"), ("ann", "5-9")], f"stages: {shown}")
    check(re.search(r"not used: far$", shown, re.M), f"the far node: {shown}")
    # 50 ms + 25 ms of layers, three hops of 10 ms and 2048 bytes at 12.5 MB/s; to within the rounding up of layers.
    step = float(re.search(r"predicted: ([\d.]+) ms a step", shown).group(1))
    check(abs(step - 105.49) < 0.02, f"the step takes {step} ms")
    stages, shown = planner.stages(SMALL + '[plan]\nrtt_cap_ms = 100\n')
    check(("far" in dict(stages)) and len(stages) == 2, f"with a longer round trip: {shown}")
    beside = re.search(r"^greedily: [\d.]+ ms a step, [\d.]+ tokens/s in all, over far ", shown, re.M)
    check(beside, f"what a greedy planner would give: {shown}")
    lead = '[plan]\nrtt_cap_ms = 100\ncoordinator = "bob"\n'
    check("bob" in dict(planner.stages(SMALL + lead)[0]), "a coordinator with memory serves")
    stages, shown = planner.stages(SMALL + lead + "coordinator_serves = false\n")
    check("bob" not in dict(stages) and "bob " in shown, f"a coordinator that holds no layers: {shown}")
    stages, shown = planner.stages(SMALL.replace("900000000", "1100000000"))
    check(stages == [("far", "0-9")] and "no split" in shown, f"one node holds it all: {shown}")
    halves = SMALL.replace("layers = 10", "layers = 10\ncut_every = 5")
    stages, shown = planner.stages(halves + "[plan]\nstandbys = 1\n")
    check(len(stages) == 2 and "2 standby places" in shown, f"standbys: {shown}")


def missing(planner):
    done = planner.run(SMALL.replace("layers = 10", "layers = 30"))
    check(done.returncode == 1, f"exit status {done.returncode}")
    check(re.search(r"^\d+ layers? without a node", done.stdout, re.M), f"what is missing: {done.stdout}")
    named = [int(n) for n in re.findall(r"^  layer +(\d+) +100.0 MB$", done.stdout, re.M)]
    check(named == list(range(named[0], 30)), f"layers: {done.stdout}")
    check(done.stderr.startswith("shoal: no plan: ") and done.stderr.count("\n") == 1, f"stderr: {done.stderr}")
    done = planner.run(SMALL.replace("layers = 10", "layers = 12"))
    check(done.returncode == 1 and "nearer" in done.stderr, f"links are what is missing: {done.stderr}")


def refusals(planner):
    for (old, new), named in BROKEN.items():
        check(old in SMALL, f"{old!r} is not in the file")
        done = planner.run(SMALL.replace(old, new, 1))
        what = f"{old!r} as {new!r}"
        check(done.returncode == 2 and not done.stdout, f"{what}: {done}")
        one_line = done.stderr.startswith("shoal: ") and done.stderr.count("\n") == 1
        check(one_line, f"{what}: not one line: {done.stderr!r}")
        for word in ("plan.toml", *named):
            check(word in done.stderr, f"{what}: '{word}' is not in: {done.stderr}")


def the_page_is_true(planner):
    page = (ROOT / "docs" / "plan-70b.md").read_text(encoding="utf-8")
    claims = re.findall(r"`shoal plan (docs/plan-70b\.toml[^`]*)`\n```\n(.*?)\n```", page, re.S)
    check(len(claims) == 2, "plan-70b.md has not its two plans")
    for words, claimed in claims:
        done = subprocess.run([planner.program.resolve(), "plan", *words.split()], capture_output=True, text=True,
                              check=False, cwd=ROOT, timeout=60)
        printed = done.stdout.rstrip()
        check(printed == claimed.rstrip(), f"shoal plan {words} prints\n{printed}\nand the page has\n{claimed}")


def test(folder):
    planner = Planner(folder)
    plans(planner)
    missing(planner)
    refusals(planner)
    the_page_is_true(planner)


main(test)
