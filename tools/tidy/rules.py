"""The list of rules. A rule is a function from a Tree to its findings, registered under a name."""

from source import Finding

RULES = {}


class NotHere(Exception):
    """A rule needs a tool or a build that is not there; the message says which."""


def rule(name):
    """Registers `check(tree)`, which yields (path, line, message)."""

    def register(check):
        def findings(tree):
            return sorted(
                (Finding(path, line, name, message) for path, line, message in check(tree)),
                key=lambda finding: (finding.path, finding.line, finding.message),
            )

        RULES[name] = findings
        return findings

    return register


def load():
    """Imports every file of rules, so that RULES is complete."""
    # pylint: disable=unused-import,import-outside-toplevel
    import containers, edges, format_check, pages, prose, shapes, symbols, walls  # noqa: F401,E401

    return RULES
