"""Which machine and which versions a number was measured with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from human_edge_detection.core.options import usable_cpus

PACKAGES = (
    "human-edge-detection", "onnxruntime", "onnxruntime-gpu", "tensorrt", "numpy",
    "opencv-python-headless", "pillow",
)  # fmt: skip


def machine_stamp() -> dict[str, str]:
    """What to print beside a measurement: the time, the hardware, the versions."""
    stamp = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{_cpu_name()}, {usable_cpus()} cores",
        "gpu": _gpu_name() or "none",
        "load": _load(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    return stamp | {name: found for name in PACKAGES if (found := _version(name))}


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _load() -> str:
    """How busy the machine is by itself; a high number explains odd times."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _gpu_name() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return "; ".join(answer.stdout.split("\n")).strip("; ") if answer.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
