"""The frame of an acceptance test: a time limit, an exit status, the logs of what failed."""

import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from harness import processes

ROOT = Path(__file__).resolve().parent.parent.parent
PASSED, FAILED, SKIPPED = 0, 1, 77
QUIET_LINES = 2  # of a node of which nothing is to be told: where it listens, and that it stopped


class Skip(Exception):
    """The test cannot run on this machine; the message says what it lacks."""


class OutOfTime(BaseException):
    """The whole test ran past its limit. Not an Exception, so that no waiting loop swallows it."""


def check(condition, message):
    """What the test promises. Unlike assert it is there under every flag of Python's."""
    if not condition:
        raise AssertionError(message)


def build_folder():
    """The build under test: ./run test names it; by hand it is the newest that has the program."""
    if os.environ.get("SHOAL_BUILD"):
        return Path(os.environ["SHOAL_BUILD"])
    built = [ROOT / "build" / preset for preset in ("accept", "asan", "debug", "release")]
    built = [folder for folder in built if (folder / "shoal").exists()]
    if not built:
        raise Skip("there is no build/*/shoal: ./run build accept")
    return max(built, key=lambda folder: (folder / "shoal").stat().st_mtime)


def main(test, seconds_max=300):
    """Runs test(folder) with an empty folder for its files, which is kept when it fails. Ends the process."""
    def out_of_time(number, frame):
        raise OutOfTime(f"the test ran past {seconds_max} s")

    def stopped(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, stopped)
    signal.alarm(seconds_max)
    runs = Path(os.environ.get("SHOAL_RUNS") or ROOT / "build" / "runs")
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=Path(sys.argv[0]).stem + ".", dir=runs))
    status = FAILED
    try:
        test(folder)
        status = PASSED
        print("passed")
    except Skip as skip:
        status = SKIPPED
        print(f"skipped: {skip}")
    except (Exception, OutOfTime) as error:  # noqa: B014
        traceback.print_exc()
        for log in sorted(folder.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if len(lines) > QUIET_LINES:
                print(f"---- {log.relative_to(ROOT)}: the last of {len(lines)} lines")
                print("\n".join(lines[-12:]))
        print(f"failed: {error}")  # at the end too: of a long log only that is shown
    finally:
        signal.alarm(0)
        processes.stop_all()
        if status != FAILED:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)
