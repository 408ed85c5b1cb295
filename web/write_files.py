"""Writes what the build takes from Python: a model with its facts, the example and the icons."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.inference.web_page import write_model

EXAMPLE_SEED, EXAMPLE_SIZE_HW, EXAMPLE_PEOPLE = 127, (480, 720), 6


def write_example(path: Path) -> None:
    """Write the drawn crowd that the page offers to those who have no photo at hand."""
    image, _, _ = draw_crowd(EXAMPLE_SEED, EXAMPLE_SIZE_HW, EXAMPLE_PEOPLE)
    Image.fromarray(image).save(path, quality=88)


def write_icons(folder: Path) -> None:
    """Draw ``icon.svg`` in pixels, for systems that do not read SVG."""
    for side in (192, 512):
        image = Image.new("RGBA", (256, 256))
        draw = ImageDraw.Draw(image)
        draw.rounded_rectangle((0, 0, 256, 256), 60, "#20232e")
        for color, rim, (x, y), head, shoulder, body, bottom in (
            ("#ff7a45", 0, (164, 84), 32, 180, 56, 224),
            ("#7f93ff", 6, (100, 104), 38, 200, 68, 232),
        ):
            for grow, fill in ((rim, "#20232e"), (-rim, color)):
                wide, round_ = body + grow, head + grow
                top = (x - wide, shoulder - wide, x + wide, shoulder + wide)
                draw.pieslice(top, 180, 360, fill)
                draw.rectangle((x - wide, shoulder, x + wide, bottom + grow), fill)
                draw.ellipse((x - round_, y - round_, x + round_, y + round_), fill)
        image.resize((side, side), Image.Resampling.LANCZOS).quantize(32).save(
            folder / f"icon-{side}.png"
        )


if __name__ == "__main__":
    write_model(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
    write_example(Path(sys.argv[1]) / "example.jpg")
    write_icons(Path(sys.argv[1]))
