"""Labels a folder of photos for correction in an annotation tool: PHOTOS ANNOTATIONS.json.

The file is in COCO format with polygons, which CVAT, Label Studio, FiftyOne and others import.
"""

import json
import sys
from pathlib import Path

from human_edge_detection import InputError, MaskPredictor, read_image


def main(folder: str, output: str) -> None:
    """Write the masks of everybody in the photos."""
    images, annotations = [], []
    with MaskPredictor() as predictor:
        for path in sorted(Path(folder).iterdir()):
            try:
                image = read_image(path)
            except InputError as error:  # not a photo, or a damaged one
                print(f"left out: {error}", file=sys.stderr)
                continue
            height, width = image.shape[:2]
            number = len(images) + 1
            images.append({"id": number, "file_name": path.name, "height": height, "width": width})
            masks = predictor.segment(image)
            people = zip(masks.polygons(tolerance=1.0), masks.iter_binary(), strict=True)
            for rings, (mask, _) in people:
                if not rings:
                    continue
                x1, y1 = (float(min(ring[:, axis].min() for ring in rings)) for axis in (0, 1))
                x2, y2 = (float(max(ring[:, axis].max() for ring in rings)) for axis in (0, 1))
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(mask.sum()),
                    "segmentation": [ring.ravel().tolist() for ring in rings],
                })  # fmt: skip
    categories = [{"id": 1, "name": "person"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    Path(output).write_text(json.dumps(content), encoding="utf-8")
    print(f"{len(annotations)} people in {len(images)} photos: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
