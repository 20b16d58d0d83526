"""./run package: one relocatable archive of the programs, what they link to, and the model.

shoal-VERSION-ARCH/
    shoal, shoal-engine     stripped; shoal finds the rest beside itself
    lib/                    the libraries of shoal that are not the C library's
    engine-libs/            the libraries of shoal-engine, with their loader where they need one of their own
    models/                 the bundled models
    LICENSE, README.md
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from build import build
from steps import BUILD, ROOT, StepFailed, Progress, say

# The C library belongs to the machine that the archive is unpacked on.
OF_THE_SYSTEM = re.compile(r"^(?:ld-linux.*|linux-vdso|libc|libm|libpthread|libdl|librt|libresolv|libutil)\.so")
SHOAL_BYTES_MAX = 50 * 1000 * 1000


def version():
    return re.search(r"project\(shoal VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)


def fail(message):
    say(f"package: {message}")
    raise StepFailed("package")


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(str(word) for word in command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def linked_libraries(path):
    """The files of the shared libraries that a program needs, without the C library's."""
    found = []
    for line in run("ldd", path).splitlines():
        match = re.match(r"\s*(\S+) => (\S+) \(", line)
        if match and not OF_THE_SYSTEM.match(match.group(1)):
            found.append(match.group(2))
        elif "not found" in line:
            fail(f"{path.name} needs {line.strip()}")
    return found


def copy_program(source, folder, rpath=None):
    target = folder / source.name
    shutil.copy2(source, target)
    run("strip", target)
    if rpath:
        # RPATH, not RUNPATH: it holds for the libraries of the libraries too.
        run("patchelf", "--force-rpath", "--set-rpath", rpath, target)
    return target


def copy_libraries(paths, folder):
    folder.mkdir(exist_ok=True)
    for path in paths:
        shutil.copy2(path, folder / os.path.basename(path))


def copy_private_libraries(engine, private, target):
    """What the private loader itself says that the engine and each of its backends need, and that loader."""
    loader = next(private.glob("ld-linux*.so.*"))
    backends = sorted((private / "ggml" / "backends0").glob("*.so"))
    needed = {loader.name: loader}
    for path in (engine, *backends):
        for name, where in re.findall(r"(\S+) => (\S+) \(", run(loader, "--library-path", private, "--list", path)):
            needed.setdefault(os.path.basename(name), where)
    target.mkdir()
    for name, where in sorted(needed.items()):
        shutil.copy2(where, target / name)  # links are followed; the name is the one that is asked for
    (target / "ggml" / "backends0").mkdir(parents=True)
    for path in backends:
        shutil.copy2(path, target / "ggml" / "backends0" / path.name)


def copy_engine_libraries(build_folder, folder):
    """The engine's own loader and libraries where it has some (a private prefix), else the system's that it links."""
    private = build_folder / "engine-libs"
    target = folder / "engine-libs"
    if private.is_dir():
        return copy_private_libraries(build_folder / "shoal-engine", private.resolve(), target)
    copy_libraries(linked_libraries(build_folder / "shoal-engine"), target)
    run("patchelf", "--force-rpath", "--set-rpath", "$ORIGIN/engine-libs", folder / "shoal-engine")


def collect(build_folder, folder, models):
    for name in ("shoal", "shoal-engine"):
        if not os.access(build_folder / name, os.X_OK):
            fail(f"the build left no {build_folder / name}")
    shoal = copy_program(build_folder / "shoal", folder, "$ORIGIN/lib")
    copy_libraries(linked_libraries(build_folder / "shoal"), folder / "lib")
    copy_program(build_folder / "shoal-engine", folder)
    copy_engine_libraries(build_folder, folder)
    if not models:
        fail("models/ holds no model; make it with tools/mini")
    copy_libraries(models, folder / "models")
    for name in ("LICENSE", "README.md"):
        shutil.copy2(ROOT / name, folder / name)
    if shoal.stat().st_size > SHOAL_BYTES_MAX:
        fail(f"shoal has {shoal.stat().st_size} bytes, {SHOAL_BYTES_MAX} at most")
    return shoal


def check_moved(folder):
    """Runs the program from another place, without an environment."""
    moved = folder.with_name("moved")
    shutil.rmtree(moved, ignore_errors=True)
    folder.rename(moved)
    try:
        done = subprocess.run([moved / "shoal", "--version"], capture_output=True, text=True, env={}, check=False)
        if done.returncode != 0:
            fail(f"the packed program does not start: {done.stderr.strip()}")
    finally:
        moved.rename(folder)


def reproducible(entry):
    """Owner and time say nothing about the build."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    return entry


def main(arguments):
    parser = argparse.ArgumentParser(prog="./run package")
    parser.add_argument("--build", type=Path, metavar="DIR", help="a build that is there already, instead of a new one")
    parser.add_argument("--out", type=Path, metavar="DIR", default=BUILD, help="where the archive goes; default: build")
    options = parser.parse_args(arguments)
    if not options.build:
        build("release", ["programs"])
    build_folder = (options.build or BUILD / "release").resolve()
    name = f"shoal-{version()}-{platform.machine()}"
    out = options.out.resolve()
    folder = out / "package" / name
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    progress = Progress("package")
    shoal = collect(build_folder, folder, sorted((ROOT / "models").glob("*.gguf")))
    check_moved(folder)
    archive = out / f"{name}.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, name, filter=reproducible)
    progress.end(f"shoal {shoal.stat().st_size / 1e6:.1f} MB, archive {archive.stat().st_size / 1e6:.1f} MB")
    say(str(archive.relative_to(ROOT) if archive.is_relative_to(ROOT) else archive))
    return 0
