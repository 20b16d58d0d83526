"""B9: a short request that comes while a long prompt is being read is answered before it, in a node that holds the
whole model and over stages; and streams that run at the same time share the steps instead of waiting for each other.

How much time that saves is for bench/ to say; here it is who comes first."""
# alone

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Network, check, main
from harness.network import fixture
from harness.waiting import until

HOPS = [(0, 3), (3, 6), (6, 8)]
LONG = "tell me all of this again: " + "some words " * 280
SHORT = "hello"
STREAMS, TOKENS = 4, 120
SIZES = ("--context", "2048", "--sequences", "4")


def computing(node):
    """Processor time of the engine's process so far, in nanoseconds."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in node.process.children())


def short_beside_long(net):
    """The short one comes when the long one has begun and is answered before that has its first text."""
    worker = net.stages[0] if net.stages else net.models[0]
    before = computing(worker)
    order = []

    def first_text_of(name):
        def note(_):
            if name not in order:
                order.append(name)

        return note

    long = net.client.api.chat_later(LONG, on_text=first_text_of("long"), max_tokens=2, temperature=0)
    until(lambda: computing(worker) > before + 10_000_000, "the long prompt is being read")
    short = net.client.api.chat(SHORT, on_text=first_text_of("short"), max_tokens=2, temperature=0)
    reply = long()
    check(short.done and reply.done, f"not answered: {short}, {reply}")
    check(reply.usage["prompt_tokens"] > 20 * short.usage["prompt_tokens"], f"not long: {reply.usage}, {short.usage}")
    check(order == ["short", "long"], f"first came {order}")


def streams_share_steps(net):
    """Each has text before any is done, and none waits until another has ended."""
    running = [net.client.api.chat_later(f"stream {index}", on_text=seen(index), max_tokens=TOKENS, temperature=0.7,
                                         seed=index) for index in range(STREAMS)]
    replies = [wait() for wait in running]
    for reply in replies:
        check(reply.done and reply.error is None, f"not answered: {reply}")
    # The order in which pieces came: between the first and the last of a stream there is text of each other one.
    for index in range(STREAMS):
        mine = [place for place, stream in enumerate(SEEN) if stream == index]
        others = set(SEEN[mine[0]:mine[-1]]) - {index}
        check(len(others) == STREAMS - 1, f"beside stream {index} came only {sorted(others)}: {SEEN}")


SEEN = []


def seen(index):
    return lambda _: SEEN.append(index)


def test(folder):
    for name, options in (("whole", {"options": SIZES}), ("stages", {"hops": HOPS, "lead_options": SIZES})):
        (folder / name).mkdir()
        with Network(folder / name, relays=12, models=1, model_file=fixture("slow"), **options) as net:
            net.client.api.chat(SHORT, max_tokens=2)  # the first one may find cold links on its way
            short_beside_long(net)
            SEEN.clear()
            streams_share_steps(net)
            print(f"{name}: the short request came first; {STREAMS} streams ran together")


main(test)
