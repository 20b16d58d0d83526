"""A2, with kills: without the verifier the network goes on with the directory that it has, questions in flight and new
ones; and when it is back, so is what it does: a new relay gets into the directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture

ASK = {"max_tokens": 300, "temperature": 0, "seed": 3}
PROMPT = "Who signs this?"


def test(folder):
    with Network(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        whole = net.client.api.chat(PROMPT, stream=False, **ASK).text
        killed = []

        def kill_once(reply):
            if not killed:
                net.verifier.kill()
                killed.append(True)

        during = net.client.api.chat(PROMPT, on_text=kill_once, **ASK)
        check(during.done and during.text == whole,
              f"the verifier's end changed the answer: {during.finish}, {during.error}")
        for _ in range(3):
            after = net.client.api.chat(PROMPT, **ASK)
            check(after.done and after.text == whole, f"no answer without a verifier: {after.finish}, {after.error}")
        net.verifier.process.stop()
        net.verifier.start()
        net.verifier.process.wait_line("listens on")
        # A client that starts now has no directory but what the verifier gives it.
        late = net.add_client()
        net.wait_ready(late)
        check(late.api.chat(PROMPT, **ASK).text == whole, "no answer for who comes after the verifier's restart")


main(test)
