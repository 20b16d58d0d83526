"""What grows, what is shared, what hides behind a macro: each needs its reason beside it."""

import re

from rules import rule

GROWING = re.compile(r"\bstd::(vector|deque|list|forward_list|map|multimap|set|multiset|unordered_map|unordered_set|"
                     r"unordered_multimap|queue|stack|priority_queue)\s*<")
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
            if "bounded:" not in source.comment_near(number):
                yield (source.path, number,
                       f"'{line.strip()}' can grow: use base/bounded.h, or say `// bounded: why` on the line or above it")


SHARED = re.compile(r"\bstd::(?:shared_ptr|make_shared|weak_ptr|enable_shared_from_this)\s*<\s*([\w:]+)")


@rule("shared ownership")
def shared_ownership(tree):
    """A type that several own names them once in each file where it is shared, at its first place or any other."""
    for source in tree.code():
        if source.is_test:
            continue
        first, explained = {}, set()
        for number, line in enumerate(source.code_lines, 1):
            for name in SHARED.findall(line):
                name = name.split("::")[-1]
                first.setdefault(name, number)
                if re.search(r"own|shared by|keeps? .*alive|lives? (?:as|until|while)", source.comment_near(number), re.I):
                    explained.add(name)
        for name, number in first.items():
            if name not in explained:
                yield (source.path, number,
                       f"{name} is shared: one owner is the rule; if there must be more, name them in a comment here")


# The words of base, and the switches of the build.
MACROS = re.compile(r"^(?:ASSERT|ASSUME|TRY|SHOAL_\w+)$")


@rule("macros")
def macros(tree):
    """Three macros are enough."""
    for source in tree.code():
        for number, line in enumerate(source.code_lines, 1):
            match = re.match(r"\s*#\s*define\s+(\w+)", line)
            if match and not MACROS.match(match.group(1)) and "macro:" not in source.comment_near(number):
                yield (source.path, number, f"{match.group(1)}: write a function or a constant (or say `// macro: why`)")
