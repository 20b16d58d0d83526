"""What cryptography and sockets cost: the benches beside the code, read from Google Benchmark's JSON.

Processor time, not the clock: on a machine with other work the clock measures that work.
"""

import json
import statistics
import subprocess

from figures import NotMeasured, at_most, exactly, percentile, printed

CELL_BYTES = 1400  # protocol/cell.md


def google_benchmark(program, pattern, repetitions, seconds):
    """{name: [one entry a repetition]}."""
    if not program.exists():
        raise NotMeasured(f"{program.name} is not built (configure with SHOAL_BENCH=ON)")
    done = subprocess.run([program, f"--benchmark_filter={pattern}", "--benchmark_format=json",
                           f"--benchmark_repetitions={repetitions}", f"--benchmark_min_time={seconds}"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasured(f"{program.name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    found = {}
    for entry in json.loads(done.stdout)["benchmarks"]:
        if entry["run_type"] == "iteration" and not entry.get("error_occurred"):
            found.setdefault(entry["run_name"], []).append(entry)
    return found


def microseconds(found, name):
    if name not in found:
        raise NotMeasured(f"the bench {name} is gone")
    scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3}
    return [entry["cpu_time"] * scale[entry["time_unit"]] for entry in found[name]]


def about(values):
    """Of the means of repetitions."""
    return {"repetitions": len(values), "mean": statistics.fmean(values), "p99": percentile(values, 0.99),
            "time": "cpu"}


def median_at_most(found, label, name, bar):
    values = microseconds(found, name)
    return at_most(label, statistics.median(values), "us", bar, **about(values))


def crypto(build, options):
    found = google_benchmark(build / "crypto_bench", "sida_split_and_combine|peel_one|ntor|seal_and_open|stream_client",
                             options.repetitions, options.bench_seconds)
    yield median_at_most(found, "S-IDA split + combine, 6 KB, (4,3)", "sida_split_and_combine_6_kb/3", 10)
    yield median_at_most(found, "S-IDA split + combine, 6 KB, (4,2)", "sida_split_and_combine_6_kb/2", 10)
    for label, name in (("sealing: one record, seal and open", "stream_seal_and_open_a_record"),
                        ("sealing: set-up of one stream, client", "stream_client_setup")):
        values = microseconds(found, name)
        yield printed(label, statistics.median(values), "us", **about(values))
    yield median_at_most(found, "peel one cell", "peel_one_cell", 6)
    halves = (microseconds(found, "ntor_client_start"), microseconds(found, "ntor_client_finish"))
    client = [start + finish for start, finish in zip(*halves)]
    yield at_most("circuit set-up, one hop, client", statistics.median(client), "us", 150, **about(client))
    yield median_at_most(found, "circuit set-up, one hop, relay", "ntor_relay_answer", 150)


def wire_bytes(build):
    """What the cloves of one question are on the wire, counted, against what the page promises."""
    found = google_benchmark(build / "prompt_bench", "make_cloves_of_6_kb", 1, 0.01)
    for k, n in ((3, 4), (2, 4)):
        name = f"make_cloves_of_6_kb/{k}/{n}"
        if name not in found:
            raise NotMeasured(f"the bench {name} is gone")
        entry = found[name][0]
        cells = int(entry["bucket_cells"])
        yield exactly(f"S-IDA wire bytes, 6 KB, ({n},{k})", entry["wire_bytes"], "bytes", n * cells * CELL_BYTES,
                      cells=f"{n} x {cells}", times_the_text=entry["wire_bytes"] / entry["request_bytes"])


def sockets(build, options):
    """The price of a relay's two ends, and of the layer that it peels: what the process of relays.py is made of."""
    peel = google_benchmark(build / "crypto_bench", "^peel_one_cell$", options.repetitions, options.bench_seconds)
    layer = statistics.median(microseconds(peel, "peel_one_cell"))
    found = google_benchmark(build / "net_bench", "echo_cells", 1, options.bench_seconds)
    for window, load in ((64, "busy"), (1, "one cell at a time (unfavourable)")):
        entries = found.get(f"echo_cells/{window}/real_time")
        if not entries:
            raise NotMeasured("the bench echo_cells is gone")
        ends = entries[0]["relayed_cells_per_cpu_s"]
        both = 1e6 / (1e6 / ends + layer)
        what = {"cells under way": window, "ends alone": ends, "peel us": layer}
        yield printed(f"relay in parts, {load}", both, "cells/s", **what)
