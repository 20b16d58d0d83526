"""B10: the second turn of a conversation reads only what is new, for a client that has asked for it, and gives the same
answer; without that option, in another conversation and for another client nothing is reused. The layers may be in one
engine or on other nodes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import default_model

BLOCK = 16  # tokens that a reuse is a multiple of
STORY = ("There was a small town at the mouth of a river, and in the town a boy who had a boat. Every morning he went "
         "down to the water, looked at the sky and asked the oldest of the fishermen whether it would rain. ")


def cached(reply):
    check(reply.done, f"no whole answer: {reply}")
    return reply.usage["prompt_tokens_details"]["cached_tokens"]


def conversation(api, question, **options):
    """The replies of two turns."""
    first = api.chat(question, max_tokens=24, seed=3, **options)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": first.text},
                {"role": "user", "content": "And then?"}]
    return first, api.chat(messages, max_tokens=24, seed=3, **options)


def reuses_what_the_first_turn_left(plain, scoped, question, temperature):
    expected = [reply.text for reply in conversation(plain, question, temperature=temperature)]
    first, second = conversation(scoped, question, temperature=temperature)
    check([first.text, second.text] == expected, f"other answers: {[first.text, second.text]}\n{expected}")
    check(cached(first) == 0, f"the first turn reused {cached(first)} tokens of something")
    computed = second.usage["prompt_tokens"] - cached(second)
    new = second.usage["prompt_tokens"] - first.usage["prompt_tokens"]
    print(f"second turn: {second.usage['prompt_tokens']} tokens, {cached(second)} reused")
    check(computed <= new + BLOCK, f"{computed} tokens were computed, {new} are new")
    check(second.usage["total_tokens"] == second.usage["prompt_tokens"] + second.usage["completion_tokens"],
          f"the sum is another: {second.usage}")


def test(folder):
    for name, hops in (("whole", ()), ("stages", ((0, 3), (3, 6), (6, 8)))):
        (folder / name).mkdir()
        with Network(folder / name, relays=12, models=1 if hops else 2, model_file=default_model(), hops=hops,
                     lead_options=["--activations", "f32"] if hops else ()) as net:
            if not hops:
                net.wait_models(2)
            scoped, other = (net.add_client("--reuse-prefixes") for _ in range(2))
            for client in (scoped, other):
                net.wait_ready(client)
            for temperature in (0, 0.8):
                question = f"{STORY * 2}Tell me more of him, number {temperature}."
                reuses_what_the_first_turn_left(net.client.api, scoped.api, question, temperature)
            # All that is the same for the engine: only the scope differs.
            check(cached(other.api.chat(question, max_tokens=8)) == 0, "something of another client was reused")
            for reply in conversation(net.client.api, question):
                check(cached(reply) == 0, "something was reused for a client that did not ask for it")
            check(cached(scoped.api.chat(question + " Or not?", max_tokens=8)) == 0,
                  "something of another conversation was reused")


main(test)
