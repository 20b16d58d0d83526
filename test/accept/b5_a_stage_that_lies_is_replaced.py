"""B5: a hop whose engine gives numbers that are none, rows of another shape, or noise is lost with the reason, and by
its own name: nothing of it reaches the next hop. An engine that hangs is found within seconds, once it has been
measured: its node, which is alive, does not hide it. The standby goes on, and the answer is the one that was given
undisturbed."""
# build: accept

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import engine_environment, fixture
from harness.waiting import until

HOPS = [(0, 2), (2, 4), (4, 6), (6, 8)]
ASK = {"max_tokens": 300, "temperature": 0, "seed": 7}
PROMPT = "Say something long."
LIE_AT = 20
HANG_SECONDS_MAX = 12
LIES = {"nan": "numbers that are none", "shape": "another shape", "noise": "malformed frame",
        "hang": "the engine hangs"}


def test(folder):
    engine_environment()  # skips where there is no engine
    liars = {hop: f"{how}:{folder / how}" for hop, how in enumerate(LIES)}
    with Network(folder, relays=12, models=1, model_file=fixture("slow"), hops=HOPS, standbys=HOPS,
                 stage_liars=liars) as net:
        undisturbed = net.client.api.chat(PROMPT, **ASK)
        check(undisturbed.done and undisturbed.finish == "length", f"not the whole answer: {undisturbed}")
        for hop, how in enumerate(LIES):
            one_lies(net, hop, how, folder / how, undisturbed.text)
        check(net.models[0].process.output().count("all layers of the model are together") == 1,
              "the session was opened anew")


def one_lies(net, hop, how, flag, text):
    stage, standby, lead = net.stages[hop], net.standby_stages[hop], net.models[0].process

    def on_text(reply):
        if len(reply.times) == LIE_AT:
            flag.touch()

    reply = net.client.api.chat(PROMPT, on_text=on_text, **ASK)
    flag.unlink()
    check(reply.done and reply.error is None, f"{how}: {reply.error}")
    check(reply.text == text, f"{how}: another answer")
    replaced = f"hop {hop + 1} is {standby.id()} now, no more {stage.id()}: "
    lines = [line for line in lead.output().splitlines() if "no more" in line]
    check(len(lines) == hop + 1, f"{how}: another hop was lost as well: {lines}")
    check(replaced in lines[-1] and LIES[how] in lines[-1], f"{how}: not '{replaced}… {LIES[how]}': {lines[-1]}")
    pause = max(later - earlier for earlier, later in zip(reply.times, reply.times[1:]))
    print(f"hop {hop + 1}, {how}: pause {pause:.2f} s, {lines[-1].rsplit(': ', 1)[1]}")
    check(how != "hang" or pause < HANG_SECONDS_MAX, f"{how}: a pause of {pause:.1f} s")
    back = f"standby {stage.id()} is back, for hop {hop + 1}"
    until(lambda: back in lead.output(), f"{stage.name} stands by again", 60)


main(test)
