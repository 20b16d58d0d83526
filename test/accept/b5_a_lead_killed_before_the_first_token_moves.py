"""B5: a lead that ends before the first token costs no answer: the question moves to another lead, here one of the same
hops, and the answer is the one that the first would have given. The hops go on with the lead that is left."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.waiting import until

HOPS = [(0, 4), (4, 8)]
ASK = {"max_tokens": 60, "temperature": 0, "seed": 5}
PROMPT = "Who are you?"


def test(folder):
    with Network(folder, relays=12, models=2, model_file=fixture("slow"), hops=HOPS, leads=2) as net:
        net.wait_models(2)
        expected = net.client.api.chat(PROMPT, stream=False, **ASK).text
        # With both workers of the leads standing still no token comes, whichever is asked.
        workers = {lead: lead.process.children()[0] for lead in net.models}
        before = {lead: streams(lead) for lead in net.models}
        for worker in workers.values():
            os.kill(worker, signal.SIGSTOP)
        asked = net.client.api.chat_later(PROMPT, **ASK)
        # Two cloves open it.
        lost = until(lambda: next((lead for lead in net.models if streams(lead) >= before[lead] + 2), None),
                     "the question has come to a lead", 30)
        [other] = [lead for lead in net.models if lead is not lost]
        lost.kill()
        os.kill(workers[other], signal.SIGCONT)
        reply = asked()
        check(reply.done and reply.text == expected,
              f"the question did not move: {reply.finish}, {reply.error}, {reply.text!r}")
        check(streams(other) > before[other], "the other lead was not asked")
        check(other.process.output().count("all layers of the model are together") == 1,
              "the hops let go of the lead that is left as well")
        check(net.client.api.chat(PROMPT, **ASK).text == expected, "another answer afterwards")


def streams(lead):
    return sum(line.get("command") == "STREAM_OPEN" for line in lead.trace())


main(test)
