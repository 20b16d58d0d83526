"""A relay as a process: its size at rest, its start, and what it carries for a second of processor time."""

import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time

from figures import NotMeasured, at_least, at_most, spread
from local_network import cpu_seconds, network, new_folder, wait_quiet

# Long enough for some forty cells a clove, and more than the model takes: it is refused at once, so that the engine
# does not compete with the relays for the processor.
LONG_PROMPT = "The quick brown fox jumps over the lazy dog. " * 2000
ASKERS = 8


def binary(build, folder):
    target = folder / "shoal"
    shutil.copy2(build / "shoal", target)
    if subprocess.run(["strip", target], check=False).returncode != 0:
        raise NotMeasured("strip is not installed")
    yield at_most("shoal, stripped", target.stat().st_size / 1e6, "MB", 50)


def accepts(address):
    """Whether a TLS handshake with the node at address:port succeeds: its loop runs then, with its keys in memory."""
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, int(port)), timeout=2) as raw, context.wrap_socket(raw):
            return True
    except OSError:
        return False


def start_times(net, rounds):
    """Seconds from the start of a relay's process until a CREATE would be taken; its keys are there already."""
    relay = net.relays[-1]
    found = []
    for _ in range(rounds):
        relay.stop()
        began = time.monotonic()
        relay.start()
        while not accepts(relay.address):
            relay.process.expect_alive()
            if time.monotonic() - began > 30:
                raise NotMeasured("the relay did not accept within 30 s")
            time.sleep(0.002)
        found.append(time.monotonic() - began)
    return found


def cells_by_peer(client):
    found = {}
    for line in client.trace():
        if line.get("command", "").startswith("RELAY"):
            found[line["peer"]] = found.get(line["peer"], 0) + 1
    return found


def flood(net, questions):
    """(cells, processor seconds) of the client's guards while many long prompts go through them."""
    before_cells = cells_by_peer(net.client)
    guards = [relay for relay in net.relays if relay.id() in before_cells]
    before = sum(cpu_seconds(guard.process) for guard in guards)
    failures = []

    def ask():
        for _ in range(questions // ASKERS):
            try:
                net.client.api.request("POST", "/v1/chat/completions", {
                    "model": net.model_name, "messages": [{"role": "user", "content": LONG_PROMPT}], "max_tokens": 1})
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(ASKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise NotMeasured(f"the client's gateway failed: {failures[0]}")
    wait_quiet([guard.process for guard in guards])
    spent = sum(cpu_seconds(guard.process) for guard in guards) - before
    after = cells_by_peer(net.client)
    # A guard hands on each cell that it shares with the client: received there and sent elsewhere, or the reverse.
    cells = sum(after[guard.id()] - before_cells[guard.id()] for guard in guards)
    return cells, spent


def load(net, options):
    net.model_name = net.client.api.models()[0]
    cells, spent = flood(net, options.flood)
    if spent < 0.05:
        raise NotMeasured(f"{cells} cells cost {spent:.3f} s of processor time, too little for its clock of 10 ms")
    yield at_least("relay process under long prompts", cells / spent, "cells/s", 60_000, cells=cells, cpu_s=spent,
                   of="both guards, timers and directory included")


def rest_and_start(net, options):
    wait_quiet([relay.process for relay in net.relays])
    sizes = [relay.process.rss_kib() * 1024 / 1e6 for relay in net.relays]
    yield at_most("relay at rest, resident", statistics.median(sizes), "MB", 30, **spread(sizes))
    times = start_times(net, options.starts)
    yield at_most("relay, start to accepting CREATE", statistics.median(times), "s", 1, **spread(times),
                  seen_by="a TLS handshake")


def ready_times(net, rounds):
    """Milliseconds from a new client's first CREATE until as many circuits are ready as one question takes."""
    found = []
    for _ in range(rounds):
        client = net.add_client()
        ready = None
        deadline = time.monotonic() + 60
        while ready is None:
            if time.monotonic() > deadline:
                raise NotMeasured("a client was not ready within 60 s")
            try:
                if client.api.request("GET", "/ready")[0] == 200:
                    ready = time.monotonic()
            except OSError:
                client.process.expect_alive()
            time.sleep(0.002)
        creates = [line["t"] for line in client.trace() if line.get("command") == "CREATE" and line["dir"] == "out"]
        found.append((ready - creates[0]) * 1e3)
        client.stop()
        net.clients.remove(client)
    return found


def circuits(net, options):
    times = ready_times(net, options.clients)
    yield at_most("4 circuits ready on loopback", statistics.median(times), "ms", 250, **spread(times))


def figures(build, folder, model, options):
    with network(new_folder(folder, "relays"), build, model) as net:
        yield from rest_and_start(net, options)
        yield from circuits(net, options)
        yield from load(net, options)
