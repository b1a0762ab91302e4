"""Facts about this process and the machine it runs on. Standard library only."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata


def peak_rss_mb() -> float:
    """Highest resident set of this process so far, in units of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # macOS counts bytes, Linux kibibytes


def core_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name with family and model, as far as the system tells them."""
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    return f"{name} {' '.join(wide)}".strip()


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages, and Python's."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
