"""A model over several machines: real nodes over loopback, with delayed links where it says so.

One question after the other goes the whole way of a client, circuits included; times are those of the steady stream
behind the first piece of text. Each node computes with one thread. The models have random weights, for the speed does
not depend on what they say: `bench` is the one that engine.py uses, `bench-1b` has the shape of a 1.1 B llama.
"""

import os
import statistics
import subprocess
import threading
import time

from engine import Peer, bench_model, bootstrap_lower
from figures import Figure, NotMeasured, at_least, at_most, exactly, percentile, printed, spread
from local_network import fixture, let_through, network, new_folder, until
from rpc_peer import PREFIX, rpc_peer

HOPS = [(0, 3), (3, 6), (6, 8), (8, 10)]           # of bench
HOPS_TWO = [(0, 5), (5, 10)]                          # of bench, where hops should not wait for a processor
HOP_1B = [(0, 22)]
HOPS_1B = [(0, 6), (6, 12), (12, 17), (17, 22)]    # of bench-1b
HOPS_SLOW = [(0, 3), (3, 6), (6, 8)]               # of the fixture `slow`
DELAYS_MS = (0, 10, 30)
SIZES = ("--context", "1024", "--sequences", "8")


def random_model(build, name, shape):
    path = build / "fixtures" / f"{name}.gguf"
    if not path.exists():
        subprocess.run([build / "gguf_fixture", path, *shape.split()], check=True)
    return path


def bench_model_1b(build):
    return random_model(build, "bench-1b", "--layers 22 --embd 2048 --ff 5632 --heads 32 --kv-heads 4 --vocab 32000 "
                                           "--type q8_0")


def bench_model_f32(build):
    return random_model(build, "bench-f32", "--layers 6 --embd 1024 --ff 2816 --heads 16 --kv-heads 4 --vocab 32000 "
                                            "--type f32")


