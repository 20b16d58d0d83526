"""B11: a requester that keeps embedding, first layers, last layers and head. The answer is that of the whole model, and
nothing that its hops get or give is a token's number, a row of the embedding, the state that the head reads, or text.

The same look at the hops of a model whose layers are all elsewhere (the twin) finds all of that: each token by its row
of the embedding, and each state that the head reads. What can be told from what the wire does carry is measured in
docs/boomerang.md, not here: that it names no token is not that it hides them."""
# build: accept

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import engine_environment, fixture
from harness.run import ROOT, build_folder
from harness.stages import embedding_rows, messages
from harness.waiting import until

sys.path.insert(0, str(ROOT / "tools" / "mini"))
from shoal_engine import Engine

LAYERS = 8
TOKENS = 60
ASK = {"max_tokens": TOKENS, "temperature": 0, "seed": 7}
PROMPT = "What do you make of seven green bottles?"
RUN = 4  # tokens in a row that would be no accident
ALLOWED = {"VERSIONS", "PADDING", "DIRECTORY", "CHANNEL_OPEN", "CHANNEL_DATA", "CHANNEL_CREDIT", "CHANNEL_CLOSE"}


def whole_answer():
    engine = Path(engine_environment().get("SHOAL_ENGINE", build_folder() / "shoal-engine"))
    with Engine(fixture("slow"), engine.parent) as engine:
        return engine.chat([("user", PROMPT)], temperature=0, max_tokens=TOKENS)


def seen(hops):
    """Every message that went over the wire: what the hops got and what they gave."""
    return [message for hop in hops for message in messages(hop)]


def rows_of(wire):
    return [row for message in wire for row in message.rows]


def tokens_by_embedding(wire, embedding):
    """The tokens that can be read off the wire as they stand: rows that are rows of the embedding."""
    token_of = {row: token for token, row in enumerate(embedding)}
    return [token_of[row] for row in rows_of(wire) if row in token_of]


def final_states(wire):
    """Rows that the only hop gave back: with all layers elsewhere, what the head reads."""
    return {row for message in wire if message.direction == "out" for row in message.rows}


def numbers_in(data, tokens):
    """Whether RUN of these tokens in a row stand somewhere as numbers of two or four bytes."""
    return any(struct.pack(f"{order}{RUN}{form}", *tokens[at:at + RUN]) in data
               for at in range(len(tokens) - RUN + 1) for form in "HI" for order in "<>")


def the_twin_shows_everything(twin, twin_tokens, embedding):
    wire = seen(twin)
    inward = [message for message in wire if message.direction == "in"]
    found = tokens_by_embedding(inward, embedding)
    check(found and len(found) == len(rows_of(inward)), f"{len(found)} of {len(rows_of(inward))} rows named a token")
    check(len(found) >= TOKENS, f"only {len(found)} tokens")
    check(numbers_in(b"x" + struct.pack(f"<{len(found)}H", *found), found), "numbers that stand there are not found")
    twin_tokens += found
    return final_states(wire)


def the_wire_is_clean(hops, texts, tokens, embedding, last_states):
    for hop in hops:
        foreign = {line["command"] for line in hop.taps()} - ALLOWED
        check(not foreign, f"{hop.name} saw {foreign}")
    wire = seen(hops)
    rows = rows_of(wire)
    # Each row of the question and of the answer but its last token, at both hops: got and given.
    check(len(rows) >= 4 * (len(tokens) - 1), f"only {len(rows)} rows for {len(tokens)} tokens")
    check(not tokens_by_embedding(wire, embedding), "a row of the embedding is on the wire")
    check(not last_states.intersection(rows), "a state that the head reads is on the wire")
    check({len(row) for row in rows} == {len(embedding[0])}, "rows of another width: these could be logits")
    everything = b"\0".join(message.raw for message in wire)
    check(not numbers_in(everything, tokens), "tokens stand on the wire as numbers")
    for text in texts:
        words = [text[at:at + 8].encode() for at in range(0, len(text) - 8, 4)]
        check(not any(word in everything for word in words), "text is on the wire")


def nobody_else_can_ask(net, node):
    check(node.name not in net.client.api.models(), f"the directory lists {net.client.api.models()}")
    check(node.api.models() == [node.name], f"it offers {node.api.models()}")
    check(not any(line.get("command") in ("CREATE", "RELAY") for line in node.trace()), "it builds circuits")


def a_lost_hop_ends_the_answer_and_the_next_one_is_right(node, whole):
    """Nothing of a broken answer is left in the layers that the requester holds."""
    hop = node.hops[1]

    def on_text(reply):
        if len(reply.times) == 5:
            hop.kill()

    reply = node.api.chat(PROMPT, on_text=on_text, **(ASK | {"max_tokens": 900}))
    check(reply.error is not None and not reply.done, f"a lost hop was not noticed: {reply}")
    check(node.api.get_status("/ready") == 503, "it calls itself ready without a hop")
    hop.start()
    until(node.api.is_ready, "the layers are together again", 60)
    again = node.api.chat(PROMPT, **ASK)
    check(again.done and again.text == whole, f"another answer after a loss: {again}")


def test(folder):
    whole = whole_answer()
    check(len(whole) > 40, f"too short an answer to compare: {whole!r}")
    embedding = embedding_rows(fixture("slow"))
    f32 = ("--activations", "f32")
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=[(0, LAYERS)], lead_options=f32) as net:
        node = net.add_boomerang([(1, 4), (4, LAYERS - 1)], *f32)
        reply = net.client.api.chat(PROMPT, **ASK)
        check(reply.done and reply.text == whole, f"the twin's answer is another: {reply}")
        tokens = []
        last_states = the_twin_shows_everything(net.stages[:1], tokens, embedding)
        until(node.api.is_ready, "the middle is together", 60)
        reply = node.api.chat(PROMPT, **ASK)
        check(reply.done and reply.text == whole, f"not the answer of the whole model: {reply}")
        check(reply.usage["completion_tokens"] == TOKENS, f"{reply.usage}")
        the_wire_is_clean(node.hops, [PROMPT, whole], tokens, embedding, last_states)
        nobody_else_can_ask(net, node)
        a_lost_hop_ends_the_answer_and_the_next_one_is_right(node, whole)


main(test)
