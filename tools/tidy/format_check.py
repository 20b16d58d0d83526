"""clang-format, as a rule among the others."""

import re
import shutil
import subprocess

from rules import NotHere, rule

VERSION = "14"  # other versions format some lines differently


def program():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path:
            shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if re.search(rf"version {VERSION}\.", shown):
                return path
    return None


@rule("format")
def formatting(tree):
    """clang-format would change nothing."""
    if not tree.code():
        return
    tool = program()
    if tool is None:
        raise NotHere(f"clang-format {VERSION} is not here")
    paths = [source.path for source in tree.code()]
    checked = subprocess.run([tool, "--dry-run", *paths], cwd=tree.root, capture_output=True, text=True, check=False)
    seen = set()
    for match in re.finditer(r"^(\S+?):(\d+):\d+: warning:", checked.stderr, re.M):
        if match.group(1) not in seen:
            seen.add(match.group(1))
            yield match.group(1), int(
                match.group(2)
            ), f"not formatted from here on: {tool.rsplit('/', 1)[-1]} -i {match.group(1)}"
