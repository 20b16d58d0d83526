"""G7: /health is false within 5 s of an engine's death and true again once it is back; one that is dead for good leaves
a node that says so and stays up. /ready is true only with circuits and a model node at hand, and says what is
missing."""
# build: accept

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main, until

HEALTH_SECONDS_MAX = 5  # what the row promises
BACK_SECONDS_MAX = 60   # a restart under a sanitizer on a busy machine


def asked(node, path):
    status, headers, body = node.api.request("GET", path)
    return status, json.loads(body), {name.lower(): value for name, value in headers.items()}


def health(node):
    return asked(node, "/health")[0]


class Watch:
    """Asks /health all the time, so that a state of half a second is not missed. Each answer with its time."""

    def __init__(self, node):
        self.node, self.seen, self.stopping = node, [], False
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stopping:
            self.seen.append((time.monotonic(), health(self.node)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stopping = True
        self.thread.join()


def worker_of(node):
    [worker] = until(node.process.children, f"{node.name} has a worker")
    return worker


def a_killed_worker_comes_back(node):
    check(health(node) == 200, "a sound node is not healthy")
    worker = worker_of(node)
    with Watch(node) as watch:
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        until(lambda: any(status == 503 for _, status in watch.seen), "/health is false", HEALTH_SECONDS_MAX + 1)
        first = next(at for at, status in watch.seen if status == 503)
        check(first - killed <= HEALTH_SECONDS_MAX, f"/health was false only after {first - killed:.1f} s")
        until(lambda: watch.seen[-1][1] == 200, "/health is true again", BACK_SECONDS_MAX)
    check(worker_of(node) != worker, "the worker is the one that was killed")
    check(len(node.api.chat("Hello", max_tokens=4).text) >= 0, "the node does not answer any more")


def a_spoilt_model_is_dead_for_good(node, model):
    spoilt = model.with_suffix(".new")
    spoilt.write_bytes(b"no model any more")
    spoilt.rename(model)
    os.kill(worker_of(node), signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: health(node) == 503, "/health is false", HEALTH_SECONDS_MAX)
    node.process.wait_line(r"error engine: --model \S+: .*GGUF.*start again", BACK_SECONDS_MAX)
    status, body, _ = asked(node, "/health")
    check(status == 503 and "GGUF" in json.dumps(body), f"/health does not say why: {body}")
    check(asked(node, "/ready")[0] == 503, "a node whose engine is dead is ready")
    until(lambda: time.monotonic() > killed + 2, "two back-offs have passed")
    check(health(node) == 503 and not node.process.children(), "an engine that is dead for good was started again")
    node.process.expect_alive()


def ready_needs_a_model_node(net, client):
    """The only model nodes go: the directory drops them, and /ready says what is missing."""
    status, body, _ = asked(client, "/ready")
    check(status == 200 and body["ready"] and body["model_nodes"] >= 1, f"ready without a model node: {body}")
    check(body["circuits"] >= body["circuits_needed"] >= 4, f"ready without circuits: {body}")


def ready_says_what_is_missing(net):
    """A client of a network in which nobody else runs any more has neither directory nor circuits."""
    for node in (*net.relays, *net.models, net.verifier):
        node.kill()
    lonely = net.add_client()
    until(lambda: health(lonely) == 200, "the lonely client is alive")
    status, body, headers = asked(lonely, "/ready")
    check(status == 503 and not body["ready"] and "directory" in body["reason"], f"lonely: {status} {body}")
    check(int(headers["retry-after"]) > 0, "no Retry-After")


def circuits_that_die_are_missed(net, client):
    """All relays go: no circuit is left, and /ready says so; /health does not mind."""
    for relay in net.relays:
        relay.kill()
    until(lambda: asked(client, "/ready")[0] == 503, "/ready is false without relays", 60)
    status, body, _ = asked(client, "/ready")
    check(status == 503 and body["circuits"] < body["circuits_needed"] and body["reason"], f"no relays: {body}")
    check(health(client) == 200, "a client without circuits is not alive")


def test(folder):
    with Network(folder, relays=10, models=1) as net:
        model = folder / "own.gguf"
        shutil.copy(net.model_file, model)
        address = f"127.200.0.1:{net.verifier.address.rsplit(':')[1]}"
        both = net.add_client("--model", model, "--listen", address)  # a model node with an API of its own
        net.wait_ready(both)
        ready_needs_a_model_node(net, net.client)
        a_killed_worker_comes_back(both)
        a_spoilt_model_is_dead_for_good(both, model)
        circuits_that_die_are_missed(net, net.client)
        ready_says_what_is_missing(net)


main(test)
