"""Builds the documents as a site in ``build/site``, with every warning an error.

uv run --isolated --only-group docs python docs/build_site.py

The pages are this repository's own Markdown files, so that they read the same where the code is
hosted. Links between them are followed; one to a file that the site does not hold is an error.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "src/human_edge_detection/weights/MODEL_CARD.md": "model-card.md",
    "docs": "index.md",
}
"""Pages from outside ``docs/``, by their names in the site; files in ``docs/`` keep theirs."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#|<)([^)\s]+)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.M | re.S)


def main() -> int:
    """Write the pages and build the site; the builder's exit code."""
    pages = ROOT / "build" / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for source, name in all_pages().items():
        path = ROOT / source
        if path.is_file():
            target = pages / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page(source, path.read_text("utf-8")), "utf-8")
    shutil.copytree(ROOT / "docs" / "images", pages / "images")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code == 0:  # docstrings are reStructuredText in two things, which Markdown shows as they are
        path = ROOT / "build" / "site" / "api.html"
        path.write_text(without_roles(path.read_text("utf-8")), "utf-8")
    return code


def without_roles(html: str) -> str:
    """A page of docstrings without the names of Sphinx roles and with single colons before code."""
    return re.sub(r":(?:attr|class|data|func|meth):(?=<code)", "", html).replace("::</p>", ":</p>")


def all_pages() -> dict[str, str]:
    """The site's pages: path in the repository → name in the site."""
    own = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    return PAGES | own


def page(source: str, text: str) -> str:
    """The text of a page with its links as the site needs them.

    Args:
        source: the page's path in the repository.
        text: Markdown. Below an examples page each script that it links to is shown.

    Raises:
        ValueError: for a link to a file that the site does not hold.
    """
    pieces = CODE.split(text)  # code stands at the odd places
    moved = [LINK.sub(lambda link: moved_link(source, link[0]), piece) for piece in pieces[::2]]
    pieces[::2] = moved
    text = "".join(pieces)
    if source.startswith("examples/"):
        for script in sorted((ROOT / source).parent.glob("*.py")):
            code = script.read_text("utf-8").strip()
            text += f"\n## {script.name}\n\n```python\n{code}\n```\n"
    return text


def moved_link(source: str, link: str) -> str:
    """A link of a page of the repository as the site needs it."""
    target, hash_mark, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path.startswith("docs/images/"):
        return path.removeprefix("docs/")
    if path.startswith("examples/") and path.endswith(".py"):
        return "#" + posixpath.basename(path).replace(".", "").lower()
    if path not in (pages := all_pages()):
        raise ValueError(f"{source} links to {link}: add {path} to PAGES in docs/build_site.py")
    return pages[path] + hash_mark + anchor


if __name__ == "__main__":
    sys.exit(main())
