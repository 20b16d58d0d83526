# alone
# build: accept
# long
"""B10: a conversation that has to move to another node is not read anew: that node fetches what the first one computed,
checks it, and gives the answer that it gives when it reads everything. What was altered on the way is refused; what
nobody holds any more is read; without --reuse-prefixes nothing is fetched or kept.

Whether a fetch is worth it is decided within 4 % of what reading takes: the prompts are long and the model is slow."""

import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import made_model
from harness.prefixes import BLOCK, IN_VAIN, MODEL, cached, lines, question, second_turn, streams

ASK = {"max_tokens": 12, "temperature": 0, "seed": 3}
LIAR = 0
STANDS_STILL_S = 9  # a client waits ten for a node to accept a question


def test(folder):
    for name in ("honest", "liar"):
        (folder / name).mkdir()
    model = made_model("wide", MODEL)
    with Network(folder / "honest", relays=12, models=2, model_file=model) as net:
        net.wait_models(2)
        nothing_without_the_option(net)
        is_fetched(net)
        what_is_gone_is_read(net)
    with Network(folder / "liar", relays=12, models=2, model_file=model, liars={LIAR: "prefix"}) as net:
        net.wait_models(2)
        what_was_altered_is_refused(net)


def asked_node(net, client, prompt):
    """(the reply, the model node that gave it)"""
    before = {node: streams(node) for node in net.models}
    reply = client.api.chat(prompt, **ASK)
    check(reply.done, f"no whole answer: {reply}")
    return reply, max(net.models, key=lambda node: streams(node) - before[node])


def other_than(net, node):
    return next(each for each in net.models if each is not node)


def pass_over(client, node):
    """The client passes over a node that failed it: this one stands still while it is asked. Afterwards it is well, and
    still passed over for half a minute."""
    known = streams(node)
    node.process.signal(signal.SIGSTOP)
    for attempt in range(40):  # half of all conversations have it for their home
        began = time.monotonic()
        check(client.api.chat(f"{attempt}?", **ASK).done, "a question was not moved from a node that stands still")
        if time.monotonic() - began > STANDS_STILL_S:
            break
    node.process.signal(signal.SIGCONT)
    # What was sent to it meanwhile shows that it had been asked.
    until(lambda: streams(node) > known, "the node that stood still was asked", 20)


def nothing_without_the_option(net):
    reply = net.client.api.chat(question(0), **ASK)
    check(cached(reply) == 0, "something was reused")
    again = net.client.api.chat(second_turn(question(0), reply), **ASK)
    check(cached(again) == 0, "something was reused")
    check(not any(lines(node, "prefix") for node in net.models), "a prefix was moved for a client that did not ask")


def moved(net, client, numbers, wanted_home=None):
    """(text, first reply, second reply, holder, other) of a conversation whose second turn had to move. Where the
    machine is so busy that 4 % of reading are over before the holder's first piece is there, another one is tried."""
    for number in numbers:
        text = question(number)
        first, holder = asked_node(net, client, text)
        if wanted_home not in (None, holder):
            continue
        other = other_than(net, holder)
        known = len(lines(other, "fetched no prefix"))
        pass_over(client, holder)
        second = client.api.chat(second_turn(text, first), **ASK)
        left = lines(other, "fetched no prefix")[known:]
        if not left or not any(reason in left[-1] for reason in IN_VAIN):
            return text, first, second, holder, other
        check(cached(second) == 0, f"nothing was fetched, and {cached(second)} tokens were not read")
    check(False, f"no conversation could be moved: {left[-1] if left else 'none has its home there'}")


def is_fetched(net):
    client = net.add_client("--reuse-prefixes")
    net.wait_ready(client)
    text, first, second, holder, other = moved(net, client, range(1, 5))
    check(first.text == net.client.api.chat(text, **ASK).text and cached(first) == 0, f"another first answer: {first}")
    expected = net.client.api.chat(second_turn(text, first), **ASK)
    check(second.text == expected.text, f"another answer than when all is read: {second.text!r}, {expected.text!r}")
    new = second.usage["prompt_tokens"] - first.usage["prompt_tokens"]
    check(second.usage["prompt_tokens"] - cached(second) <= new + BLOCK, f"only {cached(second)} tokens were not read")
    fetched = lines(other, "fetched a prefix of")
    check(len(fetched) == 1 and holder.id() in fetched[0], f"the log does not say what came from whom: {fetched}")
    check(f"fetched a prefix of {cached(second)} tokens" in fetched[0], fetched[0])
    print(f"second turn, {second.usage['prompt_tokens']} tokens: first token after {second.times[0]:.1f} s, "
          f"{expected.times[0]:.1f} s where all is read; {re.sub('^.*fetched', 'fetched', fetched[0])}")
    given = until(lambda: lines(holder, "gave a prefix of"), "the holder says what it gave", 10)
    check(len(given) == 1 and other.id() in given[0], f"the holder says {given}")
    for node in net.models:
        check(text[:40] not in node.process.output(), "a log has the words")
    # The other one holds it now: a further turn goes there, and nothing travels again.
    known = streams(other)
    third = client.api.chat(second_turn(text, first), **ASK)
    check(third.done and streams(other) > known, "the turn after it went to another node")
    check(len(lines(other, "fetched a prefix of")) == 1, "it was fetched twice")


def what_is_gone_is_read(net):
    """The holder's engine dies and with it what it held: the other node asks in vain, and reads."""
    text = question(50)
    client = net.add_client("--reuse-prefixes")
    net.wait_ready(client)
    first, holder = asked_node(net, client, text)
    other = other_than(net, holder)
    known = len(lines(other, "fetched no prefix"))
    os.kill(holder.process.children()[0], signal.SIGKILL)
    until(lambda: lines(holder, "the engine ended"), "the node knows that its engine is gone", 20)
    pass_over(client, holder)
    second = client.api.chat(second_turn(text, first), **ASK)
    check(second.done and cached(second) == 0, f"what nobody holds: {second}")
    left = lines(other, "fetched no prefix")[known:]
    check(left and any(reason in left[-1] for reason in ("it does not hold it any more", *IN_VAIN)), f"it says {left}")
    expected = net.client.api.chat(second_turn(text, first), **ASK)
    check(second.text == expected.text, f"another answer than when all is read: {second.text!r}, {expected.text!r}")


def what_was_altered_is_refused(net):
    client = net.add_client("--reuse-prefixes")
    net.wait_ready(client)
    liar = net.models[LIAR]
    text, first, second, _, other = moved(net, client, range(10, 40), liar)
    check(cached(second) == 0, f"altered bytes were used: {cached(second)} tokens")
    refused = lines(other, "refused the prefix of")
    check(len(refused) == 1 and liar.id() in refused[0], f"the log does not say who gave altered bytes: {refused}")
    print(re.sub(r"^.*refused", "refused", refused[0]))
    expected = net.client.api.chat(second_turn(text, first), **ASK)
    check(second.text == expected.text, f"another answer than when all is read: {second.text!r}, {expected.text!r}")


main(test, seconds_max=900)
