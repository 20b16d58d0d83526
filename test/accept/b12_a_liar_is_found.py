"""B12: three model nodes are asked one question, one of them lies, and the two that agree are believed. The liar is
found by one question, each time it is among those that are asked, and asked no more while there are others."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.api import ApiError

ASK = {"max_tokens": 40, "temperature": 0}
PROMPT = "What is the capital of France?"
LIAR = 1


def test(folder):
    for how in ("alter", "stop", "count"):
        (folder / how).mkdir()
        with Network(folder / how, relays=12, models=3, liars={LIAR: how}) as net:
            net.wait_models(3)
            is_found(net, how)
            is_asked_no_more(net)
            if how == "alter":
                sampled_replies_are_compared(net)
                outvoted_questions_say_so(net)
                the_lost_do_not_fail_it(net)


def line_of_comparison(client, known):
    """The next line of the client's log that says what a comparison came to."""
    def lines():
        return [line for line in client.process.output().splitlines() if "compared " in line]

    until(lambda: len(lines()) > known, "the comparison is over and written down", 90)
    return lines()[known]


def is_found(net, how):
    """By one question: of every client that has not asked before."""
    liar = net.models[LIAR].id()
    truth = None
    for _ in range(4):
        client = net.client
        reply = client.api.chat(PROMPT, stream=False, compare="2/3", **ASK)
        truth = truth or reply.text
        check(reply.text == truth, f"the agreed reply is another: {reply.text!r}, {truth!r}")
        check(reply.shoal and reply.shoal["agreed"] >= 2 and reply.shoal["asked"] == 3, f"the reply says {reply.shoal}")
        line = line_of_comparison(client, 0)
        check("2 of 3 nodes gave the same reply" in line, f"how many agreed is not said: {line}")
        check(re.search(rf"{liar} differs from byte \d+ on", line), f"the liar was not found ({how}): {line}")
        check(line.count("differs") == 1, f"another one was accused: {line}")
        check(PROMPT not in client.process.output() and truth not in client.process.output(), "the log has the words")
        net.clients.pop(0).stop()
        net.add_client()
        net.wait_ready(net.client)
    net.wait_models(3)
    streamed = net.client.api.chat(PROMPT, compare="2/3", **ASK)
    check(streamed.done and streamed.text == truth, f"streamed it is another: {streamed}")
    check(liar in line_of_comparison(net.client, 0), "the liar was not found in a stream")
    net.truth = truth


def streams(node):
    return sum(line.get("command") == "STREAM_OPEN" for line in node.trace())


def is_asked_no_more(net):
    before = streams(net.models[LIAR])
    for _ in range(8):
        reply = net.client.api.chat(PROMPT, stream=False, **ASK)
        check(reply.text == net.truth, f"a question after the comparison went to the liar: {reply.text!r}")
    check(streams(net.models[LIAR]) == before, "the liar was asked although others are there")


def sampled_replies_are_compared(net):
    """The noise of sampling is the client's: the same for all of them."""
    reply = net.client.api.chat(PROMPT, stream=False, compare="2/2", max_tokens=40, temperature=1.2)
    check(reply.text and reply.shoal == {"agreed": 2, "asked": 2}, f"sampled replies differ: {reply}")


def outvoted_questions_say_so(net):
    """A client that has not met the liar asks all three and wants all three."""
    client = net.add_client("--compare", "3/3")
    net.wait_ready(client)
    until(lambda: client.api.get("/ready")["model_nodes"] == 3, "the client knows three model nodes", 60)
    try:
        client.api.chat(PROMPT, stream=False, **ASK)
    except ApiError as error:
        check(error.status == 502 and error.error["code"] == "replies_disagree", f"the error is {error}")
        check("3 of 3" in error.error["message"] and "agree are 2" in error.error["message"], error.error["message"])
        return
    check(False, "three replies that differ were one")


def the_lost_do_not_fail_it(net):
    """The liar is still listed; that it is gone costs no answer while two of the three are there."""
    net.models.pop(LIAR).kill()
    client = net.add_client("--compare", "2/3")
    net.wait_ready(client)
    reply = client.api.chat(PROMPT, stream=False, **ASK)
    check(reply.text == net.truth, f"with one node lost the reply is {reply.text!r}")
    check(reply.shoal and reply.shoal["agreed"] == 2, f"with one node lost the reply says {reply.shoal}")


main(test, seconds_max=600)
