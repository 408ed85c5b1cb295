"""Cuts out the people whose boxes a YOLO label file holds: PHOTO LABELS.txt FOLDER."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from human_edge_detection import MaskPredictor, read_image


def main(photo: str, labels: str, folder: str) -> None:
    """Write one transparent PNG per person of the label file."""
    image = read_image(photo)
    height, width = image.shape[:2]

    # Lines of "class cx cy w h [score]", fractions of the photo's sides; class 0 is a person.
    rows = np.loadtxt(labels, ndmin=2)
    people = rows[rows[:, 0] == 0]
    centres, sides = people[:, 1:3], people[:, 3:5]
    boxes_xyxy = np.hstack([centres - sides / 2, centres + sides / 2])
    boxes_xyxy *= [width, height, width, height]

    with MaskPredictor() as predictor:
        masks = predictor.segment(image, boxes_xyxy=boxes_xyxy)

    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, cutout in enumerate(masks.cutouts(image), start=1):
        if cutout.size:  # a box without anybody in it has an empty mask
            Image.fromarray(cutout).save(Path(folder) / f"{number:03d}.png")
    print(f"{len(masks)} people in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
