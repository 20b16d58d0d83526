"""G9: the archive of ./run package works wherever it is unpacked: from a folder of another name, without environment,
and in an empty Debian 12 root that has nothing but its base system."""
# build: release
# long

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, check, main
from harness.network import free_port
from harness.run import ROOT, build_folder

DEMO_SECONDS_MAX = 600
ROOT_SECONDS_MAX = 1200
SUITE = "bookworm"


def packed(folder):
    if not any((ROOT / "models").glob("*.gguf")):
        raise Skip("models/ holds no model to pack: tools/mini makes it")
    done = subprocess.run([sys.executable, ROOT / "tools" / "run" / "main.py", "package", "--build", build_folder(),
                           "--out", folder], capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"./run package failed:\n{done.stdout}{done.stderr}")
    [archive] = folder.glob("shoal-*.tar.xz")
    return archive


def unpacked(archive, folder):
    """The program, in a folder whose name has nothing to do with the one that was packed, a blank in it too."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
    [top] = folder.iterdir()
    moved = top.rename(folder / "somewhere else")
    shutil.rmtree(archive.parent / "package", ignore_errors=True)  # nothing of the place of packing may be needed
    return moved / "shoal"


def runs(what, command):
    port = free_port(["127.0.0.1"])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
    version = subprocess.run([*command, "--version"], capture_output=True, encoding="utf-8", errors="replace",
                             env=environment, check=False)
    check(version.returncode == 0 and version.stdout.startswith("shoal "), f"{what}: --version: {version}")
    demo = subprocess.run([*command, "demo", "--once", "--port", str(port)], capture_output=True, encoding="utf-8",
                          errors="replace", env=environment, check=False, timeout=DEMO_SECONDS_MAX)
    check(demo.returncode == 0, f"{what}: demo --once ended with {demo.returncode}:\n{demo.stdout}{demo.stderr}")
    check("The network is ready" in demo.stdout and "What each process saw" in demo.stdout,
          f"{what}: the demo said: {demo.stdout}")


def empty_root(folder):
    if os.geteuid() != 0:
        raise Skip("the part in an empty Debian root needs root (debootstrap, chroot); the part in a folder passed")
    if not shutil.which("debootstrap"):
        raise Skip("debootstrap is not installed (apt-get install debootstrap); the part in a folder passed")
    root = folder / "root"
    made = subprocess.run(["debootstrap", "--variant=minbase", SUITE, root], capture_output=True, text=True,
                          check=False, timeout=ROOT_SECONDS_MAX)
    if made.returncode != 0:
        why = made.stdout.strip().splitlines()[-1:]
        raise Skip(f"debootstrap cannot make a root here: {why}; the part in a folder passed")
    return root


def in_an_empty_root(root, top):
    shutil.copytree(top, root / "opt" / "shoal")
    # In a mount namespace of its own: nothing of /dev is below this test's folder when that is removed.
    inside = 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" /opt/shoal/shoal "$@"'
    runs("an empty Debian root", ["unshare", "--mount", "sh", "-c", inside, root])


def test(folder):
    (folder / "packed").mkdir()
    archive = packed(folder / "packed")
    (folder / "unpacked").mkdir()
    program = unpacked(archive, folder / "unpacked")
    runs("another folder", [program])
    in_an_empty_root(empty_root(folder), program.parent)


main(test, seconds_max=2 * DEMO_SECONDS_MAX + ROOT_SECONDS_MAX)
