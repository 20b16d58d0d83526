"""B3, live: nodes measure themselves and sign what they found, `shoal plan` makes a plan of that, and a lead that is
started with the plan answers as one machine does, over the hops that the plan names. Its log has what the plan
predicted beside what was measured. A plan that cannot be run as it is says why, and one for another node is not run."""
# alone
# build: accept
# long

import re
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

TOKENS = 120
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
LAYERS = 8
# Four layers fit with the cache of two sequences, five do not.
MEMORY_MIB = 32
MODEL = f"""
[model]
name = "the \\"slow\\" fixture"
layers = {LAYERS}
layer_bytes = 4_720_000
kv_bytes_per_token = 1024
embedding_bytes = 1_048_576
head_bytes = 1_048_576
hidden_size = 512
quantisation = "F16"

[workload]
context = 1024
sequences = 2
activations = "f32"

[plan]
standbys = 1
"""
LINKS = """
[[link]]
between = [{names}]
rtt_ms = 0.2
mbit_per_s = 5000
"""


class Planner:
    def __init__(self, net):
        self.net = net
        self.folder = net.folder
        self.file = self.folder / "nodes.toml"
        self.out = self.folder / "plan.toml"
        self.workers = [*net.stages, *net.standby_stages]

    def measure(self, node):
        profile = self.folder / f"{node.name}.profile"
        done = self.net.run("bench", "--model", self.net.model_file, "--state", node.state, "--network",
                            self.net.network_file, "--memory", MEMORY_MIB, "--threads", 1, "--rounds", 2, "--out",
                            profile)
        check(done.returncode == 0, f"bench of {node.name}: {done}")

    def describe(self, lead=None):
        """The lead is known by its id alone; the others by what they signed."""
        lead = lead or f'id = "{self.net.models[0].id()}"'
        names = ["lead", *(node.name for node in self.workers)]
        text = MODEL + f'\n[[node]]\nname = "lead"\n{lead}\n'
        for node in self.workers:
            text += f'\n[[node]]\nname = "{node.name}"\nprofile = "{node.name}.profile"\n'
        self.file.write_text(text + LINKS.format(names=", ".join(f'"{name}"' for name in names)))

    def plan(self, *words):
        return self.net.run("plan", self.file, "--network", self.net.network_file, "--out", self.out, *words)

    def make(self):
        """The options of the lead."""
        for node in self.workers:
            self.measure(node)
        what_cannot_be_run_is_not_written(self)
        self.describe()
        done = self.plan()
        check(done.returncode == 0 and f"written to {self.out}" in done.stdout, f"plan: {done}")
        self.shown = done.stdout
        return ["--plan", self.out]


def what_cannot_be_run_is_not_written(planner):
    planner.describe(lead='# nameless')
    done = planner.plan()
    check(done.returncode == 2 and "lead has no id" in done.stderr, f"a lead without an id: {done}")
    planner.describe()
    whole = planner.file.read_text()
    planner.file.write_text(whole.replace("layer_bytes = 4_720_000", "layer_bytes = 1_000_000"))
    done = planner.plan()
    check(done.returncode == 2 and "holds all of it" in done.stderr, f"a plan of one node: {done}")
    planner.file.write_text(whole.replace("standbys = 1", 'head = "last-stage"'))
    done = planner.plan()
    check(done.returncode == 2 and "head" in done.stderr, f"a head elsewhere: {done}")
    planner.file.write_text(whole.replace("standbys = 1", f'coordinator = "{planner.workers[0].name}"'))
    done = planner.plan()
    check(done.returncode == 2 and "computes no layers" in done.stderr, f"a lead with layers: {done}")
    check(not planner.out.exists(), "a plan that cannot be run was written")


def says_what_was_shown(planner):
    """The file has the ids and layers of what was printed, joined from the first layer to the last."""
    made = tomllib.loads(planner.out.read_text())
    names = {node.id(): node.name for node in planner.workers}
    shown = re.findall(r"^(\S+) +(\d+)-(\d+) ", planner.shown, re.M)
    hops = [(names[hop.split(":")[0]], *hop.split(":")[1].split("-")) for hop in made["hops"]]
    check(hops == [(name, first, str(int(last) + 1)) for name, first, last in shown], f"{hops} and {shown}")
    check(len(hops) == 2 and len(made["standbys"]) == 1, f"the plan is {made}")
    check(made["lead"] == planner.net.models[0].id() and made["model"] == 'the "slow" fixture', f"the plan is {made}")
    return hops, made


def cells_handed_on(node):
    """At least one for each step that it computed."""
    return sum(line.get("command") == "CHANNEL_DATA" and line["dir"] == "out" for line in node.trace())


