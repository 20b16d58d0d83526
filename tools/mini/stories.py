"""Short stories from a grammar, and the check that a text is one of its stories.

A story is one plot: a fixed order of beats (who, where, trouble, try, help, end), each told by one of three
sentences. Slots bind once for the whole story: {N} hero, {A} its kind, {F} friend, {G} the friend's kind, {P} place,
{C} colour, {O} object, {he}/{him}/{his} by the hero's name. `faults` parses a text back and says what is wrong, so the
stories of a trained model can be judged by the same rules that made the corpus.
"""

import itertools
import re

NAMES_HE = ["Tom", "Max", "Finn", "Otto", "Bruno", "Milo", "Rufus", "Barney"]
NAMES_SHE = ["Lily", "Mia", "Ruby", "Nora", "Ella", "Daisy", "Luna", "Molly"]
NAMES = NAMES_HE + NAMES_SHE
# Whoever hears a name knows the part: these are heroes, the others their friends.
HEROES = NAMES_HE[:4] + NAMES_SHE[:4]
FRIENDS = NAMES_HE[4:] + NAMES_SHE[4:]
ANIMALS = ["cat", "dog", "fox", "bear", "rabbit", "mouse", "duck", "hen", "frog", "goat", "pony", "squirrel",
           "hedgehog", "lamb", "beaver", "badger"]
PLACES = ["forest", "garden", "valley", "village", "meadow", "town", "park", "farm"]
COLOURS = ["red", "blue", "green", "yellow", "white", "brown", "pink", "silver"]
OBJECTS = ["ball", "kite", "hat", "boat", "drum", "bell", "scarf", "lamp", "book", "basket", "key", "flute"]

SLOTS = {"N": HEROES, "F": FRIENDS, "A": ANIMALS, "G": ANIMALS, "P": PLACES, "C": COLOURS, "O": OBJECTS}
# For practice: anybody may play any part, so that who is who can only be learnt from the text before.
ANY_PART = {**SLOTS, "N": NAMES, "F": NAMES}

_START = [
    "Once upon a time there was a little {A} named {N} who lived in a quiet {P}.",
    "In a small {P} there lived a young {A} called {N}.",
    "Long ago a kind {A} named {N} had a little house in the {P}.",
]
_FRIEND = [
    "{His} best friend was a {G} named {F}.",
    "Next door lived {F} the {G}, {his} best friend.",
    "{He} had one good friend, a {G} called {F}.",
]

