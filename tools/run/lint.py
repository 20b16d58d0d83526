"""./run lint, and the parts of it that ./run test uses: tidy, the tests of the tools, clang-tidy."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

from build import build
from steps import BUILD, ROOT, jobs, log_path, run_logged, say, show_failure

TIDY = ROOT / "tools" / "tidy" / "tidy.py"
PASSED = BUILD / "lint"  # one empty file a clang-tidy pass, named by the hash of all that went into it
CHANGED_SECONDS_MAX = 120
FILE_SECONDS_MAX = 300
# The compile commands are g++'s; clang needs these to read Asio's coroutines (cmake/vendor.cmake says the same).
CLANG_ARGS = (
    "-Wno-unknown-warning-option",
    "-Wno-gnu-statement-expression",
    "-DBOOST_ASIO_HAS_CO_AWAIT",
    "-DBOOST_ASIO_HAS_STD_COROUTINE",
    "-includecoroutine",
)


def tidy_by_rule():
    """{rule: lines of findings, or None where its tool is missing}. Symbols are read from build/accept."""
    command = [sys.executable, str(TIDY), "--json"]
    if (BUILD / "accept").is_dir():
        command += ["--build", str(BUILD / "accept")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"tidy itself": (done.stderr or done.stdout or "printed nothing").strip().splitlines()[-20:]}


def run_unittest(script):
    """(passed, failed, log) of one Python test file. A file that cannot even start counts as one failure."""
    log = log_path(f"unittest-{script.parent.name}-{script.stem}")
    log.unlink(missing_ok=True)
    status = run_logged([sys.executable, script], log, 300, {"PYTHONPATH": str(ROOT / "test")})
    text = log.read_text(errors="replace")
    ran = re.search(r"^Ran (\d+) tests?", text, re.M)
    if not ran:
        return 0, 1, log
    bad = sum(int(count) for count in re.findall(r"(?:failures|errors)=(\d+)", text))
    if status != 0 and bad == 0:
        bad = 1
    return max(0, int(ran.group(1)) - bad), bad, log


# ---- clang-tidy ------------------------------------------------------------------------------------------------------


def clang_tidy_program():
    return shutil.which("clang-tidy-14") or shutil.which("clang-tidy")


def compile_commands():
    """{path in the repository: its compile command} of build/accept: the product's code.

    Tests are left out: each would take a minute, nearly all of it inside the test libraries' templates.
    """
    database = BUILD / "accept" / "compile_commands.json"
    if not database.exists():
        return {}
    found = {}
    for entry in json.loads(database.read_text()):
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
        if path.startswith("src/") and not path.endswith(("_test.cc", "_bench.cc", "_fuzz.cc")):
            found[path] = entry.get("command", "")
    return found


def included(path, seen):
    """The file and all of ours that it includes, into `seen`."""
    if path in seen or not (ROOT / path).exists():
        return
    seen.add(path)
    for target in re.findall(r'^\s*#\s*include\s*"([^"]+)"', (ROOT / path).read_text(errors="replace"), re.M):
        included("src/" + target, seen)


def fingerprint(path, command):
    """Of everything that decides what clang-tidy says about a file."""
    seen = set()
    included(path, seen)
    digest = hashlib.sha256((command + str(CLANG_ARGS) + (ROOT / ".clang-tidy").read_text()).encode())
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def check_file(path, command):
    """None when clang-tidy has nothing to say about a file (now or before), else its log."""
    mark = PASSED / fingerprint(path, command)
    if mark.exists():
        return None
    log = log_path("clang-tidy-" + path)
    log.unlink(missing_ok=True)
    extra = [f"--extra-arg={argument}" for argument in CLANG_ARGS]
    status = run_logged(
        [clang_tidy_program(), "--quiet", "-p", BUILD / "accept", *extra, path], log, FILE_SECONDS_MAX
    )
    if status != 0:
        return log
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return None


def check_files(paths, on_failure, seconds_max=None):
    """(files without findings, files not reached in time); on_failure(path, log) for each with findings."""
    commands = compile_commands()
    began = time.monotonic()
    clean, left_out = 0, 0

    def one(path):
        if seconds_max and time.monotonic() - began > seconds_max:
            return path, "left out"
        return path, check_file(path, commands[path])

    with concurrent.futures.ThreadPoolExecutor(jobs()) as pool:
        for path, log in pool.map(one, [path for path in paths if path in commands]):
            if log is None:
                clean += 1
            elif log == "left out":
                left_out += 1
            else:
                on_failure(path, log)
    return clean, left_out


def changed_paths():
    """Files of src/ that the last commit or the working tree changed, and the .cc beside each changed header."""
    found = set()
    for arguments in (
        ["diff", "--name-only", "HEAD"],
        ["diff", "--name-only", "HEAD~1", "HEAD"],
        ["ls-files", "--others", "--exclude-standard"],
    ):
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments, "--", "src"], capture_output=True, text=True, check=False
        )
        found |= set(done.stdout.split())
    found |= {path[:-2] + ".cc" for path in found if path.endswith(".h")}
    return sorted(path for path in found if path.endswith(".cc"))


def check_changed(on_failure):
    return check_files(changed_paths(), on_failure, CHANGED_SECONDS_MAX)


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run lint")
    parser.add_argument("path", nargs="*", help="files for clang-tidy (default: all of src/)")
    options = parser.parse_args(arguments)
    build("accept")
    findings = 0
    for rule, lines in tidy_by_rule().items():
        if lines is None:
            say(f"  tidy rule '{rule}' was not run: its tool is missing")
            findings += 1
        for line in lines or []:
            say(line)
            findings += 1
    if not clang_tidy_program():
        say("  clang-tidy is missing: ./run setup")
        return 1

    def failed(path, log):
        nonlocal findings
        findings += 1
        say(f"  clang-tidy {path}")
        show_failure(log)

    paths = [os.path.relpath(os.path.abspath(path), ROOT) for path in options.path] or sorted(compile_commands())
    clean, _ = check_files(paths, failed)
    say(f"lint: {clean} files clean under clang-tidy, {findings} findings")
    return 1 if findings else 0
