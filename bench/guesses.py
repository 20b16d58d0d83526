"""Tokens that are guessed ahead (docs/stages.md), over stages with delayed links: against the same stages without, and
against ggml-rpc-server with and without the same small model. What is asked is what shoal-mini was trained for: with
random weights nothing could be guessed. Also what a draft that is of no use costs.
"""

import statistics
from contextlib import ExitStack

from figures import ROOT, NotMeasured, at_least, printed
from local_network import default_model, network, new_folder
from rpc_peer import rpc_peer
from stages import against, in_turn

HOPS = [(0, 2), (2, 4), (4, 6), (6, 8)]
NANO = ROOT / "models" / "shoal-nano.gguf"
DELAYS_MS = (0, 10, 30)
QUESTIONS = ("Tell me a story about a dog.", "Tell me a story about a boat.", "Tell me a story about a king.",
             "Tell me a story about a bird.", "Tell me a story about a mouse.")
TOKENS = 48


class Stories:
    """Milliseconds a token of one story after the other; each side is told all of them in the same order."""

    def __init__(self, ask):
        self.ask, self.turn = ask, 0

    def token_ms(self):
        self.turn += 1
        return self.ask(QUESTIONS[self.turn % len(QUESTIONS)])


def of_network(net):
    def ask(question):
        reply = net.client.api.chat(question, temperature=0, seed=7, max_tokens=TOKENS)
        if not reply.done or reply.usage["completion_tokens"] < TOKENS / 2:
            raise NotMeasured(f"a question was not answered to the end: {reply.error or reply.usage}")
        return (reply.times[-1] - reply.times[0]) * 1e3 / (reply.usage["completion_tokens"] - 1)

    return Stories(ask)


def over_links(build, folder, delay_ms, options):
    """Four sides at once, each idle but for its turn."""
    model = default_model()
    with ExitStack() as stack:
        def stories(name, *words):
            return of_network(stack.enter_context(network(
                new_folder(folder, f"{name}{delay_ms}"), build, model, relays=10, hops=HOPS, delay_ms=delay_ms,
                lead_options=words)))

        def peer(name, draft=None):
            side = stack.enter_context(rpc_peer(new_folder(folder, f"{name}{delay_ms}"), model, HOPS, delay_ms,
                                                draft=draft))
            return Stories(lambda question: side.chat_token_ms(question, TOKENS))

        guessing, plain = stories("guess", "--draft", NANO), stories("plain")
        rpc, rpc_guessing = peer("rpc"), peer("rpc-guess", NANO)
        for side in (guessing, plain, rpc, rpc_guessing):
            side.token_ms()
        rounds = max(2, options.pairs)
        of = f"{len(HOPS)} stages, links of {delay_ms} ms"

        def row(name, other, bar):
            ours, theirs = in_turn(rounds, guessing.token_ms, other.token_ms)
            ratios = [b / a for a, b in zip(ours, theirs)]
            made, beside = (statistics.median(1e3 / ms for ms in side) for side in (ours, theirs))
            if bar is None:
                return printed(f"guesses: {name}, {of}", statistics.median(ratios), "x", ours=made, theirs=beside)
            return against(f"guesses: {name}, {of}", made, "tokens/s", bar, ratios, beside)

        yield row("over none", plain, 2 if delay_ms == max(DELAYS_MS) else None)
        yield row("over ggml-rpc-server", rpc, 3 if delay_ms else 1.3)
        yield row("over ggml-rpc-server that guesses too", rpc_guessing, None if delay_ms else 1.3)


def useless(build, folder, options):
    """A draft that is hardly ever right, for stories repeat nothing: it should have turned itself off."""
    model = default_model()
    with network(new_folder(folder, "repeats"), build, model, relays=10, hops=HOPS, delay_ms=10,
                 lead_options=("--draft", "repeats")) as drafted, \
            network(new_folder(folder, "nothing"), build, model, relays=10, hops=HOPS, delay_ms=10) as plain:
        ours, theirs = in_turn(max(2, options.pairs), of_network(drafted).token_ms, of_network(plain).token_ms)
        yield at_least("unfavourable: guesses that are never right",
                       statistics.median(b / a for a, b in zip(ours, theirs)), "x plain", 0.95)


def figures(build, folder, options):
    for delay_ms in DELAYS_MS:
        yield from over_links(build, folder, delay_ms, options)
    yield from useless(build, folder, options)
