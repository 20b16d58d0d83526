"""A copy of the source in which one check at a time is taken out, built and tested: what test/mutations.toml lists.

A check that is a condition or a statement stays in the copy and is taken out when the test runs, by SHOAL_MUTANT=<its
number>: all of them cost one build. What cannot be switched so has a build of its own. The copy is kept in
build/mutants, its files touched only where they changed, so that a second run builds only that."""

import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from harness.run import FAILED, ROOT, check

COPY = ROOT / "build" / "mutants"
BUILD = COPY / "build" / "accept"  # as deep as the build of the source, and with its flags: ccache knows most of it
LLAMA = COPY / "build" / "llama"
RUNS = COPY / "runs"  # of acceptance tests; kept when one did not find what it should have
UNIT_SECONDS_MAX, ACCEPT_SECONDS_MAX = 60, 300
# How ctest's output says it: a case of GoogleTest's, an assertion of ours, an exception or a time-out of the whole.
FAILURES = (re.compile(r"\[  FAILED  \] (\w+\.\w+)"), re.compile(r"(internal error: .* does not hold)"),
            re.compile(r"\*\*\*(\w+[^\n]*)"))


CONDITION = re.compile(r"(\s*(?:if|while) \()([^;]*)(\)(?: \{\n?)?)")
SWITCH = """// Written by test/harness/mutants.py.
#pragma once
#include <cstdlib>
namespace shoal {
inline bool mutant(unsigned long number) {
    static const char* const chosen = std::getenv("SHOAL_MUTANT");
    static const unsigned long wanted = chosen == nullptr ? 0 : std::strtoul(chosen, nullptr, 10);
    return number == wanted;
}
}  // namespace shoal
"""


def as_list(entry):
    return entry if isinstance(entry, list) else [entry]


def number_of(mutation):
    """The same whatever else is in the list, so that a longer list builds only what is new."""
    return zlib.crc32(mutation["what"].encode())


def edits(mutation):
    """[(old text, new text)]"""
    if "off" in mutation:
        return [(f"if ({mutation['off']})", f"if (false && ({mutation['off']}))")]
    return list(zip(as_list(mutation["old"]), as_list(mutation["new"]), strict=True))


def switched(mutation, text):
    """The text with a switch in place of the check; None where that cannot be: a condition becomes another one, or
    whole statements others if the list says `switch`."""
    if "old" in mutation and isinstance(mutation["old"], list):
        return None
    number = f"{number_of(mutation)}U"
    (old, new), = edits(mutation)
    before, after = CONDITION.fullmatch(old), CONDITION.fullmatch(new)
    if before and after and all(part.count("(") == part.count(")") for part in (before.group(2), after.group(2))):
        head, condition, tail = before.groups()
        switch = (f"{head}::shoal::mutant({number}) ? static_cast<bool>({after.group(2)}) : "
                  f"static_cast<bool>({condition}){tail}")
    elif mutation.get("switch"):
        switch = f"if (!::shoal::mutant({number})) {{\n{old}\n}} else {{\n{new}\n}}\n"
    else:
        return None
    return text.replace(old, switch) if text.count(old) == 1 else None


def check_listed(mutations):
    """Each is complete, and what it takes out stands in the source, once: a list that went stale shows nothing."""
    for one in mutations:
        for key in ("what", "row", "file"):
            check(key in one, f"mutation '{one.get('what')}' has no {key}")
        check(("off" in one) != ("old" in one and "new" in one), f"mutation '{one['what']}' needs off, or old and new")
        check(("test" in one) != ("accept" in one and "says" in one),
              f"mutation '{one['what']}' needs a test, or accept and what that says")
        text = (ROOT / one["file"]).read_text()
        for old, _ in edits(one):
            check(text.count(old) == 1,
                  f"{one['file']}: '{one['what']}' stands there {text.count(old)} times, not once:\n{old}")
    names = [one["what"] for one in mutations]
    check(len(set(names)) == len(names), f"listed twice: {sorted(name for name in names if names.count(name) > 1)}")


