"""B8: tokens that are guessed ahead, by a small model, by what the conversation repeats and by the model without some
of its layers, change no token of an answer, greedy or sampled; and over four stages with links of 30 ms one way the
answer comes at least twice as fast.

The gain is the promise itself, so the clock is looked at here."""
# alone

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import default_model
from harness.run import ROOT

NANO = ROOT / "models" / "shoal-nano.gguf"
PROMPTS = ["Tell me a story about a dog.", "Tell me a story about a boat."][:2 if os.environ.get("SHOAL_LONG") else 1]


def answers(folder, *draft, temperatures=(0, 0.8)):
    """The answers, and the seconds a token took behind the first."""
    folder.mkdir()
    options = [word for each in draft for word in ("--draft", each)]
    with Network(folder, relays=12, models=1, model_file=default_model(), delay_ms=30, lead_options=options,
                 hops=[(0, 2), (2, 4), (4, 6), (6, 8)]) as net:
        net.client.api.chat("Hello.", max_tokens=8)  # the first one may find cold links on its way
        texts, seconds, tokens = [], 0, 0
        for temperature in temperatures:
            for prompt in PROMPTS:
                reply = net.client.api.chat(prompt, max_tokens=40, temperature=temperature, seed=11)
                check(reply.done, f"no whole answer: {reply}")
                texts.append(reply.text)
                seconds += reply.times[-1] - reply.times[0]
                tokens += reply.usage["completion_tokens"] - 1
        return texts, seconds / tokens


def test(folder):
    plain, plain_token = answers(folder / "plain")
    for name, draft in (("model", [NANO]), ("skipped layers", ["skip:2-6"]), ("repeats", ["repeats"])):
        texts, token = answers(folder / name.split()[0], *draft)
        print(f"{name}: {plain_token / token:.2f} x the tokens a second of {1 / plain_token:.1f}")
        check(texts == plain, f"other answers with guesses of {name}:\n{texts}\n{plain}")
        if name == "model":
            check(plain_token >= 2 * token, f"{1 / token:.1f} tokens/s with guesses, {1 / plain_token:.1f} without")


main(test)
