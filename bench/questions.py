"""A private question against the same question asked of the engine directly: the same model, threads and machine, turn
by turn. Direct is the engine's own pipe (protocol/pipe.md), without any HTTP: what is added is all that Shoal adds.
"""

import statistics
import time

from engine import KIND_FINISHED, KIND_TEXT, Engine
from figures import NotMeasured, at_most, percentile, printed, spread
from local_network import network, new_folder

PROMPTS = ("What is the capital of France?", "Tell me a story about a fox.", "What is 12 plus 30?", "Say hello.")
TOKENS = 64


def direct(engine, prompt):
    """(ms to the first text, ms to the end, tokens)."""
    began = time.perf_counter()
    engine.submit([prompt], TOKENS)
    first = None
    while True:
        kind, body = engine.receive()
        now = (time.perf_counter() - began) * 1e3
        if kind == KIND_TEXT and first is None:
            first = now
        if kind == KIND_FINISHED:
            return first if first is not None else now, now, int.from_bytes(body[13:17], "little")


def private(client, model, prompt):
    reply = client.api.chat(prompt, model=model, temperature=0, max_tokens=TOKENS)
    if not reply.done or not reply.times:
        raise NotMeasured(f"a question was not answered: {reply.error or reply.finish}")
    return reply.times[0] * 1e3, reply.times[-1] * 1e3, reply.usage["completion_tokens"]


def pairs(net, client, engine, rounds):
    """[(private, direct)], turn by turn; the first question of each side is not counted (the link warms up)."""
    model = client.api.models()[0]
    private(client, model, PROMPTS[0]), direct(engine, PROMPTS[0])
    found = []
    for turn in range(rounds):
        prompt = PROMPTS[turn % len(PROMPTS)]
        sides = [lambda: private(client, model, prompt), lambda: direct(engine, prompt)]
        if turn % 2:
            theirs, ours = sides[1](), sides[0]()
        else:
            ours, theirs = sides[0](), sides[1]()
        found.append((ours, theirs))
    return found


def compared(name, found, bars):
    """First token and per token, with their bars or without."""
    added = [ours[0] - theirs[0] for ours, theirs in found]
    each = [(ours[1] - theirs[1]) / max(ours[2], 1) for ours, theirs in found]
    peer = statistics.median(theirs[0] for _, theirs in found)
    what = {**spread(added), "private p50": statistics.median(ours[0] for ours, _ in found), "direct p50": peer}
    if not bars:
        first = printed(f"{name}: first token, added", statistics.median(added), "ms", **what)
        first.peer, first.ratio = peer, what["private p50"] / peer
        yield first
        yield printed(f"{name}: each token, added", statistics.median(each), "ms", **spread(each))
        return
    p50 = at_most(f"{name}: first token, added, p50", statistics.median(added), "ms", 15, **what)
    p50.peer = peer
    yield p50
    yield at_most(f"{name}: first token, added, p99", percentile(added, 0.99), "ms", 40, n=len(added))
    yield at_most(f"{name}: each token, added", statistics.median(each), "ms", 1, **spread(each))


def cold(net, engine, rounds):
    """The first question of a new client: no link from its proxies to the model node, nothing in any cache."""
    found = []
    for _ in range(rounds):
        client = net.add_client()
        net.wait_ready(client)
        found.append((private(client, client.api.models()[0], PROMPTS[0]), direct(engine, PROMPTS[0])))
        client.stop()
        net.clients.remove(client)
    return found


def figures(build, folder, model, options):
    engine = Engine(build, model, 1)
    try:
        with network(new_folder(folder, "questions"), build, model, relays=16) as net:  # as the demo has
            yield from compared("fast, warm", pairs(net, net.client, engine, options.questions), bars=True)
            yield from compared("fast, cold link", cold(net, engine, options.cold), bars=False)
            net.pacer = "shaped"
            shaped = net.add_client()
            net.wait_ready(shaped)
            yield from compared("shaped, warm", pairs(net, shaped, engine, options.shaped), bars=False)
    finally:
        engine.socket.close()
        engine.process.wait()
