"""Tints everybody in a film, frame by frame: FILM OUTPUT.mp4.

For one number and colour per person through the whole film, see ``VideoTracker``.
"""

import sys

import cv2

from human_edge_detection import MaskPredictor


def main(film: str, output: str) -> None:
    """Write the film with a mask over every person."""
    source = cv2.VideoCapture(film)
    fps = source.get(cv2.CAP_PROP_FPS)
    size = tuple(int(source.get(side)) for side in (3, 4))  # width and height
    target = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    frames = 0
    with MaskPredictor() as predictor:
        while True:
            is_there, frame = source.read()  # OpenCV reads and writes BGR
            if not is_there:
                break
            image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            tinted = predictor.segment(image).overlay(image)
            target.write(cv2.cvtColor(tinted, cv2.COLOR_RGB2BGR))
            frames += 1
    target.release()
    print(f"{frames} frames in {output}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
