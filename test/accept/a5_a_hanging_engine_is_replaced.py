"""A5, an engine that hangs: its node notices that nothing is computed, ends it and starts another; a question without a
token yet is answered by another node, one with tokens ends with an error that says so. A long wait is no hanging: while
the node works, the client does not give it up."""
# build: accept
# long

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

ASK = {"temperature": 0, "seed": 5}
PROMPT = "Who are you?"


def streams(node):
    return sum(line.get("command") == "STREAM_OPEN" for line in node.trace())


def worker_of(node):
    [worker] = until(node.process.children, f"{node.name} has a worker", 60)
    return worker


def before_the_first_token(net, whole):
    workers = {node: worker_of(node) for node in net.models}
    before = {node: streams(node) for node in net.models}
    for worker in workers.values():
        os.kill(worker, signal.SIGSTOP)
    asked = net.client.api.chat_later(PROMPT, max_tokens=40, **ASK)
    node = until(lambda: next((node for node in net.models if streams(node) >= before[node] + 2), None),
                 "the question has come to a node", 30)
    for other, worker in workers.items():
        if other is not node:
            os.kill(worker, signal.SIGCONT)
    reply = asked()
    check(reply.done and reply.text == whole, f"it did not move: {reply.error}, {reply.text!r}")
    node.process.wait_line(r"the engine hangs", 30)
    check(worker_of(node) != workers[node], "the hanging worker is still there")


def after_the_first_token(net):
    hung = []

    def hang_once(reply):
        if len(reply.times) >= 5 and not hung:
            for each in net.models:
                hung.append(worker_of(each))
                os.kill(hung[-1], signal.SIGSTOP)

    reply = net.client.api.chat(PROMPT, on_text=hang_once, max_tokens=900, **ASK)
    check(hung, "the answer was over before the engine hung")
    check(reply.error is not None and reply.error["code"] == "engine_failed", f"no error says so: {reply.error}")
    check("hangs" in reply.error["message"], f"the reason is missing: {reply.error}")
    for worker in hung:
        try:
            os.kill(worker, signal.SIGCONT)
        except ProcessLookupError:
            pass


def test(folder):
    with Network(folder, relays=10, models=2, model_file=fixture("slow")) as net:
        net.wait_models(2)
        whole = net.client.api.chat(PROMPT, stream=False, max_tokens=40, **ASK).text
        before_the_first_token(net, whole)
        after_the_first_token(net)


main(test, seconds_max=600)
