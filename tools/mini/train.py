#!/usr/bin/env python3
"""Trains shoal-mini and shoal-nano from nothing and writes models/shoal-mini.gguf and models/shoal-nano.gguf.

    tools/mini/train.py                 both models, about 80 minutes on two cores
    tools/mini/train.py --model nano    one of them
    tools/mini/train.py --trunk-steps 100 --steps 50 --work build/mini/try --out build/mini/try    a short run elsewhere

It may be killed at any time: the same command goes on from the last checkpoint in build/mini. `--fresh` starts over.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap  # noqa: E402

bootstrap.enter()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import beginning  # noqa: E402
import bpe  # noqa: E402
import corpus  # noqa: E402
import gguf  # noqa: E402
import model  # noqa: E402
import optimizer  # noqa: E402
import packing  # noqa: E402

SEED = 23
TOKENIZER_CONVERSATIONS = 40000
# Both models grow from one trunk of two blocks, trained at full rate. Each then gets its own depth (see model.grow) and
# its own steps, at full rate until the last COOL_DOWN_STEPS, which go straight down to zero. On two cores the shallow
# trunk learns words, facts and the habit of copying at a third of the price of eight blocks.
TRUNK_STEPS = 900
BRANCH_STEPS = {"nano": 200, "mini": 1550}
COOL_DOWN_STEPS = {"nano": 200, "mini": 800}
# Until this step of a branch, and in the trunk, any name may be the hero's or the friend's: the model must carry names
# from where they were told. From then on stories are those of the grammar.
PARTS_FROM_STEP = {"nano": 0, "mini": 750}
WARM_UP_STEPS = 60
RATE_MUON = 4e-3
RATE_ADAM = 3e-3
DECAY = 0.05
CHECKPOINT_EVERY = 50


def trunk_rate(step):
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def branch_rate(steps, cool_down):
    return lambda step: min(1.0, (steps - step) / min(steps, cool_down))


def tokenizer_of(folder):
    path = folder / "tokenizer.json"
    if path.exists():
        return bpe.Tokenizer.load(path)
    print("Training the tokenizer.", flush=True)
    tokenizer = bpe.Tokenizer(bpe.train(corpus.texts(SEED, TOKENIZER_CONVERSATIONS), model.MINI.vocab))
    tokenizer.save(path)
    return tokenizer


def save(path, step, params, state):
    flat = {f"p.{n}": p for n, p in params.items()}
    flat |= {f"1.{n}": p for n, p in state["first"].items()}
    flat |= {f"2.{n}": p for n, p in state["second"].items()}
    part = path.with_suffix(".part.npz")
    np.savez(part, step=step, **{n: np.asarray(p) for n, p in flat.items()})
    part.replace(path)


def load(path):
    with np.load(path) as data:
        pick = lambda prefix: {n[2:]: data[n] for n in data.files if n.startswith(prefix)}
        return int(data["step"]), pick("p."), {"first": pick("1."), "second": pick("2.")}


class Progress:
    """One line with a bar, loss and time left; on a terminal it is redrawn, in a log it comes every 25 steps."""

    def __init__(self, name, first, steps):
        self.name, self.first, self.steps, self.start, self.loss = name, first, steps, time.monotonic(), None

    def show(self, step, loss, tokens):
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        terminal = sys.stdout.isatty()
        if not terminal and step % 25 and step != self.steps:
            return
        spent = time.monotonic() - self.start
        left = spent / (step - self.first) * (self.steps - step)
        bar = "#" * (24 * step // self.steps)
        start = "\r" if terminal else ""
        print(f"{start}{self.name} [{bar:24}] {step}/{self.steps}  loss {self.loss:.3f}  "
              f"{tokens / spent:,.0f} tokens/s  {left // 60:.0f} min {left % 60:02.0f} s left",
              end="" if terminal and step != self.steps else "\n", flush=True)


def run(name, shape, start, steps, rate, size, first_batch, args, tokenizer):
    """Trains from the checkpoint of that name if there is one, else from `start()`; returns (weights, state).

    Step i sees the batch of number first_batch + i, whether or not the run was interrupted in between."""
    checkpoint = args.work / f"{name}.npz"
    if checkpoint.exists() and not args.fresh:
        done, params, state = load(checkpoint)
    else:
        done, (params, state) = 0, start()
    print(f"{name}: {model.parameter_count(params):,} parameters, step {done} of {steps}.", flush=True)
    gradient = jax.jit(jax.value_and_grad(lambda p, batch: model.loss(shape, p, batch)))
    update = jax.jit(optimizer.step, donate_argnums=(0, 2))
    add = jax.jit(lambda a, b: jax.tree.map(jax.numpy.add, a, b), donate_argnums=0)
    packer = packing.Packer(tokenizer, SEED, size, first_batch + PARTS_FROM_STEP.get(name, steps))
    progress, tokens = Progress(name, done, steps), 0
    for step in range(done, steps):
        batches = packer.batch(first_batch + step)
        total = float(sum(b["weights"].sum() for b in batches))
        loss, grads = 0.0, None
        for batch in batches:
            part, g = gradient(params, batch | {"scale": np.float32(1 / total)})
            loss, grads = loss + part, g if grads is None else add(grads, g)
        share = rate(step)
        params, state = update(params, grads, state, np.float32(first_batch + step + 1), np.float32(RATE_MUON * share),
                               np.float32(RATE_ADAM * share), np.float32(DECAY))
        tokens += sum(int((b["segments"] >= 0).sum()) for b in batches)
        progress.show(step + 1, float(loss), tokens)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            save(checkpoint, step + 1, params, state)
    return params, state


def start():
    params = beginning.weights(model.NANO, SEED)
    return params, optimizer.init(params)


def branch(name, args, tokenizer):
    """The finished weights of one model."""
    shape = model.SHAPES[name]
    trunk = run("trunk", model.NANO, start, args.trunk_steps, trunk_rate, packing.TRUNK_BATCH, 0, args, tokenizer)

    def grown():
        params, state = trunk
        return model.grow(model.NANO, shape, params), {k: model.grow(model.NANO, shape, t) for k, t in state.items()}

    steps = args.steps or BRANCH_STEPS[name]
    rate = branch_rate(steps, COOL_DOWN_STEPS[name])
    return run(name, shape, grown, steps, rate, packing.BRANCH_BATCH, args.trunk_steps, args, tokenizer)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*model.SHAPES, "both"], default="both")
    parser.add_argument("--trunk-steps", type=int, default=TRUNK_STEPS, help="steps of the part that both share")
    parser.add_argument("--steps", type=int, help="steps of each model after the trunk")
    parser.add_argument("--out", type=Path, default=bootstrap.ROOT / "models", help="folder for the GGUF files")
    parser.add_argument("--work", type=Path, default=bootstrap.BUILD, help="folder for tokenizer and checkpoints")
    parser.add_argument("--fresh", action="store_true", help="forget checkpoints and tokenizer, start over")
    parser.add_argument("--trunk-only", action="store_true", help="stop after the trunk")
    parser.add_argument("--export-only", action="store_true", help="write the GGUF of the last checkpoint")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(bootstrap.BUILD / "compiled"))
    if args.fresh:
        for name in ("tokenizer.json", "trunk.npz", "nano.npz", "mini.npz"):
            (args.work / name).unlink(missing_ok=True)
        args.fresh = False
    tokenizer = tokenizer_of(args.work)
    if args.trunk_only:
        run("trunk", model.NANO, start, args.trunk_steps, trunk_rate, packing.TRUNK_BATCH, 0, args, tokenizer)
        return
    for name in ["nano", "mini"] if args.model == "both" else [args.model]:
        params = load(args.work / f"{name}.npz")[1] if args.export_only else branch(name, args, tokenizer)
        path = args.out / f"shoal-{name}.gguf"
        gguf.write(path, f"shoal-{name}", model.SHAPES[name], params, tokenizer)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
