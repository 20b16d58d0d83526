"""H3: the one command gives figures with what they were measured under (machine, commit, seed, model hash), the peer of
the same run and the ratio, the unfavourable cases as well; and its exit status says whether a bar was missed.

It is the smallest run: that the figures are good is for ./run bench to say, on a machine with nothing else to do."""
# build: accept

import hashlib
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.network import default_model, engine_environment
from harness.run import ROOT, build_folder

GROUPS = ("crypto", "wire", "binary", "questions")
BENCHES = ("crypto_bench", "prompt_bench")
FIELDS = {"name", "value", "unit", "bar", "ok", "peer", "ratio", "conditions"}
UNFAVOURABLE = ("shaped, warm: first token, added", "shaped, warm: each token, added",
                "fast, cold link: first token, added", "sealing: one record, seal and open",
                "sealing: set-up of one stream, client")
BARRED = ("S-IDA split + combine, 6 KB, (4,3)", "S-IDA wire bytes, 6 KB, (4,3)", "S-IDA wire bytes, 6 KB, (4,2)",
          "peel one cell", "circuit set-up, one hop, client", "fast, warm: first token, added, p50",
          "fast, warm: first token, added, p99", "fast, warm: each token, added")


def measure(build, table):
    done = subprocess.run([sys.executable, ROOT / "bench" / "run.py", "--build", build, "--smallest", "--json", table,
                           "--only", *GROUPS], capture_output=True, text=True, check=False)
    check(done.returncode in (0, 1), f"the bench ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.returncode, done.stdout, json.loads(table.read_text())


def conditions(figures, said):
    model = default_model()
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    for figure in figures:
        check(set(figure) == FIELDS, f"its fields are {sorted(figure)}")
        told = figure["conditions"]
        check(told["seed"] == 1 and told["build"] and told["machine"].count(",") >= 2, f"{figure['name']}: {told}")
        check(told["model"] == f"{model.name} {digest}", f"{figure['name']}: the model is {told['model']}")
        if commit:
            check(told["commit"].startswith(commit[:10]), f"{figure['name']}: the commit is {told['commit']}")
        check(told["load"] >= 0, f"{figure['name']}: no load")
    for key in ("machine", "commit", "seed", "model"):
        check(f"{key}: {figures[0]['conditions'][key]}" in said, f"the table does not begin with its {key}")


def test(folder):
    build = build_folder()
    for name in BENCHES:
        if not (build / name).exists():
            raise Skip(f"{build / name} is not built (SHOAL_BENCH=ON)")
    engine_environment()
    status, said, figures = measure(build, folder / "table.json")
    by_name = {figure["name"]: figure for figure in figures}
    conditions(figures, said)
    for name in (*UNFAVOURABLE, *BARRED):
        check(name in by_name and by_name[name]["value"] is not None, f"'{name}' was not measured: {by_name.get(name)}")
        check(name in said, f"'{name}' was not printed")
    for name in BARRED:
        figure = by_name[name]
        check(figure["bar"] and figure["ok"] in (True, False) and figure["ratio"] is not None, f"no bar: {figure}")
    for name in ("S-IDA wire bytes, 6 KB, (4,3)", "S-IDA wire bytes, 6 KB, (4,2)"):
        check(by_name[name]["ok"] is True, f"cells of the bucket: {by_name[name]}")
    # Private against direct, turn by turn: the peer is measured beside it.
    for name in ("fast, warm: first token, added, p50", "shaped, warm: first token, added",
                 "fast, cold link: first token, added"):
        figure = by_name[name]
        check(figure["peer"] > 0 and figure["ratio"] > 0, f"no peer: {figure}")
        check(figure["peer"] == figure["conditions"]["direct p50"], f"the peer is not of this run: {figure}")
        check({"mean", "p50", "p99"} <= set(figure["conditions"]), f"no mean, p50 and p99: {figure}")
    missed = any(figure["ok"] is False for figure in figures)
    check(status == (1 if missed else 0), f"exit status {status}, and a bar was {'missed' if missed else 'not missed'}")


main(test)
