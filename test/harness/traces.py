"""Reading what processes wrote of themselves (traces: metadata; taps: bytes, test builds only), and comparing bytes."""

import json


def read_lines(path):
    """The JSON objects of a file with one a line. A last line without its end is being written: it is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines() if line]


class NewLines:
    """The lines of such a file that came since the last look."""

    def __init__(self, path):
        self.path = path
        self._at = 0

    def read(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        data = data[:data.rfind(b"\n") + 1]
        self._at += len(data)
        return [json.loads(line) for line in data.splitlines() if line]


def trivial(run):
    """A run of one byte (zero padding) is not a trace of anything."""
    return run.count(run[0]) == len(run)


def common_runs(groups, length=16, limit=5):
    """Runs of `length` bytes that stand in bodies of two different groups: [(group, group, run), ...], `limit` at most.

    `groups` is {name: bodies}. Exact: every window of every body is looked at. The windows are taken in portions by
    their first byte, so that the memory in use stays at some hundred bytes for 1/16 of the windows.
    """
    found = []
    distinct = {name: set(bodies) for name, bodies in groups.items()}
    for portion in range(16):
        home = {}
        for name, bodies in distinct.items():
            for body in bodies:
                for at in range(len(body) - length + 1):
                    if body[at] & 15 != portion:
                        continue
                    run = body[at:at + length]
                    other = home.setdefault(run, name)
                    if other != name and not trivial(run):
                        found.append((other, name, run))
                        if len(found) >= limit:
                            return found
                        break  # the next windows of this body would say the same
    return found
