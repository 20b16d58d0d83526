"""Running the fuzz targets: each over its stored corpus in test/corpus/<target>, new finds in build/fuzz/<target>."""

import argparse
import os
import re
import shutil
import tempfile

from build import build
from steps import BUILD, ROOT, StepFailed, log_path, run_logged, say, show_failure

CORPUS = ROOT / "test" / "corpus"
# A single input that takes longer is a finding: a decoder does nothing that grows faster than its input.
INPUT_SECONDS_MAX = 10
# The dearest targets hold one reassembled snapshot; this is far above it and far below the machine.
MEMORY_MB_MAX = 1024


def targets():
    """Names of the built fuzz programs, as the build wrote them down."""
    listed = BUILD / "fuzz" / "fuzzers.txt"
    return listed.read_text().split() if listed.exists() else []


def seed(name):
    """Puts the messages of protocol/vectors/x.json where wire_x_fuzz starts from: once as they are, once after
    each small first byte, by which targets of several decoders choose one. Merging throws the useless ones away."""
    vectors = ROOT / "protocol" / "vectors" / (name.split("_", 1)[1].removesuffix("_fuzz") + ".json")
    found = BUILD / "fuzz" / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    texts = re.findall(r'"((?:[0-9a-fA-F]{2})+)"', vectors.read_text()) if vectors.exists() else []
    for number, text in enumerate(texts):
        data = bytes.fromhex(text)
        (found / f"vector-{number}").write_bytes(data)
        for choice in range(8):
            (found / f"vector-{number}-{choice}").write_bytes(bytes([choice]) + data)


def run_target(name, seconds):
    """Fuzzes one target. Gives (exit status, log)."""
    found = BUILD / "fuzz" / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    stored = CORPUS / name
    log = log_path("fuzz-" + name)
    log.unlink(missing_ok=True)
    command = [
        BUILD / "fuzz" / name,
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-artifact_prefix={found.parent}/{name}-",
        "-print_final_stats=1",
        found,
    ]
    if stored.is_dir():
        command.append(stored)
    status = run_logged(command, log, timeout=seconds + 120, env={"ASAN_OPTIONS": "allocator_may_return_null=1"})
    return status, log


def keep(name):
    """Puts the smallest set of inputs with the same coverage, old and new together, in place of the stored corpus."""
    stored = CORPUS / name
    with tempfile.TemporaryDirectory(dir=BUILD) as merged:
        sources = [path for path in (BUILD / "fuzz" / "found" / name, stored) if path.is_dir()]
        log = log_path("fuzz-merge-" + name)
        status = run_logged([BUILD / "fuzz" / name, "-merge=1", merged, *sources], log, timeout=600)
        if status != 0:
            show_failure(log)
            raise StepFailed(f"merging the corpus of {name}")
        shutil.rmtree(stored, ignore_errors=True)
        shutil.copytree(merged, stored)
    say(f"  {name}: {len(os.listdir(stored))} inputs kept in {stored.relative_to(ROOT)}")


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--keep", action="store_true", help="add what was learnt to test/corpus")
    parser.add_argument("target", nargs="*", help="names as in build/fuzz/fuzzers.txt (default: all)")
    options = parser.parse_args(arguments)
    build("fuzz", ["fuzzers"])
    known = targets()
    unknown = [name for name in options.target if name not in known]
    if unknown:
        say(f"fuzz: no target {' '.join(unknown)}; there are: {' '.join(known)}")
        return 2
    failed = 0
    for name in options.target or known:
        if options.keep:
            seed(name)
        status, log = run_target(name, options.seconds)
        say(f"  {name:<40} {'ok' if status == 0 else f'failed (status {status})'}")
        if status != 0:
            failed += 1
            show_failure(log)
        elif options.keep:
            keep(name)
    say(f"fuzz: {len(options.target or known) - failed} ok, {failed} failed")
    return 1 if failed else 0
