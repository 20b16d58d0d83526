"""Child processes that cannot outlive the test: own process group, death signal of the kernel, ended by kept pid."""

import atexit
import ctypes
import os
import re
import signal
import subprocess
import threading

from harness.waiting import until

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_running = set()


class ProcessDied(Exception):
    """A process ended that should be running; the message holds the end of its log."""


def _die_with_parent():
    # The kernel sends it when the thread that started the child ends: processes are started by the main thread only.
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One running program. What it prints goes to `log`."""

    def __init__(self, name, command, log, env=None, cwd=None):
        assert threading.current_thread() is threading.main_thread(), "start processes in the main thread"
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        with open(log, "ab") as out:
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=_die_with_parent)
        self.pid = self._child.pid
        _running.add(self)

    def alive(self):
        return self._child.poll() is None

    @property
    def status(self):
        """The exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def output(self):
        return self.log.read_text(errors="replace")

    def tail(self, lines=25):
        return "\n".join(self.output().splitlines()[-lines:])

    def expect_alive(self):
        if not self.alive():
            raise ProcessDied(f"{self.name} ended with status {self.status}:\n{self.tail()}")

    def wait_line(self, pattern, timeout=30):
        """Waits for a line of its output that matches, and gives the match."""
        compiled = re.compile(pattern, re.M)
        what = f"{self.name} prints /{pattern}/"
        return until(lambda: compiled.search(self.output()), what, timeout, self.expect_alive)

    def wait_end(self, timeout=30):
        """Waits for it to end by itself; gives the exit status."""
        until(lambda: not self.alive(), f"{self.name} ends", timeout)
        return self.status

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def kill(self):
        """SIGKILL to this process alone, as a crash would end it; what it started is its own business."""
        self.signal(signal.SIGKILL)
        self._child.wait(timeout=10)

    def stop(self, timeout=10):
        """Asks it to end, then insists, then clears its process group. Gives the exit status."""
        if self.alive():
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # a test may have stopped it
            try:
                self._child.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self._child.wait(timeout=10)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        _running.discard(self)
        return self.status

    # ---- what the kernel says of it ----

    def rss_kib(self):
        return int(re.search(r"^VmRSS:\s+(\d+)", self._proc("status"), re.M).group(1))

    def cpu_seconds(self):
        """User and system time so far."""
        fields = self._proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def children(self):
        """The pids of its direct children."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[1]) == self.pid:
                        found.append(int(entry))
            except OSError:
                continue
        return found

    def _proc(self, name):
        with open(f"/proc/{self.pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()


@atexit.register
def stop_all():
    """Ends every process that is still running; called at the end of a test in any case."""
    for process in list(_running):
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
    for process in list(_running):
        process.stop(timeout=3)
