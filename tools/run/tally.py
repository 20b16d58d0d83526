"""Counting test cases: what passed, what failed, what was skipped, over every kind of test."""

import json
import threading

from steps import say, show_failure


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self._lock = threading.Lock()

    def add(self, passed=0, failed=0, skipped=0):
        with self._lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped

    def fail(self, name, log=None):
        """One failure, told at once: by the end of its log where it has one."""
        self.add(failed=1)
        with self._lock:
            say(f"    FAILED {name}")
            if log is not None:
                show_failure(log)

    def line(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def count_gtest(report):
    """(passed, names of the failed, skipped) of a GoogleTest JSON report; None when there is no whole report."""
    try:
        suites = json.loads(report.read_text())["testsuites"]
    except (OSError, ValueError, KeyError):
        return None
    passed, failed, skipped = 0, [], 0
    for suite in suites:
        for case in suite.get("testsuite", []):
            if case.get("failures"):
                failed.append(f"{suite['name']}.{case['name']}")
            elif case.get("result") == "COMPLETED":
                passed += 1
            else:  # skipped by itself, or disabled
                skipped += 1
    return passed, failed, skipped
