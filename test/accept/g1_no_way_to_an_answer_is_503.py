"""G1: where a question cannot be answered now, the program gets 503 with Retry-After and the reason in OpenAI's form:
no circuit, no model node, or an engine that is being started again and no other node that could take the question."""
# build: accept

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import ApiError, Network, check, main, until
from harness.network import fixture

ASK = {"max_tokens": 8, "temperature": 0, "seed": 5}


def ask(net, model):
    status, headers, body = net.client.api.request("POST", "/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": False, **ASK})
    return status, headers, json.loads(body)


def not_now(status, headers, error, code, *reasons):
    check(status == 503, f"{code}: it is {status}: {error}")
    check(error["code"] == code and error["type"] == "server_error", f"not {code}: {error}")
    check(any(word in error["message"] for word in reasons), f"{code}: the reason is none of {reasons}: {error}")
    check(int(headers.get("Retry-After", 0)) > 0, f"{code}: no Retry-After: {headers}")


def streams(node):
    return sum(line.get("command") == "STREAM_OPEN" for line in node.trace())


def an_engine_that_dies_with_the_question(net, model):
    """The worker stands still, so that no token comes; it is killed once the question has come to the node."""
    [node] = net.models
    [worker] = node.process.children()
    before = streams(node)
    os.kill(worker, signal.SIGSTOP)
    asked = net.client.api.chat_later("Hello", model=model, **ASK)
    until(lambda: streams(node) >= before + 2, "the question has come to the node", 30)
    os.kill(worker, signal.SIGKILL)
    try:
        reply = asked()
    except ApiError as why:
        # Where the question came after the death: it was refused since the engine is down.
        return not_now(why.status, why.headers, why.error, "engine_failed", "engine")
    raise AssertionError(f"a killed engine answered: {reply}")


def an_engine_that_is_started_again(net, model):
    """Each death in a row makes the pause longer, so one of the questions meets it; and then all is well again."""
    [node] = net.models
    for _ in range(6):
        [worker] = until(node.process.children, "the engine is started again", 60)
        os.kill(worker, signal.SIGKILL)
        status, headers, body = ask(net, model)
        if status != 200:
            not_now(status, headers, body["error"], "engine_failed", "engine")
            break
    else:
        raise AssertionError("six times an engine was back before the question came")
    until(lambda: ask(net, model)[0] == 200, "the engine answers again", 60)


def no_model_node(net, model):
    """The only one is killed: the directory still lists it, and nobody answers."""
    net.models[0].kill()
    status, headers, body = ask(net, model)
    not_now(status, headers, body["error"], "no_model_node", "model node", "node")


def no_circuit(net, model):
    for relay in net.relays:
        relay.kill()
    until(lambda: net.client.api.get_status("/ready") == 503, "the client sees that its circuits are gone", 60)
    status, headers, body = ask(net, model)
    not_now(status, headers, body["error"], "no_circuit", "circuit")


def an_empty_network(net):
    """A client that knows no model at all says so, whatever name is asked for."""
    client = net.add_client()
    until(lambda: client.api.get_status("/health") == 200, "the client is up")
    until(lambda: "model" in json.loads(client.api.request("GET", "/ready")[2])["reason"], "it has a directory", 60)
    status, headers, body = client.api.request("POST", "/v1/chat/completions", {
        "model": "any", "messages": [{"role": "user", "content": "Hello"}]})
    not_now(status, headers, json.loads(body)["error"], "no_model_node", "model node")


def test(folder):
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    with Network(folder / "a", relays=10, models=1, model_file=fixture("slow"), tap=False) as net:
        [model] = net.client.api.models()
        check(ask(net, model)[0] == 200, "a sound network does not answer")
        an_engine_that_dies_with_the_question(net, model)
        an_engine_that_is_started_again(net, model)
        no_model_node(net, model)
        no_circuit(net, model)
    with Network(folder / "b", relays=6, models=0, clients=0, tap=False) as net:
        an_empty_network(net)


main(test, seconds_max=420)
