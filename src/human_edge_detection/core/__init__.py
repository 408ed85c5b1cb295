"""Plain data that every stage hands on: boxes, pixels, files and specs, without decisions.

The names below load on first use, but for those that need no other package.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.core.errors import InputError
    from human_edge_detection.core.geometry import AxisTransform
    from human_edge_detection.core.images import read_image
    from human_edge_detection.core.spec import ModelSpec
    from human_edge_detection.core.structures import Detections, MaskClass, RoiSample

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "AxisTransform",
    "Detections",
    "InputError",
    "MaskClass",
    "ModelSpec",
    "RoiSample",
    "read_image",
    "usable_cpus",
    "version_of",
    "version_text",
]

MAX_PIXELS = 80_000_000
"""Pixels of the largest photo that is decoded by default: 2 GiB with all working copies."""

MAX_SIDE = 65_500
"""Longest side in pixels of a photo: what a JPEG file can hold, and so an overlay."""


def usable_cpus() -> int:
    """Number of CPUs that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__`` (PEP 562), whose names load on first use.

    ``homes`` names the module below the package that each stands in.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find, lambda: list(importlib.import_module(package).__all__)


def version_of(package: str) -> str:
    """The installed version of a package, or "": a bare source tree does not know its own."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def version_text() -> str:
    """Name and version of this package."""
    found = version_of("human-edge-detection")
    return f"human-edge-detection{f' {found}' if found else ', not installed: a source tree'}"


__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AxisTransform": "geometry",
        "Detections": "structures",
        "InputError": "errors",
        "MaskClass": "structures",
        "ModelSpec": "spec",
        "RoiSample": "structures",
        "read_image": "images",
    },
)
