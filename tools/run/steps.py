"""Steps: one command each, quiet, with its log in build/logs and one line of progress with the seconds it took."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
TAIL_LINES = 40
PROGRESS = re.compile(r"\[(\d+/\d+)\]")


stopping = threading.Event()  # what other threads run ends within a second


class StepFailed(Exception):
    """A command ended with a status other than 0; its log has been shown."""


def jobs():
    """Compilers at once: one a core, but no more than the memory holds (1.5 GiB each, Asio's worst)."""
    if os.environ.get("SHOAL_JOBS", "").isdigit():
        return max(1, int(os.environ["SHOAL_JOBS"]))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // (3 << 29)))


def say(line):
    print(line, flush=True)


def log_path(name):
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / (re.sub(r"[^A-Za-z0-9._-]+", "-", name) + ".log")


def tail(path, lines=TAIL_LINES):
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def stop_group(process):
    """Ends a child and what it started: asks first, then insists. Every child of ours leads its own process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
        if sign == signal.SIGKILL:
            return


def _wait(process, path, timeout, on_progress):
    """Waits for the end; returns the exit status, or None when the time is over or `stopping` is set."""
    began = time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                if stopping.is_set() or (timeout and time.monotonic() - began > timeout):
                    return None
                on_progress(path, int(time.monotonic() - began))
    finally:
        stop_group(process)


def run_logged(command, path, timeout=None, env=None, on_progress=lambda path, seconds: None, cwd=ROOT):
    """Runs a command with its output in `path`. Gives the exit status; 124 when it ran past `timeout` seconds."""
    with open(path, "ab") as log:
        log.write(("$ " + " ".join(str(word) for word in command) + "\n").encode())
        log.flush()
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"cannot start: {error}\n".encode())
            return 127
        status = _wait(process, path, timeout, on_progress)
        if status is None:
            why = "was stopped" if stopping.is_set() else f"ran past its limit of {timeout} s and was ended"
            log.write(f"{why}\n".encode())
            return 124
        return status


class Progress:
    """The line of one step. On a terminal it is rewritten while the step runs; elsewhere it appears at the end."""

    def __init__(self, name):
        self.name = name
        self.began = time.monotonic()
        self.live = sys.stdout.isatty()
        self.update(None, 0)

    def update(self, path, seconds):
        if not self.live:
            return
        found = PROGRESS.findall("\n".join(tail(path, 3))) if path else []
        print(f"\r\x1b[K  {self.name:<28} {seconds:4d} s  {found[-1] if found else ''}", end="", flush=True)

    def end(self, note):
        if self.live:
            print("\r\x1b[K", end="")
        say(f"  {self.name:<28} {time.monotonic() - self.began:4.0f} s  {note}")


def show_failure(path):
    for line in tail(path):
        say("    | " + line)
    say(f"    the whole log: {path.relative_to(ROOT)}")


def step(name, *commands, timeout=None, env=None):
    """Runs commands in a row as one step; raises StepFailed after showing the end of the log."""
    path = log_path(name)
    path.unlink(missing_ok=True)
    progress = Progress(name)
    for command in commands:
        status = run_logged(command, path, timeout, env, progress.update)
        if status != 0:
            progress.end(f"failed (status {status})")
            show_failure(path)
            raise StepFailed(name)
    progress.end("ok")
