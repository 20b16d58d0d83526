"""B4: the node that leads may compute layers itself: its channels to its own stage need no link, and the last hop finds
the lead behind the same identity. The answer is the one of a node that holds the whole model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture

TOKENS = 60
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}


class LeadIsAHop(Network):
    """The lead has the first of the hops, another node the second."""

    def _start_stages(self):
        lead = self.models[0]
        stage = ["--stage", self.model_file, "--stage-for", lead.id()]
        other = self._node("hop", stage, 1 + self._relay_count + self._model_count)
        self.stages.append(other.start())
        lead.arguments += stage
        for node, (first, end) in zip((lead, other), self.hops):
            lead.arguments += ["--hop", f"{node.id()}:{first}-{end}"]
        lead.arguments += self.lead_options


def answer(folder, kind, **options):
    (folder / kind.__name__).mkdir()
    with kind(folder / kind.__name__, relays=12, models=1, model_file=fixture("slow"), **options) as net:
        reply = net.client.api.chat("Say something.", **ASK)
        check(reply.done and reply.usage["completion_tokens"] == TOKENS, f"{kind.__name__}: {reply}")
        # Another one behind it: the first sequence was emptied on both hops.
        check(net.client.api.chat("Say something.", **ASK).text == reply.text, "another answer to the same question")
        return reply.text


def test(folder):
    own = answer(folder, LeadIsAHop, hops=[(0, 3), (3, 8)], lead_options=("--activations", "f32"))
    check(own == answer(folder, Network), "another answer than the whole model gives")


main(test)
