"""Folders of pieces (protocol/shard.md), made by `shoal model split`."""

import subprocess

from harness.run import build_folder, check


def split(model, parts, out):
    """Only the pieces of these parts, as --layers has them; gives what share of the model's bytes they are."""
    command = [build_folder() / "shoal", "model"]
    words = ["--layers", parts]
    for rest in (["split", model, *words, "--out", out], ["verify", out, *words]):
        done = subprocess.run([*command, *rest], capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"{rest}: {done}")
    whole = subprocess.run([*command, "verify", out], capture_output=True, text=True, check=False)
    check(whole.returncode == 1, f"a part is taken for the whole: {whole}")
    return sum(path.stat().st_size for path in (out / "pieces").iterdir()) / model.stat().st_size


def altered(piece):
    """Turns one bit in the middle of the file; gives what it held before."""
    kept = piece.read_bytes()
    at = len(kept) // 2
    piece.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1:])
    return kept
