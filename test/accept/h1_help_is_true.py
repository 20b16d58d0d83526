"""H1: what `--help` says and what docs/configuration.md says are the same options, variables and defaults, and the
program knows its version.

The program is the truth: its help is read, and each row of the page is held against it, both ways."""
# build: accept

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.run import ROOT, build_folder

COMMANDS = ("up", "demo", "ask", "status", "keys", "genesis", "plan", "bench", "model split")
TEST_BUILDS_ONLY = {"--tap"}


def run(*words):
    program = build_folder() / "shoal"
    if not program.exists():
        raise Skip(f"{program} is not built")
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}  # no SHOAL_… of whoever runs the test
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, env=clean)


def options_of_help(*command):
    """{option: (environment name or "", default or None)} of one --help page."""
    shown = run(*command, "--help")
    check(shown.returncode == 0 and not shown.stderr, f"{command} --help: {shown}")
    found = {}
    for entry in re.split(r"\n  (?=-)", shown.stdout)[1:]:
        names, rest = re.match(r"(\S+)(.*)", entry.split("\n\n")[0], re.S).groups()
        option = next(name for name in names.split(",") if name.startswith("--"))
        if option in ("--help", "--version"):
            continue
        text = " ".join(rest.split())
        variable = re.search(r"\(Env:(\w+)\)", text)
        # CLI11 prints TYPE:{choices}=default; our own words say "default 8642" where a default is no plain value.
        head = re.split(r"\(Env:|\s{2,}", rest.strip("\n").split("\n")[0])[0]
        given = re.search(r"^\s*[A-Z]+(?::.*?)?=(.+)$", head.rstrip())
        said = re.search(r"default (\d+)$", text)
        default = given.group(1) if given else said.group(1) if said else None
        found[option] = (variable.group(1) if variable else "", default)
    return found


def rows_of_page():
    """{command: {option: (environment name or "", default)}} of docs/configuration.md."""
    found = {}
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines():
        heading = re.match(r"## `shoal ([a-z]+(?: [a-z]+)?)", line)
        if heading:
            table = found.setdefault(heading.group(1), {})
        elif line.startswith("## "):
            table = {}
        row = re.match(r"\| `(--[\w-]+)` \|([^|]*)\|([^|]*)\|", line)
        if row:
            option, variable, default = (cell.strip() for cell in row.groups())
            check(option not in table, f"configuration.md has {option} twice in one table")
            table[option] = (variable.strip("`"), default)
    return found


def documented_default(cell):
    """The value that stands in backticks; None where the page describes it in words."""
    whole = re.fullmatch(r"`([^`$]*)`", cell)
    return whole.group(1) if whole else None


def test_page(page):
    check(sorted(page) == sorted(COMMANDS), f"configuration.md has the commands {sorted(page)}")
    for command in COMMANDS:
        real = {name: what for name, what in options_of_help(*command.split()).items() if name not in TEST_BUILDS_ONLY}
        check(real, f"no option was found in the help of {command}")
        check(set(real) == set(page[command]),
              f"shoal {command}: only in one of help and page: {sorted(set(real) ^ set(page[command]))}")
        for option, (variable, default) in real.items():
            written_variable, written = page[command][option]
            check(variable == written_variable,
                  f"shoal {command} {option}: help says variable '{variable}', the page '{written_variable}'")
            if default is not None:
                check(documented_default(written) == default,
                      f"shoal {command} {option}: the default is {default}, the page says {written}")


def test_commands_of_help():
    shown = run("--help").stdout
    listed = re.findall(r"^  (\w+)\s{2,}", shown.split("Subcommands:")[1], re.M)
    check(sorted(listed) == sorted({command.split()[0] for command in COMMANDS}), f"shoal --help lists {listed}")


def test_defaults_are_taken(folder):
    """The defaults that only a running program shows: where the state is, which network file, which API port."""
    shown = run("up")
    home = "/nonexistent/.local/state/shoal"
    check(shown.returncode == 2 and f"{home}/network.toml" in shown.stderr, f"the default state directory: {shown}")
    state = folder / "xdg"
    program = build_folder() / "shoal"
    shown = subprocess.run([program, "keys"], capture_output=True, text=True, check=False,
                           env={"XDG_STATE_HOME": str(state)})
    check(shown.returncode == 0 and (state / "shoal" / "identity.key").exists(), f"XDG_STATE_HOME: {shown}")


def test_precedence(folder):
    """Flags win over the environment, that over the file, that over the defaults; shown by which network is missed."""
    config = folder / "config.toml"
    config.write_text('[up]\nnetwork = "/from-file"\nstate = "/from-file-state"\n')
    program = build_folder() / "shoal"

    def missed(env, *words):
        shown = subprocess.run([program, "up", *words], capture_output=True, text=True, check=False, env=env)
        return re.search(r"no network file at (\S+):", shown.stderr).group(1)

    file = {"SHOAL_CONFIG": str(config)}
    check(missed(file) == "/from-file", "the file does not win over the default")
    check(missed({}, "--config", str(config)) == "/from-file", "--config is not read")
    check(missed({**file, "SHOAL_NETWORK": "/from-env"}) == "/from-env", "the environment does not win over the file")
    check(missed({**file, "SHOAL_NETWORK": "/from-env"}, "--network", "/from-flag") == "/from-flag",
          "the flag does not win over the environment")


def test_version():
    written = re.search(r"project\(shoal VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    shown = run("--version")
    check(shown.returncode == 0 and shown.stdout == f"shoal {written}\n", f"--version: {shown}")


def test(folder):
    test_version()
    test_commands_of_help()
    page = rows_of_page()
    test_page(page)
    test_defaults_are_taken(folder)
    test_precedence(folder)


main(test)
