"""The corpus keeps its promises: stories parse, broken ones do not, and what is held out never leaks into training."""

import random
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bpe  # noqa: E402
import corpus  # noqa: E402
import drills  # noqa: E402
import facts  # noqa: E402
import intents  # noqa: E402
import phrasings  # noqa: E402
import stories  # noqa: E402
import words  # noqa: E402


def some_stories(count, seed=3):
    rng = random.Random(seed)
    for _ in range(count):
        yield intents.ask_story(rng, "Tell me a story{topic}.")


class Grammar(unittest.TestCase):
    def test_every_story_told_is_one_of_the_grammar(self):
        for question, story, fixed in some_stories(500):
            self.assertEqual(stories.faults(story, fixed), [], question)

    def test_every_plot_is_told_and_found_again(self):
        rng = random.Random(4)
        for plot in stories.PLOTS:
            story = stories.tell(rng, stories.bind(rng), plot)
            self.assertEqual(stories.parse(story)[0], plot)

    def test_a_story_without_its_end_is_refused(self):
        for _, story, _ in some_stories(50):
            self.assertIsNone(stories.parse(re.sub(r"\s\S+\s\S+$", "", story)))

    def test_two_beats_in_the_wrong_order_are_refused(self):
        story = ("In a small park there lived a young cat called Tom. One night Tom heard a strange noise outside. "
                 "\"Is it a ghost?\" he whispered. Then he took a red lamp and opened the door slowly. There was a "
                 "dark shape beside the fence. \"Who is there?\" asked Tom. "
                 "It was only a dog named Ella, cold and hungry. "
                 "\"I lost my way,\" said Ella, \"and I have no place to sleep.\" Tom made tea for two, and they "
                 "became friends.")
        self.assertEqual(stories.faults(story), [])
        self.assertIsNone(stories.parse(story.replace("Ella", "Mia")), "a friend with a hero's name")
        self.assertIsNone(stories.parse(story.replace("Tom", "Milo")), "a hero with a friend's name")
        asks = "\"Who is there?\" asked Tom. "
        moved = story.replace(asks, "").replace("There was", asks + "There was")
        self.assertIsNone(stories.parse(moved))

    def test_a_name_that_changes_on_the_way_is_refused(self):
        for _, story, _ in some_stories(50):
            hero = stories.parse(story)[1]["N"]
            other = "Otto" if hero != "Otto" else "Finn"
            head, _, tail = story.rpartition(hero)
            if head.count(hero):
                self.assertNotEqual(stories.faults(head + other + tail), [])

    def test_a_pronoun_that_does_not_fit_the_hero_is_refused(self):
        _, story, _ = next(s for s in some_stories(200) if " he " in s[1])
        self.assertIsNone(stories.parse(story.replace(" he ", " she ")))

    def test_the_friend_is_neither_the_hero_nor_of_its_kind(self):
        bound = {"N": "Tom", "F": "Tom", "A": "cat", "G": "dog", "he": "he"}
        self.assertFalse(stories._consistent(bound))
        self.assertFalse(stories._consistent({**bound, "F": "Mia", "G": "cat"}))
        self.assertTrue(stories._consistent({**bound, "F": "Mia"}))

    def test_in_practice_any_name_plays_any_part_and_in_stories_each_has_its_own(self):
        rng = random.Random(5)
        loose = [stories.bind(rng, slots=stories.ANY_PART) for _ in range(300)]
        self.assertEqual({v["N"] for v in loose} & {v["F"] for v in loose}, set(stories.NAMES))
        self.assertFalse(any(v["N"] == v["F"] for v in loose))
        strict = [stories.bind(rng) for _ in range(300)]
        self.assertEqual({v["N"] for v in strict}, set(stories.HEROES))
        self.assertEqual({v["F"] for v in strict}, set(stories.FRIENDS))

    def test_another_animal_than_asked_for_is_a_fault(self):
        story = next(some_stories(1))[1]
        kind = stories.parse(story)[1]["A"]
        other = "cat" if kind != "cat" else "dog"
        self.assertEqual(len(stories.faults(story, {"A": other})), 1)

    def test_words_carried_over_are_those_said_before_and_pronouns(self):
        story = "There was a fox named Tom. Tom met Mia. He gave Mia a key."
        spans = stories.carried_words("Tell me a story about a fox.", story)
        self.assertEqual(sorted(story[a:b] for a, b in spans), ["He", "Mia", "Tom", "fox"])

    def test_an_eight_gram_said_twice_is_found_and_seven_words_are_not(self):
        eight = "one two three four five six seven eight"
        self.assertEqual(stories.repeated_ngram(f"{eight}, and then {eight.capitalize()}."), eight)
        self.assertIsNone(stories.repeated_ngram(f"{eight[:-6]} and {eight[:-6]}"))


