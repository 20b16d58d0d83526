# alone
# build: accept
"""H2: every check of test/mutations.toml, taken out of a copy of the source, makes the test named there fail: a unit
test, or an acceptance test over real processes, which must then say what it found."""

import os
import sys
import time
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import check, main, mutants
from harness.run import PASSED, ROOT

LIST = ROOT / "test" / "mutations.toml"
LONG = bool(os.environ.get("SHOAL_LONG"))
ONLY = os.environ.get("SHOAL_MUTATIONS")  # by hand: those whose file or description holds this


def is_chosen(one):
    if ONLY:
        return ONLY in one["what"] or ONLY in one["file"]
    return LONG or one.get("short")


def unchanged_passes(chosen):
    """A test that fails anyway would find every mutant."""
    cases = {}
    for one in chosen:
        if "test" in one:
            cases.setdefault(one["test"], set()).add(one.get("case", "*"))
    for name, of in sorted(cases.items()):
        case = mutants.unit_test(name, case=":".join(sorted(of)))
        check(case is None, f"{name} fails on the unchanged source: {case}")
    for name in sorted({one["accept"] for one in chosen if "accept" in one}):
        status, output = mutants.acceptance_test(name)
        check(status == PASSED, f"{name} fails on the unchanged source:\n{output}")


def test(folder):
    mutations = tomllib.loads(LIST.read_text())["mutation"]
    mutants.check_listed(mutations)
    chosen = [one for one in mutations if is_chosen(one)]
    check(chosen, f"no mutation is of {ONLY}")
    with_switch = mutants.prepare(chosen)
    unchanged_passes(chosen)
    # Those with a switch first: what has a build of its own spoils that of the others.
    chosen.sort(key=lambda one: (one["what"] not in with_switch, one.get("test", ""), one["file"]))
    missed = []
    for one in chosen:
        began = time.monotonic()
        try:
            case = mutants.found_by(one, one["what"] in with_switch)
            print(f"found: {one['row']} {one['what']}: {case} ({time.monotonic() - began:.0f} s)", flush=True)
        except AssertionError as error:
            missed.append(str(error))
            print(f"MISSED: {error}", flush=True)
    check(not missed, f"{len(missed)} of {len(chosen)} removed checks were not found:\n" + "\n".join(missed))
    print(f"{len(chosen)} removed checks, all found")


main(test, seconds_max=7200 if LONG else 1500)
