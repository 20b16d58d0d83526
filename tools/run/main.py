"""The commands of ./run that need the machine set up. tools/run/main.sh has done that before it comes here."""

import argparse
import os
import sys

import bench
import fuzz
import lint
import mini
import package
import suite
from build import PRESETS, build, program
from steps import StepFailed, say


def run_build(arguments):
    parser = argparse.ArgumentParser(prog="./run build")
    parser.add_argument("preset", nargs="?", default="release", choices=PRESETS)
    build(parser.parse_args(arguments).preset)
    return 0


def run_demo(arguments):
    build("release", ["programs"])
    shoal = program("release", "shoal")
    if shoal is None:
        say("demo: the build left no program build/release/shoal")
        return 1
    sys.stdout.flush()
    os.execv(shoal, [str(shoal), "demo", *arguments])


COMMANDS = {
    "build": run_build,
    "demo": run_demo,
    "test": suite.main,
    "lint": lint.main,
    "fuzz": fuzz.main,
    "bench": bench.main,
    "mini": mini.main,
    "package": package.main,
}


def main():
    try:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    except StepFailed as failed:
        print(f"./run: the step '{failed}' failed", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("./run: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
