"""Waiting for a condition, never for a time."""

import time

POLL_SECONDS = 0.02


class TimedOut(Exception):
    """A condition did not come true; the message says which, and what was seen last."""


def until(condition, what, timeout=30, on_poll=lambda: None):
    """Calls `condition` until it gives something true, and returns that. `on_poll` may raise to give up early."""
    deadline = time.monotonic() + timeout
    last_error = None
    while True:
        try:
            found = condition()
            if found:
                return found
            last_error = None
        except (OSError, ValueError) as error:  # not up yet, or half an answer
            last_error = error
        on_poll()
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {timeout} s" + (f" ({last_error})" if last_error else ""))
        time.sleep(POLL_SECONDS)
