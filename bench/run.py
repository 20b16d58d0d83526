#!/usr/bin/env python3
"""The table of figures: ./run bench.

  bench/run.py --build DIR [--json FILE] [--long | --smallest] [--only WORD ...] [--model FILE]

Each figure has a value, a bar where one is promised, and what it was measured under. What cannot be measured on this
machine says why and fails nothing; a bar that is missed makes the exit status 1.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
from types import SimpleNamespace

import constructions
import engine
import guesses
import moved_prefix
import plans
import prefix
import profiles
import questions
import relays
import stages
from figures import (COMMON, ROOT, Figure, NotMeasured, as_json, common_conditions, file_hash, not_measured)
from local_network import default_model

SEED = 1
# How much of each: bench_seconds and repetitions of the small ones, then how many questions, starts, clients, pairs,
# how long answers and prompts of stages are, and profiles.
SHORT = SimpleNamespace(repetitions=5, bench_seconds=0.1, questions=40, shaped=8, cold=3, starts=5, clients=3,
                        flood=256, pairs=3, tokens=48, prompt=64, profiles=3)
LONG = SimpleNamespace(repetitions=15, bench_seconds=0.5, questions=400, shaped=40, cold=15, starts=20, clients=15,
                       flood=2048, pairs=15, tokens=96, prompt=160, profiles=7)


GROUPS = ("crypto", "wire", "sockets", "binary", "relays", "questions", "engine", "profiles", "plans", "stages",
          "guesses", "prefix", "moved")
# Shows that each figure can be had, and says next to nothing about it.
SMALLEST = SimpleNamespace(repetitions=1, bench_seconds=0.01, questions=4, shaped=1, cold=1, starts=1, clients=1,
                           flood=64, pairs=1, tokens=24, prompt=16, profiles=2)


def against_llama_bench(build, options):
    prefix = ROOT / "build" / "llama"
    if not any((prefix / "usr" / "bin").glob("llama-bench")):
        raise NotMeasured("llama-bench is not here: tools/setup/llama.sh --with-tools")
    if not any((build / name).exists() for name in ("gguf_fixture", "fixtures/bench.gguf")):
        raise NotMeasured("gguf_fixture is not built, so there is no model of a real size")
    for row in engine.measure(build, prefix, engine.bench_model(build), options.pairs, 1):
        yield Figure(row["name"], row["value"], row["unit"], f">= {row['bar']} x peer", row["ok"], row["peer"],
                     row["ratio"], {"peer": row["peer"], "ratio": row["ratio"], "lower bound": row["lower_bound"],
                                    "of": row["conditions"]})


def groups(build, folder, model, options):
    """(name, what gives its figures), the cheap ones first."""
    return [
        ("crypto", lambda: constructions.crypto(build, options)),
        ("wire", lambda: constructions.wire_bytes(build)),
        ("sockets", lambda: constructions.sockets(build, options)),
        ("binary", lambda: relays.binary(build, folder)),
        ("relays", lambda: relays.figures(build, folder, model, options)),
        ("questions", lambda: questions.figures(build, folder, model, options)),
        ("engine", lambda: against_llama_bench(build, options)),
        ("profiles", lambda: profiles.figures(build, folder, options)),
        ("plans", lambda: plans.figures(build, folder, options)),
        ("stages", lambda: stages.figures(build, folder, options)),
        ("guesses", lambda: guesses.figures(build, folder, options)),
        ("prefix", lambda: prefix.figures(build, options)),
        ("moved", lambda: moved_prefix.figures(build, folder, options)),
    ]


def measure(name, work):
    """The figures of one group; what stops it is a figure as well."""
    try:
        for figure in work():
            figure.conditions["load"] = round(os.getloadavg()[0], 2)  # when it was measured
            print(figure.text(), flush=True)
            yield figure
    except (NotMeasured, OSError, SystemExit) as why:  # engine.py leaves by SystemExit where a peer fails
        figure = not_measured(name, str(why) or type(why).__name__)
        print(figure.text(), flush=True)
        yield figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--long", action="store_const", dest="size", const=LONG, default=SHORT,
                        help="more of everything")
    parser.add_argument("--smallest", action="store_const", dest="size", const=SMALLEST,
                        help="as little as gives every figure, for tests")
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=GROUPS, help=", ".join(GROUPS))
    parser.add_argument("--model", type=pathlib.Path, help="GGUF file for the questions; default: the bundled one")
    args = parser.parse_args()
    build = args.build.resolve()
    if not (build / "shoal").exists():
        sys.exit(f"bench: {build}/shoal is not built: ./run build release")
    random.seed(SEED)
    model = (args.model or default_model()).resolve()
    conditions = {**common_conditions(build, SEED), "model": f"{model.name} {file_hash(model)}", "engine threads": 1}
    COMMON.update(conditions)
    print("\n".join(f"{key}: {value}" for key, value in conditions.items()))
    if conditions["load"] > 0.5 * os.cpu_count():
        print(f"note: this machine is busy (load {conditions['load']}); what is measured by the clock says little")
    print(f"{'what':<46} {'value':>9} {'':<9} {'bar':<20} {'ok':<7} conditions")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="shoal-bench-"))
    figures = []
    try:
        for name, work in groups(build, folder, model, args.size):
            if not args.only or name in args.only:
                figures += measure(name, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if args.json:
            for figure in figures:
                figure.conditions = {**conditions, **figure.conditions}
            args.json.write_text(json.dumps([as_json(figure) for figure in figures], indent=1) + "\n")
    missed = [figure.name for figure in figures if figure.ok is False]
    unmeasured = sum(figure.value is None for figure in figures)
    print(f"{len(figures)} figures, {len(missed)} missed their bar, {unmeasured} not measured here")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
