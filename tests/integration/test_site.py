"""The site: every page is in its contents, every link leads somewhere, in the repository too."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = runpy.run_path(str(ROOT / "docs" / "build_site.py"))
PAGES = SITE["all_pages"]()


def test_the_contents_name_every_page() -> None:
    text = (ROOT / "zensical.toml").read_text("utf-8")
    named = re.findall(r'{ "[^"]+" = "([^"]+\.md)" }', text)
    assert len(named) == len(set(named))
    assert set(named) == set(PAGES.values()), "add the page to nav in zensical.toml"


@pytest.mark.parametrize("source", [name for name in PAGES if (ROOT / name).is_file()])
def test_links_lead_to_pages_and_files(source: str) -> None:
    text = (ROOT / source).read_text("utf-8")
    shown = SITE["page"](source, text)  # refuses what the site does not hold
    prose = "".join(SITE["CODE"].split(text)[::2])
    for link in SITE["LINK"].findall(prose):
        assert ((ROOT / source).parent / link.partition("#")[0]).exists(), link
    assert "](../" not in shown


def test_links_are_moved_with_their_pages() -> None:
    text = "[a](docs/predict.md#x) `[b](c.md)` [d](https://e.f) ![g](docs/images/h.jpg)"
    moved = "[a](predict.md#x) `[b](c.md)` [d](https://e.f) ![g](images/h.jpg)"
    assert SITE["page"]("README.md", text) == moved
    assert SITE["page"]("docs/web.md", "[a](../ARCHITECTURE.md)") == "[a](architecture.md)"
    with pytest.raises(ValueError, match=r"README\.md links to main\.py: add main\.py to PAGES"):
        SITE["page"]("README.md", "[a](main.py)")


def test_the_examples_are_shown() -> None:
    shown = SITE["page"]("examples/README.md", "[x](video.py)")
    assert shown.startswith("[x](#videopy)")
    assert "\n## video.py\n\n```python\n" in shown


def test_names_of_roles_are_taken_out_of_docstrings() -> None:
    html = "<p>See :meth:<code>predict</code>. Example::</p>"
    assert SITE["without_roles"](html) == "<p>See <code>predict</code>. Example:</p>"
