#!/usr/bin/env python3
"""How much of a text a hop of a boomerang can read, by the depth of the cut.

    tools/inversion/attack.py                       models/shoal-mini.gguf, every depth: what docs/boomerang.md prints
    tools/inversion/attack.py --short               fewer depths, less to learn from: some minutes on two cores
    tools/inversion/attack.py --model FILE --build build/accept

Takes the states from the product's own stages (stage_states, made by ./run build accept), trains the inverters of
inverters.py on them, and searches with the model's first layers. Only tokens of text count, not those of the template,
which every hop knows. The same seeds give the same table on the same machine.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import texts  # noqa: E402

sys.path.insert(0, str(texts.ROOT / "tools" / "mini"))
import bootstrap  # noqa: E402

SIZES = {"short": {"learn": 400, "held_out": 40, "foreign": 20, "epochs": 4, "search": 12},
         "full": {"learn": 900, "held_out": 100, "foreign": 50, "epochs": 6, "search": 20}}
SHORT_DEPTHS = (0, 1, 4, 7)


def stage_states(build, *words):
    program, libraries = build / "stage_states", build / "engine-libs"
    if not program.exists():
        raise SystemExit(f"{program} is not there: ./run build {build.name} makes it")
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), None)
    through = [str(loader), "--library-path", str(libraries)] if loader else []
    done = subprocess.run([*through, str(program), "--backends", str(libraries / "ggml" / "backends0"),
                           *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return json.loads(done.stdout)


class States:
    """What dump wrote of one set of conversations."""

    def __init__(self, build, model, kind, conversations, folder):
        import numpy as np
        self.folder = folder
        folder.mkdir()
        lines = folder / "conversations"
        lines.write_text("".join(json.dumps(one) + "\n" for one in conversations))
        self.about = stage_states(build, "--type", kind, "dump", model, lines, folder)
        read = lambda name, form: np.fromfile(folder / name, form)  # noqa: E731
        self.tokens, self.lengths = read("tokens", np.int32), read("lengths", np.int32)
        self.text = read("special", np.int32) == 0
        self.embedding = read("embedding", np.float32).reshape(self.about["vocabulary"], self.about["width"])

    def depth(self, depth):
        import numpy as np
        return np.fromfile(self.folder / f"depth-{depth}", np.float32).reshape(-1, self.about["width"])


def hits(order, states):
    """(share of text tokens that are first, share that are among the first five)"""
    right = order[states.text] == states.tokens[states.text][:, None]
    return float(right[:, 0].mean()), float(right[:, :5].any(axis=1).mean())


def searched(build, model, read, depth, order, conversations):
    """(share found, tries a token) over the first so many conversations."""
    import numpy as np
    rows = int(read.lengths[:conversations].sum())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table, part in (("tokens", read.tokens[:rows]), ("lengths", read.lengths[:conversations]),
                            ("embedding", read.embedding), (f"depth-{depth}", read.depth(depth)[:rows])):
            part.tofile(folder / table)
        candidates = np.where(read.text[:rows, None], order[:rows], -1).astype(np.int32)
        candidates.tofile(folder / "candidates")
        found = stage_states(build, "search", model, folder, depth, folder / "candidates")
    return found["found"] / found["searched"], found["tries"] / found["searched"]


def attack_depth(settings, learn, reads, depth):
    """{name of the text: {name of the inverter: (first, first five)}, and of the search (found, tries)}"""
    import inverters
    import numpy as np
    spread = (learn.embedding - learn.embedding.mean(axis=0)) / (learn.embedding.std(axis=0) + 1e-6)
    known = learn.depth(depth)
    table = spread / learn.embedding.shape[1] ** 0.5
    weights = {}
    for kind, given in (("linear", inverters.scaled(known, known)),
                        ("context", inverters.with_context(inverters.scaled(known, known), learn.lengths))):
        weights[kind] = inverters.train(kind, given, learn.tokens, table, settings.size["epochs"])
    out = {}
    for name, read in reads.items():
        states = read.depth(depth)
        alone = inverters.scaled(states, known).astype(np.float32)
        beside = inverters.with_context(alone, read.lengths)
        score = {"nearest": inverters.nearest(states, read.embedding),
                 "linear": lambda part, x=alone: inverters.scores(weights["linear"], x[part], table),
                 "context": lambda part, x=beside: inverters.scores(weights["context"], x[part], table)}
        orders = {kind: inverters.ranked(each, len(read.tokens)) for kind, each in score.items()}
        out[name] = {kind: hits(order, read) for kind, order in orders.items()}
        if depth > 0:
            out[name]["search"] = searched(settings.build, settings.model, read, depth, orders["context"],
                                           settings.size["search"])
    return out


def percent(share):
    return "100 %" if share == 1 else f"{100 * share:.1f} %"


def print_table(name, table, layers):
    print(f"\n{name}: share of the text's tokens named first, and among five\n")
    print("| cut behind layer | nearest | linear | context | search | tries a token |")
    print("|---|---|---|---|---|---|")
    for depth, found in table.items():
        cut = "none: the embedding" if depth == 0 else f"{depth - 1}" + (" (the last)" if depth == layers else "")
        cells = [f"{percent(found[kind][0])}, {percent(found[kind][1])}" for kind in ("nearest", "linear", "context")]
        search = [percent(found["search"][0]), f"{found['search'][1]:.1f}"] if "search" in found else ["", ""]
        print("| " + " | ".join([cut, *cells, *search]) + " |", flush=True)


def settings_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=texts.ROOT / "models" / "shoal-mini.gguf")
    parser.add_argument("--build", type=Path, default=texts.ROOT / "build" / "accept")
    parser.add_argument("--activations", choices=("f32", "f16", "q8_0"), default="f16")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--depths", type=int, nargs="+", help="layers before the cut; default: all of them")
    settings = parser.parse_args(arguments)
    settings.size = SIZES["short" if settings.short else "full"]
    return settings


def main(arguments):
    settings = settings_of(arguments)
    bootstrap.enter()
    size = settings.size
    with tempfile.TemporaryDirectory() as name:
        def states(kind, conversations):
            return States(settings.build, settings.model, settings.activations, conversations, Path(name) / kind)

        learn = states("learn", texts.to_learn(size["learn"]))
        reads = {"held-out text": states("held_out", texts.held_out(size["held_out"])),
                 "foreign text": states("foreign", texts.foreign(size["foreign"]))}
        layers = learn.about["layers"]
        depths = settings.depths or (SHORT_DEPTHS if settings.short else range(layers + 1))
        print(f"model {settings.model.name}, id {learn.about['model']}")
        print(f"file sha256 {hashlib.sha256(settings.model.read_bytes()).hexdigest()}")
        print(f"{layers} layers, width {learn.about['width']}, {learn.about['vocabulary']} tokens; states as "
              f"{settings.activations}; seeds {texts.LEARN_SEED} (learn), {texts.READ_SEED} (read)")
        print(f"learnt from {len(learn.tokens)} tokens; read " + ", ".join(
            f"{int(read.text.sum())} tokens of {kind}" for kind, read in reads.items()), flush=True)
        found = {}
        for depth in depths:
            if not 0 <= depth <= layers:
                raise SystemExit(f"--depths: {depth} is none of 0 to {layers}")
            found[depth] = attack_depth(settings, learn, reads, depth)
            print(f"  {depth} of {layers} layers before the cut: done", file=sys.stderr, flush=True)
        for kind in reads:
            print_table(kind, {depth: each[kind] for depth, each in found.items()}, layers)


if __name__ == "__main__":
    main(sys.argv[1:])
