"""B17: `shoal bench --peer` measures the link to a node that is up, as long as it is and as wide as it is, and signs
both into the profile, beside a node that runs under the same key. What a plan takes of two profiles is the longer way.
A peer that is down or stands still costs its time and no more, and is left out."""
# alone
# build: accept

import os
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, Process, check, main, until
from harness.network import fixture, free_port
from harness.run import ROOT

HOPS = [(0, 3), (3, 6), (6, 8)]  # of the fixture `slow`
DELAYS_MS = {"hop1": 25, "hop2": 40}
RATE = 1_250_000  # bytes a second, of a line of its own
PLAN = """
[model]
name = "small"
layers = 4
layer_bytes = 20_000_000
kv_bytes_per_token = 0
embedding_bytes = 10_000
head_bytes = 10_000
hidden_size = 64
quantisation = "F16"
[[node]]
name = "lead"
id = "{lead}"
[[node]]
name = "here"
profile = "here.profile"
[[node]]
name = "there"
profile = "there.profile"
[[link]]
from = "lead"
to = ["here", "there"]
rtt_ms = 1
mbit_per_s = 1000
[[link]]
from = ["here", "there"]
to = "lead"
rtt_ms = 1
mbit_per_s = 1000
"""


class Bench:
    def __init__(self, net):
        self.net = net
        self.model = ["--model", fixture(), "--threads", 1, "--memory", 64, "--rounds", 2]

    def profile(self, name):
        return self.net.folder / f"{name}.profile"

    def measure(self, node, out, *words):
        """From the node's own address, so that delays know whose link it is."""
        return self.net.run("bench", "--state", node.state, "--network", self.net.network_file, "--out",
                            self.profile(out), "--from", node.address.rsplit(":", 1)[0], *words)


def links(text):
    """{peer: (ms, Mbit/s)}"""
    return {peer: (float(rtt), float(mbit)) for peer, rtt, mbit in
            re.findall(r"^link to (\w{64}): rtt_ms = ([\d.]+), mbit_per_s = ([\d.]+)$", text, re.M)}


def links_from(node, peer):
    return sum(line.get("event") == "link_up" and line["peer"] == peer for line in node.trace())


def to_peers(net, bench):
    """Beside the running node, whose own links its peers do not mix up with those of who measures."""
    here, *others = net.stages
    until(lambda: links_from(others[0], here.id()), "a hop has its link to the next", 60)
    before = [links_from(node, here.id()) for node in others]
    done = bench.measure(here, "here", *bench.model, *(word for node in others for word in ("--peer", node.id())))
    check(done.returncode == 0, f"bench: {done}")
    found = links(done.stdout)
    check(set(found) == {node.id() for node in others}, f"the links: {done.stdout}")
    for node in others:
        rtt, mbit = found[node.id()]
        least = 2 * DELAYS_MS[node.name]
        check(least <= rtt < least + 30, f"{node.name} is {least} ms away and found to be {rtt}")
        check(mbit > 5, f"{node.name}: {mbit} Mbit/s over a line without a limit")
    check(re.search(r"^stage_overhead_us = [\d.]+", done.stdout, re.M), f"no stage: {done.stdout}")
    check([links_from(node, here.id()) for node in others] == before, "a peer took the bench for the node")
    return found[others[0].id()][0]


def from_the_far_end(net, bench):
    """The other way, and later: the rest of the profile stays as it was."""
    here, there, _ = net.stages
    done = bench.measure(there, "there", *bench.model)
    check(done.returncode == 0 and not links(done.stdout), f"bench: {done}")
    before = bench.profile("there").read_bytes()
    done = bench.measure(there, "there", "--peer", here.id())
    after = bench.profile("there").read_bytes()
    check(done.returncode == 0 and here.id() in links(done.stdout), f"bench: {done}")
    measured = before[53:-64 - 1]  # from the memory to the number of links
    check(after[53:53 + len(measured)] == measured and len(after) == len(before) + 44, "the rates are others now")
    return links(done.stdout)[here.id()][0]


