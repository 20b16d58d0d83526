"""A copy of the source in which one check at a time is taken out, built and tested: what test/mutations.toml lists.

The copy is kept in build/mutants, its files touched only where they changed, so that a second run builds only that."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness.run import FAILED, ROOT, check

COPY = ROOT / "build" / "mutants"
BUILD = COPY / "build"
RUNS = COPY / "runs"  # of acceptance tests; kept when one did not find what it should have
UNIT_SECONDS_MAX, ACCEPT_SECONDS_MAX = 60, 300
# How ctest's output says it: a case of GoogleTest's, an assertion of ours, an exception or a time-out of the whole.
FAILURES = (re.compile(r"\[  FAILED  \] (\w+\.\w+)"), re.compile(r"(internal error: .* does not hold)"),
            re.compile(r"\*\*\*(\w+[^\n]*)"))


def as_list(entry):
    return entry if isinstance(entry, list) else [entry]


def check_listed(mutations):
    """Each is complete, and what it takes out stands in the source, once: a list that went stale shows nothing."""
    for one in mutations:
        for key in ("what", "row", "file", "old", "new"):
            check(key in one, f"mutation '{one.get('what')}' has no {key}")
        check(("test" in one) != ("accept" in one and "says" in one),
              f"mutation '{one['what']}' needs a test, or accept and what that says")
        olds, news = as_list(one["old"]), as_list(one["new"])
        check(len(olds) == len(news), f"mutation '{one['what']}': as many new texts as old ones")
        text = (ROOT / one["file"]).read_text()
        for old in olds:
            check(text.count(old) == 1,
                  f"{one['file']}: '{one['what']}' stands there {text.count(old)} times, not once:\n{old}")
    names = [one["what"] for one in mutations]
    check(len(set(names)) == len(names), f"listed twice: {sorted(name for name in names if names.count(name) > 1)}")


def run(command, seconds=None, environment=None):
    """(exit status, output); the status is None when the time was over."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False, timeout=seconds, env={**os.environ, **(environment or {})})
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace")


def prepare():
    """The copy holds what the source holds, and CMake has read it."""
    for name in ("src", "cmake", "protocol", "tools/fixtures"):
        for gone in {path.relative_to(COPY) for path in (COPY / name).rglob("*") if path.is_file()}:
            if not (ROOT / gone).exists():
                (COPY / gone).unlink()
        shutil.copytree(ROOT / name, COPY / name, dirs_exist_ok=True, copy_function=copy_if_changed)
    for name in ("CMakeLists.txt", "CMakePresets.json"):
        copy_if_changed(ROOT / name, COPY / name)
    command = ["cmake", "-S", COPY, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
               "-DCMAKE_CXX_FLAGS_DEBUG=-O1", "-DSHOAL_TAP=ON", "-DSHOAL_ENGINE=ON", "-DSHOAL_BENCH=OFF"]
    if (ROOT / "build" / "llama" / "packages.txt").exists() and "SHOAL_LLAMA_PREFIX" not in os.environ:
        command.append(f"-DSHOAL_LLAMA_PREFIX={ROOT / 'build' / 'llama'}")
    status, output = run(command)
    check(status == 0, f"the copy cannot be configured:\n{output}")


def copy_if_changed(source, target):
    source, target = Path(source), Path(target)
    if not target.exists() or source.read_bytes() != target.read_bytes():
        shutil.copyfile(source, target)


class Mutated:
    """The copy without one check, as long as the block lasts."""

    def __init__(self, mutation):
        self.path = COPY / mutation["file"]
        self.text = self.path.read_text()
        self.edits = list(zip(as_list(mutation["old"]), as_list(mutation["new"]), strict=True))

    def __enter__(self):
        text = self.text
        for old, new in self.edits:
            text = text.replace(old, new)
        self.path.write_text(text)

    def __exit__(self, kind, value, trace):
        self.path.write_text(self.text)


def build(target):
    jobs = os.environ.get("SHOAL_JOBS") or str(len(os.sched_getaffinity(0)))
    status, output = run(["ninja", "-j", jobs, "-C", BUILD, target])
    check(status == 0, f"{target} does not build:\n{output[-3000:]}")


def unit_test(name):
    """Builds and runs a room's tests. None: they pass. Else what failed first."""
    build(name)
    environment = {"GTEST_BRIEF": "1", "GTEST_FAIL_FAST": "1", "SHOAL_BUILD": str(BUILD)}
    command = ["ctest", "--test-dir", BUILD, "-R", f"^{name.removesuffix('_test')}$", "--output-on-failure",
               "--no-tests=error", "--timeout", UNIT_SECONDS_MAX]
    status, output = run(command, environment=environment)
    check("No tests were found" not in output, f"CMake knows no test {name}")
    if status == 0:
        return None
    found = next((match for pattern in FAILURES if (match := pattern.search(output))), None)
    return found.group(1) if found else output[-2000:]


def acceptance_test(name):
    """Builds the program and runs an acceptance test with it: (its exit status, what it says of itself)."""
    build("shoal")
    environment = {"SHOAL_BUILD": str(BUILD), "SHOAL_RUNS": str(RUNS), "PYTHONPATH": str(ROOT / "test")}
    status, output = run([sys.executable, ROOT / "test" / "accept" / f"{name}.py"], ACCEPT_SECONDS_MAX, environment)
    return status, output.split("\n---- ")[0][-2000:]  # behind it: the logs of its processes


def found_by(mutation):
    """Who found that the check is gone: the failed case, or the words of the acceptance test."""
    with Mutated(mutation):
        if "test" in mutation:
            case = unit_test(mutation["test"])
            check(case, f"without the check '{mutation['what']}' {mutation['test']} still passes")
            return case
        status, output = acceptance_test(mutation["accept"])
        check(status == FAILED and mutation["says"] in output,
              f"without the check '{mutation['what']}' {mutation['accept']} ends with status {status} and does not say "
              f"'{mutation['says']}':\n{output}")
        shutil.rmtree(RUNS)
        return f"{mutation['accept']}: {mutation['says']}"
