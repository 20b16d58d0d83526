"""Drills of carrying words over: said again, and asked for after they were told.

A model that has never had to copy a word learns it late and suddenly. These conversations leave nothing else to do, so
it learns to early, and the stories, which need it for every name, find it ready. Both are plain uses of a model too:
it can read a list back and remember who is who.
"""

import facts
import phrasings
import stories
import words

ECHO_WORDS = sorted({*words.ALL, *facts.PEOPLE, *(w for listed in stories.ANY_PART.values() for w in listed)})
ECHO_LONGEST = 24

# What is told of a person, and the questions about it: (question, answer).
_TOLD = {
    "kind": (["{N} is a {A}.", "{N} the {A} is here.", "There is a {A} named {N}.", "I know a {A} called {N}."],
             [("Who is the {A}?", "The {A} is {N}."), ("What is {N}?", "{N} is a {A}."),
              ("What is the name of the {A}?", "The {A} is {N}.")]),
    "thing": (["{N} has a {C} {O}.", "{N} got a {C} {O}.", "The {C} {O} is for {N}."],
              [("Who has the {O}?", "{N} has the {O}."), ("What does {N} have?", "{N} has a {C} {O}."),
               ("What colour is the {O}?", "The {O} is {C}.")]),
    "place": (["{N} lives in the {P}.", "{N} went to the {P}."],
              [("Where is {N}?", "{N} is in the {P}."), ("Who is in the {P}?", "It is {N} who is in the {P}.")]),
}


def echo(rng):
    """A longer list of any words, said back as it came."""
    said = rng.choice([" ", " ", ", "]).join(rng.choice(ECHO_WORDS) for _ in range(rng.randint(3, ECHO_LONGEST)))
    line = rng.choice(phrasings.TRAIN["echo"])
    # On a line of its own the first word is the same token in the question as in the answer.
    return (line.replace(" {x}", "\n{x}") if rng.random() < 0.5 else line).format(x=said), said


def who_is_who(rng):
    """Two to four people of one kind of knowledge, then questions about them, in one conversation."""
    told, asked = _TOLD[rng.choice(list(_TOLD))]
    count = rng.choice([2, 2, 3, 3, 4])
    columns = {slot: rng.sample(listed, count) for slot, listed in
               {"N": stories.NAMES, "A": stories.ANIMALS, "C": stories.COLOURS, "O": stories.OBJECTS,
                "P": stories.PLACES}.items()}
    people = [{slot: listed[i] for slot, listed in columns.items()} for i in range(count)]
    introduction = " ".join(rng.choice(told).format(**person) for person in people)
    turns = []
    for person in rng.sample(people, rng.randint(1, count)):
        question, answer = (part.format(**person) for part in rng.choice(asked))
        turns.append((f"{introduction} {question}" if not turns else question, answer))
    return turns