class Questions:
    """Questions to one network. Each is another one, so that no answer is there already."""

    def __init__(self, net):
        self.net, self.asked = net, 0
        self.model = net.client.api.models()[0]

    def ask(self, tokens, words=4, on_text=None, prompt=None):
        self.asked += 1
        prompt = prompt or f"{self.asked} " + "we " * words
        reply = self.net.client.api.chat(prompt, model=self.model, temperature=0, seed=7, max_tokens=tokens,
                                         on_text=on_text)
        if not reply.done or not reply.times or reply.usage["completion_tokens"] < tokens / 2:
            raise NotMeasured(f"a question was not answered to the end: {reply.error or reply.usage}")
        return reply

    def token_ms(self, tokens):
        reply = self.ask(tokens)
        return (reply.times[-1] - reply.times[0]) * 1e3 / (reply.usage["completion_tokens"] - 1)

    def prefill(self, words):
        """Tokens of the prompt a second, until the first text."""
        reply = self.ask(2, words)
        return reply.usage["prompt_tokens"] / reply.times[0]

    def first_ms(self, words):
        return self.ask(2, words).times[0] * 1e3

    def together(self, streams, tokens):
        """Tokens a second of all, from when each has begun until the first ends."""
        stamps = [[] for _ in range(streams)]
        errors = []

        def one(index):
            try:
                reply = self.ask(tokens, prompt=f"stream {self.asked} {index}",
                                 on_text=lambda _: stamps[index].append(time.monotonic()))
                # A token without text of its own comes with the next.
                stamps[index] = (stamps[index], reply.usage["completion_tokens"] / len(reply.times))
            except Exception as error:  # whatever it was: the figure is not to be had
                errors.append(error)

        threads = [threading.Thread(target=one, args=(index,)) for index in range(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise NotMeasured(f"{streams} questions at once: {errors[0]}")
        begin, end = max(times[0] for times, _ in stamps), min(times[-1] for times, _ in stamps)
        made = sum(weight * sum(begin < at <= end for at in times) for times, weight in stamps)
        if made < streams * tokens / 4:
            raise NotMeasured(f"{streams} streams were hardly under way at the same time")
        return made / (end - begin)


def in_turn(rounds, *sides):
    """A list for each, measured turn by turn; who goes first changes."""
    found = tuple([] for _ in sides)
    for turn in range(rounds):
        for side in range(len(sides))[::1 if turn % 2 == 0 else -1]:
            found[side].append(sides[side]())
    return found


def against(name, value, unit, bar, ratios, peer, **conditions):
    """A ratio that should be at least `bar`."""
    ratio = statistics.median(ratios)
    return Figure(name, value, unit, f">= {bar:g} x peer", ratio >= bar, peer, ratio,
                  {"peer": peer, "ratio": ratio, "lower bound": bootstrap_lower(ratios), "pairs": len(ratios),
                   **conditions})


# ---- what a stage costs --------------------------------------------------------------------------------------------

def cost(build, folder, options):
    """A model in one process, over one hop and over four, all on this machine. Hops beyond the first are what a stage
    costs by itself; the bar counts the lead's process into the four as well."""
    model = bench_model_1b(build)
    with network(new_folder(folder, "whole"), build, model, relays=10, options=SIZES) as whole, \
            network(new_folder(folder, "hop"), build, model, relays=10, hops=HOP_1B, lead_options=SIZES) as hop, \
            network(new_folder(folder, "hops"), build, model, relays=10, hops=HOPS_1B, lead_options=SIZES) as hops:
        sides = [Questions(net) for net in (whole, hop, hops)]
        for net, ask in zip((whole, hop, hops), sides):
            let_through(net)
            ask.token_ms(8)
        one, single, cut = in_turn(3 * options.pairs, *(lambda ask=ask: ask.token_ms(options.tokens) for ask in sides))
        extra = [(a - b) / len(HOPS_1B) for a, b in zip(cut, one)]
        further = [(a - b) / (len(HOPS_1B) - len(HOP_1B)) for a, b in zip(cut, single)]
        whole_ms = statistics.median(one)
        figure = at_most("stages: extra cost of one, 1.1 B", statistics.median(extra), "ms/token", 0.5, **spread(extra),
                         stages=len(HOPS_1B), whole=whole_ms, cut=statistics.median(cut), least=min(cut) - min(one),
                         lead="its process counts into it")
        figure.peer = whole_ms
        yield figure
        yield printed("stages: one more, 1.1 B", statistics.median(further), "ms/token", **spread(further))
        reading = in_turn(options.pairs, lambda: sides[2].prefill(options.prompt),
                          lambda: sides[0].prefill(options.prompt))
        yield against("stages: prefill against one process, 1.1 B", statistics.median(reading[0]), "tokens/s", 0.9,
                      [a / b for a, b in zip(*reading)], statistics.median(reading[1]), words=options.prompt,
                      note="hops compute at the same time where there are processors")
        yield from rpc_beside(folder, model, HOPS_1B, 0, sides[2], options, "1.1 B", whole_ms)


# ---- against ggml-rpc-server ---------------------------------------------------------------------------------------

def rpc_beside(folder, model, hops, delay_ms, ours, options, name, whole_ms=None):
    """One stream token by token: the bars are met with guesses, in guesses.py. At best the delays count once instead of
    twice, or without delays nothing but the arithmetic (`whole_ms`) counts."""
    with rpc_peer(new_folder(folder, f"rpc-{name}-{delay_ms}".replace(" ", "")), model, hops, delay_ms) as peer:
        peer.token_ms("warm", 8)
        mine, theirs = in_turn(options.pairs, lambda: ours.token_ms(options.tokens),
                               lambda: peer.token_ms("tell me of it", options.tokens))
        rates = statistics.median(1e3 / ms for ms in mine)
        peer_ms = statistics.median(theirs)
        ratios, of = [b / a for a, b in zip(mine, theirs)], f"ggml-rpc-server, {len(hops)} parts"
        at_most_of = {}
        if delay_ms > 0:
            at_most_of["at_most"] = f"{2 * len(hops) / (len(hops) + 1):.2f} by the delays alone"
        elif whole_ms is not None:
            at_most_of["at_most"] = f"{peer_ms / whole_ms:.2f} by the arithmetic alone"
        yield printed(f"unfavourable: no guesses, {delay_ms} ms, {name}", statistics.median(ratios), "x peer",
                      tokens_per_second=rates, peer=1e3 / peer_ms, lower_bound=bootstrap_lower(ratios),
                      pairs=len(ratios), of=of, **at_most_of)
        if delay_ms > 0:
            yield printed(f"stages: one-way delays a token, {delay_ms} ms, {name}",
                          statistics.median(mine) / delay_ms, "delays", peer=peer_ms / delay_ms, least=len(hops) + 1)


# ---- delayed links -------------------------------------------------------------------------------------------------

def links(build, folder, options):
    model = bench_model(build)
    compute = None
    for delay_ms in DELAYS_MS:
        with network(new_folder(folder, f"links{delay_ms}"), build, model, relays=10, hops=HOPS, delay_ms=delay_ms,
                     lead_options=SIZES) as net:
            ask = Questions(net)
            let_through(net)
            ask.token_ms(8)
            yield from rpc_beside(folder, model, HOPS, delay_ms, ask, options, "178 M")
            alone = [ask.token_ms(options.tokens) for _ in range(options.pairs)]
            if delay_ms == 0:
                compute = statistics.median(alone)
                continue
            least = compute + (len(HOPS) + 1) * delay_ms
            took = statistics.median(alone)
            yield Figure(f"stages: a token over links of {delay_ms} ms", took, "ms", "within 10 % of sum",
                         abs(took / least - 1) <= 0.1, ratio=took / least,
                         conditions={"sum": least, "compute": compute, "delays": len(HOPS) + 1, **spread(alone)})
            if delay_ms == max(DELAYS_MS):
                yield from many_streams(ask, options, 8, 2.5, f"{len(HOPS)} stages, links of {delay_ms} ms")


def many_streams(ask, options, streams, bar, of):
    ours, theirs = in_turn(options.pairs, lambda: ask.together(streams, options.tokens),
                           lambda: ask.together(1, options.tokens))
    yield against(f"streams: {streams} over 1, {of}", statistics.median(ours), "tokens/s", bar,
                  [a / b for a, b in zip(ours, theirs)], statistics.median(theirs))


# ---- a hop of two ranks --------------------------------------------------------------------------------------------

def ranks(build, folder, options):
    """The layers of one hop divided between two nodes, which sum twice a layer, against one node that has them all.
    Both ranks are on this machine: with two processors they gain in a prompt, and a token pays for its sums."""
    model = bench_model(build)
    with network(new_folder(folder, "one"), build, model, relays=10, hops=[(0, 10)], lead_options=SIZES) as one, \
            network(new_folder(folder, "ranks"), build, model, relays=10, hops=[(0, 10, 2)],
                    lead_options=SIZES) as two:
        whole, divided = Questions(one), Questions(two)
        whole.token_ms(8), divided.token_ms(8)
        ours, theirs = in_turn(options.pairs, lambda: divided.prefill(4 * options.prompt),
                               lambda: whole.prefill(4 * options.prompt))
        yield printed("two ranks over one node: prefill", statistics.median(a / b for a, b in zip(ours, theirs)), "x",
                      ours=statistics.median(ours), theirs=statistics.median(theirs))
        ours, theirs = in_turn(options.pairs, lambda: divided.token_ms(options.tokens),
                               lambda: whole.token_ms(options.tokens))
        yield printed("two ranks over one node: decode", statistics.median(b / a for a, b in zip(ours, theirs)), "x",
                      ours=statistics.median(1e3 / ms for ms in ours),
                      theirs=statistics.median(1e3 / ms for ms in theirs))


# ---- a stage is lost -----------------------------------------------------------------------------------------------

def loss(build, folder, options):
    """Each of three stages is killed once, at the 20th piece of an answer; of the second the history is long."""
    tokens, kill_at = 96, 20
    with network(new_folder(folder, "loss"), build, fixture("slow"), relays=10, hops=HOPS_SLOW, standbys=HOPS_SLOW,
                 lead_options=("--context", "2048", "--sequences", "4")) as net:
        ask, gaps, same, behind_long = Questions(net), [], 0, None
        for index, stage in enumerate(net.stages):
            prompt = "we " * (600 if index == 1 else 4)
            expected = ask.ask(tokens, prompt=prompt).text

            def kill(reply, stage=stage):
                if len(reply.times) == kill_at:
                    stage.kill()

            reply = ask.ask(tokens, prompt=prompt, on_text=kill)
            gap = max(later - earlier for earlier, later in zip(reply.times, reply.times[1:]))
            same += reply.text == expected
            gaps.append(gap)
            behind_long = gap if index == 1 else behind_long
        figure = at_most("stage lost at token 20: pause", max(gaps), "s", 3, **spread(gaps),
                         long_history=behind_long)
        yield figure
        yield exactly("stage lost at token 20: answers unchanged", same, "of 3", 3)


# ---- batches -------------------------------------------------------------------------------------------------------

def beside_long(net, ask, options, of):
    """A short request beside a long prefill: its first text against the same alone. A very short one is unfavourable:
    it waits for the step that runs, however short it is itself."""
    for words, barred in ((48, True), (4, False)):
        moments = iter([(turn + 0.5) / options.pairs for turn in range(options.pairs)])
        found = in_turn(options.pairs, lambda words=words: first_beside(net, ask, words, next(moments)),
                        lambda words=words: ask.first_ms(words))
        beside, alone = (statistics.median(side) for side in found)
        ratio = beside / alone
        yield Figure(f"{'short' if barred else 'tiny'} request beside a long prefill, {of}", beside, "ms",
                     "<= 2 x alone" if barred else "", ratio <= 2 if barred else None, alone, ratio,
                     {"alone": alone, "ratio": ratio, "beside p99": percentile(found[0], 0.99), "words": words,
                      "pairs": options.pairs})


def first_beside(net, ask, words, moment):
    """Milliseconds until the first text of a short request that comes while a long prompt is being read: at different
    moments of a step, which takes about half a second."""
    workers = (net.stages[0] if net.stages else net.models[0]).process.children()
    before = busy_seconds(workers)
    later = net.client.api.chat_later(f"{ask.asked} long " + "we " * 800, model=ask.model, temperature=0, max_tokens=1)
    until(lambda: busy_seconds(workers) > before + 0.5 + 0.5 * moment, "the long prompt is being read", 60)
    began = time.monotonic()
    first = ask.first_ms(words)
    took = time.monotonic() - began
    long = later()
    if not long.done:
        raise NotMeasured(f"the long prompt was not answered: {long.error}")
    if took > long.times[0]:
        raise NotMeasured("the short request was answered after the long one")
    return first


def busy_seconds(pids):
    total = 0.0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat", encoding="utf-8") as stat:
            total += int(stat.read().split()[0]) / 1e9
    return total


def library_gain(model, streams):
    """What llama.cpp itself gains by computing several streams together, on this processor with this model."""
    if not any((PREFIX / "usr" / "bin").glob("llama-batched-bench")):
        return "not measured"
    peer = Peer(PREFIX, model, 1)
    return peer.streams(streams) / peer.streams(1)


def unfavourable(ask, options, of, **conditions):
    figure = next(many_streams(ask, options, 4, 1.5, of))
    return printed(f"unfavourable: 4 streams over 1, {of}", figure.ratio, "x peer", **figure.conditions,
                   tokens_per_second=figure.value, **conditions)


def batches(build, folder, options):
    """Weights that are read from memory gain by a batch. Q8_0 on a processor that is busy computing gains as little as
    the library does, and stages gain where each has a processor: here the relays and the client want theirs too."""
    sizes = ("--context", "2048", "--sequences", "4")
    with network(new_folder(folder, "f32"), build, bench_model_f32(build), relays=10, options=sizes) as net:
        yield from many_streams(Questions(net), options, 4, 1.5, "one node, f32")
    model = bench_model(build)
    with network(new_folder(folder, "node"), build, model, relays=10, options=sizes) as net:
        ask = Questions(net)
        yield unfavourable(ask, options, "one node, 178 M q8_0", library_gains=library_gain(model, 4))
        yield from beside_long(net, ask, options, "one node")
    with network(new_folder(folder, "batches"), build, model, relays=10, hops=HOPS_TWO, lead_options=sizes) as net:
        ask = Questions(net)
        yield unfavourable(ask, options, f"{len(HOPS_TWO)} stages, 178 M q8_0", processors=os.cpu_count())
        yield from beside_long(net, ask, options, f"{len(HOPS_TWO)} stages")


def figures(build, folder, options):
    if not (build / "gguf_fixture").exists():
        raise NotMeasured("gguf_fixture is not built, so there is no model of a real size")
    yield from loss(build, folder, options)
    yield from batches(build, folder, options)
    yield from links(build, folder, options)
    yield from cost(build, folder, options)
    yield from ranks(build, folder, options)
