"""B1: no node needs the whole file. `shoal model split` writes a model in pieces named by their hashes, goes on where
it was stopped, leaves nothing half written, and `shoal model verify` finds every byte that is wrong.

The manifest is read here by the page protocol/shard.md, and the pieces by Python's own BLAKE2b."""
# build: accept

import hashlib
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.run import ROOT, build_folder

MODEL = ROOT / "models" / "shoal-mini.gguf"


def model(*words):
    return subprocess.run([build_folder() / "shoal", "model", *words], capture_output=True, text=True, check=False)


def digest(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def read_manifest(folder):
    """(model id, head, [(piece, offset, bytes)]) of the folder's only manifest."""
    [path] = folder.glob("*.manifest")
    data = path.read_bytes()
    check(data[:5] == b"SC1M\x01", "the manifest begins as its page says")
    head_bytes = struct.unpack_from("<I", data, 37)[0]
    at = 41 + head_bytes
    count = struct.unpack_from("<I", data, at)[0]
    check(len(data) == at + 4 + 48 * count, "the manifest ends where its page says")
    pieces = [struct.unpack_from("<32sQQ", data, at + 4 + 48 * i) for i in range(count)]
    return data[5:37].hex(), data[41:at], [(id.hex(), offset, size) for id, offset, size in pieces]


def test_pieces_make_the_file(folder):
    done = model("split", MODEL, "--out", folder)
    check(done.returncode == 0, f"split: {done}")
    whole = MODEL.read_bytes()
    id, head, pieces = read_manifest(folder)
    check(id in done.stdout, "the model's id is printed")
    again = bytearray(len(whole))
    again[: len(head)] = head
    for name, offset, size in pieces:
        data = (folder / "pieces" / name).read_bytes()
        check(len(data) == size and digest(data) == name, f"piece {name} is named by its hash")
        again[offset : offset + size] = data
    check(bytes(again) == whole, "head and pieces are the file")
    names = sorted(path.name for path in (folder / "pieces").iterdir())
    check(names == sorted({name for name, _, _ in pieces}), "nothing else is in the folder of pieces")


def test_wrong_bytes_are_found(folder):
    check(model("verify", folder).returncode == 0, "what was split is in order")
    _, _, pieces = read_manifest(folder)
    first, second = (folder / "pieces" / pieces[i][0] for i in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(bytes([kept[0] ^ 1]) + kept[1:])
    second.unlink()
    found = model("verify", folder)
    check(found.returncode == 1 and first.name in found.stdout and second.name in found.stdout, f"verify: {found}")
    first.unlink()
    check(model("split", MODEL, "--out", folder).returncode == 0, "split writes what is missing")
    check(model("verify", folder).returncode == 0, "and all is in order again")


def test_wrong_manifest_is_found(folder):
    [path] = folder.glob("*.manifest")
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    found = model("verify", folder)
    check(found.returncode == 1 and found.stderr.count("\n") == 1, f"a changed manifest: {found}")
    # One that is in order behind it is looked at all the same.
    other = folder / ("~" * 64 + ".manifest")
    other.write_bytes(kept)
    found = model("verify", folder)
    check(found.returncode == 1 and found.stderr.count("\n") == 2 and "rename it" in found.stderr,
          f"a manifest by another name: {found}")
    other.unlink()
    path.write_bytes(kept)


def test_unreadable_is_not_missing(folder):
    _, _, pieces = read_manifest(folder)
    piece = folder / "pieces" / pieces[0][0]
    kept = piece.read_bytes()
    piece.unlink()
    os.mkfifo(piece)
    found = model("verify", folder)
    check(found.returncode == 1 and "remove it" in found.stdout, f"a pipe in place of a piece: {found}")
    piece.unlink()
    piece.write_bytes(kept)


def test_stopped_and_gone_on(folder):
    """Killed as soon as the first pieces are there; whatever it had done by then, the next call finishes it."""
    for stop in (signal.SIGKILL, signal.SIGINT):
        out = folder / stop.name
        child = subprocess.Popen([build_folder() / "shoal", "model", "split", MODEL, "--out", out],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while child.poll() is None and not any((out / "pieces").glob("*")):
            time.sleep(0.001)
        child.send_signal(stop)
        child.communicate()
        if stop == signal.SIGINT:
            check(not (out / "pieces" / ".unfinished").exists(), "Ctrl-C leaves nothing half written")
        for path in (out / "pieces").iterdir():
            check(path.name == ".unfinished" or digest(path.read_bytes()) == path.name, f"{path} is half written")
        left = out / ("0" * 64 + ".manifest.a1B2c3")
        left.write_bytes(b"half")
        check(model("split", MODEL, "--out", out).returncode == 0, "the same command goes on")
        check(not left.exists(), "and removes what a dead writer left of a manifest")
        check(model("verify", out).returncode == 0, "and ends with all in order")
        check(not (out / "pieces" / ".unfinished").exists(), "what a dead writer left is gone")


def test_bad_input(folder):
    broken = folder / "broken.gguf"
    broken.write_bytes(MODEL.read_bytes()[:100_000])
    for words in (("split", broken, "--out", folder / "x"), ("split", folder / "none", "--out", folder / "x"),
                  ("split", ROOT / "README.md", "--out", folder / "x"), ("verify", folder)):
        done = model(*words)
        check(done.returncode == 1 and done.stderr.count("\n") == 1, f"{words}: one line: {done}")
    check(not (folder / "x").exists(), "a file that is no model makes no folder")


def test(folder):
    if not (build_folder() / "shoal").exists() or not (build_folder() / "shoal-engine").exists():
        raise Skip("shoal or shoal-engine is not built")
    pieces = folder / "pieces-of-mini"
    test_pieces_make_the_file(pieces)
    test_wrong_bytes_are_found(pieces)
    test_wrong_manifest_is_found(pieces)
    test_unreadable_is_not_missing(pieces)
    test_stopped_and_gone_on(folder)
    test_bad_input(folder)


main(test)
