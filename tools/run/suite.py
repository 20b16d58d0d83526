"""./run test: everything is built and tested; the last line is `N passed, M failed`.

A case is one GoogleTest case, one rule of tools/tidy, one Python unit test, one file under clang-tidy, one fuzz target
or one acceptance script. A step that cannot run (a build that fails, a missing tool, a program that crashes) counts as
a failed case, never as nothing.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import fuzz
import lint
from build import build
from steps import BUILD, ROOT, StepFailed, jobs, log_path, run_logged, say, stopping
from tally import Tally, count_gtest

UNIT_TEST_SECONDS_MAX = 600
ACCEPT_SECONDS_MAX = 1800  # the last resort: a script has a limit of its own, and that of h2 builds a copy first
ACCEPT_LONG_SECONDS_MAX = 3 * 3600
FUZZ_SECONDS = 5
# Rooms where threads meet: only there can the thread sanitizer find something.
TSAN_ROOMS = ("net", "node")
SKIPPED = 77  # the exit status of an acceptance script that cannot run here; it has said why


class Timed:
    """Tells what a group of tests came to, and in how many seconds."""

    def __init__(self, tally, name):
        self.tally, self.name = tally, name

    def __enter__(self):
        self.began = time.monotonic()
        self.before = (self.tally.passed, self.tally.failed, self.tally.skipped)
        return self

    def __exit__(self, kind, value, trace):
        now = (self.tally.passed, self.tally.failed, self.tally.skipped)
        passed, failed, skipped = (after - before for after, before in zip(now, self.before))
        note = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
        say(f"  {self.name:<28} {time.monotonic() - self.began:4.0f} s  {note}")


def try_build(tally, preset, targets=()):
    """Whether the preset was built. One that fails goes on as far as it can, for the other rooms' tests."""
    try:
        build(preset, targets, keep_going=True)
        return True
    except StepFailed:
        tally.add(failed=1)
        return False


def in_parallel(work, items):
    """What waits is given up, and what runs is ended, when one of them raises or the user presses Ctrl-C."""
    with concurrent.futures.ThreadPoolExecutor(jobs()) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(work, item) for item in items]):
                done.result()
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            stopping.clear()
            raise


# ---- unit tests ------------------------------------------------------------------------------------------------------


def unit_tests(preset):
    """(name, command, environment) of every test that CMake knows in a build folder."""
    listing = subprocess.run(["ctest", "--show-only=json-v1"], cwd=BUILD / preset, capture_output=True, check=False)
    try:
        tests = json.loads(listing.stdout)["tests"]
    except (ValueError, KeyError):
        return []
    found = []
    for test in tests:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        environment = dict(entry.split("=", 1) for entry in properties.get("ENVIRONMENT", []))
        found.append((test["name"], test.get("command", []), environment))
    return found


def run_unit_test(tally, preset, name, command, environment=None):
    log = log_path(f"test-{preset}-{name}")
    report = log.with_suffix(".json")
    for old in (log, report):
        old.unlink(missing_ok=True)
    label = f"{name} ({preset})"
    if not command or not os.access(command[0], os.X_OK):
        log.write_text(f"the test program of {name} was not built\n")
        tally.fail(label, log)
        return
    env = {
        "GTEST_OUTPUT": f"json:{report}",
        "GTEST_COLOR": "no",
        "SHOAL_BUILD": str(BUILD / preset),
        "UBSAN_OPTIONS": "print_stacktrace=1",
        **(environment or {}),
    }
    status = run_logged(command, log, UNIT_TEST_SECONDS_MAX, env)
    counted = count_gtest(report)
    if counted is None or (status != 0 and not counted[1]):
        # No report: not a GoogleTest program, or one that died. A report without failures, but a status: it died late.
        if status == 0:
            tally.add(passed=1)
        else:
            tally.fail(f"{label}: ended with status {status}", log)
        return
    passed, failed, skipped = counted
    tally.add(passed=passed, failed=max(0, len(failed) - 1), skipped=skipped)
    if failed:
        tally.fail(f"{label}: {' '.join(failed)}", log)


def run_unit_tests(tally, preset, rooms=None):
    with Timed(tally, f"unit tests ({preset})"):
        tests = [test for test in unit_tests(preset) if rooms is None or test[0] in rooms]
        missing = [] if rooms is None else sorted(set(rooms) - {test[0] for test in tests})
        for room in missing:
            tally.fail(f"{room} ({preset}): the room has no unit tests")
        if not tests and rooms is None:
            tally.fail(f"unit tests ({preset}): the build folder lists none")
        in_parallel(lambda test: run_unit_test(tally, preset, *test), tests)


# ---- lint ------------------------------------------------------------------------------------------------------------


def run_tidy(tally):
    with Timed(tally, "tidy"):
        for rule, findings in lint.tidy_by_rule().items():
            if findings is None:
                tally.add(skipped=1)
                say(f"    skipped {rule}: its tool is not here (./run setup)")
            elif findings:
                tally.add(failed=1)
                say(f"    FAILED tidy rule '{rule}'")
                for line in findings[:20]:
                    say(f"    | {line}")
                if len(findings) > 20:
                    say(f"    | and {len(findings) - 20} more: tools/tidy/tidy.py {rule}")
            else:
                tally.add(passed=1)


