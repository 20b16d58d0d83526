"""Which circuits a question goes over, read from the relays' taps. For a network with one client that asks one question
at a time; a build with the tap."""

from dataclasses import dataclass, field

from harness.traces import NewLines
from harness.waiting import until

HEADER = 8                        # of a cell: circuit id 4, command 1, flags 1, length 2
TAG, EXTEND, DATA_AT = 16, 4, 22  # of a peeled cell: zero if it ends here; its command; what the command carries
NODE_ID = 32
CONNECT_AND_CLOVE = 2             # cells that a question sends at least; a circuit that was just built sends one


@dataclass(frozen=True)
class Circuit:
    """Three relays (Node), in order from the client."""

    guard: object
    middle: object
    proxy: object


@dataclass
class Seen:
    """What one relay's tap said of cells that go away from the client."""

    lines: NewLines
    came_as: dict = field(default_factory=dict)   # start of a peeled cell: where it came from (link, circuit id)
    extends: list = field(default_factory=list)   # (where it came from, body as it came, node id)
    cells: dict = field(default_factory=dict)     # (link, circuit id): RELAY cells that came


class Paths:
    """The circuits of what is asked after it was made: make it while nothing is asked."""

    def __init__(self, net):
        self.net = net
        self.ids = {node.id(): node for node in net.relays}
        self.seen = {node: Seen(NewLines(node.tap_file)) for node in net.relays}
        self._read()
        self._before = {node: dict(seen.cells) for node, seen in self.seen.items()}

    def circuits(self):
        """Those over which the client sent at least a CONNECT and a clove."""
        self._read()
        found = []
        for (guard, place), circuit in self.built().items():
            before = self._before[guard].get(place, 0)
            if self.seen[guard].cells.get(place, 0) >= before + CONNECT_AND_CLOVE:
                found.append(circuit)
        return found

    def wait(self, count, timeout=20):
        """They, once there are `count`."""
        return until(lambda: found if len(found := self.circuits()) >= count else None,
                     f"{count} circuits carry the question", timeout)

    def built(self):
        """{(guard, (link, circuit id) at the guard): Circuit} of every circuit that was extended twice.

        The guard and the middle can each read their own EXTEND, which names the next relay. What the guard passed on is
        what the middle got, so the middle's is followed back to the circuit at the guard.
        """
        first = {(node, place): self.ids.get(to) for node, seen in self.seen.items() for place, _, to in seen.extends}
        found = {}
        for middle, seen in self.seen.items():
            for _, body, to in seen.extends:
                for guard in self.net.relays:
                    place = self.seen[guard].came_as.get(body)
                    if place and first.get((guard, place)) is middle and to in self.ids:
                        found[guard, place] = Circuit(guard, middle, self.ids[to])
        return found

    def _read(self):
        for seen in self.seen.values():
            came = None
            for line in seen.lines.read():
                if line["kind"] == "frame":
                    came = None
                    if line["dir"] == "in" and line["command"] in ("RELAY", "RELAY_EARLY"):
                        cell = bytes.fromhex(line["bytes"])
                        came = (line["link"], cell[:4]), cell[HEADER:HEADER + NODE_ID]
                        if line["command"] == "RELAY":
                            seen.cells[came[0]] = seen.cells.get(came[0], 0) + 1
                elif line["dir"] == "forward" and came:
                    self._take(seen, came, bytes.fromhex(line["bytes"]))

    @staticmethod
    def _take(seen, came, peeled):
        place, body = came
        if any(peeled[:TAG]):
            seen.came_as[peeled[:NODE_ID]] = place
        elif peeled[TAG] == EXTEND:
            seen.extends.append((place, body, peeled[DATA_AT:DATA_AT + NODE_ID].hex()))
