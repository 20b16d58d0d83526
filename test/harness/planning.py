"""A rig for plans: nodes that measure themselves and their links, `shoal plan` of what they signed, and a lead that is
started with one plan after the other.

The model is the fixture `slow`: eight layers of 4.72 MB. hop0 holds seven of them, each of the two others four; hop0 is
18 ms from where all lines meet, they 12, and the lead stands there. A layer costs far less than a way. So the best plan
is the two near ones, and whoever fills the node with the least time a layer goes to the far one first."""

import tomllib

from harness.api import ApiError
from harness.network import Network, fixture
from harness.run import check
from harness.waiting import until

DELAYS_MS = {"hop0": 18, "hop1": 12, "hop2": 12}
MEMORY_MIB = {"hop0": 39, "hop1": 24, "hop2": 24}
HOPS = [(0, 3), (3, 6), (6, 8)]  # whatever they are: until a plan is there
PLAN = """
[model]
name = "slow"
layers = 8
layer_bytes = 4_720_000
kv_bytes_per_token = 1024
embedding_bytes = 1_048_576
head_bytes = 1_048_576
hidden_size = 512
quantisation = "F16"

[workload]
context = 1024

[plan]
coordinator_serves = false
"""


class Rig(Network):
    """A network without plan: the profiles and plans are made while it runs."""

    def __init__(self, folder, **more):
        super().__init__(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, delay_ms=DELAYS_MS,
                         options=("--threads", "1"), lead_options=("--context", "1024", "--sequences", "1"), **more)

    def command(self, *words):
        done = self.run(*words)
        check(done.returncode == 0, f"{words[0]}: {done}")
        return done.stdout

    def measure(self):
        """A signed profile of each node, of itself and of its links to all others."""
        nodes = [self.models[0], *self.stages]
        for node in nodes:
            peers = [word for other in nodes if other is not node for word in ("--peer", other.id())]
            self.command("bench", "--model", self.model_file, "--threads", 1, "--rounds", 2, "--state", node.state,
                         "--network", self.network_file, "--memory", MEMORY_MIB.get(node.name, 24), "--out",
                         self.folder / f"{node.name}.profile", "--from", node.address.rsplit(":", 1)[0], *peers)
        text = PLAN + "".join(f'[[node]]\nname = "{node.name}"\nprofile = "{node.name}.profile"\n' for node in nodes)
        (self.folder / "nodes.toml").write_text(text)

    def make_plan(self, *words):
        """What `shoal plan` prints, and the plan's file."""
        out = self.folder / f"plan{''.join(words)}.toml"
        words = ("--network", self.network_file, "--out", out, *words)
        return self.command("plan", self.folder / "nodes.toml", *words), out

    def lead_with(self, plan):
        """The lead once more, with this plan, until it answers."""
        lead = self.models[0]
        lead.stop()
        typed = [index for index, word in enumerate(lead.arguments)
                 if word in ("--hop", "--plan", "--context", "--sequences")]
        for index in reversed(typed):
            del lead.arguments[index:index + 2]
        lead.arguments += ["--plan", plan]
        lead.start()

        def answers():
            try:
                return self.client.api.chat("Are you there?", max_tokens=2, temperature=0).done
            except ApiError:  # its layers are not together yet
                return False

        until(answers, "the lead answers", 60)


def hops_of(plan, rig):
    """The names of a plan's hops, in their order."""
    names = {node.id(): node.name for node in rig.stages}
    return [names[hop.split(":")[0]] for hop in tomllib.loads(plan.read_text())["hops"]]


def predicted(plan):
    made = tomllib.loads(plan.read_text())
    return made["predicted_step_ms"], made["predicted_tokens_per_second"]