def run(command, seconds=None, environment=None, folder=None):
    """(exit status, output); the status is None when the time was over."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False, timeout=seconds, env={**os.environ, **(environment or {})}, cwd=folder)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace")


def prepare(mutations):
    """The copy holds what the source holds, with the switches, and CMake has read it. Gives what has a switch."""
    texts, names = {}, set()
    for mutation in mutations:
        path = mutation["file"]
        with_switch = switched(mutation, texts.get(path) or (ROOT / path).read_text())
        if with_switch is not None:
            texts[path] = with_switch
            names.add(mutation["what"])
    texts = {path: '#include "base/mutant.h"\n' + text for path, text in texts.items()} | {"src/base/mutant.h": SWITCH}
    for name in ("src", "cmake", "protocol", "tools/fixtures", "tools/inversion", "models"):
        there = {path.relative_to(folder) for folder in (ROOT, COPY) for path in (folder / name).rglob("*")
                 if path.is_file()}
        for path in there | {Path(path) for path in texts if path.startswith(name)}:
            keep(path, texts.get(str(path)))
    for name in ("CMakeLists.txt", "CMakePresets.json"):
        keep(Path(name))
    if (ROOT / "build" / "llama").exists() and not LLAMA.is_symlink():
        LLAMA.parent.mkdir(parents=True, exist_ok=True)
        LLAMA.symlink_to(ROOT / "build" / "llama")
    command = ["cmake", "--preset", "accept", "-DSHOAL_BENCH=OFF"]
    if "SHOAL_LLAMA_PREFIX" in os.environ:
        command.append("-DSHOAL_LLAMA_PREFIX=" + os.environ["SHOAL_LLAMA_PREFIX"])
    status, output = run(command, folder=COPY)
    check(status == 0, f"the copy cannot be configured:\n{output}")
    return names


def keep(path, text=None):
    """One file of the copy, written only when it differs; gone when the source has none."""
    source, target = ROOT / path, COPY / path
    wanted = text.encode() if text is not None else source.read_bytes() if source.exists() else None
    if wanted is None:
        target.unlink()
    elif not target.exists() or target.read_bytes() != wanted:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wanted)


class Mutated:
    """The copy without a check that has no switch, as long as the block lasts."""

    def __init__(self, mutation):
        self.path = COPY / mutation["file"]
        self.text = self.path.read_text()
        text, self.mutant = self.text, (ROOT / mutation["file"]).read_text()
        if all(text.count(old) == 1 for old, _ in edits(mutation)):
            self.mutant = text  # beside the switches of others
        for old, new in edits(mutation):
            self.mutant = self.mutant.replace(old, new)

    def __enter__(self):
        self.path.write_text(self.mutant)

    def __exit__(self, kind, value, trace):
        self.path.write_text(self.text)


def build(target):
    jobs = os.environ.get("SHOAL_JOBS") or str(len(os.sched_getaffinity(0)))
    status, output = run(["ninja", "-j", jobs, "-C", BUILD, target])
    check(status == 0, f"{target} does not build:\n{output[-3000:]}")


def unit_test(name, number=None, case="*"):
    """Builds and runs a room's tests, with the check of that number switched off. None: they pass. Else what failed
    first."""
    build(name)
    environment = {"GTEST_BRIEF": "1", "GTEST_FAIL_FAST": "1", "GTEST_FILTER": case, "SHOAL_BUILD": str(BUILD)}
    if number is not None:
        environment["SHOAL_MUTANT"] = str(number)
    command = ["ctest", "--test-dir", BUILD, "-R", f"^{name.removesuffix('_test')}$", "--output-on-failure",
               "--no-tests=error", "--timeout", UNIT_SECONDS_MAX]
    status, output = run(command, environment=environment)
    check("No tests were found" not in output, f"CMake knows no test {name}")
    if status == 0:
        return None
    found = next((match for pattern in FAILURES if (match := pattern.search(output))), None)
    return found.group(1) if found else output[-2000:]


def acceptance_test(name, number=None):
    """Builds the program and runs an acceptance test with it: (its exit status, what it says of itself)."""
    build("shoal")
    environment = {"SHOAL_BUILD": str(BUILD), "SHOAL_RUNS": str(RUNS), "PYTHONPATH": str(ROOT / "test")}
    if number is not None:
        environment["SHOAL_MUTANT"] = str(number)
    status, output = run([sys.executable, ROOT / "test" / "accept" / f"{name}.py"], ACCEPT_SECONDS_MAX, environment)
    return status, output.split("\n---- ")[0][-2000:]  # behind it: the logs of its processes


def found_by(mutation, has_switch):
    """Who found that the check is gone: the failed case, or the words of the acceptance test."""
    if has_switch:
        return look(mutation, number_of(mutation))
    with Mutated(mutation):
        return look(mutation)


def look(mutation, number=None):
    if "test" in mutation:
        case = unit_test(mutation["test"], number, mutation.get("case", "*"))
        check(case, f"without the check '{mutation['what']}' {mutation['test']} still passes")
        return case
    status, output = acceptance_test(mutation["accept"], number)
    check(status == FAILED and mutation["says"] in output,
          f"without the check '{mutation['what']}' {mutation['accept']} ends with status {status} and does not say "
          f"'{mutation['says']}':\n{output}")
    shutil.rmtree(RUNS)
    return f"{mutation['accept']}: {mutation['says']}"
