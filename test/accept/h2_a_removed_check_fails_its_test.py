# build: accept
"""H2: every check of test/mutations.toml, taken out of a copy of the source, makes the test named there fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import check, main
from harness.run import ROOT

LIST = ROOT / "test" / "mutations.toml"
COPY = ROOT / "build" / "mutants"
LONG = bool(os.environ.get("SHOAL_LONG"))


def sources():
    """A copy of what CMake reads, with the times of the files kept, so that a second run builds only what changed."""
    for name in ("src", "cmake", "protocol"):
        shutil.copytree(ROOT / name, COPY / name, dirs_exist_ok=True, copy_function=copy_if_changed)
    for name in ("CMakeLists.txt", "CMakePresets.json"):
        copy_if_changed(ROOT / name, COPY / name)


def copy_if_changed(source, target):
    source, target = Path(source), Path(target)
    if not target.exists() or source.read_bytes() != target.read_bytes():
        shutil.copyfile(source, target)


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def configure():
    done = run(["cmake", "-S", COPY, "-B", COPY / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
                "-DCMAKE_CXX_FLAGS_DEBUG=-O1", "-DSHOAL_ENGINE=OFF", "-DSHOAL_BENCH=OFF"])
    check(done.returncode == 0, f"the copy cannot be configured:\n{done.stdout}{done.stderr}")


def build_and_run(test):
    """None: it does not build. Else whether the test passes."""
    built = run(["ninja", "-C", COPY / "build", test])
    if built.returncode != 0:
        print(built.stdout[-3000:])
        return None
    return run([COPY / "build" / test, "--gtest_brief=1"], timeout=200).returncode == 0


def mutate(mutation):
    path = COPY / mutation["file"]
    text = path.read_text()
    path.write_text(text.replace(mutation["old"], mutation["new"]))
    try:
        return build_and_run(mutation["test"])
    finally:
        path.write_text(text)


def test(folder):
    mutations = tomllib.loads(LIST.read_text())["mutation"]
    for mutation in mutations:
        count = (ROOT / mutation["file"]).read_text().count(mutation["old"])
        check(count == 1, f"{mutation['file']}: the check '{mutation['what']}' stands there {count} times, not once")
    chosen = [mutation for mutation in mutations if LONG or mutation.get("short")]
    sources()
    configure()
    for name in sorted({mutation["test"] for mutation in chosen}):
        check(build_and_run(name), f"{name} fails on the unchanged source")
    for mutation in chosen:
        passed = mutate(mutation)
        check(passed is not None, f"the mutant of '{mutation['what']}' does not build")
        check(not passed, f"without the check '{mutation['what']}' {mutation['test']} still passes")
        print(f"found: {mutation['row']} {mutation['what']}")


main(test, seconds_max=3600 if LONG else 600)