def predicted_stands_beside_measured(planner, made):
    log = planner.net.models[0].process
    until(lambda: "measured over" in log.output(), "the lead says what it measured", 30)
    said = re.search(r"measured over \d+ tokens: ([\d.]+) tokens/s with ([\d.]+) answers at once, ([\d.]+) ms a token "
                     r"of each; predicted: ([\d.]+) tokens/s with 2, ([\d.]+) ms a step of 1", log.output())
    check(said, f"not in the words of the page: {log.tail()}")
    measured, answers, token_ms, predicted, step_ms = (float(word) for word in said.groups())
    check(measured > 0 and token_ms > 0 and 0.9 < answers < 1.1, f"no figures: {said.group()}")
    check(abs(predicted - made["predicted_tokens_per_second"]) < .01, f"not the plan's: {said.group()}")
    check(abs(step_ms - made["predicted_step_ms"]) < .01, f"not the plan's: {said.group()}")
    print(said.group())


def is_refused(net, words, *named):
    """The lead's own options, changed: one line, and an end."""
    try:
        done = net.run("up", "--model", net.model_file, "--listen", "127.0.0.1:1", "--network", net.network_file,
                       "--state", net.models[0].state, *words, timeout=20)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{words}: it runs") from None
    check(done.returncode == 2, f"{words}: {done}")
    for word in named:
        check(word in done.stderr, f"{words}: {word!r} is not in {done.stderr!r}")


def plans_that_are_refused(planner, hops):
    net, out = planner.net, planner.out
    text = out.read_text()
    broken = net.folder / "broken.toml"
    hop = f"{net.stages[0].id()}:0-{LAYERS}"
    is_refused(net, ["--plan", out, "--hop", hop], "--hop", "--plan")
    is_refused(net, ["--plan", out, "--standby", hop], "--standby")
    is_refused(net, ["--plan", out, "--activations", "q8_0"], "--activations")
    is_refused(net, ["--plan", out, "--sequences", "3"], "--sequences")
    is_refused(net, ["--plan", out, "--context", "64"], "--context")
    is_refused(net, ["--plan", net.folder / "none.toml"], "none.toml")
    second = f":{hops[1][1]}-{LAYERS}"
    for old, new, named in ((f"layers = {LAYERS}", f"layers = {LAYERS + 1}", "hops"),
                            (f"layers = {LAYERS}", "layers = 0", "layers"),
                            (second, f":{int(hops[1][1]) + 1}-{LAYERS}", "must begin with"),
                            (second, f":{hops[1][1]}-{LAYERS}9999", "NODE:FIRST-END"),
                            ('activations = "f32"', 'activations = "f64"', "activations"),
                            ("sequences = 2", "sequences = 65", "sequences"),
                            ("predicted_step_ms", "predicted_step", "predicted_step"),
                            ("hops = [", "hops = [[", "broken.toml")):
        check(old in text, f"{old!r} is not in the plan")
        broken.write_text(text.replace(old, new, 1))
        is_refused(net, ["--plan", broken], "broken.toml", named)


def of_another_lead(net, planner):
    broken = net.folder / "other.toml"
    other = net.stages[0].id()
    broken.write_text(planner.out.read_text().replace(f'lead = "{net.models[0].id()}"', f'lead = "{other}"'))
    net.models[0].stop()
    is_refused(net, ["--plan", broken], "led by", other)


def test(folder):
    planners = []

    def plan(net):
        planners.append(Planner(net))
        return planners[0].make()

    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=[None] * 2, standbys=[None],
                 plan=plan) as net:
        planner, = planners
        hops, made = says_what_was_shown(planner)
        used = {node.name: cells_handed_on(node) for node in planner.workers}
        reply = net.client.api.chat(PROMPT, **ASK)
        check(reply.done and reply.usage["completion_tokens"] == TOKENS, f"not the whole answer: {reply}")
        for node in planner.workers:
            computed = cells_handed_on(node) - used[node.name]
            is_hop = node.name in [name for name, _, _ in hops]
            check(computed > TOKENS / 2 if is_hop else computed < 10, f"{node.name} handed on {computed} cells")
        predicted_stands_beside_measured(planner, made)
        plans_that_are_refused(planner, hops)
        of_another_lead(net, planner)
    as_one_machine(folder, reply.text)


def as_one_machine(folder, text):
    (folder / "whole").mkdir()
    with Network(folder / "whole", relays=12, models=1, model_file=fixture("slow")) as net:
        check(net.client.api.chat(PROMPT, **ASK).text == text, "the plan's answer is another than one machine's")


main(test, seconds_max=600)
