"""A5, with kills: a model node, or its engine, that ends before the first token costs no answer: another node
gives it."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

ASK = {"max_tokens": 60, "temperature": 0, "seed": 5}
PROMPT = "Who are you?"


def test(folder):
    with Network(folder, relays=12, models=3, model_file=fixture("slow")) as net:
        net.wait_models(3)
        whole = net.client.api.chat(PROMPT, stream=False, **ASK).text
        moves(net, whole, lambda node, worker: os.kill(worker, signal.SIGKILL))
        moves(net, whole, lambda node, worker: node.kill())


def moves(net, whole, kill):
    """All engines stand still, so that no token comes whichever node is asked; that one is killed. A client passes over
    for a while the node that failed it, so the second time it asks one of the other two."""
    workers = {node: node.process.children()[0] for node in net.models if node.process.children()}
    before = {node: streams(node) for node in net.models}
    for worker in workers.values():
        os.kill(worker, signal.SIGSTOP)
    asked = net.client.api.chat_later(PROMPT, **ASK)
    # Two cloves open it. The others may take longer: a relay whose directory is older does not know the node yet.
    node = until(lambda: next((node for node in net.models if streams(node) >= before[node] + 2), None),
                 "the question has come to a node", 30)
    kill(node, workers[node])
    for other, worker in workers.items():
        if other is not node:
            os.kill(worker, signal.SIGCONT)
    reply = asked()
    check(reply.done and reply.text == whole,
          f"the question did not move: {reply.finish}, {reply.error}, {reply.text!r}")
    check(any(streams(other) > before[other] for other in net.models if other is not node), "no other node was asked")


def streams(node):
    return sum(line.get("command") == "STREAM_OPEN" for line in node.trace())


main(test)
