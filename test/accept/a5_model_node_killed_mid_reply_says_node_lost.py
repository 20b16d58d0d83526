"""A5, with kills: a model node or its engine that ends in the middle of an answer: the program gets what was there and
an error event `node_lost` (`engine_failed` where the node lives to say so); the engine is started again and serves."""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until
from harness.network import fixture

ASK = {"max_tokens": 900, "temperature": 0, "seed": 5}
PROMPT = "Go on and on."
FAULTS = ("node_lost", "engine_failed")


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        whole = net.client.api.chat(PROMPT, stream=False, **ASK).text
        [worker] = net.models[0].process.children()
        cut_off(net, whole, lambda: os.kill(worker, signal.SIGKILL), FAULTS)
        until(lambda: net.models[0].process.children() not in ([], [worker]), "the engine is started again", 30)
        answered(net, whole)
        cut_off(net, whole, net.models[0].kill, ("node_lost",))
        net.models[0].process.stop()
        net.models[0].start()
        answered(net, whole)


def cut_off(net, whole, kill, codes):
    """Kills after the first pieces, once; the stream must end with an error event that says why."""
    killed = []

    def kill_once(reply):
        if len(reply.times) >= 5 and not killed:
            killed.append(reply.text)
            kill()

    reply = net.client.api.chat(PROMPT, on_text=kill_once, **ASK)
    check(killed, "the answer was over before the kill")
    check(reply.error is not None, f"no error came: {reply.finish}, {len(reply.text)} of {len(whole)} characters")
    check(reply.error.get("code") in codes, f"the error is {reply.error}")
    check(reply.text and whole.startswith(reply.text) and reply.text != whole,
          "what came is not the answer's beginning")


def answered(net, whole):
    """When the node serves again, so does the network; until then the client says that there is none."""
    def ask():
        status, headers, body = net.client.api.request("POST", "/v1/chat/completions", {
            "model": "slow", "messages": [{"role": "user", "content": PROMPT}], "stream": False, **ASK})
        if status == 200:
            return body
        check(status in (502, 503), f"an unclear refusal: {status} {body}")
        check(status != 503 or "Retry-After" in headers, "a 503 without Retry-After")
        return None

    body = until(ask, "the question is answered again", 60)
    check(json.loads(body)["choices"][0]["message"]["content"] == whole, "the answer after the kill is another one")


main(test)
