"""B5: a lead is killed in the middle of an answer and started anew. Its hops give up what they held for the session
that nobody leads any more, its memory and its engine, and serve the next one: the same tokens. And a hop whose file is
another model of the same shape, which no row would show, computes nothing at all: its standby does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture, made_model

HOPS = [(0, 4), (4, 8)]
ASK = {"max_tokens": 300, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
KILL_AT = 20
TOGETHER = "all layers of the model are together"
# As the fixture `slow`, with other weights.
OTHER = "--layers 8 --embd 512 --ff 1024 --heads 8 --kv-heads 4 --vocab 1024 --seed 2"


def engines(node):
    return node.process.children()


def a_lead_is_killed(net):
    client, lead = net.client.api, net.models[0]
    undisturbed = client.chat(PROMPT, **ASK)
    check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
    before = {stage.name: engines(stage) for stage in net.stages}
    check(all(len(pids) == 1 for pids in before.values()), f"each hop has one engine: {before}")
    broken = client.chat_while_killed(lead, KILL_AT, PROMPT, **ASK)
    check(not broken.done, "the answer of a lead that is dead came to its end")
    for stage in net.stages:
        until(lambda stage=stage: not set(before[stage.name]) & set(engines(stage)),
              f"{stage.name} has given up the engine of the session that is over")
    lead.start()
    until(lambda: lead.process.output().count(TOGETHER) == 2, "the lead has its layers again", 60)
    now = {stage.name: engines(stage) for stage in net.stages}
    check(all(len(pids) == 1 for pids in now.values()), f"a hop has more engines than sessions: {now}")
    net.wait_models(1)
    again = net.client.api.chat(PROMPT, **ASK)
    check(again.done and again.text == undisturbed.text, f"another answer after the lead's death: {again}")
    return undisturbed.text


def another_model(folder, expected):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=[HOPS[1]],
                 stage_files=[fixture("slow"), made_model("other", OTHER), fixture("slow")]) as net:
        reply = net.client.api.chat(PROMPT, **ASK)
        check(reply.done and reply.text == expected, f"another answer: {reply}")
        says = f"hop 2 is {net.standby_stages[0].id()} now, no more {net.stages[1].id()}: "
        log = net.models[0].process.output()
        check(says in log and "this node holds another model" in log, f"not '{says}…':\n{log}")


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS) as net:
        text = a_lead_is_killed(net)
    (folder / "another").mkdir()
    another_model(folder / "another", text)


main(test)
