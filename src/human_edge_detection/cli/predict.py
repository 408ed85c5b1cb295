"""The command ``predict``: boxes (or a detector) in, masks out, on any number of files."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.inference.batch import Job, PredictRun, Tally
from human_edge_detection.inference.box_files import YoloFolder, open_boxes
from human_edge_detection.inference.boxes import MAX_DIGITS, BoxFile
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.resume_log import ResumeLog, file_settings, reserved
from human_edge_detection.inference.sources import Source, find_sources
from human_edge_detection.inference.writers import FORMATS
from human_edge_detection.runtime.model_files import ModelFiles, name_files
from human_edge_detection.runtime.sessions import SessionOptions


def run_predict(options: PredictOptions) -> int:
    """Do what the options say and print a summary.

    Returns:
        0, or 1 if a file was skipped or a box left out.

    Raises:
        InputError: nothing could be started, or the output could not be written; what was
            finished until then is kept, and the same command continues.
    """
    listed = sys.stdin if "-" in options.source else ()
    sources = find_sources(
        options.source, recursive=options.recursive, listed=listed, output=options.output
    )
    boxes = None
    if options.boxes is not None:
        boxes = open_boxes(options.boxes, options.boxes_format, options.person_class)
    jobs = plan(sources, boxes, options)
    files = name_files(
        options.model, options.extractors, options.detector, options.detector_layout,
        options.person_class, SessionOptions(options.device),
    )  # fmt: skip
    settings, unknown = _settings(options, files), len(sources) - len(jobs)
    with reserved(options.output):
        log = ResumeLog(options.output, settings, options.overwrite)
        return _work(options, files, boxes, log, jobs, unknown)


def _work(
    options: PredictOptions,
    files: ModelFiles,
    boxes: BoxFile | None,
    log: ResumeLog,
    jobs: list[Job],
    unknown: int,
) -> int:
    rest = [job for job in jobs if log.finished(job.source, job.stamp()) is None]
    tally = Tally()
    with ExitStack() as opened:
        predictor = opened.enter_context(_open_predictor(options, files)) if rest else None
        if predictor is not None and boxes is None and not predictor.finds_people:
            raise InputError(
                f"--model {files.heads[0]} finds no people by itself: give their boxes with "
                "--boxes, or a YOLO export with --detector"
            )
        try:
            if predictor is not None:
                PredictRun(options, predictor, boxes, log, tally).work(rest)
        finally:
            if any(FORMATS[kind].in_predictions for kind in options.save_kinds):
                log.write_predictions()
    records = (log.finished(job.source, job.stamp()) or {} for job in jobs)
    old = [fault for record in records for fault in record.get("faults", ())]
    return summarise(options, tally, len(jobs) - len(rest), unknown, old)


def plan(sources: list[Source], boxes: BoxFile | None, options: PredictOptions) -> list[Job]:
    """The files to do, each with its entry in the box file and the image id it should get.

    Raises:
        InputError: the box file knows none of the photos, or two photos share an entry.
    """
    jobs: list[Job] = []
    users: dict[str, Source] = {}
    for number, source in enumerate(sources, start=1):
        key = None
        if boxes is not None and not source.fault:
            if source.is_video:
                raise InputError(
                    f"SOURCE {source.path}: --boxes is for photos; a video needs a --detector"
                )
            key = boxes.key(str(source.path))
            if key is None:
                continue
            if key in users:
                raise InputError(
                    f"--boxes {options.boxes}: {users[key].path} and {source.path} both match "
                    f"'{key}': name the photos with their folders in the box file"
                )
            users[key] = source
        stem = source.path.stem
        wanted = int(stem) if stem.isdecimal() and len(stem) < MAX_DIGITS else number
        box_file = Path(key) if key is not None and isinstance(boxes, YoloFolder) else None
        jobs.append(Job(source, key, wanted, box_file))
    if options.track and not any(job.source.is_video for job in jobs):
        raise InputError("--track is for videos, and SOURCE names none: leave it out for photos")
    if not jobs:
        raise InputError(
            f"--boxes {options.boxes} names none of the {len(sources)} photos, the first of which "
            f"is {sources[0].path}: they are matched by file name"
        )
    return jobs


def _open_predictor(options: PredictOptions, files: ModelFiles) -> MaskPredictor:
    return MaskPredictor(
        files, device=options.device, max_rois=options.max_rois, fuse=options.fuse,
        threads=options.threads, image_size=options.image_size,
    )  # fmt: skip


def _settings(options: PredictOptions, files: ModelFiles) -> dict[str, Any]:
    """Everything that the results depend on, as text that a message can show."""
    given = (
        "threshold", "score", "fuse", "draw_boxes", "every", "track", "person_class", "image_size",
    )  # fmt: skip
    settings: dict[str, Any] = {"--" + name: getattr(options, name) for name in given}
    settings["--save"] = ",".join(sorted(options.save_kinds))
    return settings | file_settings(files, options.boxes)


def summarise(
    options: PredictOptions, tally: Tally, before: int, unknown: int, faults: list[str]
) -> int:
    """Print what was done and what was not, and return the exit code."""
    speed = tally.pictures / max(tally.seconds, 1e-9)
    print(
        f"{tally.done} files done ({tally.pictures} images, {tally.people} people, "
        f"{speed:.1f} images/s) in {options.output}"
    )
    if before:
        print(f"{before} files were done before (--overwrite does them again)")
    if unknown:
        print(f"{unknown} files left out, because {options.boxes} has no boxes for them")
    for title, lines in (("skipped", tally.failed), ("boxes left out", faults)):
        if lines:
            print(f"{len(lines)} {title}:")
            print("\n".join(f"  {one_line(line)}" for line in lines[:20]))
            if len(lines) > 20:
                print(f"  … and {len(lines) - 20} more")
    return 1 if tally.failed or faults else 0
