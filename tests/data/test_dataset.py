"""Prepared photos: ROIs and targets follow the view, and every choice is fixed by its key."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.core.structures import RoiSample
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.data.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.modeling.features import collate
from human_edge_detection.training.inputs import EpochBatches
from tiny_run import AMOUNT, SPEC, box_person, write_photos

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return write_photos(tmp_path_factory.mktemp("photos"))


def assert_same(one: RoiSample, other: RoiSample) -> None:
    for name in ("image", "rois", "targets", "person_ids"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.is_mirrored == other.is_mirrored


def test_validation_sees_everybody_in_order(photos: list[Photo]) -> None:
    dataset = PhotoDataset(photos, SPEC, min_roi_size=1000, max_rois=1)
    sample = dataset[0]
    assert sample.image.shape == (64, 64, 3)
    assert sample.person_ids.tolist() == [1, 2]
    # Boxes 4…30 x 8…60 and 36…58 x 4…40, a tenth wider on each side and cut to the photo.
    wanted = [[1.4, 2.8, 32.6, 64], [33.8, 0.4, 60.2, 43.6]]
    np.testing.assert_allclose(sample.rois, wanted, atol=1e-4)
    np.testing.assert_allclose(dataset.rois_source(sample), wanted, atol=1e-4)
    assert sample.targets.shape == (2, 8, 8) and sample.targets.dtype == np.uint8
    assert sample.targets[0, 4].tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    assert not sample.is_mirrored


def test_a_larger_input_scales_the_rois_and_keeps_the_targets(photos: list[Photo]) -> None:
    small = PhotoDataset(photos, SPEC)[1]
    large = PhotoDataset(photos, replace(SPEC, image_size=(128, 192)))[1]
    assert large.image.shape == (128, 192, 3)
    np.testing.assert_allclose(large.rois, small.rois * 2 + [32, 0, 32, 0], atol=1e-3)
    assert np.array_equal(large.targets, small.targets)


def test_equal_keys_give_equal_samples_and_other_keys_others(photos: list[Photo]) -> None:
    one, other = (PhotoDataset(photos, SPEC, AMOUNT, min_roi_size=4, seed=3) for _ in range(2))
    assert_same(one[(4, 2)], other[(4, 2)])
    _ = one[(9, 1)]
    assert_same(one[(4, 2)], other[(4, 2)])
    assert not np.array_equal(one[(4, 2)].image, one[(5, 2)].image)
    third = PhotoDataset(photos, SPEC, AMOUNT, min_roi_size=4, seed=4)
    assert not np.array_equal(one[(4, 2)].image, third[(4, 2)].image)


def test_a_mirrored_photo_is_the_mirror_image_in_every_part(photos: list[Photo]) -> None:
    dataset = PhotoDataset(photos, SPEC, Augmentation(flip=True), min_roi_size=4)
    plain = PhotoDataset(photos, SPEC)[0]
    samples = [dataset[(epoch, 0)] for epoch in range(20)]
    mirrored = [sample for sample in samples if sample.is_mirrored]
    assert 3 < len(mirrored) < 17
    for sample in samples:
        if not sample.is_mirrored:
            assert_same(sample, plain)
    sample = mirrored[0]
    assert np.array_equal(sample.image[:, ::-1], plain.image)
    assert np.array_equal(sample.targets[:, :, ::-1], plain.targets)
    back = AxisTransform.flip_x(64).to_input(sample.rois)
    np.testing.assert_allclose(back, plain.rois, atol=1e-4)


@pytest.mark.parametrize("epoch", range(8))
def test_targets_lie_where_the_picture_shows_the_person(photos: list[Photo], epoch: int) -> None:
    """A bin whose whole area is the target's shows the colour of that person, and no other."""
    dataset = PhotoDataset(
        photos, replace(SPEC, image_size=(128, 128)), replace(AMOUNT, color=0.0), min_roi_size=4
    )
    sample = dataset[(epoch, 3)]
    assert len(sample.rois)
    people = {person.id: person for person in photos[3].people}
    picture = cv2.cvtColor(cv2.imread(str(photos[3].path)), cv2.COLOR_BGR2RGB)
    for roi, labels, number in zip(sample.rois, sample.targets, sample.person_ids, strict=True):
        x1, y1, x2, y2 = people[int(number)].box_xyxy.astype(int)
        colour = picture[(y1 + y2) // 2, (x1 + x2) // 2].astype(int)
        inner = labels[2:-2, 2:-2]
        for row, column in np.argwhere(inner == 1) + 2:
            x = roi[0] + (roi[2] - roi[0]) * (column + 0.5) / 8
            y = roi[1] + (roi[3] - roi[1]) * (row + 0.5) / 8
            shown = sample.image[int(y), int(x)].astype(int)
            assert np.abs(shown - colour).max() <= 12, (row, column)


def test_jittered_boxes_still_get_their_own_persons_target(photos: list[Photo]) -> None:
    dataset = PhotoDataset(photos, SPEC, Augmentation(box=0.1), min_roi_size=4)
    plain = PhotoDataset(photos, SPEC)[2]
    moved = [dataset[(epoch, 2)] for epoch in range(5)]
    for sample in moved:
        assert sample.person_ids.tolist() == plain.person_ids.tolist()
        assert 0 < np.abs(sample.rois - plain.rois).max() <= 0.1 * 60 * 1.3
        for roi, labels, person in zip(sample.rois, sample.targets, photos[2].people, strict=True):
            steps = (np.arange(8) + 0.5) / 8
            x, y = (roi[i] + (roi[i + 2] - roi[i]) * steps for i in (0, 1))
            x1, y1, x2, y2 = person.box_xyxy
            inside = ((y > y1) & (y < y2))[:, None] & ((x > x1) & (x < x2))[None]
            assert ((labels == 1) == inside).mean() > 0.95


def test_small_people_are_no_targets_but_stay_non_target_to_others(tmp_path: Path) -> None:
    people = (box_person(1, 8, 8, 56, 56), box_person(2, 52, 20, 60, 32))
    photo = write_one(tmp_path, people)
    dataset = PhotoDataset([photo], SPEC, Augmentation(), min_roi_size=16)
    sample = dataset[(0, 0)]
    assert sample.person_ids.tolist() == [1]
    assert (sample.targets[0] == 2).any()
    assert PhotoDataset([photo], SPEC)[0].person_ids.tolist() == [1, 2]


def test_people_that_a_zoomed_view_cuts_off_are_no_targets(tmp_path: Path) -> None:
    people = (box_person(1, 0, 24, 10, 44), box_person(2, 24, 20, 44, 44))
    dataset = PhotoDataset(
        [write_one(tmp_path, people)], SPEC, Augmentation(zoom=0.9), min_roi_size=2, seed=1
    )
    counts = {1: 0, 2: 0}
    for epoch in range(40):
        sample = dataset[(epoch, 0)]
        for number in sample.person_ids.tolist():
            counts[number] += 1
        # What the view cuts off a person stays off the ROI, but for its margin.
        assert (sample.rois[:, 2:] > 0).all() and (sample.rois[:, :2] < 64).all()
        assert (sample.rois >= -15).all() and (sample.rois <= 79).all()
    assert counts[2] > counts[1] > 0


def write_one(folder: Path, people: tuple[object, ...]) -> Photo:
    cv2.imwrite(str(folder / "one.png"), np.full((64, 64, 3), 80, np.uint8))
    return Photo(0, "one.png", (64, 64), people, folder)  # type: ignore[arg-type]


def test_at_most_max_rois_are_drawn_at_random_and_in_order(tmp_path: Path) -> None:
    people = tuple(box_person(n, 6 * n, 10, 6 * n + 20, 50) for n in range(7))
    dataset = PhotoDataset(
        [write_one(tmp_path, people)], SPEC, Augmentation(), min_roi_size=4, max_rois=3
    )
    drawn = [tuple(dataset[(epoch, 0)].person_ids.tolist()) for epoch in range(12)]
    assert all(len(ids) == 3 and list(ids) == sorted(ids) for ids in drawn)
    assert len(set(drawn)) > 4
    assert set().union(*drawn) == set(range(7))


def test_a_photo_without_targets_is_an_empty_sample(tmp_path: Path) -> None:
    photo = write_one(tmp_path, (box_person(1, 8, 8, 12, 12),))
    sample = PhotoDataset([photo], SPEC, AMOUNT, min_roi_size=16)[(0, 0)]
    assert sample.rois.shape == (0, 4) and sample.targets.shape == (0, 8, 8)


def test_crowds_and_people_known_only_by_a_box_are_no_targets(tmp_path: Path) -> None:
    whole = box_person(1, 8, 8, 40, 56)
    people = (
        whole,
        replace(box_person(2, 30, 8, 60, 56), segmentation=None),
        replace(box_person(3, 0, 0, 20, 20), is_crowd=True),
    )
    sample = PhotoDataset([write_one(tmp_path, people)], SPEC)[0]
    assert sample.person_ids.tolist() == [1]
    assert (sample.targets[0] == 255).any()


def test_an_outline_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    bad = replace(box_person(2, 30, 8, 60, 56), segmentation={"size": [3, 3], "counts": [9]})
    photo = write_one(tmp_path, (box_person(1, 8, 8, 40, 56), bad))
    for dataset in (PhotoDataset([photo], SPEC), PhotoDataset([photo], SPEC, Augmentation())):
        sample = dataset[(0, 0)]
        assert sample.person_ids.tolist() == [1]
        assert len(sample.rois) == len(sample.targets) == 1


def test_without_images_no_photo_is_opened_and_the_rest_is_alike(photos: list[Photo]) -> None:
    gone = [replace(photo, image_dir=Path("nowhere")) for photo in photos]
    blind = PhotoDataset(gone, SPEC, with_images=False)[0]
    assert blind.image.size == 0
    seen = PhotoDataset(photos, SPEC)[0]
    assert np.array_equal(blind.rois, seen.rois) and np.array_equal(blind.targets, seen.targets)
    amount = Augmentation(zoom=0.5, color=0.5, flip=True)
    dataset = PhotoDataset(gone, SPEC, amount, min_roi_size=4, with_images=False)
    samples = [dataset[(epoch, 0)] for epoch in range(12)]
    assert {sample.is_mirrored for sample in samples} == {True, False}
    for sample in samples:
        labels = sample.targets[:, :, ::-1] if sample.is_mirrored else sample.targets
        assert np.array_equal(labels, seen.targets), "neither zoomed nor shifted"


def test_an_unreadable_photo_is_said_and_skipped(
    photos: list[Photo], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(photos[0].path.read_bytes()[:200])
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((32, 64, 3), np.uint8))
    names = ["broken.png", "missing.png", "small.png"]
    faulty = [replace(photos[0], file_name=name, image_dir=tmp_path) for name in names]
    dataset = PhotoDataset([*faulty, photos[1]], SPEC)
    readable = ReadablePhotos(dataset)
    assert len(readable) == 4
    with caplog.at_level(logging.WARNING):
        assert [readable[i] for i in range(3)] == [None] * 3
    assert all(name in caplog.text for name in names)
    with pytest.raises(InputError, match=r"missing\.png"):
        dataset[1]
    batch = collate([readable[i] for i in range(4)])
    assert len(batch.samples) == 1 and batch.rois[:, 0].tolist() == [0, 0]


def test_collate_stacks_and_numbers_the_photos(photos: list[Photo], tmp_path: Path) -> None:
    dataset = PhotoDataset([*photos[:2], write_one(tmp_path, ()), photos[3]], SPEC)
    samples = [dataset[i] for i in range(4)]
    batch = collate(samples)
    assert batch.images is not None
    assert batch.images.shape == (4, 3, 64, 64) and batch.images.dtype == torch.uint8
    assert np.array_equal(batch.images[1].permute(1, 2, 0).numpy(), samples[1].image)
    assert batch.rois[:, 0].tolist() == [0, 0, 1, 1, 3, 3]
    assert np.array_equal(batch.rois[2:4, 1:].numpy(), samples[1].rois)
    assert np.array_equal(batch.targets[4:].numpy(), samples[3].targets)
    assert batch.samples == tuple(samples)


def test_collate_of_nothing_is_an_empty_batch() -> None:
    for samples in ([], [None, None]):
        batch = collate(samples)
        assert batch.images is None and batch.samples == ()
        assert batch.rois.shape == (0, 5) and len(batch.targets) == 0


def test_an_epoch_sees_each_photo_once_in_an_order_of_its_own() -> None:
    epochs = [list(EpochBatches(11, 4, seed=5, epoch=e)) for e in (0, 1)]
    for number, batches in enumerate(epochs):
        assert [len(batch) for batch in batches] == [4, 4, 3]
        keys = [key for batch in batches for key in batch]
        assert {epoch for epoch, _ in keys} == {number}
        assert sorted(index for _, index in keys) == list(range(11))
    assert epochs[0] != [[(0, i) for _, i in batch] for batch in epochs[1]]
    assert epochs[0] == list(EpochBatches(11, 4, seed=5, epoch=0))
    assert epochs[0] != list(EpochBatches(11, 4, seed=6, epoch=0))


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_skipped_batches_leave_the_others_as_they_were(skip: int) -> None:
    whole = list(EpochBatches(11, 4, seed=5, epoch=2))
    rest = EpochBatches(11, 4, seed=5, epoch=2, skip=skip)
    assert list(rest) == whole[skip:] and len(rest) == 3 - skip


def test_loader_workers_change_nothing(photos: list[Photo]) -> None:
    dataset = ReadablePhotos(PhotoDataset(photos, SPEC, AMOUNT, min_roi_size=4))
    found = []
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(
            dataset, batch_sampler=EpochBatches(len(photos), 2, 0, 1), collate_fn=collate,
            num_workers=workers,
        )  # fmt: skip
        found.append(list(loader))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.rois, other.rois)
        assert torch.equal(one.targets, other.targets)
