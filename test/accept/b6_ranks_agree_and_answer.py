"""B6: two nodes divide the layers of a hop between them and sum what each has by a ring all-reduce. The model answers
as it does undivided; each rank sends the other one part for each step of each sum and hardly more; a rank that is
killed takes the hop with it, and a standby group gives the rest of the same answer; a rank that stands still is named.
Ranks that are too far apart are refused with the time that was measured.

That all ranks have the same bits is checked where it is promised: a result leaves the group only when they do
(src/pipeline/groups.h), and the answers here have left it."""
# long

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import MODEL, fixture
from harness.run import Skip
from harness.waiting import until

LAYERS = 8  # of both models here
RANKS = 2
PROMPT = "What is the capital of France?"
LONG = {"max_tokens": 400, "temperature": 0, "seed": 7}
KILL_AT = 20


def made(folder, name):
    (folder / name).mkdir()
    return folder / name


def data_between(sender, receiver):
    """CHANNEL_DATA cells that one node sent to another."""
    to = receiver.id()
    return sum(line.get("command") == "CHANNEL_DATA" and line["dir"] == "out" and line["peer"] == to
               for line in sender.trace())


def answers_as_undivided(folder):
    """A trained model. A sum in another order may turn a token where two are nearly as likely: none here is."""
    if not MODEL.exists():
        raise Skip(f"no {MODEL}")
    ask = {"max_tokens": 24, "temperature": 0, "seed": 7}
    with Network(made(folder, "whole"), relays=12, models=1, model_file=MODEL) as net:
        whole = net.client.api.chat(PROMPT, **ask)
        check(whole.done and whole.error is None, f"not the whole answer: {whole}")
    with Network(made(folder, "divided"), relays=12, models=1, model_file=MODEL, hops=[(0, LAYERS, RANKS)]) as net:
        reply = net.client.api.chat(PROMPT, **ask)
        check(reply.text == whole.text, f"undivided: {whole.text!r}; divided: {reply.text!r}")
        sends_little(net, ask)


def sends_little(net, ask):
    """For a token each rank sends a part for each of 2 (N - 1) steps of two sums a layer. A row is 256 floats: a part
    is 512 bytes, half of it, and takes one cell. What else goes from rank to rank is a message a token."""
    before = [data_between(net.stages[0], net.stages[1]), data_between(net.stages[1], net.stages[0])]
    reply = net.client.api.chat(PROMPT, **ask)
    tokens = reply.usage["completion_tokens"]
    parts = LAYERS * 2 * 2 * (RANKS - 1)
    for at, (sender, receiver) in enumerate(((0, 1), (1, 0))):
        cells = data_between(net.stages[sender], net.stages[receiver]) - before[at]
        prompt = reply.usage["prompt_tokens"]
        print(f"rank {sender} sent {cells} cells for {prompt} + {tokens} tokens; {parts} parts of sums for each token")
        # The rows of the prompt are summed together: their part takes as many cells as its bytes do.
        most = (tokens + 1) * (parts + 2) + parts * (prompt * 512 // 1391 + 1)
        check((tokens - 1) * parts <= cells <= most, f"rank {sender} sent {cells} cells, for at most {most}")


def a_lost_rank_is_a_lost_hop(folder):
    hops = [(0, 4, RANKS), (4, LAYERS)]
    with Network(made(folder, "lost"), relays=12, models=1, model_file=fixture("slow"), hops=hops,
                 standbys=[(0, 4, RANKS)]) as net:
        undisturbed = net.client.api.chat(PROMPT, **LONG)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        lead = net.models[0].process

        def ask_and(do):
            reply = net.client.api.chat(PROMPT, on_text=lambda r: do() if len(r.times) == KILL_AT else None, **LONG)
            check(len(reply.times) >= KILL_AT, f"nothing was disturbed: {len(reply.times)} pieces")
            return reply

        reply = ask_and(net.stages[1].kill)
        check(reply.error is None and reply.text == undisturbed.text, f"rank 1 killed: {reply.error}")
        check("hop 1 is " in lead.output(), "no hop was replaced")
        still = net.standby_stages[1].process
        try:
            reply = ask_and(lambda: still.signal(signal.SIGSTOP))
            check(reply.error is not None, f"rank 1 stands still: no error, {len(reply.text)} characters")
            check(undisturbed.text.startswith(reply.text), "what came is not the answer's beginning")
            until(lambda: f"nothing is heard from rank 1 ({net.standby_stages[1].id()})" in lead.output(),
                  "the lead names the rank", 20)
        finally:
            still.signal(signal.SIGCONT)


def ranks_that_are_far_are_refused(folder):
    with Network(made(folder, "far"), relays=2, models=1, clients=0, model_file=fixture("slow"),
                 hops=[(0, LAYERS, RANKS)], delay_ms=8) as net:
        lead = net.models[0].process
        until(lambda: "ranks of a hop may be 10.0 ms apart" in lead.output(), "the lead says why", 60)
        line = next(line for line in lead.output().splitlines() if "ms apart" in line)
        took = float(line.split(" and back takes ")[1].split(" ms")[0])
        print(f"refused: {took} ms")
        check(took >= 16, f"a way of 8 ms and back takes {took} ms")
        check("all layers of the model are together" not in lead.output(), "they came together all the same")


def test(folder):
    for part in (answers_as_undivided, a_lost_rank_is_a_lost_hop, ranks_that_are_far_are_refused):
        part(folder)


main(test)
