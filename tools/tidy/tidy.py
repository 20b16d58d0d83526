#!/usr/bin/env python3
"""Shoal's own lint: the rules of the house, each with what to do about it.

tools/tidy/tidy.py [--build DIR] [--json] [RULE ...]      exit status 1 when something is found
tools/tidy/tidy.py --list
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rules import NotHere, load  # noqa: E402
from source import LayersError, read_tree  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent


def run(tree, names):
    """{rule: its findings, or None where a tool is missing}."""
    rules = load()
    results = {}
    for name in names:
        try:
            results[name] = rules[name](tree)
        except NotHere:
            results[name] = None
    return results


def main(arguments):
    parser = argparse.ArgumentParser(prog="tools/tidy/tidy.py", description="The rules of the house.")
    parser.add_argument("--build", type=Path, help="a build folder, for the rule 'linked symbols'")
    parser.add_argument(
        "--json", action="store_true", help="print {rule: [finding, ...] or null where a tool is missing}"
    )
    parser.add_argument("--list", action="store_true", help="print the rules")
    parser.add_argument("rule", nargs="*", help="only these (default: all)")
    options = parser.parse_args(arguments)
    known = load()
    if options.list:
        print("\n".join(known))
        return 0
    names = options.rule or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no rule '{unknown[0]}'; --list names them")
    try:
        results = run(read_tree(ROOT, options.build.resolve() if options.build else None), names)
    except LayersError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(
            json.dumps(
                {
                    name: found if found is None else [str(finding) for finding in found]
                    for name, found in results.items()
                }
            )
        )
    else:
        for finding in sorted((str(finding) for found in results.values() for finding in found or [])):
            print(finding)
        for name, found in results.items():
            if found is None:
                print(f"tidy: the rule '{name}' was not run: its tool or build is not here", file=sys.stderr)
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
