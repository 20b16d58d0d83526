"""B1: the process that computes for a hop holds its layers and their cache, and a lead's the head; not the model. After
a long prompt and some tokens each has at most 1.15 times that in memory, and PROGRAM_MIB for the program itself: its
libraries, the vocabulary, and the buffers of a call of 512 rows. All of them read from pieces.

What the kernel counts as resident is looked at, shared libraries and all. What was the most until then is printed: a
lead may hold the head twice while it loads."""
# build: accept

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, Skip, check, main
from harness.network import engine_environment
from harness.pieces import split
from harness.run import build_folder

LAYERS, WIDTH, KEY_WIDTH = 8, 2048, 256
SHAPE = (f"--layers {LAYERS} --embd {WIDTH} --ff 5632 --heads 32 --kv-heads 4 --vocab 32000 --type q8_0 "
         "--context 2048")
HOPS = [(0, 2), (2, 8)]
CONTEXT, SEQUENCES = 1024, 4
MIB = 1 << 20
PROGRAM_MIB = 32
PROMPT = "we " * 300


def model_file(folder):
    program = build_folder() / "gguf_fixture"
    if not program.exists():
        raise Skip("gguf_fixture is not built, so there is no model of a real size")
    path = folder / "large.gguf"
    subprocess.run([program, path, *SHAPE.split()], check=True)
    return path


def memory(node):
    """Bytes of its only worker: resident now, and at most until now."""
    [pid] = node.process.children()
    status = Path(f"/proc/{pid}/status").read_text()
    return tuple(1024 * int(re.search(rf"^{name}:\s+(\d+)", status, re.M).group(1)) for name in ("VmRSS", "VmHWM"))


def cache_bytes(layers):
    """Keys and values in half precision."""
    return CONTEXT * SEQUENCES * layers * 2 * KEY_WIDTH * 2


def check_memory(node, weights, cache):
    now, most = memory(node)
    bound = 1.15 * (weights + cache) + PROGRAM_MIB * MIB
    print(f"{node.name}: weights {weights / MIB:.0f} MiB, cache {cache / MIB:.0f} MiB, resident {now / MIB:.0f} MiB, "
          f"at most {most / MIB:.0f} MiB, bound {bound / MIB:.0f} MiB")
    check(now <= bound, f"{node.name} has {now / MIB:.0f} MiB, more than {bound / MIB:.0f}")


def test(folder):
    engine_environment()  # skips where there is no engine
    model = model_file(folder)
    size = model.stat().st_size
    parts = ["ends", *(f"{first}-{end}" for first, end in HOPS)]
    folders = [folder / part for part in parts]
    ends, *weights = [split(model, part, out) * size for part, out in zip(parts, folders)]
    model.unlink()
    options = ["--context", str(CONTEXT), "--sequences", str(SEQUENCES)]
    with Network(folder, relays=10, models=1, model_file=folders[0], hops=HOPS, stage_files=folders[1:],
                 lead_options=options) as net:
        reply = net.client.api.chat(PROMPT, max_tokens=8, temperature=0)
        check(reply.done and reply.usage["prompt_tokens"] > 512, f"no long prompt was answered: {reply}")
        for node, own, (first, end) in zip(net.stages, weights, HOPS):
            check_memory(node, own, cache_bytes(end - first))
        # Of the embedding it keeps no row: the head is as large, and there is nothing else.
        check_memory(net.models[0], ends / 2, 0)


main(test, seconds_max=600)
