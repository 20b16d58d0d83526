"""Who may include whom: rooms, files, and files that nobody includes."""

from rules import rule


@rule("layers")
def layers(tree):
    """#include edges follow src/LAYERS; every room of the table has code, and every folder of src is in the table."""
    rooms = tree.rooms
    for room in rooms.values():
        for other in room.allowed:
            if other not in rooms:
                yield "src/LAYERS", room.line, f"{room.name} may include '{other}', which is no room"
            elif rooms[other].floor > room.floor:
                yield "src/LAYERS", room.line, f"{room.name} (floor {room.floor}) may not look up to {other}"
        if not tree.room_files(room.name):
            yield "src/LAYERS", room.line, f"the room {room.name} is empty: remove the line until it has content"
    for source in tree.code():
        if source.room not in rooms:
            yield source.path, 1, "lies in no room of src/LAYERS: rooms are flat folders of src/"
            continue
        room = rooms[source.room]
        for include in source.includes:
            target = include.target.split("/", 1)[0]
            if include.system or target == room.name or target in room.allowed or target not in rooms:
                continue
            yield (
                source.path,
                include.line,
                f"{room.name} may not include {target}: src/LAYERS allows {' '.join(room.allowed) or 'nothing'}",
            )


@rule("include paths")
def include_paths(tree):
    """Our own headers are named "room/x.h" and exist; other people's are in < >."""
    known = {source.path[len("src/") :] for source in tree.code()}
    for source in tree.code():
        for include in source.includes:
            if not include.system and include.target not in known:
                yield (
                    source.path,
                    include.line,
                    f'"{include.target}" is no file of src/ (ours: "room/x.h"; others\' headers: < >)',
                )
            elif include.system and include.target in known:
                yield source.path, include.line, f'write our own header as "{include.target}"'


def include_graph(tree):
    known = {source.path[len("src/") :]: source for source in tree.code()}
    return {
        source.path: [known[include.target].path for include in source.includes if include.target in known]
        for source in tree.code()
    }


@rule("cycles")
def cycles(tree):
    """No file includes itself by way of others."""
    graph = include_graph(tree)
    state = {}

    def visit(path, trail):
        state[path] = "open"
        for target in graph[path]:
            if state.get(target) == "open":
                loop = trail[trail.index(target) :] if target in trail else [target]
                yield path, 1, "closes a cycle of includes: " + " -> ".join(loop + [target]) + " (forward-declare one)"
            elif target not in state:
                yield from visit(target, trail + [target])
        state[path] = "done"

    for path in sorted(graph):
        if path not in state:
            yield from visit(path, [path])


@rule("dead files")
def dead_files(tree):
    """Every header is included by something besides its own .cc and test; every .cc has a header or is a program."""
    used = {}
    for path, targets in include_graph(tree).items():
        for target in targets:
            used.setdefault(target, set()).add(path)
    headers = {source.path for source in tree.code() if source.suffix == ".h"}
    for source in tree.code():
        base = source.path[: -len(source.suffix)]
        if source.suffix == ".h":
            own = {f"{base}{end}" for end in (".cc", "_test.cc", "_fuzz.cc", "_bench.cc")}
            if not used.get(source.path, set()) - own:
                yield source.path, 1, "is included by nothing but its own .cc and tests: remove it or use it"
        elif not (source.is_test or source.stem == "main" or source.stem.endswith("_main")):
            declared = any(
                f"src/{include.target}" in headers and include.target.startswith(f"{source.room}/")
                for include in source.includes
            )
            if owner(source.path, headers) is None and not declared:
                yield source.path, 1, f"has no header {base}.h and includes none of its room, so nothing can call it"


def owner(path, headers):
    """The header that a .cc implements: x.h for x.cc, and for x_part.cc where the class is spread over files."""
    base = path[: -len(".cc")]
    folder, stem = base.rsplit("/", 1)
    words = stem.split("_")
    for length in range(len(words), 0, -1):
        header = f"{folder}/{'_'.join(words[:length])}.h"
        if header in headers:
            return header
    return None


@rule("self first")
def self_first(tree):
    """A .cc includes its own header first, so that every header compiles alone; headers have #pragma once."""
    headers = {source.path for source in tree.code() if source.suffix == ".h"}
    for source in tree.code():
        if source.suffix == ".h":
            if not any(line.strip() == "#pragma once" for line in source.code_lines):
                yield source.path, 1, "has no #pragma once"
            continue
        header = owner(source.path, headers)
        if source.is_test or header is None or source.stem == "main" or source.stem.endswith("_main"):
            continue
        if not source.includes or source.includes[0].target != header[len("src/") :]:
            line = source.includes[0].line if source.includes else 1
            yield source.path, line, f'include "{header[len("src/"):]}" first'
