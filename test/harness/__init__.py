"""What acceptance tests are written with: real processes on loopback, waited for by what they do, always cleaned up."""

from harness.api import Api, ApiError
from harness.network import Network
from harness.processes import Process, ProcessDied
from harness.run import Skip, check, main
from harness.traces import common_runs, read_lines
from harness.waiting import TimedOut, until
from harness.wire import Tapped

__all__ = ["Api", "ApiError", "Network", "Process", "ProcessDied", "Skip", "Tapped", "TimedOut", "check", "common_runs",
           "main", "read_lines", "until"]
