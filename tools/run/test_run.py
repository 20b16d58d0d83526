"""The counting and the steps behind ./run test: a test that fails, dies or cannot start is never lost."""

import contextlib
import io
import json
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lint  # noqa: E402
import mini  # noqa: E402
import steps  # noqa: E402
import suite  # noqa: E402
from tally import Tally, count_gtest  # noqa: E402


class Quiet(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.said = self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        # Logs of failures are told relative to the root.
        for module, name in ((steps, "LOGS"), (steps, "ROOT"), (suite, "ROOT")):
            self.enterContext(mock.patch.object(module, name, self.folder))


def report(*cases):
    return {"testsuites": [{"name": "S", "testsuite": [{"name": name, **case} for name, case in cases]}]}


class Steps(Quiet):
    def run_logged(self, *command, **options):
        return steps.run_logged(command, self.folder / "log", **options)

    def test_status_and_output_are_kept(self):
        self.assertEqual(self.run_logged("sh", "-c", "echo out; echo err >&2; exit 5"), 5)
        self.assertIn("out\nerr\n", (self.folder / "log").read_text())

    def test_a_program_that_is_missing_is_status_127(self):
        self.assertEqual(self.run_logged("/nowhere/program"), 127)

    def test_a_command_past_its_limit_is_ended_with_its_children(self):
        began = time.monotonic()
        self.assertEqual(self.run_logged("sh", "-c", "sleep 60 & wait", timeout=1), 124)
        self.assertLess(time.monotonic() - began, 30)

    def test_what_waits_is_given_up_and_what_runs_is_ended_with_the_first_that_raises(self):
        seen = []

        def work(item):
            seen.append(item)
            if item == "raises":
                raise KeyboardInterrupt
            self.run_logged("sleep", "60")

        began = time.monotonic()
        with mock.patch.object(suite, "jobs", lambda: 2), self.assertRaises(KeyboardInterrupt):
            suite.in_parallel(work, ["sleeps", "raises", *("waits" for _ in range(20))])
        self.assertLess(time.monotonic() - began, 30)
        self.assertLess(len(seen), 22)

    def test_a_step_that_fails_shows_the_end_of_its_log(self):
        with self.assertRaises(steps.StepFailed):
            steps.step("x", ["sh", "-c", "seq 100; exit 1"])
        self.assertIn("| 100", self.said.getvalue())
        self.assertNotIn("| 50\n", self.said.getvalue())
        self.assertIn("x.log", self.said.getvalue())


class Counting(Quiet):
    def count(self, content):
        path = self.folder / "r.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return count_gtest(path)

    def test_cases_are_counted_by_what_became_of_them(self):
        counted = self.count(
            report(
                ("a", {"result": "COMPLETED"}),
                ("b", {"result": "COMPLETED", "failures": [{}]}),
                ("c", {"result": "SKIPPED"}),
                ("d", {"result": "SUPPRESSED"}),
            )
        )
        self.assertEqual(counted, (1, ["S.b"], 2))

    def test_a_report_that_is_cut_short_is_no_report(self):
        self.assertIsNone(self.count('{"testsuites": ['))
        self.assertIsNone(count_gtest(self.folder / "missing"))

    def unit_test(self, script):
        tally = Tally()
        suite.run_unit_test(tally, "release", "x", ["/bin/sh", "-c", script])
        return tally.passed, tally.failed, tally.skipped

    def writes(self, *cases):
        return f"f=${{GTEST_OUTPUT#json:}}; echo '{json.dumps(report(*cases))}' > $f; "

    def test_a_program_that_dies_without_a_report_is_one_failure(self):
        self.assertEqual(self.unit_test("exit 139"), (0, 1, 0))

    def test_a_program_that_dies_after_a_good_report_is_a_failure(self):
        self.assertEqual(self.unit_test(self.writes(("a", {"result": "COMPLETED"})) + "exit 1"), (0, 1, 0))

    def test_every_failed_case_counts(self):
        bad = {"result": "COMPLETED", "failures": [{}]}
        self.assertEqual(
            self.unit_test(self.writes(("a", bad), ("b", bad), ("c", {"result": "COMPLETED"})) + "exit 1"), (1, 2, 0)
        )

    def test_a_program_that_is_no_gtest_counts_by_its_status(self):
        self.assertEqual(self.unit_test("exit 0"), (1, 0, 0))

    def test_a_program_that_was_not_built_is_a_failure(self):
        tally = Tally()
        suite.run_unit_test(tally, "release", "x", [str(self.folder / "none")])
        self.assertEqual(tally.failed, 1)

    def test_the_last_line_has_its_form(self):
        tally = Tally()
        tally.add(passed=3, failed=1)
        self.assertEqual(tally.line(), "3 passed, 1 failed")
        tally.add(skipped=2)
        self.assertEqual(tally.line(), "3 passed, 1 failed, 2 skipped")


class Acceptance(Quiet):
    def script(self, name, text):
        path = self.folder / "test" / "accept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_all(self, long=False):
        tally = Tally()
        with mock.patch.object(suite, "try_build", lambda tally, preset, targets: preset != "broken"):
            suite.run_acceptance(tally, long)
        return tally.passed, tally.failed, tally.skipped

    def test_statuses_are_counted_and_77_is_a_skip(self):
        self.script("a1_x.py", "")
        self.script("a2_x.py", "raise SystemExit(1)")
        self.script("a3_x.py", "raise SystemExit(77)")
        self.script("a4_x.py", "# build: broken\n")
        self.script("a5_x.py", "# long\n")
        self.assertEqual(self.run_all(), (1, 2, 1))
        self.assertEqual(self.run_all(long=True), (2, 2, 1))

    def test_those_that_want_the_machine_alone_run_by_themselves_after_the_others(self):
        mark = "import pathlib, sys, time\nhere = pathlib.Path(sys.argv[0])\n"
        others = 'len(list(here.parent.glob("*.runs")))'
        together = mark + 'here.with_suffix(".runs").touch()\n' + 'time.sleep(.3)\nhere.with_suffix(".runs").unlink()\n'
        for name in ("b1_x.py", "b2_x.py"):
            self.script(name, together)
        for name in ("a1_x.py", "a2_x.py"):
            self.script(name, "# alone\n" + mark + f"n = {others}\n" + 'here.with_suffix(".runs").touch()\n'
                        'time.sleep(.3)\nhere.with_suffix(".runs").unlink()\nraise SystemExit(n)')
        with mock.patch.object(suite, "jobs", lambda: 2):
            self.assertEqual(self.run_all(), (4, 0, 0))
        said = self.said.getvalue()
        self.assertLess(said.index("b2_x"), said.index("a1_x"))

    def test_none_at_all_is_a_failure(self):
        (self.folder / "test" / "accept").mkdir(parents=True)
        self.assertEqual(self.run_all(), (0, 1, 0))


class Mini(Quiet):
    def started(self, *arguments):
        with mock.patch.object(mini.subprocess, "run") as run:
            run.return_value.returncode = 3
            self.assertEqual(mini.main(list(arguments)), 3)
            return run.call_args.args[0][1:]

    def test_it_trains_unless_asked_to_grade_and_hands_on_its_arguments(self):
        tools = str(mini.TOOLS)
        self.assertEqual(self.started("--fresh"), [f"{tools}/train.py", "--fresh"])
        self.assertEqual(self.started("--grade", "x.gguf", "--all"), [f"{tools}/evaluate.py", "x.gguf", "--all"])


class PythonTests(Quiet):
    def count(self, text):
        script = self.folder / "test_x.py"
        script.write_text("import unittest\n" + text + "\nunittest.main()\n")
        return lint.run_unittest(script)[:2]

    def test_passes_and_failures_are_counted(self):
        self.assertEqual(
            self.count("class T(unittest.TestCase):\n  def test_a(self): pass\n  def test_b(self): 1/0"), (1, 1)
        )

    def test_a_file_that_cannot_start_is_a_failure(self):
        self.assertEqual(self.count("raise SystemExit(0)"), (0, 1))


if __name__ == "__main__":
    unittest.main()