class HeldOut(unittest.TestCase):
    def _matchers(self):
        for intent, lines in phrasings.HELD_OUT.items():
            for line in lines:
                parts = re.split(r"(\{\w+\})", phrasings.normal(line))
                yield intent, line, re.compile("".join(".+" if p.startswith("{") else re.escape(p) for p in parts))

    def test_no_held_out_phrasing_is_ever_asked_in_training(self):
        # Slots are wide open here (".+"), so a longer training phrasing can look like a held-out one whose slot
        # swallowed words; only a question without its slots' words counts.
        exact = {phrasings.normal(line) for lines in phrasings.HELD_OUT.values() for line in lines}
        for intent, lines in phrasings.TRAIN.items():
            for line in lines:
                self.assertNotIn(phrasings.normal(line), exact, intent)
        rng = random.Random(8)
        matchers = [(i, line, m) for i, line, m in self._matchers() if "{" not in line]
        for _ in range(4000):
            for question, _, _ in corpus.conversation(rng)[1]:
                for intent, line, matcher in matchers:
                    self.assertIsNone(matcher.fullmatch(phrasings.normal(question)), f"{intent}: {line}")

    def test_every_sum_asked_in_training_is_of_a_training_pair(self):
        rng = random.Random(9)
        for _ in range(3000):
            for _, answer, _ in corpus.conversation(rng)[1]:
                sum_ = re.match(r"(\d+) ([+-]) (\d+) = ", answer)
                if sum_:
                    intent = "add" if sum_[2] == "+" else "sub"
                    self.assertFalse(intents.pair_is_held_out(intent, int(sum_[1]), int(sum_[3])), answer)

    def test_questions_for_grading_use_held_out_pairs(self):
        rng = random.Random(10)
        for _ in range(100):
            _, answer = intents.ask_line(rng, "add", "What is {a} + {b}?")
            a, b = map(int, re.match(r"(\d+) \+ (\d+)", answer).groups())
            self.assertTrue(intents.pair_is_held_out("add", a, b))

    def test_a_tenth_to_a_fifth_of_the_phrasings_is_held_out(self):
        held = sum(map(len, phrasings.HELD_OUT.values()))
        self.assertTrue(0.1 < held / (held + sum(map(len, phrasings.TRAIN.values()))) < 0.2)
        self.assertGreaterEqual(held, 60)

    def test_lines_that_differ_only_in_punctuation_share_their_fate(self):
        self.assertEqual(phrasings.is_held_out("bye", "Bye!"), phrasings.is_held_out("bye", "bye"))


class Answers(unittest.TestCase):
    def test_every_intent_has_questions_whose_slots_are_all_filled(self):
        rng = random.Random(11)
        for intent in intents.WEIGHTS:
            for line in phrasings.ALL[intent]:
                question, answer = intents.ask_line(rng, intent, line)
                self.assertNotRegex(question + answer, r"[{}]")
                self.assertTrue(answer)

    def test_sums_are_right(self):
        rng = random.Random(12)
        for intent in ("add", "sub", "mul"):
            for _ in range(300):
                _, answer = intents.ask(rng, intent)
                values = {eval(side, {"__builtins__": {}}) for side in answer.rstrip(".").split(" = ")}  # noqa: S307
                self.assertEqual(len(values), 1, answer)

    def test_sums_show_tens_and_ones_apart(self):
        self.assertEqual(intents.shown_sum(27, 45), "27 + 45 = 60 + 12 = 72.")
        self.assertEqual(intents.shown_sum(3, 4), "3 + 4 = 7.")
        self.assertEqual(intents.shown_difference(63, 28), "63 - 28 = 43 - 8 = 35.")
        self.assertEqual(intents.shown_difference(63, 20), "63 - 20 = 43.")

    def test_tables_have_no_ambiguous_answer(self):
        both = list(facts.OPPOSITES) + list(facts.OPPOSITES.values())
        self.assertEqual(len(both), len(set(both)))
        self.assertEqual(len(set(facts.CAPITALS.values())), len(facts.CAPITALS))

    def test_numbers_in_words(self):
        self.assertEqual([facts.in_words(n) for n in (0, 13, 20, 42, 99)],
                         ["zero", "thirteen", "twenty", "forty-two", "ninety-nine"])


