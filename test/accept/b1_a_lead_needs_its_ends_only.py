"""B1: a lead needs the manifest of the model and the pieces of embedding, norm and head, no other byte; a boomerang
those of its own layers besides. The answers are those of the whole model, also to several questions at once. A piece
with other bytes than its name says, or one that is missing, ends the start with its name and is never computed with."""
# build: accept

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import default_model, engine_environment
from harness.pieces import altered, split
from harness.waiting import until

HOPS = [(0, 3), (3, 8)]
MIDDLE = (2, 6)
ASK = {"max_tokens": 100, "temperature": 0, "seed": 7}
PROMPTS = [f"Tell me a story about a {whom}." for whom in ("dog", "cat", "boat", "king")]
F32 = ["--activations", "f32"]


def answers(api):
    """One after the other, then all at once."""
    one = [api.chat(prompt, **ASK).text for prompt in PROMPTS]
    later = [api.chat_later(prompt, **ASK) for prompt in PROMPTS]
    check([reply().text for reply in later] == one, "another answer beside others")
    return one


def largest(folder):
    """Its pieces, the largest one last."""
    return sorted((folder / "pieces").iterdir(), key=lambda path: path.stat().st_size)


def ends_with(node, words):
    """It does not come up, and says why."""
    def started():
        return len(re.findall("listens on|API at", node.process.output()))

    before = started()
    node.start()
    until(lambda: not node.process.alive() or started() > before, f"{node.name} has started, or ended", 60)
    check(node.process.status == 2, f"it started: {node.process.tail()}")
    check(words in node.process.tail(3), f"not '{words}': {node.process.tail()}")


def wrong_pieces(net, ends):
    """Each of the pieces, altered; one missing; a manifest beside that of the model; pieces and no hop."""
    lead = net.models[0]
    lead.stop()
    for piece in largest(ends):
        kept = altered(piece)
        ends_with(lead, f"the piece {piece.name} has other bytes than its name says")
        piece.write_bytes(kept)
    piece.unlink()
    ends_with(lead, f"the piece {piece.name} is missing")
    piece.write_bytes(kept)
    [manifest] = ends.glob("*.manifest")
    other = ends / ("0" * 64 + ".manifest")
    other.write_bytes(manifest.read_bytes())
    ends_with(lead, "pieces of 2 models")
    other.unlink()
    hop = lead.arguments.index("--hop")
    with_hops, lead.arguments = lead.arguments, lead.arguments[:hop]
    ends_with(lead, "pieces serve with --hop only")
    lead.arguments = with_hops


def boomerang(net, model, folder, expected):
    ends = folder / "boomerang"
    split(model, f"ends,0-{MIDDLE[0]},{MIDDLE[1]}-8", ends)
    node = net.add_boomerang([MIDDLE], *F32, model_file=model, ends_file=ends)
    until(node.api.is_ready, "the boomerang has its layers together", 60, node.process.expect_alive)
    check(answers(node.api) == expected, "another answer of a boomerang in pieces")
    node.stop()
    for index, layers in enumerate((f"0-{MIDDLE[0]}", f"{MIDDLE[1]}-8")):
        split(model, layers, folder / f"own{index}")
        piece = ends / "pieces" / largest(folder / f"own{index}")[-1].name
        kept = altered(piece)
        ends_with(node, f"the piece {piece.name} has other bytes than its name says")
        piece.write_bytes(kept)


def test(folder):
    engine_environment()  # skips where there is no engine
    model, ends = default_model(), folder / "ends"
    share = split(model, "ends", ends)
    check(share < 0.5, f"the ends are {share:.2f} of the whole")
    files = [folder / f"pieces{index}" for index in range(len(HOPS))]
    for (first, end), out in zip(HOPS, files):
        split(model, f"{first}-{end}", out)
    whole = folder / "whole"
    whole.mkdir()
    with Network(whole, relays=12, models=1, model_file=model) as net:
        expected = answers(net.client.api)
    with Network(folder, relays=12, models=1, model_file=ends, hops=HOPS, stage_files=files, lead_options=F32) as net:
        check(answers(net.client.api) == expected, "another answer than the whole model's")
        wrong_pieces(net, ends)
        net.models[0].start()
        until(lambda: "all layers of the model are together" in net.models[0].process.tail(), "all is well again", 60)
        boomerang(net, model, folder, expected)


main(test)
