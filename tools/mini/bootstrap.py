"""Runs a tool of this folder inside a private virtual environment below build/mini, made on first use.

Nothing is installed outside of it. A second start finds it complete and fetches nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mini"
# The versions that made the models in models/; others work too, but give other weights in the last digits.
PACKAGES = ["numpy==2.4.6", "jax==0.10.2"]
PACKAGES_GPU = ["numpy==2.4.6", "jax[cuda12]==0.10.2"]

# A step takes and frees the same large buffers over and over. By default the C library hands each back to the system
# and gets it zeroed again, which costs a fifth of the time.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
                "MALLOC_TOP_PAD_": str(1 << 26)}


def _wanted():
    return PACKAGES_GPU if shutil.which("nvidia-smi") else PACKAGES


def enter():
    """Returns inside the environment; otherwise makes it if need be and starts this program again in it."""
    venv = BUILD / "venv"
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    stamp = venv / "installed"
    wanted = "\n".join(_wanted())
    if not stamp.exists() or stamp.read_text() != wanted:
        _install(venv, wanted.split("\n"))
        stamp.write_text(wanted)
    os.execve(venv / "bin" / "python", [str(venv / "bin" / "python"), *sys.argv], {**_KEEP_MEMORY, **os.environ})


def _install(venv, packages):
    print(f"Setting up {venv.relative_to(ROOT)} ({', '.join(packages)}): about a minute.", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Cannot set up {venv}: '{error.cmd[0]}' failed. It needs python3-venv (3.11 or later) and a "
                 "reachable package index; run the command again when both are there.")
