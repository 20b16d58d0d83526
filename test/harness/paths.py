"""Which circuits a question goes over, read from the traces of the relays. For a network with one question at a time."""

from dataclasses import dataclass

from harness.waiting import until


@dataclass(frozen=True)
class Circuit:
    """Three relays (Node), in order from the client."""

    guard: object
    middle: object
    proxy: object


class Paths:
    """The circuits of questions asked after it was made: make it while nothing is asked."""

    def __init__(self, net):
        self.net = net
        self.ids = {node.id(): node for node in net.relays}
        self.model_ids = {node.id() for node in net.models}
        self._begin = {node: len(node.trace()) for node in net.relays}

    def circuits(self):
        """Those over which a stream to a model node was opened so far, in the order of opening.

        A circuit is followed back from its proxy: CONNECT came as a RELAY cell from the middle, and to that from the
        guard, each before the proxy opened its stream. Cells that build circuits are RELAY_EARLY, so they do not count.
        """
        lines = {node: node.trace()[self._begin[node]:] for node in self.net.relays}
        found = []
        for proxy in self.net.relays:
            for line in lines[proxy]:
                if line.get("command") != "STREAM_OPEN" or line["dir"] != "out" or line["peer"] not in self.model_ids:
                    continue
                middle = self._sender(lines, proxy, line["t"])
                guard = middle and self._sender(lines, middle, line["t"])
                if guard:
                    found.append((line["t"], Circuit(guard, middle, proxy)))
        return [circuit for _, circuit in sorted(found, key=lambda entry: entry[0])]

    def wait(self, count, timeout=20):
        """The first `count` of them, once there are as many."""
        return until(lambda: found if len(found := self.circuits()) >= count else None,
                     f"{count} circuits carry the question", timeout)[:count]

    def _sender(self, lines, node, before):
        """The relay whose RELAY cell was the last that `node` got before that time."""
        came = [line for line in lines[node]
                if line.get("command") == "RELAY" and line["dir"] == "in" and line["peer"] in self.ids and line["t"] <= before]
        return self.ids[came[-1]["peer"]] if came else None