class Drills(unittest.TestCase):
    def test_an_echo_is_what_the_question_ends_with_or_holds(self):
        rng = random.Random(13)
        for _ in range(300):
            question, answer = drills.echo(rng)
            self.assertIn(answer, question)
            self.assertGreaterEqual(len(answer.split()), 3)

    def test_who_is_who_answers_by_what_was_told_of_that_person_alone(self):
        rng = random.Random(14)
        for _ in range(500):
            turns = drills.who_is_who(rng)
            told = re.split(r"(?<=\.) ", turns[0][0])
            for _, answer in turns:
                slots = [w for w in re.findall(r"[A-Za-z]+", answer) if w in stories.NAMES or w in stories.ANIMALS
                         or w in stories.COLOURS or w in stories.OBJECTS or w in stories.PLACES]
                self.assertTrue(any(all(re.search(rf"\b{w}\b", line) for w in slots) for line in told), answer)

    def test_no_two_people_of_one_conversation_share_what_is_asked_for(self):
        rng = random.Random(15)
        for _ in range(300):
            told = drills.who_is_who(rng)[0][0]
            for listed in (stories.NAMES, stories.ANIMALS, stories.COLOURS, stories.OBJECTS, stories.PLACES):
                lines = re.split(r"(?<=\.) ", told)[:-1]
                found = [w for line in lines for w in listed if re.search(rf"\b{w}\b", line)]
                self.assertEqual(len(found), len(set(found)), told)

    def test_echo_is_asked_in_training_phrasings_only(self):
        rng = random.Random(16)
        for _ in range(300):
            question, answer = drills.echo(rng)
            line = question.replace(answer, "{x}").replace("\n", " ")
            self.assertIn(line, phrasings.TRAIN["echo"])


class Bpe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.texts = list(corpus.texts(1, 2000))
        cls.tokenizer = bpe.Tokenizer(bpe.train(cls.texts, 1000))

    def test_what_is_encoded_decodes_to_itself(self):
        for text in [*self.texts[:500], "  two  spaces\n\nand lines ", "don't x1y22_z", "~|`"]:
            self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)

    def test_digits_stand_alone(self):
        tokens = [self.tokenizer.tokens[i] for i in self.tokenizer.encode("12+345")]
        self.assertEqual([t for t in tokens if any(c.isdigit() for c in t)], list("12345"))

    def test_the_same_texts_give_the_same_merges(self):
        self.assertEqual(bpe.train(self.texts, 600), self.tokenizer.merges[:600 - 256 - len(bpe.SPECIALS)])

    def test_the_tokenizer_meets_what_stories_carry_at_the_start_of_a_text_and_within(self):
        for word in {w for listed in stories.ANY_PART.values() for w in listed}:
            for text in (word, f" {word}"):
                self.assertGreaterEqual(self.texts.count(text), 2000 // 200, text)

    def test_names_of_special_tokens_in_text_stay_text(self):
        self.assertTrue(all(i >= len(bpe.SPECIALS) for i in self.tokenizer.encode(bpe.END)))

    def test_text_outside_ascii_is_refused(self):
        with self.assertRaises(ValueError):
            self.tokenizer.encode("caf\u00e9")

    def test_a_corpus_without_enough_words_is_refused(self):
        with self.assertRaises(ValueError):
            bpe.train(["a b"], 4096)

    def test_weights_are_on_answers_only(self):
        tokens, weights = corpus.encode(self.tokenizer, "Be kind.", [("Hi", "Hello", 1.0), ("Bye", "So long", 0.5)])
        learnt = self.tokenizer.decode([t for t, w in zip(tokens, weights) if w > 0])
        self.assertEqual(learnt, "Hello<|end|>So long<|end|>")
        self.assertEqual(weights[0], 0.0)

    def test_carried_words_of_a_story_weigh_more_and_the_rest_does_not(self):
        question, story, _ = next(some_stories(1))
        turns = [(question, story, corpus.STORY_WEIGHT), ("Hi", "Hello", 1.0)]
        tokens, weights = corpus.encode(self.tokenizer, None, turns)
        heavy = self.tokenizer.decode([t for t, w in zip(tokens, weights) if w == corpus.CARRIED_WEIGHT])
        carried = "".join(story[a:b] for a, b in sorted(stories.carried_words(question, story)))
        self.assertEqual(heavy.replace(" ", ""), carried)

    def test_the_word_list_has_no_double(self):
        self.assertEqual(len(words.ALL), len(set(words.ALL)))


if __name__ == "__main__":
    unittest.main()
