#!/usr/bin/env python3
"""Grades a model by questions it was never asked in that form, and by stories; in llama.cpp's server or our engine.

    tools/mini/evaluate.py                        models/shoal-mini.gguf: 50 questions, 40 stories
    tools/mini/evaluate.py models/shoal-nano.gguf --all --show
    tools/mini/evaluate.py --by build/release     by the shoal-engine built there

Exit 0 when the bars hold: 40 of 50 answers exactly right, 90 % of the stories without fault. `--show` prints what was
wrong. The same seed asks the same questions.
"""

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap  # noqa: E402
import intents  # noqa: E402
import phrasings  # noqa: E402
import stories  # noqa: E402
from llama import Server  # noqa: E402
from shoal_engine import Engine  # noqa: E402

SEED = 50
QUESTIONS = 50
QUESTIONS_RIGHT = 40
STORIES = 40
STORIES_GOOD = 0.9
STORY_TEMPERATURE = 0.7


def held_out_questions(every):
    """(intent, question, answer): each uses another held-out phrasing; 50 drawn from all, or all of them."""
    rng = random.Random(SEED)
    lines = [(intent, line) for intent, found in phrasings.HELD_OUT.items() if intent != "story" for line in found]
    for intent, line in lines if every else rng.sample(lines, QUESTIONS):
        yield (intent, *intents.ask_line(rng, intent, line))


def grade_questions(server, every, show):
    right, asked = 0, 0
    for intent, question, answer in held_out_questions(every):
        reply = server.chat([("user", question)], temperature=0).strip()
        asked, right = asked + 1, right + (reply == answer)
        if show and reply != answer:
            print(f"  {intent}: {question}\n    said {reply!r}, right is {answer!r}")
    return right, asked


def grade_stories(server, count, show):
    rng = random.Random(SEED)
    good, repeats = 0, 0
    for i in range(count):
        question, fixed = stories.request(rng, rng.choice(phrasings.HELD_OUT["story"]))
        reply = server.chat([("user", question)], temperature=STORY_TEMPERATURE, seed=i).strip()
        faults = stories.faults(reply, fixed)
        good += not faults
        repeats += stories.repeated_ngram(reply) is not None
        if show and faults:
            print(f"  {question}\n    {reply}\n    {'; '.join(faults)}")
    return good, repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=bootstrap.ROOT / "models" / "shoal-mini.gguf")
    parser.add_argument("--all", action="store_true", help="ask every held-out phrasing instead of 50")
    parser.add_argument("--stories", type=int, default=STORIES, help=f"how many stories ({STORIES})")
    parser.add_argument("--by", type=Path, metavar="FOLDER", help="by the shoal-engine of this build folder; "
                        "without it by llama.cpp's server")
    parser.add_argument("--show", action="store_true", help="print each wrong answer and faulty story")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    if not args.model.exists():
        sys.exit(f"{args.model} is not there: make it with tools/mini/train.py")
    with Engine(args.model, args.by) if args.by else Server(args.model) as server:
        right, asked = grade_questions(server, args.all, args.show)
        good, repeats = grade_stories(server, args.stories, args.show)
    judge = "shoal-engine" if args.by else "llama.cpp"
    needed = QUESTIONS_RIGHT * asked / QUESTIONS
    passed = right >= needed and good >= STORIES_GOOD * args.stories and repeats == 0
    print(f"{args.model.name} by {judge}: {right} of {asked} held-out questions exactly right (bar {needed:.0f}); "
          f"{good} of {args.stories} stories pass the grammar, {repeats} repeat an 8-gram: "
          f"{'ok' if passed else 'below the bar'}")
    if args.json:
        args.json.write_text(json.dumps({"model": args.model.name, "by": judge, "right": right, "asked": asked,
                                         "stories": args.stories, "stories_good": good,
                                         "stories_repeating": repeats, "ok": passed}) + "\n")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
