"""The ``check_data`` command: finds faults of a data set before hours are lost on it."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import option, require_least
from human_edge_detection.data.annotations import Finding, Photo
from human_edge_detection.data.checks import (
    file_findings,
    people_findings,
    repeated_ids,
    same_content,
)
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photos import PhotoFile, PhotoStore, open_photos


@dataclass(frozen=True)
class CheckDataOptions:
    """What ``check_data`` takes."""

    ann: Path | None = option(None, "COCO annotation file to check", metavar="ANN", positional=True)
    img_dir: tuple[Path, ...] = option(
        (),
        "folders, zip files and tar shards of its photos, looked through in turn",
        metavar="IMG_DIR",
        positional=True,
    )
    val_ann: Path | None = option(
        None, "validation annotations, checked too and searched for photos of ANN"
    )
    val_img_dir: tuple[Path, ...] = option(
        (), "folders, zip files and tar shards of the validation photos (default: IMG_DIR)"
    )
    min_roi_size: float = option(
        16.0, "box side, source pixels, below which a person is tiny", least=0
    )
    decode: bool = option(False, "read every photo's pixels too, which finds truncated files")
    examples: int = option(3, "findings of each kind that are shown", least=0)
    output: Path | None = option(None, "JSON file for every finding")

    def __post_init__(self) -> None:
        if self.val_img_dir and self.val_ann is None:
            raise InputError(f"--val_img_dir {self.val_img_dir[0]} needs --val_ann")
        require_least(self)


LEAK = "photo in train and val"
NOTES = ("crowd region", "tiny person", "name in train and val")
"""Kinds that a sound data set may have; any other kind makes the exit code 1."""

ADVICE = {
    "missing photo": "complete the folders, or take the entries out of the file",
    "unreadable photo": "copy the file again",
    "wrong size": "use the very photos that were annotated; training stops at such a photo",
    "photo listed twice": "keep one entry: the photo counts double, or its people are split",
    "photo stored twice": "keep one: the photo counts double, and may get into two splits",
    "person annotated twice": "keep one: the second is learned as another person",
    "annotation id twice": "number the annotations anew",
    "box does not fit its mask": "compute the boxes from the masks",
    LEAK: "take it out of one of them: the validation's numbers are too good",
    "name in train and val": "the files differ: see that they are different photos",
    "crowd region": "ignored in training, as COCO does",
    "tiny person": "no target in training, still another person to others (--min_roi_size)",
}


@dataclass
class Split:
    """One annotation file with its photos.

    Attributes:
        ann: the annotation file.
        photos: photos in which a person has a mask.
        files: the file of each photo that was found, by image id.
        findings: what was found.
    """

    ann: Path
    photos: Sequence[Photo]
    files: dict[int, PhotoFile]
    findings: list[Finding] = field(default_factory=list)

    @property
    def people(self) -> int:
        """People and crowd regions in these photos."""
        return sum(len(photo.people) for photo in self.photos)


def run_check_data(options: CheckDataOptions) -> int:
    """Print what was found, kind by kind; return 1 if anything must be mended.

    Raises:
        InputError: if a file is no COCO file, or a folder does not exist.
    """
    if options.ann is None or not options.img_dir:
        raise InputError("check_data needs ANN and IMG_DIR: an annotation file and its photos")
    place = open_photos(options.img_dir, "IMG_DIR")
    train = check_split(options.ann, place, options.min_roi_size, options.decode)
    splits = [train]
    leaks: list[Finding] = []
    if options.val_ann is not None:
        if options.val_img_dir:
            place = open_photos(options.val_img_dir, "--val_img_dir")
        splits.append(check_split(options.val_ann, place, options.min_roi_size, options.decode))
        leaks = list(leak_findings(*splits))
    for split in splits:
        print(f"{split.ann}: {len(split.photos)} photos with {split.people} people")
        print_findings(split.findings, options.examples)
    if len(splits) == 2:
        print(f"{splits[0].ann} against {splits[1].ann}:")
        print_findings(leaks, options.examples)
    everything = {str(split.ann): split.findings for split in splits} | {"leaks": leaks}
    if options.output is not None:
        write_findings(options.output, everything)
    return int(any(item.kind not in NOTES for group in everything.values() for item in group))


def check_split(ann: Path, place: Path | PhotoStore, min_side: float, decode: bool) -> Split:
    """Read one annotation file and look at every photo and every person in it."""
    photos, faults = load_photos(
        ann, place, check_files=False, max_fault_share=1.0, may_be_empty=True
    )
    split = Split(ann, photos, {})
    split.findings += faults
    listed: dict[str, int] = {}
    for photo in photos:
        with contextlib.suppress(InputError):  # in two archives, which file_findings reports
            if photo.file.exists():
                split.files[photo.id] = photo.file
        if photo.file_name in listed:
            text = f"is image {listed[photo.file_name]} too"
            where = f"image {photo.id} ({photo.file_name})"
            split.findings.append(Finding("photo listed twice", where, text))
        listed.setdefault(photo.file_name, photo.id)
        split.findings += file_findings(photo, decode=decode)
        split.findings += people_findings(photo, min_side)
    split.findings += repeated_ids(photos)
    for first, *others in same_content(split.files.values()):
        for other in others:
            text = f"has the same content as {first.name}"
            split.findings.append(Finding("photo stored twice", other.name, text))
    return split


def leak_findings(train: Split, val: Split) -> Iterator[Finding]:
    """Photos of both splits, recognized by content; and names of both whose content differs."""
    in_train = {file.path for file in train.files.values()}
    in_val = {file.path for file in val.files.values()}
    leaked: set[Path] = set(in_train & in_val)
    for path in sorted(leaked):
        yield Finding(LEAK, str(path), "the same file")
    for group in same_content([*train.files.values(), *val.files.values()]):
        sources = [path for path in group if path in in_train]
        copies = [path for path in group if path in in_val and path not in in_train]
        if sources:
            leaked.update(copies)
            for path in copies:
                yield Finding(LEAK, str(path), f"has the same content as {sources[0]}")
    names = {photo.file_name for photo in train.photos}
    for photo in val.photos:
        file = val.files.get(photo.id)
        if photo.file_name in names and (file is None or file.path not in leaked):
            yield Finding("name in train and val", photo.file_name, "with other content")


def print_findings(findings: Sequence[Finding], examples: int) -> None:
    """Each kind with its number, its first examples, and what to do about it."""
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for item in findings:
        kinds[item.kind].append(item)
    if all(kind in NOTES for kind in kinds):
        print("  nothing to mend")
    for kind in sorted(kinds, key=lambda name: (name in NOTES, -len(kinds[name]))):
        advice = ADVICE.get(kind, "skipped in training")
        mark = "note" if kind in NOTES else "MEND"
        print(f"  {mark}  {len(kinds[kind])} x {kind}: {advice}")
        for item in kinds[kind][:examples]:
            print(f"          {item.where}: {item.text}")


def write_findings(path: Path, everything: Mapping[str, Sequence[Finding]]) -> None:
    """Write every finding, not only the examples, as JSON."""
    content = {name: [asdict(item) for item in group] for name, group in everything.items()}
    write_atomically(path, json.dumps(content, indent=1).encode())
    print(f"every finding: {path}")
