"""What is read was not learnt from: else the attack would only show that it remembers."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import texts  # noqa: E402


def questions(conversations):
    return {text for one in conversations for role, text in one if role == "user"}


class Texts(unittest.TestCase):
    def test_the_same_seed_gives_the_same_texts(self):
        self.assertEqual(texts.to_learn(30), texts.to_learn(30))
        self.assertEqual(texts.held_out(30), texts.held_out(30))
        self.assertEqual(texts.foreign(10), texts.foreign(10))

    def test_no_question_that_is_read_was_learnt_from(self):
        learnt, read = questions(texts.to_learn(900)), questions(texts.held_out(100)) | questions(texts.foreign(50))
        self.assertGreater(len(read), 100)
        self.assertFalse(learnt & read)

    def test_one_text_in_three_that_is_learnt_from_is_noise(self):
        self.assertTrue(all(len(one) == 1 for one in texts.to_learn(30)[2::3]))

    def test_there_is_foreign_text_enough(self):
        found = texts.foreign(50)
        self.assertEqual(len(found), 50)
        self.assertTrue(all(text.isascii() and len(text) >= 40 for one in found for _, text in one))


if __name__ == "__main__":
    unittest.main()
