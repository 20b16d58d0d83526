"""B7: hidden states travel as f32, f16 or q8_0, as the lead says. Over real links q8_0 is 3.76 times smaller than f32;
what the model says of the next token stays the same at 99 of 100 positions of 10,000, for q8_0 and f16.

Bytes are those of the messages on a link, as its two ends handle them: cells are all of one size. A message of one row
carries more around it; that figure is printed beside."""
# build: accept

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, Skip, check, main
from harness.network import default_model, fixture
from harness.run import build_folder

HOPS = [(0, 3), (3, 6), (6, 8)]
TYPES = ("f32", "f16", "q8_0")
LONG = "tell me all of this again: " + "some words " * 300
# A row of 32 values: 128 bytes, 64, and 32 with a scale of 2.
EXPECTED = {"f16": 2.0, "q8_0": 128 / 34}
CELL_HEADER, STEP = 8, 5  # protocol/cell.md, protocol/stage.md


def steps(node, receiver):
    """(rows, bytes) of each STEP that a node sent to another, from the first cell of the message."""
    to, found = receiver.id(), []
    for tap in node.taps():
        if tap["kind"] != "frame" or tap["command"] != "CHANNEL_DATA" or tap["dir"] != "out" or tap["peer"] != to:
            continue
        data = bytes.fromhex(tap["bytes"])[CELL_HEADER:]
        if data[0] != 1 or data[5] != STEP:
            continue
        # kind:u8 number:u64 settled:u64 count:u16, then sequence:u16 position:u32 rows:u16 for each part
        parts = int.from_bytes(data[22:24], "little")
        rows = sum(int.from_bytes(data[30 + 8 * i:32 + 8 * i], "little") for i in range(parts))
        found.append((rows, int.from_bytes(data[1:5], "little")))
    return found


def bytes_on_links(folder, kind):
    """{rows: bytes of a STEP} on the link from the first hop to the second, with one long prompt and a few tokens."""
    (folder / kind).mkdir()
    with Network(folder / kind, relays=12, models=1, model_file=fixture("slow"), hops=HOPS,
                 lead_options=("--activations", kind, "--context", "2048", "--sequences", "2")) as net:
        reply = net.client.api.chat(LONG, max_tokens=8, temperature=0)
        check(reply.done and reply.usage["prompt_tokens"] > 500, f"{kind}: {reply}")
        net.stages[0].stop()  # its tap is whole then
        found = steps(net.stages[0], net.stages[1])
    check(sum(rows for rows, _ in found) >= reply.usage["prompt_tokens"], f"{kind}: not all rows were seen: {found}")
    sizes = dict(found)
    check(1 in sizes and max(sizes) >= 32, f"{kind}: no chunks of a prompt and single tokens: {found}")
    return sizes


def agreement():
    """What engine_worker_bench says, by name."""
    build = build_folder()
    program, libraries = build / "engine_worker_bench", build / "engine-libs"
    if not program.exists():
        raise Skip(f"{program} is not built (SHOAL_BENCH=ON)")
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), None)
    words = [loader, "--library-path", libraries, program] if loader else [program]
    done = subprocess.run([*words, libraries / "ggml" / "backends0" if loader else "", default_model()],
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"engine_worker_bench: {done.stderr[-2000:]}")
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def test(folder):
    sizes = {kind: bytes_on_links(folder, kind) for kind in TYPES}
    rows = max(set(sizes["f32"]) & set(sizes["f16"]) & set(sizes["q8_0"]))
    for kind, expected in EXPECTED.items():
        ratio = sizes["f32"][rows] / sizes[kind][rows]
        print(f"{kind}: {ratio:.3f} times smaller than f32 in messages of {rows} rows, "
              f"{sizes['f32'][1] / sizes[kind][1]:.3f} of one row")
        check(abs(ratio - expected) <= 0.01, f"{kind}: {ratio:.4f} times smaller, not {expected:.4f}")
    figures = agreement()
    check(figures["own.positions"] >= 10_000, f"only {figures['own.positions']:.0f} positions")
    for kind in EXPECTED:
        print(f"{kind}: the same token at {figures[f'own.{kind}']:.4f} of {figures['own.positions']:.0f} positions, "
              f"{figures[f'random.{kind}']:.4f} where tokens are random")
        check(figures[f"own.{kind}"] >= 0.99, f"{kind}: the same token at only {figures[f'own.{kind}']:.4f}")


main(test)
