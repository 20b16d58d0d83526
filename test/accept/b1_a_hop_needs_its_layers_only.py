"""B1: a hop needs the manifest of the model and the pieces of its own layers, no other byte; the answer is that of the
whole model. A piece with other bytes than its name says, or one that is missing, is named and never computed with."""
# build: accept

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import ApiError, Network, check, main
from harness.network import default_model, engine_environment
from harness.pieces import altered, split
from harness.run import build_folder
from harness.waiting import until

HOPS = [(0, 3), (3, 8)]
ASK = {"max_tokens": 100, "temperature": 0, "seed": 7}
PROMPT = "Tell me a story about a dog."


def bad_layers(model, folder):
    for layers, named in (("3-9", "0 to 8"), ("3", "FIRST-END"), ("6-3", "FIRST-END"), ("ends,", "FIRST-END")):
        done = subprocess.run([build_folder() / "shoal", "model", "split", model, "--layers", layers, "--out",
                               folder / "none"], capture_output=True, text=True, check=False)
        check(done.returncode in (1, 2) and named in done.stderr and done.stderr.count("\n") == 1, f"{layers}: {done}")


def is_refused(net, hop, words):
    """The lead's log says why the hop does not take its place again."""
    hop.kill()
    hop.start()
    until(lambda: words in net.models[0].process.tail(200), f"the lead is told: {words}", 60)


def answer(net):
    """None: it cannot be had now."""
    try:
        return net.client.api.chat(PROMPT, **ASK).text
    except ApiError:
        return None


def test(folder):
    engine_environment()  # skips where there is no engine
    model = default_model()
    bad_layers(model, folder)
    files = [folder / f"pieces{index}" for index in range(len(HOPS))]
    shares = [split(model, f"{first}-{end}", out) for (first, end), out in zip(HOPS, files)]
    check(sum(shares) < 1 and max(shares) < 0.7, f"shares of the whole: {shares}")
    whole = folder / "whole"
    whole.mkdir()
    with Network(whole, relays=12, models=1, model_file=model) as net:
        expected = net.client.api.chat(PROMPT, **ASK).text
    with Network(folder, relays=12, models=1, model_file=model, hops=HOPS, stage_files=files,
                 lead_options=["--activations", "f32"]) as net:
        check(net.client.api.chat(PROMPT, **ASK).text == expected, "another answer than the whole model's")
        piece = max((files[1] / "pieces").iterdir(), key=lambda path: path.stat().st_size)
        kept = altered(piece)
        is_refused(net, net.stages[1], f"the piece {piece.name} has other bytes than its name says")
        piece.unlink()
        is_refused(net, net.stages[1], f"the piece {piece.name} is missing")
        [manifest] = files[1].glob("*.manifest")
        manifest.rename(folder / "manifest")
        is_refused(net, net.stages[1], "this node has no pieces of the model")
        (folder / "manifest").rename(manifest)
        piece.write_bytes(kept)
        until(lambda: answer(net) == expected, "it answers again", 90)


main(test)