def the_plan_takes_the_longer_way(net, bench, there, back):
    plan = net.folder / "nodes.toml"
    plan.write_text(PLAN.format(lead=net.models[0].id()))
    done = bench.net.run("plan", plan, "--network", net.network_file)
    hops = re.findall(r"^(?:here|there) +\d+-\d+ .* +([\d.]+) ms +[\d.]+ ms ", done.stdout, re.M)
    check(done.returncode == 0 and len(hops) == 2, f"the plan: {done}")
    check(abs(float(hops[1]) - max(there, back) / 2) < 0.2, f"of {there} and {back} ms there and back: {done.stdout}")


def through_a_narrow_line(net, bench):
    """A line of 10 Mbit/s before a relay, found within a tenth."""
    relay = net.relays[0]
    relay.stop()
    host = relay.address.rsplit(":", 1)[0]
    near = f"{host}:{free_port([host])}"
    line = Process("line", [sys.executable, "-m", "harness.delay", near, relay.address, "--delay-ms", 10, "--rate",
                            RATE], net.folder / "line.log", cwd=ROOT / "test")
    try:
        line.wait_line("listening")
        relay.start("--advertise", near)

        def behind_the_line():  # before, the directory has the old address
            done = bench.measure(net.stages[0], "here", "--peer", relay.id())
            rtt, mbit = links(done.stdout).get(relay.id(), (0, 0))
            return (rtt, mbit) if rtt >= 20 else None

        rtt, mbit = until(behind_the_line, "the relay is found behind its line", 60)
        of_line = RATE * 8e-6 * 1392 / 1402  # bodies of cells, of what TLS sends
        check(abs(mbit / of_line - 1) < 0.1, f"{mbit} Mbit/s over {of_line:.2f}")
        check(rtt < 50, f"{rtt} ms over a line of 20")
    finally:
        line.stop()


def who_cannot_be_measured(net, bench):
    here, there, third = net.stages
    for words, named in ((["--peer", here.id()], "itself"), (["--peer", "12"], "--peer"),
                         (["--peer", there.id(), "--peer", there.id()], "twice"), ([], "--model"),
                         (["--peer", there.id(), "--from", "nowhere"], "--from")):
        done = bench.measure(here, "here", *words)
        check(done.returncode == 2 and named in done.stderr and done.stderr.count("\n") == 1, f"{words}: {done}")
    done = bench.measure(here, "nothing", "--peer", there.id())
    check(done.returncode == 2 and "--model" in done.stderr, f"links of no profile: {done}")
    before = bench.profile("here").read_bytes()
    done = bench.measure(there, "here", "--peer", here.id())
    check(done.returncode == 2 and "another node" in done.stderr, f"links into another's profile: {done}")
    check(bench.profile("here").read_bytes() == before, "what was refused changed a profile")

    def all_but(lost, what):
        done = bench.measure(here, "here", "--peer", lost.id(), "--peer", there.id())
        check(done.returncode == 1, f"{what}: {done}")
        check(f"the link to {lost.id()} is not measured" in done.stderr, f"{what}: {done.stderr}")
        check(set(links(done.stdout)) == {there.id()}, f"beside one that {what}: {done.stdout}")

    os.kill(third.process.pid, signal.SIGSTOP)
    all_but(third, "stands still")
    os.kill(third.process.pid, signal.SIGCONT)
    third.stop()
    all_but(third, "is down")


def test(folder):
    with Network(folder, relays=1, models=1, clients=0, model_file=fixture("slow"), hops=HOPS,
                 delay_ms=DELAYS_MS) as net:
        bench = Bench(net)
        there = to_peers(net, bench)
        back = from_the_far_end(net, bench)
        the_plan_takes_the_longer_way(net, bench, there, back)
        through_a_narrow_line(net, bench)
        who_cannot_be_measured(net, bench)


main(test, seconds_max=300)
