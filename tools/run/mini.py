"""./run mini: the small models of models/, made from nothing, or graded."""

import argparse
import subprocess
import sys

from steps import ROOT

TOOLS = ROOT / "tools" / "mini"
HELP = """Without --grade: tools/mini/train.py, which goes on from its last checkpoint when it was stopped. With
--grade: tools/mini/evaluate.py on models/shoal-mini.gguf or on FILE. Further arguments go to that program."""


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run mini", description=HELP, allow_abbrev=False)
    parser.add_argument("--grade", action="store_true", help="judge a model instead of making one")
    known, rest = parser.parse_known_args(arguments)
    script = TOOLS / ("evaluate.py" if known.grade else "train.py")
    sys.stdout.flush()
    return subprocess.run([sys.executable, str(script), *rest], cwd=ROOT, check=False).returncode
