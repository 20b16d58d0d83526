"""What grows, what is shared, what hides behind a macro: each needs its reason beside it."""

import re

from rules import rule

GROWING = re.compile(
    r"\bstd::(vector|deque|list|forward_list|map|multimap|set|multiset|unordered_map|unordered_set|"
    r"unordered_multimap|queue|stack|priority_queue)\s*<"
)
MEMBER = re.compile(r"^\s*(?:mutable\s+)?(std::[\w:]+\s*<.*>|Bytes)\s+\w+_\s*(?:;|\{[^()]*\};|=[^()]*;)")


@rule("bounded")
def bounded(tree):
    """A container that an object keeps, on floors 2 to 4, says why it cannot grow without end."""
    for source in tree.code():
        room = tree.rooms.get(source.room)
        if room is None or not 2 <= room.floor <= 4 or source.is_test:
            continue
        for number, line in enumerate(source.code_lines, 1):
            member = MEMBER.match(line)
            if not member or not (GROWING.match(member.group(1).strip()) or member.group(1) == "Bytes"):
                continue
            if not said_above(source, number, "bounded:"):
                yield (
                    source.path,
                    number,
                    f"'{line.strip()}' can grow: use base/bounded.h, or say `// bounded: why` on the line or above it",
                )


def said_above(source, number, word):
    """Whether a comment on the line, or above it in the same block of lines, says `word`."""
    while number > 0 and source.lines[number - 1].strip():
        if word in source.comments.get(number, ""):
            return True
        number -= 1
    return False


SHARED = re.compile(r"\bstd::(?:shared_ptr|make_shared|weak_ptr|enable_shared_from_this)\s*<\s*(?!const\b)([\w:]+)")
OWNERS = re.compile(r"own|shared (?:by|with)|h[eo]ld|alive|lives? (?:as|until|while)", re.I)


@rule("shared ownership")
def shared_ownership(tree):
    """A type that several own says once who they are. What is const is a value, and may be shared."""
    first, explained = {}, set()
    for source in tree.code():
        if source.is_test:
            continue
        for number, line in enumerate(source.code_lines, 1):
            for name in SHARED.findall(line):
                # Every class has an Impl: that one is its file's own. Others are known by their name in the room.
                key = (source.room, source.stem if name.endswith("Impl") else "", name.split("::")[-1])
                first.setdefault(key, (source.path, number))
                if OWNERS.search(source.comment_near(number)):
                    explained.add(key)
    for key, (path, number) in first.items():
        if key not in explained:
            yield path, number, f"{key[2]} is shared: one owner is the rule; if there must be more, name them here"


# The words of base, and the switches of the build.
MACROS = re.compile(r"^(?:ASSERT|ASSUME|TRY|SHOAL_\w+)$")


@rule("macros")
def macros(tree):
    """Three macros are enough."""
    for source in tree.code():
        if source.is_test:
            continue
        for number, line in enumerate(source.code_lines, 1):
            match = re.match(r"\s*#\s*define\s+(\w+)", line)
            if match and not MACROS.match(match.group(1)) and "macro:" not in source.comment_near(number):
                yield (
                    source.path,
                    number,
                    f"{match.group(1)}: write a function or a constant (or say `// macro: why`)",
                )