# Plot name -> the beats after _START; each beat is a list of alternatives.
PLOTS = {
    "lost": [
        ["{N} had a {C} {O} and loved it more than anything.", "{N} owned a {C} {O} that {he} took everywhere.",
         "The dearest thing that {N} had was a {C} {O}."],
        ["One morning the {O} was gone.", "But one windy day {he} could not find the {O}.",
         "Then one evening the {O} was not in its place."],
        _FRIEND,
        ["{F} said, \"Do not cry, we will look for it together.\"", "\"I will help you to search,\" said {F}.",
         "{F} came at once and promised to help."],
        ["They looked under every stone and behind every tree.",
         "They asked everyone in the {P}, but nobody had seen it.",
         "They searched until the sun was low."],
        ["At last {F} saw something {C} in the tall grass.", "Suddenly something {C} was shining near the old well.",
         "Then {N} heard {F} shout with joy beside the river."],
        ["It was the {O}, and it was not even broken.", "There was the {O}, a little wet but safe.",
         "The wind had carried the {O} all the way there."],
        ["{N} hugged {F} and said, \"A friend is the best thing of all.\"",
         "From that day {N} let {F} play with it every week.", "That night {N} slept well, and so did {F}."],
    ],
    "storm": [
        _FRIEND,
        ["One night a great storm came over the hills.",
         "One afternoon the sky turned black and the wind began to howl.",
         "On the last day of summer a terrible storm began."],
        ["The rain fell so hard that the little bridge broke.", "The water in the river rose higher and higher.",
         "A tall tree fell down and blocked the road."],
        ["{F} could not get home and was very afraid.", "Poor {F} was alone out there and called for help.",
         "{N} knew that {F} was still outside in the cold."],
        ["{N} took a {C} {O} and ran out into the rain.", "So {N} put on a coat, picked up a {C} {O} and went to look.",
         "{N} was afraid too, but {he} took {his} {C} {O} and left the warm house."],
        ["{F} saw the {O} from far away and waved.", "With the {O} {he} made a sign that {F} could follow.",
         "Thanks to the {O} they found each other in the dark."],
        ["Together they walked back to the house and sat by the fire.",
         "Hand in hand they came home and drank hot soup.",
         "Soon both of them were dry and warm again."],
        ["In the morning the sun was back, and everyone said that {N} was brave.",
         "The next day they built a new bridge together.", "\"You saved me,\" said {F}, and {N} smiled."],
    ],
    "share": [
        ["One day {N} found a {C} {O} on the road.", "On {his} birthday {N} got a {C} {O}.",
         "At the market {N} bought a {C} {O} with {his} last coin."],
        ["{He} wanted to keep it all for {him}self.", "{He} hid it in a box and showed it to nobody.",
         "\"This is mine, only mine,\" said {N}."],
        _FRIEND,
        ["{F} asked, \"May I play with your {O}?\"", "When {F} saw the {O}, {F} asked to hold it just once.",
         "{F} had nothing to play with and looked very sad."],
        ["{N} said no and ran away with it.", "But {N} shook {his} head and closed the door.",
         "\"No,\" said {N}, and went home alone."],
        ["Soon {N} felt lonely, because playing alone was no fun.",
         "That evening the house was silent and {N} was sad.",
         "After a while the {O} did not make {him} happy any more."],
        ["So {he} went back and said, \"I am sorry, let us share it.\"",
         "The next morning {N} knocked at the door of {F} and gave the {O} to {F}.",
         "Then {N} had a better idea and called {F} back."],
        ["They played until the stars came out, and both were glad.",
         "Now they use it together every day in the {P}.", "{N} learned that joy grows when it is shared."],
    ],
    "learn": [
        ["{N} wanted to learn how to swim.", "More than anything {N} wished to ride a bicycle.",
         "{N} dreamed of playing music for the whole {P}."],
        ["But each time {he} tried, it went wrong.", "The first try was a disaster, and everybody laughed.",
         "It was much harder than {he} had thought."],
        ["\"I will never learn it,\" said {N} and sat down under a tree.", "{N} was close to giving up.",
         "Two big tears ran down {his} face."],
        _FRIEND,
        ["{F} said, \"Try a little every day.\"", "\"I also fell many times,\" said {F}, \"so do not stop.\"",
         "{F} gave {him} a {C} {O} to bring {him} luck."],
        ["So {N} practised every morning before breakfast.", "Day after day {N} tried again, and {F} watched.",
         "All through the spring {N} worked hard."],
        ["Then one fine day it simply worked.", "At the end of the month {he} could do it without any help.",
         "And suddenly, on a Sunday, {he} did it."],
        ["Everyone in the {P} clapped, and {F} clapped the loudest.",
         "{N} was proud and taught the little ones how to do it too.",
         "\"You see,\" said {F}, \"small steps go a long way.\""],
    ],
    "night": [
        ["One night {N} heard a strange noise outside.",
         "In the middle of the night something went bump near the house.",
         "When the moon was high, a soft sound woke {N} up."],
        ["\"Is it a ghost?\" {he} whispered.", "{He} pulled the blanket over {his} head.",
         "{His} heart was beating very fast."],
        ["Then {he} took a {C} {O} and opened the door slowly.",
         "At last {he} grew curious, took a {C} {O} and looked out.",
         "But {he} was brave, so {he} held {his} {C} {O} and crept outside."],
        ["There was a dark shape beside the fence.", "Two bright eyes were looking at {him} from the bush.",
         "Something was moving behind the apple tree."],
        ["\"Who is there?\" asked {N}.", "{N} called, \"Come out, please!\"", "\"Hello?\" said {N} in a small voice."],
        ["It was only a {G} named {F}, cold and hungry.", "Out came a shy {G} who was called {F}.",
         "A small {G} stepped into the light and said that the name was {F}."],
        ["\"I lost my way,\" said {F}, \"and I have no place to sleep.\"",
         "{F} had walked the whole day and was very tired.",
         "{F} only wanted a bit of bread and a warm corner."],
        ["{N} made tea for two, and they became friends.",
         "{N} shared {his} bed and {his} bread, and nobody was afraid.",
         "Since that night {N} has never been alone."],
    ],
    "garden": [
        ["{N} had a small garden, but nothing would grow in it.", "In spring {N} put one tiny seed into the ground.",
         "An old woman gave {N} a {C} seed and said that it was special."],
        ["Every day {he} gave it water.", "{He} watered the ground and sang a song to it.",
         "Each morning {he} ran out to look at it."],
        ["A week went by, and nothing happened.", "For a long time there was only brown earth to see.",
         "The others said that nothing would ever come of it."],
        _FRIEND,
        ["{F} said, \"Good things need time.\"", "\"Wait a little longer,\" said {F}.",
         "{F} brought a {C} {O} to keep the birds away."],
        ["Then, after a warm rain, a green leaf came up.", "One bright morning there was a little green tip.",
         "And one day the ground opened and a small plant looked out."],
        ["It grew and grew until it was taller than the house.", "Soon it had a hundred flowers that smelled of honey.",
         "By autumn it carried big sweet apples."],
        ["Everybody in the {P} came to see it, and {N} gave something to each of them.",
         "{N} and {F} sat in its shade and were happy.",
         "\"You were right,\" said {N} to {F}, \"it was good to wait.\""],
    ],
    "trip": [
        _FRIEND,
        ["One day the two friends wanted to see the sea.", "In the summer they made a plan to climb the high mountain.",
         "One morning they decided to find the end of the river."],
        ["They packed bread, cheese and a {C} {O}.", "{N} carried the food, and {F} carried a {C} {O}.",
         "They took nothing with them but a {C} {O}."],
        ["They walked over hills and through dark woods.", "The way was long and the sun was hot.",
         "They went on and on until their feet hurt."],
        ["At noon they came to a deep hole in the road.",
         "Then they met a big grumpy bull who would not let them pass.",
         "Before long they stood before a closed gate."],
        ["\"I know what to do,\" said {N}, and used the {O}.", "{F} was clever and tried it with the {O}.",
         "Then they remembered the {O}, and that was the answer."],
        ["In the evening they finally reached the place of their dreams.",
         "When they arrived, they could hardly believe their eyes.",
         "They came to the top of the last hill and there it was."],
        ["They watched the sunset and told each other stories.", "\"The best part was going with you,\" said {F}.",
         "They went home happy and talked about it for years."],
    ],
    "contest": [
        ["Every year there was a great race in the {P}.", "One day the king announced a big contest.",
         "In May everyone came together for the great games."],
        ["{N} was small, and nobody believed in {him}.", "{N} wanted to win the prize, a {C} {O}.",
         "{N} had never won anything in {his} life."],
        _FRIEND,
        ["{F} was the fastest of all and was sure to win.", "{F} wanted to win as well and had trained for weeks.",
         "Both of them stood at the start and wished each other luck."],
        ["They ran and ran, and soon they were far ahead.", "When the drum sounded, everybody started to run.",
         "At first {N} was the very last."],
        ["Then {F} fell over a root and hurt a leg.", "Just before the end {F} slipped in the mud.",
         "But near the finish {F} got a cramp and had to stop."],
        ["{N} could have won, but {he} stopped to help.", "{N} turned around at once and helped {F} to stand up.",
         "{N} did not think of the prize and carried {F} on {his} back."],
        ["They crossed the line together, and everyone cheered.",
         "They came in last, but they got the loudest applause.",
         "The old judge gave a prize to both, because kindness wins."],
    ],
}

