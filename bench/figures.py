"""What a figure is, what it was measured under, and the table of them."""

import hashlib
import math
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NotMeasured(Exception):
    """A figure cannot be had on this machine; the message says why."""


@dataclass
class Figure:
    """One line of the table. `ok` is None where there is no bar, or nothing was measured (then `value` is None too)."""

    name: str
    value: float | None
    unit: str = ""
    bar: str = ""
    ok: bool | None = None
    peer: float | None = None
    ratio: float | None = None
    conditions: dict = field(default_factory=dict)

    def text(self):
        value = "-" if self.value is None else f"{self.value:.4g}" if abs(self.value) < 1000 else f"{self.value:,.0f}"
        ok = "" if self.ok is None else "ok" if self.ok else "MISSED"
        words = [f"{key} {shown(value)}" for key, value in self.conditions.items() if key not in COMMON]
        return f"{self.name:<46} {value:>9} {self.unit:<9} {self.bar:<20} {ok:<7} {', '.join(words)}"


COMMON = set()  # keys that every figure has; printed once, above the table


def shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def at_most(name, value, unit, bar, **conditions):
    return Figure(name, value, unit, f"<= {bar:g} {unit}", value <= bar, ratio=value / bar, conditions=conditions)


def at_least(name, value, unit, bar, **conditions):
    return Figure(name, value, unit, f">= {bar:g} {unit}", value >= bar, ratio=value / bar, conditions=conditions)


def exactly(name, value, unit, bar, **conditions):
    return Figure(name, value, unit, f"= {bar:g} {unit}", value == bar, ratio=value / bar, conditions=conditions)


def printed(name, value, unit, **conditions):
    """No bar: for comparison, or the unfavourable case."""
    return Figure(name, value, unit, conditions=conditions)


def not_measured(name, why):
    return Figure(name, None, conditions={"not measured here": why})


def percentile(values, share):
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values):
    return {"n": len(values), "mean": statistics.fmean(values), "p50": statistics.median(values),
            "p99": percentile(values, 0.99)}


def processor():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit():
    said = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True,
                          text=True, check=False)
    return said.stdout.strip() or "unknown"


def file_hash(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def common_conditions(build, seed):
    kind = next((line.split("=")[1] for line in (build / "CMakeCache.txt").read_text().splitlines()
                 if line.startswith("CMAKE_BUILD_TYPE:")), "unknown")
    return {"machine": f"{processor()}, {os.cpu_count()} processors, Linux {platform.release()}", "commit": commit(),
            "build": kind, "seed": seed, "load": round(os.getloadavg()[0], 2)}


def as_json(figure):
    return asdict(figure)
