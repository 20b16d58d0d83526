"""What stages rest on besides their speed: how hidden states travel, and what a node says of itself."""

import re
import statistics
import subprocess

from engine import bench_model
from figures import Figure, NotMeasured, at_least, at_most
from local_network import default_model, new_folder


def run(words, what, errors=False):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasured(f"{what}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout + (done.stderr if errors else "")


def activations(build):
    """Of the bundled model, whatever the questions go to: its figures are a promise."""
    program, libraries = build / "engine_worker_bench", build / "engine-libs"
    if not program.exists():
        raise NotMeasured("engine_worker_bench is not built (SHOAL_BENCH=ON)")
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), None)
    words = [loader, "--library-path", libraries, program] if loader else [program]
    said = run([*words, libraries / "ggml" / "backends0" if loader else "", default_model()], "engine_worker_bench")
    found = {name: float(value) for name, value in (line.split() for line in said.splitlines())}
    ratio = found["bytes.512.q8_0"]
    yield Figure("activations: f32 over q8_0, bytes of a step", ratio, "x", "3.76 +- .01", abs(ratio - 3.76) <= 0.01,
                 ratio=ratio, conditions={"rows": 512, "f16": found["bytes.512.f16"],
                                          "one row": found["bytes.1.q8_0"], "one row f16": found["bytes.1.f16"]})
    for kind in ("f16", "q8_0"):
        yield at_least(f"activations: the token of f32, in {kind}", found[f"own.{kind}"], "share", 0.99,
                       positions=int(found["own.positions"]), random_text=found[f"random.{kind}"])


def repeatable(build, folder, options):
    """`shoal bench` again and again: how far its figures lie apart."""
    place, model = new_folder(folder, "profiles"), bench_model(build)
    run([build / "shoal", "genesis", "--dir", place / "network", "--verifier-address", "127.1.0.1:9000"], "genesis")
    seen = {"decode": [], "batch": [], "prefill": []}
    busy = 0  # times that it said so itself
    for index in range(options.profiles):
        said = run([build / "shoal", "bench", "--model", model, "--state", place / "state", "--network",
                    place / "network" / "network.toml", "--out", place / f"{index}.profile"], "shoal bench",
                   errors=True)
        busy += "other programs kept" in said
        for name, values in seen.items():
            values.append(float(re.search(rf"^{name}_gb_per_s = ([\d.]+)", said, re.M)[1]))
    for name, values in seen.items():
        middle = statistics.median(values)
        apart = max(abs(value - middle) for value in values) / middle
        yield at_most(f"shoal bench, {name}: farthest from the median", apart, "share", 0.1, runs=len(values),
                      median=middle, unit_of="GB/s", said_busy=busy)


def figures(build, folder, options):
    yield from activations(build)
    yield from repeatable(build, folder, options)
