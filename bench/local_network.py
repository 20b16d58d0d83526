"""A network of real processes as test/harness has it, without traces where a trace would cost what is measured."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from figures import ROOT, NotMeasured

sys.path.insert(0, str(ROOT / "test"))
from harness import Network, Process, Skip, TimedOut, ProcessDied  # noqa: E402
from harness.network import Node, default_model, fixture, free_port  # noqa: E402,F401  (for the other modules)
from harness.prefixes import streams  # noqa: E402,F401
from harness.waiting import until  # noqa: E402,F401


class QuietNode(Node):
    def start(self, *more):
        command = [self.network.program, "up", *self.arguments, "--state", self.state, "--network",
                   self.network.network_file, "--log-level", "warn", *more]
        self.process = Process(self.name, command, self.folder / f"{self.name}.log", self.network.environment)
        return self


class QuietNetwork(Network):
    """Clients still write their trace: it says when their circuits were asked for, and how many cells went where."""

    def _node(self, name, arguments, index, state=None):
        where = self._where(index)
        return QuietNode(self, name, [*arguments, "--listen", where, *self.options], where, state)

    def one_more_node(self, name, arguments, index):
        return self._node(name, arguments, index)


@contextmanager
def network(folder, build, model, options=(), **more):
    os.environ["SHOAL_BUILD"] = str(build)
    try:
        with QuietNetwork(folder, model_file=model, tap=False, options=("--threads", "1", *options), **more) as net:
            yield net
    except (Skip, TimedOut, ProcessDied) as why:
        raise NotMeasured(f"{type(why).__name__}: {str(why).splitlines()[0]}") from why


def cpu_seconds(process):
    """Processor time of all its threads so far, in nanoseconds where the kernel counts them."""
    try:
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, IndexError):
        return process.cpu_seconds()


def wait_quiet(processes, share=0.02, timeout=20):
    """Until the processes together use less than `share` of a processor, so that none is busy with its start."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        before = sum(cpu_seconds(p) for p in processes)
        time.sleep(0.5)
        if sum(cpu_seconds(p) for p in processes) - before <= share * 0.5 * len(processes):
            return


def let_through(net):
    """Those that only carry words stand back for those that compute: in life they are other machines."""
    for node in [*net.relays, net.client]:
        os.setpriority(os.PRIO_PROCESS, node.process.pid, 10)


def new_folder(parent, name):
    folder = Path(parent) / name
    folder.mkdir(parents=True)
    return folder
