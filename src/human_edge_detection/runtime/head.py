"""Runs an exported head in ONNX Runtime: feature maps and ROIs in, logits out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from human_edge_detection.core import usable_cpus
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ExportedSpec, are_small
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.runtime.providers import CPU, TENSORRT
from human_edge_detection.runtime.sessions import (
    ANYWHERE,
    IMAGE_TYPES,
    SessionOptions,
    check_size,
    open_session,
    run_session,
)

Feeds = dict[str, NDArray[np.floating]]
Finish = Callable[[FloatArray], FloatArray]
Run = Callable[[ort.InferenceSession, FloatArray, FloatArray], None]

LEAST_PER_THREAD = 10
"""From this many ROIs per thread on, each thread runs the head on ROIs of its own.

Threads that share each operation wait for each other after every one of some 150 operations; with
ROIs of their own they wait once, but each computes what the ROIs share.
"""


class HeadSession(AbstractContextManager["HeadSession"]):
    """Runs the head on any number of ROIs, at most ``options.max_rois`` at once.

    What the ROIs of a photo share is computed once for each ``max_rois`` of them, on a CPU once
    for each thread. Safe to call from several threads: it keeps no state between calls. Used in a
    ``with`` statement, it is closed at the end.

    Attributes:
        facts: the spec in the file's metadata.
        provider: the execution provider that it runs on, by ONNX Runtime's name.
        batch: number of photos whose maps the file takes, where it fixes that, else None.
    """

    def __init__(
        self,
        onnx_path: Path | str,
        options: SessionOptions = ANYWHERE,
    ) -> None:
        """Open the exported head.

        Raises:
            InputError: the file is no ONNX model or no head, or the hardware is absent.
        """
        self._path = Path(onnx_path)
        session = open_session(self._path, options)
        self._session: ort.InferenceSession | None = session
        self._one_thread: ort.InferenceSession | None = None  # opened with the first crowd
        metadata = session.get_modelmeta().custom_metadata_map
        self.facts = ExportedSpec.from_metadata(metadata, onnx_path)
        self.provider: str = session.get_providers()[0]
        self._max_rois = options.max_rois or self.facts.usual_max_rois
        if self.facts.precision == "int8" and self.provider != CPU:
            raise InputError(
                f"model {onnx_path} is an 8-bit head, made for CPUs: use device cpu, or the "
                "float head that it was made from"
            )
        self._inputs, self._dtype = self._read_signature(session)
        shapes = [item.shape for item in session.get_inputs() if item.name in self._inputs]
        self.batch: int | None = next((s[0] for s in shapes if isinstance(s[0], int)), None)
        # TensorRT builds an engine for every new shape, hence only a few numbers of ROIs.
        self._buckets = self.provider == TENSORRT
        on_cpu = self.provider == CPU
        # An end-to-end file would run its extractor in each thread.
        split = on_cpu and not self.facts.end_to_end
        self._threads = (options.threads or usable_cpus()) if split else 1

    def _read_signature(
        self, session: ort.InferenceSession
    ) -> tuple[list[str], type[np.floating[Any]]]:
        """Names of the inputs besides the ROIs, and their type.

        Raises:
            InputError: the inputs or outputs are not those that the metadata promises.
        """
        facts, inputs, outputs = self.facts, session.get_inputs(), session.get_outputs()
        rois = {"rois", "small_rois"} if facts.small_side else {"rois"}
        names = [item.name for item in inputs]
        others = [name for name in names if name not in ("rois", "small_rois")]
        types = {item.type for item in inputs if item.name in others}
        size = facts.mask_size
        masks = (len(MaskClass), size, size)
        shape = outputs[0].shape if outputs else []
        fits = len(shape) == 4 and all(
            not isinstance(side, int) or side == wanted
            for side, wanted in zip(shape[1:], masks, strict=True)
        )
        if facts.end_to_end:
            check_size(facts.image_size, self._path)
        count = 1 if facts.end_to_end else len(facts.layers)
        is_sound = set(names) - set(others) == rois and len(others) == count and fits
        if not is_sound or len(types) != 1 or not types <= IMAGE_TYPES.keys():
            seen = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise InputError(
                f"model {self._path} must take {count} feature maps or images and "
                f"{' and '.join(sorted(rois))} and give masks [N, 3, {size}, {size}], but takes "
                f"{seen:.300} and gives {shape}: export it again"
            )
        return others, IMAGE_TYPES[types.pop()]

    def probabilities(self, features: Sequence[FloatArray], rois: FloatArray) -> FloatArray:
        """The softmax of the ROIs' logits, float32 [N, 3, M, M]; see :meth:`__call__`."""
        return self(features, rois, softmax)

    def __call__(
        self, features: Sequence[FloatArray], rois: FloatArray, finish: Finish | None = None
    ) -> FloatArray:
        """Logits float32 [N, 3, M, M] of the ROIs.

        Args:
            features: one float32 [B, C, h, w] per layer; for an end-to-end file the images
                float32 [B, 3, H, W].
            rois: float32 [N, 5], batch index and xyxy in input pixels; N may be 0.
            finish: maps the logits of some ROIs to what is returned, of the same shape, in the
                thread that computed them.
        """
        if self._session is None:
            raise RuntimeError("the head is closed")
        size = self.facts.mask_size
        logits = np.empty((len(rois), len(MaskClass), size, size), np.float32)
        feeds: Feeds = {
            name: np.asarray(item, self._dtype)
            for name, item in zip(self._inputs, features, strict=True)
        }
        run = functools.partial(self._run, feeds, finish)
        for at in range(0, len(rois), self._max_rois):
            some = slice(at, at + self._max_rois)
            self._share(run, self._session, rois[some], logits[some])
        return logits

    def _share(
        self, run: Run, session: ort.InferenceSession, rois: FloatArray, logits: FloatArray
    ) -> None:
        """At most ``max_rois`` ROIs: all threads on each operation, or each on its own ROIs."""
        threads = self._threads
        if threads == 1 or len(rois) < threads * LEAST_PER_THREAD:
            run(session, rois, logits)
            return
        one_thread = SessionOptions("cpu", threads=1)
        own = self._one_thread or open_session(self._path, one_thread, quietly=True)
        self._one_thread = own
        # Every nth ROI, so that each thread gets about as many small ones.
        shares = [slice(first, None, threads) for first in range(threads)]
        with ThreadPoolExecutor(threads, thread_name_prefix="head") as pool:
            jobs = [pool.submit(run, own, rois[share], logits[share]) for share in shares]
        for job in jobs:
            job.result()

    def _run(
        self,
        feeds: Feeds,
        finish: Finish | None,
        session: ort.InferenceSession,
        rois: FloatArray,
        logits: FloatArray,
    ) -> None:
        """Write the ROIs' logits, mapped by ``finish`` if given, into an array."""
        parts, order = head_feeds(rois.astype(np.float32, copy=False), self.facts.small_side)
        counts = [len(part) for part in parts.values()]
        if self._buckets:
            parts = {name: self._filled(part) for name, part in parts.items()}
        found = run_session(session, None, {**feeds, **parts}, str(self._path))[0]
        wanted = (sum(map(len, parts.values())), *logits.shape[1:])
        if found.shape != wanted:
            raise InputError(
                f"head {self._path} gives {list(found.shape)}, but its metadata states "
                f"{list(wanted)}: export it again"
            )
        if finish is not None:
            found = finish(found)
        start = 0
        for part, rows in zip(parts.values(), np.split(order, np.cumsum(counts)[:-1]), strict=True):
            logits[rows] = found[start : start + len(rows)]
            start += len(part)

    def _filled(self, rois: FloatArray) -> FloatArray:
        """The ROIs, padded with empty ones to a power of two, at least 1."""
        wanted = min(1 << max(len(rois) - 1, 0).bit_length(), self._max_rois)
        return np.concatenate([rois, np.zeros((wanted - len(rois), 5), np.float32)])

    def close(self) -> None:
        """Free the session; the head cannot be called any more."""
        self._session = self._one_thread = None

    def __exit__(self, *error: object) -> None:
        self.close()


def head_feeds(
    rois: FloatArray, small_side: float
) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
    """An exported head's inputs for some ROIs, and the ROI that each row of its output belongs to.

    Args:
        rois: float32 [N, 5].
        small_side: ``small_side`` of the file's metadata; at 0 there is one input for all ROIs.

    Returns:
        ``rois`` and, if there are two trunks, ``small_rois``; int64 [N].
    """
    if not small_side:
        return {"rois": rois}, np.arange(len(rois))
    small = are_small(rois, small_side)
    order = np.argsort(small, kind="stable")
    return {"rois": rois[~small], "small_rois": rois[small]}, order
