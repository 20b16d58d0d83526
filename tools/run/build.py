"""Configuring and building one preset of CMakePresets.json."""

import os
import shutil

from steps import BUILD, jobs, step

PRESETS = ("release", "debug", "asan", "tsan", "fuzz", "accept")


def configure_command(preset):
    command = ["cmake", "--preset", preset]
    if preset == "fuzz":
        # Debian 12 has version 14; later releases have what `clang` stands for.
        command.append(
            "-DCMAKE_CXX_COMPILER=" + (shutil.which("clang++-14") or shutil.which("clang++") or "clang++-14")
        )
    if os.environ.get("SHOAL_LLAMA_PREFIX"):
        command.append("-DSHOAL_LLAMA_PREFIX=" + os.environ["SHOAL_LLAMA_PREFIX"])
    return command


def build(preset, targets=(), keep_going=False):
    """Configures and builds; raises StepFailed. Without targets: everything of the preset.

    keep_going: what does not depend on the failure is still built.
    """
    compile_command = ["cmake", "--build", f"build/{preset}", "-j", jobs()]
    if targets:
        compile_command += ["--target", *targets]
    if keep_going:
        compile_command += ["--", "-k", "0"]
    step(f"build {preset}", configure_command(preset), compile_command)


def program(preset, name):
    """The path of a built program, or None."""
    path = BUILD / preset / name
    return path if os.access(path, os.X_OK) else None
