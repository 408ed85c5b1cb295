"""The cache of frozen features: filled once, resumed, and never mistaken for another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import as_network_input
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.modeling.features import collate, extracted_features
from human_edge_detection.training import feature_cache
from human_edge_detection.training.feature_cache import FeatureCache, cached_features
from tiny_run import AMOUNT, SPEC, write_photos


class PoolingExtractor:
    """Stands for the frozen network: the photo averaged at strides 4 and 8."""

    def __init__(self, sha: str = "abc", fails_at: int | None = None) -> None:
        self.layers, self.channels, self.strides = ("a", "b"), (3, 3), (4.0, 8.0)
        self.input_size_hw, self.sha = (64, 64), sha
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        shape = (*images.shape[:2], 64)
        return [
            images.reshape(*shape[:2], 64 // s, s, 64 // s, s).mean(axis=(3, 5)) for s in (4, 8)
        ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return write_photos(tmp_path_factory.mktemp("photos"), 4)


def make_cache(
    folder: Path,
    photos: Sequence[Photo],
    extractor: PoolingExtractor,
    size: tuple[int, int] = (64, 64),
    with_mirror: bool = True,
) -> FeatureCache:
    return FeatureCache(folder, photos, extractor, size, with_mirror)  # type: ignore[arg-type]


def test_the_cache_holds_what_the_extractor_says(photos: list[Photo], tmp_path: Path) -> None:
    extractor = PoolingExtractor()
    cache = make_cache(tmp_path / "cache", photos, extractor)
    assert cache.fill() == []
    assert extractor.calls == 8, "each photo and its mirror image, once"
    for index, photo in enumerate(photos):
        image = cv2.imread(str(photo.path))[:, :, ::-1]
        for is_mirrored in (False, True):
            shown = image[:, ::-1] if is_mirrored else image
            wanted = PoolingExtractor()(as_network_input(shown[None]))
            found = cache.load(index, is_mirrored)
            assert [maps.dtype for maps in found] == [np.float16] * 2
            assert [maps.shape for maps in found] == [(3, 16, 16), (3, 8, 8)]
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_allclose(one, other[0], atol=1e-3)


def test_the_size_is_known_before(photos: list[Photo], tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", photos, PoolingExtractor())
    assert cache.total_bytes == 2 * 8 * 3 * (16 * 16 + 8 * 8)


def test_a_filled_cache_is_not_computed_again(photos: list[Photo], tmp_path: Path) -> None:
    make_cache(tmp_path / "cache", photos, PoolingExtractor()).fill()
    extractor = PoolingExtractor()
    cache = make_cache(tmp_path / "cache", photos, extractor)
    assert cache.fill() == [] and extractor.calls == 0
    assert cache.load(3, True)[0].any()


@pytest.mark.parametrize("moment", [1, 2, 3, 6, 8])
def test_an_interrupted_fill_goes_on_where_it_stopped(
    photos: list[Photo], tmp_path: Path, moment: int
) -> None:
    first = PoolingExtractor(fails_at=moment)
    with pytest.raises(KeyboardInterrupt):
        make_cache(tmp_path / "cache", photos, first).fill()
    second = PoolingExtractor()
    cache = make_cache(tmp_path / "cache", photos, second)
    with pytest.raises(LookupError, match="not in the feature cache"):
        cache.load(3, True)
    cache.fill()
    assert second.calls == 8 - (moment - 1)
    whole = make_cache(tmp_path / "whole", photos, PoolingExtractor())
    whole.fill()
    for index in range(4):
        for is_mirrored in (False, True):
            for one, other in zip(
                cache.load(index, is_mirrored), whole.load(index, is_mirrored), strict=True
            ):
                assert np.array_equal(one, other)


@pytest.mark.parametrize("other", ["sha", "layers", "size", "photos", "order", "mirror"])
def test_a_cache_of_something_else_is_refused(
    photos: list[Photo], tmp_path: Path, other: str
) -> None:
    make_cache(tmp_path / "cache", photos, PoolingExtractor()).fill()
    extractor = PoolingExtractor(sha="other" if other == "sha" else "abc")
    if other == "layers":
        extractor.layers = ("a", "c")
    chosen = {"photos": photos[:3], "order": photos[::-1]}.get(other, photos)
    size = (64, 128) if other == "size" else (64, 64)
    with pytest.raises(InputError, match=r"--cache_features .*cache holds the features of other"):
        make_cache(tmp_path / "cache", chosen, extractor, size, with_mirror=other != "mirror")


def test_a_limit_is_kept_before_anything_is_written(photos: list[Photo], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    needed = make_cache(tmp_path / "other", photos, PoolingExtractor()).total_bytes / 1e9
    with pytest.raises(InputError, match=r"needs .* GB, more than --cache_limit"):
        FeatureCache(folder, photos, PoolingExtractor(), (64, 64), True, 0.9 * needed)  # type: ignore[arg-type]
    assert not list(folder.iterdir())
    FeatureCache(folder, photos, PoolingExtractor(), (64, 64), True, 1.1 * needed)  # type: ignore[arg-type]


def test_a_disk_without_room_is_said_before_anything_is_written(
    photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def little(_path: object) -> Any:
        return type("Usage", (), {"free": 1000})()

    monkeypatch.setattr(feature_cache.shutil, "disk_usage", little)
    with pytest.raises(InputError, match=r"--cache_features .* needs 0\.0 GB, but"):
        make_cache(tmp_path / "cache", photos, PoolingExtractor())
    assert not list((tmp_path / "cache").iterdir())


def test_unreadable_photos_are_said_and_the_others_kept(
    photos: list[Photo], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = [photos[0], replace(photos[1], file_name="gone.png"), photos[2]]
    cache = make_cache(tmp_path / "cache", some, PoolingExtractor())
    with caplog.at_level(logging.WARNING):
        assert cache.fill() == [1]
    assert "gone.png" in caplog.text
    assert cache.load(2, False)[0].any()
    with pytest.raises(LookupError):
        cache.load(1, False)


def test_a_cache_without_mirror_images_never_gives_one(photos: list[Photo], tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", photos, PoolingExtractor(), with_mirror=False)
    cache.fill()
    assert cache.load(0, False)[0].any()
    with pytest.raises(LookupError, match="mirror"):
        cache.load(0, True)


def test_cached_features_equal_extracted_ones(photos: list[Photo], tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", photos, PoolingExtractor())
    cache.fill()
    amount = replace(AMOUNT, zoom=0.0, color=0.0)
    mirrored = set()
    for epoch in range(4):
        live = PhotoDataset(photos, SPEC, replace(amount, box=0.0), min_roi_size=4)
        batch = collate([live[(epoch, index)] for index in range(4)])
        mirrored |= {sample.is_mirrored for sample in batch.samples}
        extracted = extracted_features(PoolingExtractor())(batch)  # type: ignore[arg-type]
        cached = cached_features(cache)(batch)
        for one, other in zip(extracted, cached, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-3)
    assert mirrored == {True, False}


def test_a_batch_without_images_cannot_be_extracted(photos: list[Photo]) -> None:
    batch = collate([PhotoDataset(photos, SPEC, with_images=False)[0]])
    with pytest.raises(ValueError, match="no images"):
        extracted_features(PoolingExtractor())(batch)  # type: ignore[arg-type]
