"""Weights from files: the model that they make, at which size, and what cannot be used."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.modeling.weights_file import WEIGHTS_FORMAT, save_weights
from human_edge_detection.training.checkpoints import save_checkpoint
from tiny_person import SPEC, new_person_model, write_person_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_person_checkpoint(tmp_path_factory.mktemp("weights") / "best_model.pth")


def test_a_checkpoint_brings_extractor_and_detector_back(checkpoint: Path) -> None:
    trained = read_trained(checkpoint)
    assert trained.has_extractor and trained.has_detector and trained.spec == SPEC
    found, wanted = trained.model().state_dict(), new_person_model().state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_part_of_the_weights_is_refused(checkpoint: Path) -> None:
    trained = read_trained(checkpoint)
    some = {k: v for k, v in trained.weights.items() if "neck" not in k}
    with pytest.raises(InputError, match="another model"):
        replace(trained, weights=some).model()


def test_half_precision_rounds_convolutions_and_nothing_else(
    checkpoint: Path, tmp_path: Path
) -> None:
    trained = read_trained(checkpoint)
    path = tmp_path / "half.safetensors"
    save_weights(path, trained.weights, trained.spec, half=True)
    again = read_trained(path)
    assert again.spec == SPEC
    assert path.stat().st_size < 0.55 * checkpoint.stat().st_size
    for name, value in trained.weights.items():
        found = again.weights[name]
        assert found.dtype == value.dtype
        if value.ndim > 1:
            torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(found, value)
    again.model()


def test_a_person_model_works_at_multiples_of_32(checkpoint: Path) -> None:
    trained = read_trained(checkpoint)
    assert trained.at_size(None) is trained
    assert trained.at_size((32, 128)).spec.image_size == (32, 128)
    with pytest.raises(InputError, match="image_size 100 96 does not fit .* multiples of 32"):
        trained.at_size((100, 96))
    with pytest.raises(InputError, match="image_size .3200, 6400. is too large for a model"):
        trained.at_size((3200, 6400))


def test_unusable_weights_files_are_told_apart(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(InputError, match="do not exist"):
        read_trained(tmp_path / "no.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match=r"cut\.safetensors cannot be read"):
        read_trained(cut)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="not written by this project"):
        read_trained(other)
    bare = tmp_path / "bare.pth"
    save_checkpoint(bare, {"spec": SPEC.to_dict()})
    with pytest.raises(InputError, match="lacks weights"):
        read_trained(bare)


@pytest.mark.parametrize("name", ["best_model.pth", "model.safetensors"])
def test_flipped_bits_in_a_file_of_weights_are_noticed(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    trained, path = read_trained(checkpoint), tmp_path / name
    some = {key: value for key, value in trained.weights.items() if key.startswith("head.")}
    if path.suffix == ".pth":
        save_checkpoint(path, {"spec": SPEC.to_dict(), "weights": some})
    else:
        save_weights(path, some, SPEC)
    data, bits = path.read_bytes(), next(iter(some.values())).numpy().tobytes()[:64]
    first, rng = data.index(bits), np.random.default_rng(0)
    noticed = []
    for place in [first, first + 63, *rng.integers(len(data), size=60)]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_trained(path)
        except InputError as error:
            assert name in str(error) and "\n" not in str(error)
            noticed.append(True)
            continue
        noticed.append(False)  # a bit that nobody reads: padding, a date
        assert found.spec == SPEC and found.weights.keys() == some.keys()
        assert all(torch.equal(value, some[key]) for key, value in found.weights.items())
    assert noticed[:2] == [True, True] and np.mean(noticed) > 0.9
    assert all(noticed) or path.suffix == ".pth"


def test_the_same_weights_make_the_same_file(checkpoint: Path, tmp_path: Path) -> None:
    trained = read_trained(checkpoint)
    save_weights(tmp_path / "a.safetensors", trained.weights, trained.spec)
    data = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["format", "spec", "sha256"]


def test_files_without_checksum_are_read(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load, save_file

    trained, path = read_trained(checkpoint), tmp_path / "old.safetensors"
    save_weights(path, trained.weights, trained.spec)
    facts = {"format": WEIGHTS_FORMAT, "spec": json.dumps(SPEC.to_dict())}
    save_file(load(path.read_bytes()), path, facts)
    assert read_trained(path).spec == SPEC


def test_records_that_would_unpack_to_more_than_the_file_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(path, "w", 8) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    with pytest.raises(
        InputError, match=r"bomb\.pth cannot be read \(its records are compressed\)"
    ):
        read_trained(path)
