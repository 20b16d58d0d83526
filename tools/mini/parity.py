#!/usr/bin/env python3
"""Checks that libllama reads a model as we do: the same tokens for 1,000 texts, the same probabilities.

    tools/mini/parity.py [mini|nano]

Needs the checkpoint and tokenizer of train.py in build/mini. Exit 0 when every token agrees,
the most likely next token agrees in 19 of 20 contexts, and no probability among the first twenty differs by more than
0.1 (libllama rounds activations to 8 bits where we do not).
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap  # noqa: E402

bootstrap.enter()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import bpe  # noqa: E402
import corpus  # noqa: E402
import gguf  # noqa: E402
import model  # noqa: E402
from llama import Server  # noqa: E402

TEXTS = 1000
CONTEXTS = 60
CONTEXT_LENGTH = 128
DIFFERENCE_MAX = 0.1


def compare_tokens(server, tokenizer):
    """The number of texts whose tokens differ."""
    texts = list(corpus.texts(77, TEXTS))[:TEXTS]
    differing = 0
    for text in texts:
        theirs = server.post("/tokenize", {"content": text, "add_special": False, "parse_special": False})["tokens"]
        differing += theirs != tokenizer.encode(text)
    return differing


def compare_probabilities(server, shape, params, tokenizer):
    """(share of contexts with the same most likely token, largest difference among the first twenty)."""
    params = jax.tree.map(jax.numpy.asarray, params)
    forward = jax.jit(lambda tokens: jax.nn.log_softmax(model.logits(shape, params, tokens)))
    rng = random.Random(78)
    same, worst = 0, 0.0
    for _ in range(CONTEXTS):
        ids, _ = corpus.encode(tokenizer, *corpus.conversation(rng))
        ids = ids[:rng.randint(4, min(len(ids), CONTEXT_LENGTH))]
        padded = np.zeros((1, CONTEXT_LENGTH), np.int32)
        padded[0, :len(ids)] = ids
        ours = np.asarray(forward(padded))[0, len(ids) - 1]
        reply = server.post("/completion", {"prompt": ids, "n_predict": 1, "n_probs": 20, "temperature": 0})
        top = reply["completion_probabilities"][0]["top_logprobs"]
        same += top[0]["id"] == int(ours.argmax())
        for entry in top:
            worst = max(worst, abs(np.exp(entry["logprob"]) - float(np.exp(ours[entry["id"]]))))
    return same / CONTEXTS, worst


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "mini"
    tokenizer = bpe.Tokenizer.load(bootstrap.BUILD / "tokenizer.json")
    with np.load(bootstrap.BUILD / f"{name}.npz") as data:
        params = gguf.quantized({n[2:]: data[n] for n in data.files if n.startswith("p.")})
    path = bootstrap.BUILD / f"parity-{name}.gguf"
    gguf.write(path, f"shoal-{name}", model.SHAPES[name], params, tokenizer)
    with Server(path) as server:
        differing = compare_tokens(server, tokenizer)
        same, worst = compare_probabilities(server, model.SHAPES[name], params, tokenizer)
    print(f"{name}: {differing} of {TEXTS} texts tokenized differently; most likely token agrees in {same:.0%} of "
          f"{CONTEXTS} contexts; largest difference of a probability {worst:.3f}")
    sys.exit(0 if differing == 0 and same >= 0.95 and worst <= DIFFERENCE_MAX else 1)


if __name__ == "__main__":
    main()