# What a story can be asked to be about, and the slots each form fixes.
TOPICS = {
    "": (),
    " about a {A}": ("A",),
    " about a little {A}": ("A",),
    " about a {A} named {N}": ("A", "N"),
    " about {N} the {A}": ("A", "N"),
    " about a {A} and a {G}": ("A", "G"),
    " about a {A} in a {P}": ("A", "P"),
    " about a {A} who lives in a {P}": ("A", "P"),
    " about two friends, a {A} and a {G}": ("A", "G"),
    " with a {A}": ("A",),
}


def _pronouns(name):
    he, him, his = ("he", "him", "his") if name in NAMES_HE else ("she", "her", "her")
    return {"he": he, "him": him, "his": his, "He": he.capitalize(), "His": his.capitalize()}


def bind(rng, fixed=None, slots=SLOTS):
    """Random slot values; `fixed` wins. Hero and friend differ in name and kind."""
    values = {slot: rng.choice(words) for slot, words in slots.items()}
    values.update(fixed or {})
    values["F"] = rng.choice([n for n in slots["F"] if n != values["N"]])
    if values["G"] == values["A"]:
        values["G"] = rng.choice([a for a in ANIMALS if a != values["A"]])
    return values


def tell(rng, values, plot=None):
    """The story as text: sentences separated by one space. Redraws the rare story that repeats an 8-gram."""
    while True:
        beats = [_START] + PLOTS[plot or rng.choice(list(PLOTS))]
        slots = {**values, **_pronouns(values["N"])}
        text = " ".join(rng.choice(beat).format(**slots) for beat in beats)
        if repeated_ngram(text) is None:
            return text


