"""B1, B2: a chain of stages gives the tokens and logits of the uncut model: every architecture of the table in every
quantisation, cut in three ways, 128 tokens each. ./run test has a shorter form among the unit tests.

Prints the table: architecture, quantisations, plans, and the largest difference of two logits."""
# alone
# build: accept
# long

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.run import build_folder

SECONDS_MAX = 3600
QUANTISATIONS = {"Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"}
# Named by row B2.
MODELS = {"llama2", "llama3", "mistral", "mixtral", "qwen2", "qwen3", "deepseek-v2", "deepseek-v3", "glm4", "gemma2",
          "gemma3", "phi3", "starcoder2", "mamba2"}
LINE = re.compile(r"^  (\S+) (\S+) +cut at (\S+) +(\d+) tokens  max logit difference (\S+)$", re.M)


def test(folder):
    program = build_folder() / "engine_worker_test"
    libraries = (build_folder() / "engine-libs").resolve()
    if not program.exists():
        raise Skip(f"{program} is not built")
    loader = libraries / "ld-linux-x86-64.so.2"
    command = [loader, "--library-path", libraries, program] if loader.exists() else [program]
    done = subprocess.run([*command, "--gtest_filter=*Equivalence*"], capture_output=True, text=True, check=False,
                          timeout=SECONDS_MAX,
                          env={**os.environ, "SHOAL_EQUIVALENCE": "long", "SHOAL_FIXTURES": str(folder),
                               "SHOAL_ENGINE_LIBS": str(libraries) if loader.exists() else ""})
    found = {}
    for name, quantisation, cuts, tokens, difference in LINE.findall(done.stdout):
        found.setdefault(name, []).append((quantisation, cuts, int(tokens), float(difference)))
    for name, lines in sorted(found.items()):
        kinds = {quantisation for quantisation, *_ in lines}
        plans = {cuts for _, cuts, *_ in lines}
        worst = max(difference for *_, difference in lines)
        print(f"{name:<12} {len(kinds)} quantisations, {len(plans)} plans, largest logit difference {worst:g}")
        check(kinds == QUANTISATIONS and len(plans) >= 3, f"{name}: {kinds} {plans}")
        check(all(tokens >= 100 for _, _, tokens, _ in lines), f"{name}: fewer than 100 tokens")
    check(done.returncode == 0, f"a chain differs:\n{done.stdout[-3000:]}")
    check(set(found) >= MODELS, f"not tested: {sorted(MODELS - set(found))}")


main(test, SECONDS_MAX)
