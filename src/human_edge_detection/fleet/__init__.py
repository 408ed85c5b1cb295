"""Millions of photos: the work of ``predict`` shared out among a cluster's CPUs and GPUs by Ray.

``rows`` is the work on a table of photos and needs pyarrow alone, so that other engines can call
it; ``cluster`` is the only module that imports Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.fleet.manifest import manifest_schema, write_manifest
    from human_edge_detection.fleet.rows import SegmentRows, read_rows, result_schema
    from human_edge_detection.fleet.settings import SegmentSettings
    from human_edge_detection.fleet.sources import find_photos

__all__ = [
    "SegmentRows",
    "SegmentSettings",
    "find_photos",
    "manifest_schema",
    "read_rows",
    "result_schema",
    "write_manifest",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SegmentRows": "rows",
        "SegmentSettings": "settings",
        "find_photos": "sources",
        "manifest_schema": "manifest",
        "read_rows": "rows",
        "result_schema": "rows",
        "write_manifest": "manifest",
    },
)
