"""A network with a tap on one of its wires, as who owns a cable would have it."""

from harness.network import Network
from harness.wire import Tapped

WIRE = "127.250.0.1"


class WithWire(Network):
    """The model node is reached through a wire that records."""

    wire = None

    def _node(self, name, arguments, index, state=None):
        node = super()._node(name, arguments, index, state)
        if name == "model0":
            host, port = node.address.split(":")
            self.wire = Tapped((WIRE, int(port)), (host, int(port)))
            node.arguments += ["--advertise", f"{WIRE}:{port}"]
        return node

    def stop(self):
        super().stop()
        if self.wire:
            self.wire.close()
            self.wire = None