def request(rng, template, slots=SLOTS):
    """(question, fixed slots) for one story template with its {topic} hole."""
    form = rng.choice(list(TOPICS))
    fixed = {slot: rng.choice(slots[slot]) for slot in TOPICS[form]}
    if fixed.get("G") is not None and fixed["G"] == fixed["A"]:
        fixed["G"] = rng.choice([a for a in ANIMALS if a != fixed["A"]])
    return template.format(topic=form.format(**fixed)), fixed


def repeated_ngram(text, n=8):
    """The first run of n words that occurs twice, or None."""
    words = re.findall(r"[a-z']+", text.lower())
    seen = set()
    for i in range(len(words) - n + 1):
        gram = tuple(words[i:i + n])
        if gram in seen:
            return " ".join(gram)
        seen.add(gram)
    return None


_CARRIED = re.compile(r"\b(?:" + "|".join(sorted({w for words in ANY_PART.values() for w in words})) + r")\b")
_PRONOUN = re.compile(r"\b(?:he|she|him|his|her|He|She|His|Her|himself|herself)\b")


def carried_words(question, story):
    """Spans of the words that a story must carry over: names, kinds, places, things that the question or an earlier
    sentence brought in, and pronouns. The rest of a story is a free choice or follows from the sentence's beginning."""
    seen = set(_CARRIED.findall(question))
    spans = [found.span() for found in _PRONOUN.finditer(story)]
    for found in _CARRIED.finditer(story):
        if found[0] in seen:
            spans.append(found.span())
        seen.add(found[0])
    return spans


def _pattern(template):
    """A regular expression for one sentence template; the first use of a slot captures, later uses refer back."""
    seen, out = set(), []
    for part in re.split(r"(\{\w+\})", template):
        slot = part[1:-1] if part.startswith("{") else None
        if slot is None:
            out.append(re.escape(part))
        elif slot in seen:
            out.append(f"(?P={slot})")
        else:
            seen.add(slot)
            words = SLOTS.get(slot) or sorted({_pronouns(n)[slot] for n in SLOTS["N"]})
            out.append(f"(?P<{slot}>{'|'.join(words)})")
    return re.compile("".join(out))


_COMPILED = {name: [[_pattern(t) for t in beat] for beat in [_START] + beats] for name, beats in PLOTS.items()}


def _follow(beats, text, bound):
    """All bindings under which `text` is exactly these beats. Yields dictionaries."""
    if not beats:
        if not text:
            yield bound
        return
    for pattern in beats[0]:
        found = pattern.match(text)
        if found is None:
            continue
        merged = dict(bound)
        if all(merged.setdefault(slot, word) == word for slot, word in found.groupdict().items()):
            yield from _follow(beats[1:], text[found.end():].removeprefix(" "), merged)


def _consistent(bound):
    expected = _pronouns(bound["N"])
    return (all(bound.get(p, word) == word for p, word in expected.items())
            and bound.get("F") != bound["N"] and bound.get("G") != bound["A"])


def parse(text):
    """(plot, bindings) of a story of this grammar, or None."""
    for plot, beats in _COMPILED.items():
        for bound in itertools.islice(_follow(beats, text, {}), 16):
            if _consistent(bound):
                return plot, bound
    return None


def faults(text, fixed=None):
    """What is wrong with a story, as a list of short reasons; an empty list passes. `fixed` is what was asked for."""
    found = []
    repeat = repeated_ngram(text)
    if repeat:
        found.append(f"repeats: {repeat}")
    parsed = parse(text.strip())
    if parsed is None:
        found.append("not a story of the grammar")
    else:
        bound = parsed[1]
        found += [f"asked for {word}, told {bound[slot]}" for slot, word in (fixed or {}).items()
                  if slot in bound and bound[slot] != word]
    return found
