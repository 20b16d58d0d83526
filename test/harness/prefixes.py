"""Conversations of two turns whose first one is long, and what nodes say of the prefixes that they move."""

from harness.run import check

BLOCK = 16  # tokens that a prefix is a multiple of
WORDS = 250  # of a prompt
# Weights of f16: how many tokens are read at once then changes what is computed by last bits only.
MODEL = "--layers 6 --embd 1024 --ff 2048 --heads 16 --kv-heads 2 --vocab 4096 --type f16"
# What a fetch that was left says on a machine so busy that 4 % of reading are over before the holder's first piece.
IN_VAIN = ("it gave nothing in time", "it is too slow", "it failed a short while ago")


def question(number):
    """Of about a thousand tokens, another one for each number."""
    return " ".join(f"w{(number * 7919 + i * 104729) % 9973}" for i in range(WORDS))


def second_turn(text, first):
    return [{"role": "user", "content": text}, {"role": "assistant", "content": first.text},
            {"role": "user", "content": "And then?"}]


def cached(reply):
    """Tokens of its prompt that were not read."""
    check(reply.done, f"no whole answer: {reply}")
    return reply.usage["prompt_tokens_details"]["cached_tokens"]


def streams(node):
    return sum(line.get("command") == "STREAM_OPEN" for line in node.trace())


def lines(node, words):
    return [line for line in node.process.output().splitlines() if words in line]
