"""Checkpoints: whole or not at all, no code inside, and faults told apart."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.weights import (
    CHECKPOINT_FORMAT,
    load_checkpoint,
    load_weights,
    read_trained,
    require,
)
from human_edge_detection.training.checkpoints import save_checkpoint

torch.set_num_threads(1)

SPEC = ModelSpec("lite", ("a", "b"), (4, 4), (4.0, 8.0), (64, 96), 4, 0.15, "abc", (0.5, 0.7, 1.8))


def payload_of(head: nn.Module, **more: Any) -> dict[str, Any]:
    weights = nn.ModuleDict({"head": head}).state_dict()
    return {"spec": SPEC.to_dict(), "weights": weights, **more}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.pth"
    saved = {"number": 1, "text": "x", "list": [1.5, None], "tensor": torch.arange(3), "deep": {}}
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded.pop("tensor"), saved.pop("tensor"))  # type: ignore[arg-type]
    assert loaded == {"format": CHECKPOINT_FORMAT, **saved}
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"], "no temporary file is left"


def test_the_file_is_synced_before_it_takes_the_others_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, {"number": 1})
    synced: list[Any] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(load_checkpoint(path)["number"])
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    save_checkpoint(path, {"number": 2})
    assert synced[0] == 1, "the file is synced while the old one still holds"
    assert load_checkpoint(path)["number"] == 2
    if os.name == "posix":
        assert synced == [1, 2], "and the folder after the renaming"


@pytest.mark.parametrize("moment", ["write", "sync", "rename"])
def test_a_fault_at_any_moment_keeps_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, {"number": 1})

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def short_write(*_: object, **__: object) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")  # as torch reports a full disk

    owner, name, fault = {
        "write": (torch, "save", short_write),
        "sync": (os, "fsync", no_space),
        "rename": (Path, "replace", no_space),
    }[moment]
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(OSError):
        save_checkpoint(path, {"number": 2})
    monkeypatch.undo()
    assert load_checkpoint(path)["number"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint .*gone\.pth does not exist"):
        load_checkpoint(tmp_path / "gone.pth")
    with pytest.raises(InputError, match="does not exist"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_said(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.pth"
    save_checkpoint(path, payload_of(build_head(SPEC)))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"checkpoint .*cut\.pth (cannot be read|is refused)"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x80\x02garbage", b"\x80\x02t.", b"\x80\x02G1", b"PK\x03\x04", b"{}\n"],
)
def test_a_file_of_another_kind_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint .*other\.pth"):
        load_checkpoint(path)


class _Bomb:
    """A pickle that would create a file if it were run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, trace = tmp_path / "bomb.pth", tmp_path / "trace"
    content = {"format": CHECKPOINT_FORMAT, "bomb": _Bomb(trace)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match="is refused: it holds more than tensors") as refused:
        load_checkpoint(path)
    assert "weights_only" not in str(refused.value)  # torch's advice would run the code
    assert not trace.exists()


@pytest.mark.parametrize("content", [{"model": 1}, {"format": "other.1"}, [1, 2], torch.zeros(2)])
def test_other_peoples_checkpoints_are_said(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match="was not written by this version of main.py"):
        load_checkpoint(path)


def test_require_names_everything_that_is_missing() -> None:
    require({"a": 1, "b": None}, Path("x.pth"), "a", "b")
    with pytest.raises(InputError, match=r"checkpoint x\.pth lacks b, c"):
        require({"a": 1}, Path("x.pth"), "a", "b", "c")


def test_a_spec_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, {"spec": SPEC.to_dict()})
    assert ModelSpec.from_dict(load_checkpoint(path)["spec"], path) == SPEC


def test_a_spec_with_too_much_or_too_little_is_said() -> None:
    values = SPEC.to_dict()
    with pytest.raises(InputError, match="'colour'"):
        ModelSpec.from_dict({**values, "colour": 1}, Path("x.pth"))
    del values["strides"]
    with pytest.raises(InputError, match="'strides'"):
        ModelSpec.from_dict(values, Path("x.pth"))


def test_a_checkpoint_rebuilds_its_own_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = build_head(SPEC).eval()
    path = tmp_path / "a.pth"
    save_checkpoint(path, payload_of(head))
    trained = read_trained(path)
    loaded = trained.model()["head"]
    assert trained.spec == SPEC and not trained.has_extractor and not loaded.training
    maps = [torch.randn(1, 4, 16, 24), torch.randn(1, 4, 8, 12)]
    rois = torch.tensor([[0.0, 3.0, 3.0, 50.0, 60.0]])
    with torch.no_grad():
        assert torch.equal(loaded(maps, rois), head(maps, rois))


def test_the_moving_average_is_what_is_loaded(tmp_path: Path) -> None:
    head = build_head(SPEC)
    average = {k: v + 1 for k, v in nn.ModuleDict({"head": head}).state_dict().items()}
    path = tmp_path / "a.pth"
    save_checkpoint(path, payload_of(head, ema=average))
    loaded = read_trained(path).model()["head"].state_dict()
    assert all(torch.equal(v, average[f"head.{k}"]) for k, v in loaded.items())
    save_checkpoint(path, payload_of(head, ema=None))
    loaded = read_trained(path).model()["head"].state_dict()
    assert all(torch.equal(v, head.state_dict()[k]) for k, v in loaded.items())


def test_an_old_checkpoint_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    save_checkpoint(path, {"progress": {}})
    with pytest.raises(InputError, match=r"old\.pth lacks spec, weights"):
        read_trained(path)


def test_the_weights_of_another_head_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    other = ModelSpec("spec", ("a",), (4,), (8.0,), (64, 96), 4)
    save_checkpoint(path, {**payload_of(build_head(SPEC)), "spec": other.to_dict()})
    with pytest.raises(InputError, match="belongs to another model: .*Use the head, head_widths"):
        read_trained(path).model()
    wider = build_head(ModelSpec("lite", ("a", "b"), (4, 6), (4.0, 8.0), (64, 96), 4))
    with pytest.raises(InputError, match="belongs to another model"):
        load_weights(wider, build_head(SPEC).state_dict(), path)
