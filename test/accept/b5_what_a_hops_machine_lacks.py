"""B5: a hop whose machine has too little memory for its layers and their cache says so, and its standby takes its
place; with room it stands by. A hop whose disk is full computes as before. (The disk: for who may mount one.)"""
# build: accept

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

HOPS = [(0, 4), (4, 8)]
SIZES = ["--context", "16384", "--sequences", "4"]  # a cache of 256 MiB a hop
ASK = {"max_tokens": 60, "temperature": 0, "seed": 7}
SHORT = "Say something."


def no_memory(net, flag):
    hop, standby, log = net.stages[1], net.standby_stages[0], net.models[0].process
    lost = f"hop 2 is {standby.id()} now, no more {hop.id()}: no memory for a stage of 65536 tokens"
    check(lost in log.output(), f"not '{lost}': {log.tail()}")
    expected = net.client.api.chat(SHORT, **ASK)
    check(expected.done and expected.error is None, f"not the whole answer: {expected}")
    flag.unlink()
    until(lambda: f"standby {hop.id()} is back" in log.output(), "with memory it stands by", 90)
    check(log.output().count("no more") == 1, f"another hop was lost: {log.tail()}")
    standby.kill()
    until(lambda: f"hop 2 is {hop.id()} now" in log.output(), "the hop takes its place again", 30)
    check(net.client.api.chat(SHORT, **ASK).text == expected.text, "another answer of the hop")


def full_disk(net):
    hop, log = net.stages[0], net.models[0].process
    expected = net.client.api.chat(SHORT, **ASK).text
    hop.stop()
    kept = hop.state.with_name("kept")
    hop.state.rename(kept)
    hop.state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", hop.state], capture_output=True,
                             text=True, check=False)
    if mounted.returncode != 0:
        print(f"the full disk was not tried: {mounted.stderr.strip()}")
        return
    try:
        subprocess.run(["cp", "-p", kept / "identity.key", hop.state], check=True)
        before = log.output().count("all layers of the model are together")
        hop.start()
        until(lambda: log.output().count("all layers of the model are together") > before, "the layers are together",
              90, hop.process.expect_alive)
        check(fill(hop.state / "full"), "there was no room to fill")
        check(net.client.api.chat(SHORT, **ASK).text == expected, "another answer with a full disk")
        check(not fill(hop.state / "more"), "the disk was not full")
        print(f"said of the full disk: {hop.process.tail(2)}")
    finally:
        hop.stop()
        subprocess.run(["umount", hop.state], check=True)


def fill(path):
    """How many bytes there was room for."""
    written = 0
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                written += file.write(bytes(512))
        except OSError:
            return written


def test(folder):
    flag = folder / "no-memory"
    flag.touch()
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=[HOPS[1]],
                 stage_liars={1: f"memory:{flag}"}, lead_options=SIZES) as net:
        no_memory(net, flag)
        full_disk(net)


main(test)