def run_python_tests(tally):
    """The unit tests of our own tools: each prints `Ran N tests` as unittest does."""
    with Timed(tally, "tests of the tools"):
        for folder in ("tools/tidy", "tools/run", "tools/mini", "tools/inversion", "test/harness", "bench"):
            for script in sorted((ROOT / folder).glob("test_*.py")):
                passed, failed, log = lint.run_unittest(script)
                tally.add(passed=passed, failed=max(0, failed - 1))
                if failed:
                    tally.fail(str(script.relative_to(ROOT)), log)


def run_clang_tidy(tally):
    with Timed(tally, "clang-tidy (what changed)"):
        if not lint.clang_tidy_program():
            tally.fail("clang-tidy is not installed")
            return
        files, left_out = lint.check_changed(lambda name, log: tally.fail(f"clang-tidy {name}", log))
        tally.add(passed=files)
        if left_out:
            say(f"    {left_out} changed files were left to ./run lint: the time for this step was over")


# ---- fuzzing and acceptance ------------------------------------------------------------------------------------------


def run_fuzzers(tally):
    built = try_build(tally, "fuzz", ["fuzzers"])

    def one(name):
        if not os.access(BUILD / "fuzz" / name, os.X_OK):
            tally.fail(f"{name}: not built")
            return
        if not any((fuzz.CORPUS / name).glob("*")):
            tally.fail(f"{name}: has no stored corpus in test/corpus/{name} (make one: ./run fuzz --keep {name})")
            return
        status, log = fuzz.run_target(name, FUZZ_SECONDS)
        if status == 0:
            tally.add(passed=1)
        else:
            tally.fail(name, log)

    with Timed(tally, "fuzz targets"):
        names = fuzz.targets()
        if built and not names:
            tally.fail("the fuzz build lists no targets")
        in_parallel(one, names)


class Script(NamedTuple):
    """A program of test/accept, with what its head says."""

    path: Path
    preset: str  # `# build: PRESET`
    long: bool  # `# long`: not in the usual run
    alone: bool  # `# alone`: it looks at the clock, or needs every core


def acceptance_scripts():
    found = []
    for path in sorted((ROOT / "test" / "accept").iterdir()):
        if path.name.startswith(("_", ".")) or not (path.suffix == ".py" or os.access(path, os.X_OK)) or path.is_dir():
            continue
        head = path.read_text(errors="replace").splitlines()[:30]
        preset = next((line.split(":", 1)[1].strip() for line in head if line.startswith("# build:")), "asan")
        found.append(Script(path, preset, "# long" in head, "# alone" in head))
    return found


def run_script(tally, script, long):
    name = script.path.stem
    log = log_path("accept-" + name)
    log.unlink(missing_ok=True)
    env = {
        "SHOAL_BUILD": str(BUILD / script.preset),
        "SHOAL_LONG": "1" if long else "",
        "PYTHONPATH": str(ROOT / "test"),
        "PYTHONUNBUFFERED": "1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    command = [sys.executable, script.path] if script.path.suffix == ".py" else [script.path]
    began = time.monotonic()
    status = run_logged(command, log, ACCEPT_LONG_SECONDS_MAX if long else ACCEPT_SECONDS_MAX, env)
    result = {0: "ok", SKIPPED: "skipped"}.get(status, f"failed (status {status})")
    say(f"    {name:<46} {time.monotonic() - began:4.0f} s  {result}")
    if status == 0:
        tally.add(passed=1)
    elif status == SKIPPED:
        tally.add(skipped=1)
    else:
        tally.fail(name, log)


def run_acceptance(tally, long):
    """One a core: their processes wait for each other far more than they compute. Then those that need the machine
    alone, one after another."""
    scripts = [script for script in acceptance_scripts() if long or not script.long]
    presets = sorted({script.preset for script in scripts})
    built = {preset: try_build(tally, preset, ["acceptance"]) for preset in presets}
    with Timed(tally, "acceptance"):
        if not scripts:
            tally.fail("test/accept holds no test")
        for script in (script for script in scripts if not built[script.preset]):
            tally.fail(f"{script.path.stem}: build {script.preset} failed")
        scripts = [script for script in scripts if built[script.preset]]
        in_parallel(lambda script: run_script(tally, script, long), [each for each in scripts if not each.alone])
        for script in scripts:
            if script.alone:
                run_script(tally, script, long)


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run test")
    parser.add_argument("--long", action="store_true", help="also the tests that take hours")
    options = parser.parse_args(arguments)
    tally = Tally()
    # The lint first: what it finds takes seconds to find and to mend.
    run_python_tests(tally)
    # The unit tests run with sanitizers; of the optimised build the programs are enough, which acceptance tests run.
    try_build(tally, "accept", [] if options.long else ["acceptance"])
    run_tidy(tally)
    if options.long:
        run_unit_tests(tally, "accept")
    run_clang_tidy(tally)
    try_build(tally, "asan")
    run_unit_tests(tally, "asan")
    try_build(tally, "tsan", [f"{room}_test" for room in TSAN_ROOMS])
    run_unit_tests(tally, "tsan", TSAN_ROOMS)
    run_fuzzers(tally)
    run_acceptance(tally, options.long)
    say(tally.line())
    return 0 if tally.failed == 0 and tally.passed > 0 else 1
