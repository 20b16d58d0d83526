"""The layers once more, by what the libraries really link to: a declaration copied by hand escapes the includes."""

import shutil
import subprocess

from rules import NotHere, rule

# Kinds of nm: a strong definition; and a reference that something must satisfy. Weak ones are inline functions and
# templates, which every user carries itself.
STRONG = set("TDBRSGA")
LAYERED_PREFIX = "libshoal_"
# Its library carries the rooms below it compiled in, for another C library: it is nobody's home.
SELF_CONTAINED = "engine_worker"


def read_symbols(library):
    """(defined, undefined) names of a static library."""
    listing = subprocess.run(
        ["nm", "--format=posix", "--no-demangle", str(library)], capture_output=True, text=True, check=False
    )
    defined, undefined = set(), set()
    for line in listing.stdout.splitlines():
        words = line.split()
        if len(words) >= 2 and len(words[1]) == 1:
            if words[1] == "U":
                undefined.add(words[0])
            elif words[1] in STRONG:
                defined.add(words[0])
    return defined, undefined - defined


def forbidden_links(rooms, symbols):
    """(room, other room, symbol) for each symbol that a room takes from one that it may not include."""
    home = {}
    for name, (defined, _) in symbols.items():
        if name == SELF_CONTAINED:
            continue
        for symbol in defined:
            home[symbol] = name
    for name, (_, undefined) in sorted(symbols.items()):
        for symbol in sorted(undefined):
            other = home.get(symbol, name)
            if other != name and other not in rooms[name].allowed:
                yield name, other, symbol


@rule("linked symbols")
def linked_symbols(tree):
    """No library takes a symbol from a room that its own may not include."""
    if tree.build is None or not shutil.which("nm"):
        raise NotHere("needs a build: tools/tidy/tidy.py --build build/release")
    symbols = {}
    for library in sorted(tree.build.rglob(LAYERED_PREFIX + "*.a")):
        room = library.stem[len(LAYERED_PREFIX) :]
        if room in tree.rooms:
            symbols[room] = read_symbols(library)
    if not symbols:
        raise NotHere(f"{tree.build} holds no library of a room")
    reported = set()
    for room, other, symbol in forbidden_links(tree.rooms, symbols):
        if (room, other) not in reported:
            reported.add((room, other))
            yield f"src/{room}", 1, f"links to {symbol} of {other}, which src/LAYERS does not allow"
