"""The tree that the rules look at: its files, and C++ files with comments and strings taken apart."""

import re
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

CODE_SUFFIXES = (".h", ".cc")
TEXT_SUFFIXES = (".h", ".cc", ".py", ".sh", ".cmake", ".md", ".txt", ".json", ".toml", ".yml", ".html", ".ts", ".svg")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|(?:u8|[uUL])?R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)"|"""
    r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)+'|\w+'(?=\w)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Include:
    line: int
    target: str
    system: bool  # written with < >


class Source:
    """One file. `code` is its text with comments and the insides of strings blanked, line for line the same."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")

    @property
    def name(self):
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self):
        return self.name.rsplit(".", 1)[0]

    @property
    def suffix(self):
        return "." + self.name.rsplit(".", 1)[1] if "." in self.name else ""

    @property
    def room(self):
        """The folder under src/ that the file lies in directly, or None."""
        parts = self.path.split("/")
        return parts[1] if len(parts) == 3 and parts[0] == "src" else None

    @property
    def is_code(self):
        return self.suffix in CODE_SUFFIXES

    @property
    def is_test(self):
        """Beside the code but never in the product."""
        return self.stem.endswith(("_test", "_fuzz", "_bench")) or self.stem.startswith("test_")

    @cached_property
    def _parts(self):
        comments = {}
        pieces = []
        at = 0
        for match in TOKEN.finditer(self.text):
            token = match.group()
            if token[0] not in "/\"'" and not re.match(r'(?:u8|[uUL])?R"', token):
                continue  # a digit separator
            pieces.append(self.text[at : match.start()])
            if token.startswith("/"):
                first = self.text.count("\n", 0, match.start()) + 1
                for offset, line in enumerate(token.split("\n")):
                    comments[first + offset] = comments.get(first + offset, "") + line
                pieces.append(re.sub(r"[^\n]", " ", token))
            else:
                pieces.append(token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1])
            at = match.end()
        pieces.append(self.text[at:])
        return "".join(pieces), comments

    @property
    def code(self):
        return self._parts[0]

    @cached_property
    def code_lines(self):
        return self.code.split("\n")

    @property
    def comments(self):
        """Line number -> the comment on it."""
        return self._parts[1]

    def comment_near(self, line):
        """The comment on a line, and the block of pure comment lines right above it."""
        found = [self.comments.get(line, "")]
        above = line - 1
        while above in self.comments and not self.code_lines[above - 1].strip():
            found.append(self.comments[above])
            above -= 1
        return " ".join(reversed(found))

    @cached_property
    def includes(self):
        found = []
        for number, line in enumerate(self.lines, 1):
            match = INCLUDE.match(line)
            if match and INCLUDE.match(self.code_lines[number - 1] + line[len(self.code_lines[number - 1]) :]):
                found.append(Include(number, match.group(2), match.group(1) == "<"))
        return found


@dataclass
class Room:
    name: str
    floor: int
    allowed: tuple
    line: int


class LayersError(Exception):
    """src/LAYERS cannot be read."""


def parse_layers(text):
    rooms = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(\d+)\s+([a-z_]+)\s*:\s*([a-z_ ]*)", line)
        if not match:
            raise LayersError(f"src/LAYERS:{number}: cannot read '{line}' (floor room : rooms)")
        name = match.group(2)
        rooms[name] = Room(name, int(match.group(1)), tuple(match.group(3).split()), number)
    return rooms


@dataclass
class Tree:
    """All tracked text files. Rules take a Tree, so that a test can hand them a few lines of text instead."""

    root: Path
    files: dict = field(default_factory=dict)  # path -> Source
    paths: frozenset = frozenset()  # every tracked file and every folder, text or not
    build: Path | None = None  # a build folder, for the rules that look at libraries

    @cached_property
    def rooms(self):
        layers = self.files.get("src/LAYERS")
        return parse_layers(layers.text) if layers else {}

    def code(self):
        return [source for source in self.files.values() if source.is_code and source.path.startswith("src/")]

    def room_files(self, room):
        return [source for source in self.code() if source.room == room]

    def pure(self, source):
        """Rooms whose objects must be the same in the simulator as in the product."""
        room = self.rooms.get(source.room)
        return room is not None and (2 <= room.floor <= 4 or room.name in ("base", "wire", "engine"))


def make_tree(files, root=Path("."), build=None):
    """A tree from {path: text}: for the tests of the rules."""
    paths = set(files)
    for path in files:
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            paths.add(path)
    return Tree(root, {path: Source(path, text) for path, text in files.items()}, frozenset(paths), build)


def tracked_files(root):
    """Tracked files and those that git would add; without git, everything outside build/."""
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        return sorted({name for name in listing.stdout.decode().split("\0") if name})
    skipped = {"build", ".git", "__pycache__"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(root).parts)
    )


def read_tree(root, build=None):
    files = {}
    names = tracked_files(root)
    for name in names:
        path = root / name
        if (
            path.is_symlink() or not path.is_file() or name.startswith("test/corpus/")
        ):  # inputs for fuzzing are no text
            continue
        if not (name.endswith(TEXT_SUFFIXES) or "." not in path.name or path.name.startswith(".")):
            continue
        try:
            files[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    tree = make_tree(files, root, build)
    tree.paths = frozenset(tree.paths | set(make_tree(dict.fromkeys(names, "")).paths))
    return tree
