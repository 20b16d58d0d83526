# alone
# build: accept
# long
"""B10, over hops: a conversation that has to move from a node with the whole model to a lead over hops is not read
anew. The lead fetches what that node computed and fills its hops' layers with it, each with its own; the answer is the
one that is given when all is read. A hop that is killed in the middle of such an answer is replaced by its standby,
which is filled as well. And a lead hands on what its hops computed: to another lead, here over the same hops.

Whether a fetch is worth it is decided within 4 % of what reading takes: the prompts are long and the model is slow."""

import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import made_model
from harness.prefixes import BLOCK, IN_VAIN, MODEL, cached, lines, question, second_turn, streams

HOPS = [(0, 3), (3, 6)]
LEAD = ("--activations", "f32", "--context", "4096", "--sequences", "2")
ASK = {"temperature": 0, "seed": 3}
TOKENS, KILL_AT = 60, 10
MOVED_S = 2  # no first token of a short question takes so long where nobody stands still


def pass_over(net, client):
    """The whole node fails a question by standing still, and is passed over for half a minute."""
    lead, whole = net.models
    known, asked = streams(lead), streams(whole)
    whole.process.signal(signal.SIGSTOP)
    check(client.api.chat("Are you there?", max_tokens=4, **ASK).done, "a question was not moved to the lead")
    check(streams(lead) > known, "the lead was not asked")
    whole.process.signal(signal.SIGCONT)
    until(lambda: streams(whole) > asked, "the node that stood still was asked", 20)


def asked_again(net, client):
    """Until the whole node is not passed over any more."""
    whole = net.models[1]

    def is_asked():
        known = streams(whole)
        client.api.chat("And now?", max_tokens=2, **ASK)
        return streams(whole) > known

    until(is_asked, "the whole node is asked again", 60)


def moved(net, client, numbers, **ask):
    """(text, first reply, second reply) of a conversation whose second turn the lead fetched. Where the machine is so
    busy that 4 % of reading are over before the first piece is there, another one is tried."""
    lead = net.models[0]
    for number in numbers:
        text = question(number)
        first = client.api.chat(text, max_tokens=8, **ASK)
        check(first.done, f"no whole answer: {first}")
        known = len(lines(lead, "fetched no prefix"))
        pass_over(net, client)
        second = client.api.chat(second_turn(text, first), max_tokens=TOKENS, **ASK, **ask)
        left = lines(lead, "fetched no prefix")[known:]
        if not left:
            return text, first, second
        check(any(reason in left[-1] for reason in IN_VAIN), f"it was not fetched: {left[-1]}")
        asked_again(net, client)
    raise AssertionError(f"no conversation could be moved: {left[-1]}")


def is_filled_in(net, client):
    lead, whole = net.models
    text, first, second = moved(net, client, range(1, 4))
    fetched = lines(lead, "fetched a prefix of")
    check(len(fetched) == 1 and whole.id() in fetched[0], f"the log does not say what came from whom: {fetched}")
    new = second.usage["prompt_tokens"] - first.usage["prompt_tokens"]
    check(second.usage["prompt_tokens"] - cached(second) <= new + BLOCK, f"only {cached(second)} tokens were not read")
    expected = net.client.api.chat(second_turn(text, first), max_tokens=TOKENS, **ASK)
    check(cached(expected) == 0, "something was reused without --reuse-prefixes")
    check(second.text == expected.text, f"another answer than when all is read: {second.text!r}, {expected.text!r}")
    print(f"second turn, {second.usage['prompt_tokens']} tokens: first token after {second.times[0]:.1f} s, "
          f"{expected.times[0]:.1f} s where all is read; {re.sub('^.*fetched', 'fetched', fetched[0])}")


def a_standby_is_filled_too(net):
    lead, hop, standby = net.models[0], net.stages[1], net.standby_stages[0]
    client = net.add_client("--reuse-prefixes")
    net.wait_ready(client)

    def kill(reply):
        if len(reply.times) == KILL_AT:
            hop.kill()

    text, first, second = moved(net, client, range(10, 13), on_text=kill)
    check(cached(second) > first.usage["prompt_tokens"] - BLOCK, "little was fetched")
    check(any(f"hop 2 is {standby.id()} now" in line for line in lines(lead, "is")), "no hop was replaced")
    check(lead.process.output().count("all layers of the model are together") == 1, "the session was opened anew")
    expected = net.client.api.chat(second_turn(text, first), max_tokens=TOKENS, **ASK)
    check(second.text == expected.text, f"another answer after the loss: {second.text!r}, {expected.text!r}")


def stands_still(client, node):
    """It is passed over afterwards. Half of all conversations have it for their home, and find it so."""
    asked = streams(node)
    node.process.signal(signal.SIGSTOP)
    waited = 0
    for attempt in range(40):
        reply = client.api.chat(f"{attempt}?", max_tokens=2, **ASK)
        check(reply.done, "a question was not moved from a node that stands still")
        waited = max(waited, reply.times[0])
        if waited > MOVED_S:
            break
    node.process.signal(signal.SIGCONT)
    until(lambda: streams(node) > asked, "the node that stood still was asked", 20)


def between_leads(net):
    """Two leads, and nobody with the whole model: what one of them has its hops read the other fills in."""
    for number in range(20, 26):
        client = net.add_client("--reuse-prefixes")
        net.wait_ready(client)
        before = {node: streams(node) for node in net.models}
        text = question(number)
        first = client.api.chat(text, max_tokens=8, **ASK)
        check(first.done, f"no whole answer: {first}")
        holder = max(net.models, key=lambda node: streams(node) - before[node])
        other = next(node for node in net.models if node is not holder)
        known = len(lines(other, "fetched no prefix"))
        stands_still(client, holder)
        second = client.api.chat(second_turn(text, first), max_tokens=TOKENS, **ASK)
        left = lines(other, "fetched no prefix")[known:]
        if not left:
            break
        check(any(reason in left[-1] for reason in IN_VAIN), f"it was not fetched: {left[-1]}")
    check(not left, f"no conversation could be moved: {left}")
    fetched = lines(other, "fetched a prefix of")
    check(fetched and holder.id() in fetched[-1], f"the log does not say what came from whom: {fetched}")
    check(cached(second) >= first.usage["prompt_tokens"] - BLOCK, f"only {cached(second)} tokens were not read")
    expected = net.client.api.chat(second_turn(text, first), max_tokens=TOKENS, **ASK)
    check(second.text == expected.text, f"another answer than when all is read: {second.text!r}, {expected.text!r}")
    print(f"between leads: {re.sub('^.*fetched', 'fetched', fetched[-1])}")


def test(folder):
    (folder / "whole").mkdir()
    (folder / "leads").mkdir()
    with Network(folder / "whole", relays=12, models=2, model_file=made_model("wide", MODEL), hops=HOPS,
                 standbys=[HOPS[1]], lead_options=LEAD) as net:
        net.wait_models(2)
        client = net.add_client("--reuse-prefixes")
        net.wait_ready(client)
        is_filled_in(net, client)
        a_standby_is_filled_too(net)
    with Network(folder / "leads", relays=12, models=2, leads=2, model_file=made_model("wide", MODEL), hops=HOPS,
                 lead_options=LEAD) as net:
        net.wait_models(2)
        between_leads(net)


main(test, seconds_max=600)
