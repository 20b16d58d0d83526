"""./run bench: the table of figures. The measuring itself is bench/run.py's."""

import argparse
import subprocess
import sys

from build import build
from steps import ROOT, say


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run bench", add_help=False)
    parser.add_argument("--json", metavar="FILE")
    known, rest = parser.parse_known_args(arguments)
    build("release")
    script = ROOT / "bench" / "run.py"
    if not script.exists():
        say("bench: bench/run.py is missing")
        return 1
    extra = ["--json", known.json] if known.json else []
    return subprocess.run(
        [sys.executable, str(script), "--build", str(ROOT / "build" / "release"), *extra, *rest], check=False
    ).returncode
