"""Makes all people in a photo unrecognisable: PHOTO OUTPUT."""

import sys

import cv2
import numpy as np
from PIL import Image

from human_edge_detection import MaskPredictor, read_image


def main(photo: str, output: str) -> None:
    """Write the photo with people as blocks of their mean colours."""
    image = read_image(photo)
    height, width = image.shape[:2]
    with MaskPredictor() as predictor:
        # For privacy a doubtful person counts too, and so does a doubtful pixel.
        masks = predictor.segment(image, score=0.1)
    owners = masks.label_map(threshold=0.3)

    margin = max(height, width) // 100  # hair and hands at the edge
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    hidden = cv2.dilate((owners > 0).astype(np.uint8), kernel) > 0

    blocks = (max(1, width // (4 * margin + 1)), max(1, height // (4 * margin + 1)))
    coarse = cv2.resize(image, blocks, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    Image.fromarray(np.where(hidden[..., None], coarse, image)).save(output)
    print(f"{np.count_nonzero(np.unique(owners))} people hidden in {output}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
