"""What the table of figures promises of itself: run without measuring anything."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest
from types import SimpleNamespace
from unittest import mock

import figures
import run
import stages
from figures import NotMeasured, at_least, at_most, exactly, printed


class Table(unittest.TestCase):
    def run_with(self, *groups):
        """(exit status, what was printed, what was written) of a run whose groups give these figures."""
        with tempfile.TemporaryDirectory() as folder:
            build, table = pathlib.Path(folder), pathlib.Path(folder) / "table.json"
            (build / "shoal").touch()
            (build / "CMakeCache.txt").write_text("CMAKE_BUILD_TYPE:STRING=Release\n")
            said = io.StringIO()
            words = ["run.py", "--build", folder, "--json", str(table), "--model", str(build / "shoal")]
            fake = [(f"group{i}", lambda group=group: iter(group())) for i, group in enumerate(groups)]
            with mock.patch.object(run, "groups", lambda *_: fake), mock.patch("sys.argv", words), \
                    contextlib.redirect_stdout(said), self.assertRaises(SystemExit) as ended:
                run.main()
            return ended.exception.code, said.getvalue(), json.loads(table.read_text())

    def test_a_figure_that_misses_its_bar_makes_the_status_1(self):
        status, said, _ = self.run_with(lambda: [at_most("slow", 11, "us", 10), at_most("fast", 1, "us", 10)])
        self.assertEqual(status, 1)
        self.assertIn("MISSED", said)
        self.assertIn("2 figures, 1 missed", said)

    def test_figures_within_their_bars_make_it_0(self):
        status, said, table = self.run_with(
            lambda: [at_most("a", 10, "us", 10), at_least("b", 5, "x", 5), exactly("c", 7, "bytes", 7)],
            lambda: [printed("unfavourable", 1e9, "ms")])
        self.assertEqual(status, 0, said)
        self.assertEqual([figure["ok"] for figure in table], [True, True, True, None])

    def test_just_beyond_a_bar_is_missed(self):
        for figure in (at_most("a", 10.001, "us", 10), at_least("b", 4.999, "x", 5), exactly("c", 8, "bytes", 7)):
            self.assertEqual(self.run_with(lambda figure=figure: [figure])[0], 1, figure.name)

    def test_what_cannot_be_measured_says_why_and_fails_nothing(self):
        def group():
            yield at_most("first", 1, "us", 10)
            raise NotMeasured("there is no peer here")

        status, said, table = self.run_with(group)
        self.assertEqual(status, 0)
        self.assertIn("there is no peer here", said)
        self.assertEqual([figure["value"] for figure in table], [1, None])

    def test_each_figure_says_what_it_was_measured_under(self):
        _, said, table = self.run_with(lambda: [at_most("a", 1, "us", 10, more="x")], lambda: [printed("b", 2, "ms")])
        for figure in table:
            self.assertEqual(set(figure), {"name", "value", "unit", "bar", "ok", "peer", "ratio", "conditions"})
            for key in ("machine", "commit", "build", "seed", "model", "load"):
                self.assertIn(key, figure["conditions"], figure["name"])
        self.assertEqual(table[0]["conditions"]["more"], "x")
        self.assertEqual(table[0]["ratio"], 0.1)
        for key in ("machine: ", "commit: ", "seed: ", "model: "):
            self.assertIn(key, said)

    def test_percentiles_are_values_that_occurred(self):
        self.assertEqual(figures.percentile([3, 1, 2], 0.5), 2)
        self.assertEqual(figures.percentile(list(range(100)), 0.99), 98)
        self.assertEqual(figures.percentile([7], 0.99), 7)


class Stages(unittest.TestCase):
    """Ratios, turns and rates, of answers that are played."""

    def test_a_ratio_is_held_against_its_bar_with_its_lower_bound(self):
        good = stages.against("a", 30, "tokens/s", 1.3, [1.2, 1.4, 1.5], 20)
        self.assertEqual((good.ok, good.ratio, good.peer), (True, 1.4, 20))
        self.assertLessEqual(good.conditions["lower bound"], good.ratio)
        self.assertFalse(stages.against("a", 30, "tokens/s", 1.3, [1.2, 1.29, 1.5], 20).ok)

    def test_both_sides_take_turns_at_being_first(self):
        order = []
        found = stages.in_turn(3, lambda: order.append("ours") or 1, lambda: order.append("theirs") or 2)
        self.assertEqual(order, ["ours", "theirs", "theirs", "ours", "ours", "theirs"])
        self.assertEqual(found, ([1, 1, 1], [2, 2, 2]))

    def played(self, chat):
        api = SimpleNamespace(models=lambda: ["m"], chat=chat)
        return stages.Questions(SimpleNamespace(client=SimpleNamespace(api=api)))

    @staticmethod
    def reply(times, completion, done=True):
        return SimpleNamespace(done=done, times=times, error=None, finish="length",
                               usage={"prompt_tokens": 10, "completion_tokens": completion})

    def test_a_token_takes_what_lies_between_the_first_and_the_last(self):
        ask = self.played(lambda *_, **__: self.reply([0.5, 0.6, 0.7], 3))
        self.assertAlmostEqual(ask.token_ms(3), 100)
        self.assertAlmostEqual(ask.prefill(4), 20)

    def test_an_answer_that_breaks_off_is_no_figure(self):
        for reply in (self.reply([0.5, 0.6], 2, done=False), self.reply([], 4), self.reply([0.5, 0.6], 2)):
            with self.assertRaises(NotMeasured):
                self.played(lambda *_, reply=reply, **__: reply).token_ms(8)

    def test_streams_count_while_all_are_under_way_only(self):
        clock = iter(range(1000))

        def chat(*_, on_text, **__):
            for _ in range(5):
                on_text(None)
            return self.reply([1, 2, 3, 4, 5], 10)

        with mock.patch.object(stages.time, "monotonic", lambda: float(next(clock))):
            # One stream: four pieces in four seconds behind the first, two tokens each.
            self.assertEqual(self.played(chat).together(1, 10), 2)


if __name__ == "__main__":
    unittest.main()
