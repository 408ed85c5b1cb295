"""The static page with a model: which files it is, and what is said where it was never built."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from human_edge_detection.cli import main
from human_edge_detection.core.errors import InputError
from human_edge_detection.inference import web_page


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "page"
    (page / "models").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>")
    (page / "model.json").write_text("{}")
    (page / "models" / "old.onnx").write_bytes(b"of the build")
    monkeypatch.setattr(web_page, "PACKAGED_PAGE", page)
    return page


def test_the_site_is_the_page_with_the_shipped_model(built: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for _ in range(2):  # a second time writes over the first
        assert main(["export", "builtin", "--web", str(site)]) == 0
    facts = json.loads((site / "model.json").read_text())
    heads = facts["heads"].values()
    parts = [facts["extractor"], *(head[part] for head in heads for part in ("shared", "own"))]
    names = {part["file"] for part in parts}
    assert names == {f"models/{path.name}" for path in (site / "models").iterdir()}
    assert facts["default_head"] == "float" and set(facts["heads"]) == {"float", "int8"}
    for part in parts:
        data = (site / part["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest()[:12] == part["sha"]
    assert (site / "index.html").read_text() == "<!doctype html>"


def test_a_page_that_was_never_built_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web_page, "PACKAGED_PAGE", tmp_path / "none")
    monkeypatch.setattr(web_page, "BUILT_PAGE", tmp_path / "none")
    assert main(["export", "builtin", "--web", str(tmp_path / "site")]) == 2
    assert "npm ci" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cannot_be_written_is_named(built: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file cannot be written"):
        web_page.write_page(tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.pth", "--web", "site"], "takes the model that ships"),
        (["builtin", "--web", "site", "--output_dir", "x"], "--output_dir does not go with --web"),
    ],
)
def test_contradicting_flags_are_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *arguments]) == 2
    assert words in capsys.readouterr().err
