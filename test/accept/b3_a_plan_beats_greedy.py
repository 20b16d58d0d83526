"""B3: nodes sign what they measured of themselves and of their links, and `shoal plan` leaves the far node out, though
it holds the most and takes the least time a layer; a planner that goes to the best next node and fills it goes there
first. Both plans run, the nodes that they name compute, and the answer is the same. How many tokens a second the better
plan is worth stands in bench/plans.py."""
# alone
# build: accept
# long

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import check, main, until
from harness.planning import Rig, hops_of, predicted

TOKENS = 100
PROMPT = "Say something long."


def taken(node):
    return sum(line.get("command") == "CHANNEL_CREDIT" and line["dir"] == "out" for line in node.trace())


def plans(rig):
    shown, best = rig.make_plan()
    check(set(hops_of(best, rig)) == {"hop1", "hop2"}, f"the plan goes to the far node: {shown}")
    beside = re.search(r"^greedily: ([\d.]+) ms a step, [\d.]+ tokens/s in all, over (.*)$", shown, re.M)
    shown_greedy, greedy = rig.make_plan("--greedy")
    check(hops_of(greedy, rig)[0] == "hop0" and len(hops_of(greedy, rig)) == 2, f"greedily: {shown_greedy}")
    check(beside and beside[2].split() == hops_of(greedy, rig), f"what is shown beside: {shown} and {shown_greedy}")
    check("greedily" not in shown_greedy, f"a greedy plan beside itself: {shown_greedy}")
    (step, rate), (greedy_step, greedy_rate) = predicted(best), predicted(greedy)
    check(abs(float(beside[1]) - greedy_step) < 0.01, f"{beside[1]} and {greedy_step} ms")
    # L-near-near-L is 48 ms of ways, L-far-near-L 60.
    check(step >= 48 and greedy_step >= 60 and step < greedy_step - 8 and rate > greedy_rate,
          f"predicted: {step} and {greedy_step} ms")
    return best, greedy


def answer(rig, plan):
    rig.lead_with(plan)
    before = {node.name: taken(node) for node in rig.stages}
    reply = rig.client.api.chat(PROMPT, max_tokens=TOKENS, temperature=0, seed=7)
    check(reply.done and reply.usage["completion_tokens"] == TOKENS, f"not the whole answer: {reply}")
    for node in rig.stages:
        computed = taken(node) - before[node.name]
        is_hop = node.name in hops_of(plan, rig)
        check(computed > TOKENS / 2 if is_hop else computed < 10, f"{node.name} computed {computed} steps of {plan}")
    log = rig.models[0].process
    said = until(lambda: re.findall(r"measured over \d+ tokens: .*?([\d.]+) ms a token of each; predicted: .*?"
                                    r"([\d.]+) ms a step of 1", log.output()), "the lead says what it measured", 30)
    print(f"{plan.stem}: measured {said[-1][0]} ms a token, predicted {said[-1][1]}")
    return reply.text


def test(folder):
    with Rig(folder) as rig:
        rig.measure()
        best, greedy = plans(rig)
        check(answer(rig, best) == answer(rig, greedy), "two plans of one model gave two answers")


main(test, seconds_max=600)
