"""Sizes: files, functions and lines, in C++, Python and shell."""

import re

from rules import rule

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
LINE_CHARACTERS_MAX = 120
MEASURED = (".h", ".cc", ".py", ".sh", ".cmake", ".ts")
# The keywords that open a scope which is not a function.
SCOPES = re.compile(r"\b(namespace|class|struct|union|enum|extern|concept|requires)\b")


@rule("sizes")
def sizes(tree):
    """A file has at most 800 lines, a line 120 characters, a function 70 lines."""
    for source in tree.files.values():
        if source.suffix not in MEASURED:
            continue
        lines = len(source.lines) - (source.lines[-1] == "")
        if lines > FILE_LINES_MAX:
            yield source.path, FILE_LINES_MAX, f"{lines} lines, {FILE_LINES_MAX} at most: split by concern"
        for number, line in enumerate(source.lines, 1):
            if len(line) > LINE_CHARACTERS_MAX:
                yield source.path, number, f"{len(line)} characters, {LINE_CHARACTERS_MAX} at most: break the line"
        found = cpp_functions(source.code) if source.is_code else python_functions(source)
        for first, last in found:
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield (
                    source.path,
                    first,
                    f"a function of {last - first + 1} lines, {FUNCTION_LINES_MAX} at most: name its parts",
                )


@rule("tests")
def tests(tree):
    """Every room has tests beside its code; what app wires together is shown by test/accept."""
    for room in tree.rooms.values():
        files = tree.room_files(room.name)
        product = [source for source in files if source.suffix == ".cc" and not source.is_test]
        if product and room.name != "app" and not any(source.name.endswith("_test.cc") for source in files):
            yield f"src/{room.name}", 1, "has no x_test.cc: test its objects here, not only from above"


def cpp_functions(code):
    """(first line, last line) of each function with a body, found by its braces; lambdas belong to what holds them."""
    code = re.sub(r"^[ \t]*#.*(?:\\\n.*)*$", lambda match: re.sub(r"[^\n]", " ", match.group()), code, flags=re.M)
    stack = []  # one entry an open brace: "scope", "inner", or the line where a function began
    head = 0  # where the text of the current declaration begins
    line = 1
    for at, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character == "{":
            declaring = all(entry == "scope" for entry in stack)
            kind = brace_kind(code[head:at]) if declaring else "inner"
            if kind == "function":
                text = re.sub(r"^(?:\s*(?:public|private|protected)\s*:(?!:))+", "", code[head:at])
                kind = line - text.lstrip().count("\n")
            stack.append(kind)
            if kind != "member":
                head = at + 1
        elif character == "}" and stack:
            kind = stack.pop()
            if isinstance(kind, int):
                yield kind, line
            if kind != "member":
                head = at + 1
        elif character == ";" and all(entry == "scope" for entry in stack):
            head = at + 1


def brace_kind(text):
    """What a brace opens, judged by the declaration in front of it: scope, function, or member (of an initialiser)."""
    flat = " ".join(text.split())
    flat = re.sub(r"^(?:(?:public|private|protected) ?: ?)+", "", flat)
    while re.match(r"template ?<", flat):
        flat = flat[len("template") :].lstrip()
        depth = 0
        for at, character in enumerate(flat):
            depth += {"<": 1, ">": -1}.get(character, 0)
            if depth == 0:
                flat = flat[at + 1 :].lstrip()
                break
        else:
            break
    if SCOPES.match(flat) and not re.match(r"(?:struct|class|enum|union) [\w:<>, ]+[&* ]+[\w:~]+ ?\(", flat):
        return "scope"
    if "(" not in flat or re.search(r"(?:^|[^=!<>])=$", flat) or flat.endswith(("= ", "return")):
        return "inner"
    if re.search(r"\) ?(?:noexcept ?)?:(?!:)", flat) and re.search(r"[\w>] ?$", flat):
        return "member"
    return "function"


def python_functions(source):
    """(first line, last line) of each function of a Python file, by indentation; nothing for other languages."""
    if source.suffix != ".py":
        return
    open_functions = []  # (indent, first line, last line with text)
    for number, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        while open_functions and indent <= open_functions[-1][0] and not line.lstrip().startswith((")", "]", "}")):
            yield open_functions[-1][1], open_functions[-1][2]
            open_functions.pop()
        open_functions = [(depth, first, number) for depth, first, _ in open_functions]
        if re.match(r"\s*(?:async )?def ", line):
            open_functions.append((indent, number, number))
    for _, first, last in open_functions:
        yield first, last
