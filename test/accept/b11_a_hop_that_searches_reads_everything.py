"""B11: what a boomerang does not promise. A hop that has the model's file and takes the trouble reads every token of
what passes it, with nothing learnt before: it tries the vocabulary, token by token, until the state is the one it saw.

If this ever fails, docs/boomerang.md says something that is not so."""
# build: accept

import array
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.network import MODEL
from harness.run import ROOT, build_folder

sys.path.insert(0, str(ROOT / "tools" / "inversion"))
from attack import stage_states

TEXT = "My pin is 4071, tell nobody."
DEPTHS = (1, 7)


def numbers(path):
    found = array.array("i")
    found.frombytes(path.read_bytes())
    return found


def test(folder):
    build = build_folder()
    if not (build / "stage_states").exists() or not MODEL.exists():
        raise Skip(f"{build} has no stage_states, or there is no {MODEL.name}")
    text = folder / "text"
    text.write_text(f'[["user", "{TEXT}"]]\n')
    for kind in ("f32", "f16", "q8_0"):
        seen = folder / kind
        seen.mkdir()
        stage_states(build, "--type", kind, "dump", MODEL, text, seen)
        special = numbers(seen / "special")
        # Only the template's own tokens are given.
        candidates = array.array("i", [-1 if each else 0 for each in special])
        (seen / "candidates").write_bytes(candidates.tobytes())
        for depth in DEPTHS:
            found = stage_states(build, "search", MODEL, seen, depth, seen / "candidates")
            print(f"{kind}, {depth} layers before the cut: {found}")
            check(found["searched"] == list(special).count(0) > 8, f"another text: {found}")
            check(found["found"] == found["searched"], f"behind {depth} layers, as {kind}, not all was read: {found}")


main(test)
