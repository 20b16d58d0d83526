"""Text: room READMEs, markdown, left-over notes, machine paths, outside addresses."""

import posixpath
import re

from rules import rule
from source import parse_layers

README_LINES_MAX = 30
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
PATH_IN_TICKS = re.compile(r"`((?:src|tools|protocol|docs|test|cmake|bench|models)/[A-Za-z0-9_./-]+)`")

PLACEHOLDER = re.compile(r"/(?:x[._]|ROW_|ROOM_)[^/]*$")  # names that stand for any other


def without_code_blocks(source):
    """(line number, line) outside ``` fences."""
    fenced = False
    for number, line in enumerate(source.lines, 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


@rule("room readme")
def room_readme(tree):
    """Each room has a README.md: what it owns, may include, never does, and where to start; at most 30 lines."""
    for room in tree.rooms.values():
        if not tree.room_files(room.name):
            continue
        path = f"src/{room.name}/README.md"
        readme = tree.files.get(path)
        if readme is None:
            yield path, 1, "is missing (headings: # room, ## Owns, ## May include, ## Never, ## Start reading at)"
            continue
        headings = [line.strip() for _, line in without_code_blocks(readme) if line.startswith("#")]
        wanted = [f"# {room.name}", "## Owns", "## May include", "## Never", "## Start reading at"]
        if headings != wanted:
            yield path, 1, f"its headings must be: {', '.join(wanted)}"
        lines = len(readme.lines) - (readme.lines[-1] == "")
        if lines > README_LINES_MAX:
            yield path, README_LINES_MAX, f"{lines} lines, {README_LINES_MAX} at most"


@rule("markdown")
def markdown(tree):
    """One title a page, first; its relative links, and the paths that it names in backticks, exist."""
    for source in tree.files.values():
        if source.suffix != ".md":
            continue
        titles = [number for number, line in without_code_blocks(source) if re.match(r"# \S", line)]
        if len(titles) != 1 or titles[0] != 1:
            yield source.path, (titles + [1])[
                -1
            ], f"has {len(titles)} titles: exactly one `# Title`, on the first line"
        for number, line in without_code_blocks(source):
            for found in LINK.findall(line):
                target = (found[0] or found[1]).split("#", 1)[0]
                if not target or re.match(r"[a-z][a-z0-9+.-]*:", target):
                    continue
                if posixpath.normpath(posixpath.join(posixpath.dirname(source.path), target)) not in tree.paths:
                    yield source.path, number, f"links to {target}, which is not there"
            for target in PATH_IN_TICKS.findall(line):
                if target.rstrip("/") not in tree.paths and not PLACEHOLDER.search(target):
                    yield source.path, number, f"names `{target}`, which is not there"


# Put together here so that this file does not trip over itself.
NOTES = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


@rule("notes to self")
def notes_to_self(tree):
    """What is not done is an issue, not a comment."""
    for source in tree.files.values():
        if source.suffix in (".json", ".svg"):
            continue
        for number, line in enumerate(source.lines, 1):
            if NOTES.search(line):
                yield source.path, number, f"{NOTES.search(line).group()}: do it, or open an issue and remove the note"


# A home or a mount of somebody's machine; what is installed (/usr, /etc, /proc, /tmp itself) is everybody's.
MACHINE_PATH = re.compile(
    r"""(?<![\w.$}~/-])/(?:home|Users|root|work|workspace|mnt|media|srv|builds)/[\w.-]+|/tmp/[a-z]+/"""
)
OUTSIDE = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^\s/@\"'<>]*@)?([A-Za-z0-9.-]+\.[A-Za-z]{2,})\b")


@rule("machine paths")
def machine_paths(tree):
    """No folder of the machine that something was written on."""
    for source in tree.files.values():
        if source.path.startswith("tools/tidy/"):
            continue
        for number, line in enumerate(source.lines, 1):
            found = MACHINE_PATH.search(line)
            if found:
                yield source.path, number, f"{found.group()} is a path of one machine: derive it or make it an option"


@rule("outside names")
def outside_names(tree):
    """Every host that a tracked file names is in tools/tidy/names.txt, with its reason."""
    listed = tree.files.get("tools/tidy/names.txt")
    allowed = {line.split("#")[0].strip() for line in listed.lines} if listed else set()
    for source in tree.files.values():
        if source.path in ("tools/tidy/names.txt", "tools/tidy/test_tidy.py", "LICENSE"):
            continue
        for number, line in enumerate(source.lines, 1):
            for host in OUTSIDE.findall(line):
                if host.lower() not in allowed and not host.endswith((".example", ".invalid", ".test", ".localhost")):
                    yield source.path, number, f"names the host {host}: drop it, or say why in tools/tidy/names.txt"


ROOM_ROW = re.compile(r"^\|\s*(\d+)\s*\|\s*`?([a-z_]+)`?\s*\|[^|]*\|\s*([^|]*?)\s*\|$")


@rule("room table")
def room_table(tree):
    """The table of rooms in ARCHITECTURE.md says what src/LAYERS says."""
    page = tree.files.get("ARCHITECTURE.md")
    if page is None or "src/LAYERS" not in tree.files:
        yield "ARCHITECTURE.md", 1, "the page or src/LAYERS is missing"
        return
    rooms = parse_layers(tree.files["src/LAYERS"].text)
    shown = {}
    for number, line in enumerate(page.lines, 1):
        match = ROOM_ROW.match(line)
        if not match:
            continue
        shown[match.group(2)] = number
        room = rooms.get(match.group(2))
        allowed = tuple(re.findall(r"[a-z_]+", match.group(3)))
        if room is None:
            yield page.path, number, f"{match.group(2)} is no room of src/LAYERS"
        elif (room.floor, set(room.allowed)) != (int(match.group(1)), set(allowed)):
            yield page.path, number, f"differs from src/LAYERS: {room.floor} {room.name} : {' '.join(room.allowed)}"
    for name in rooms:
        if name not in shown:
            yield page.path, 1, f"its table lacks the room {name}"
