"""Trains the shipped model further on a few photos: PHOTOS ANNOTATIONS.json FOLDER [FLAGS …].

Every fifth photo is kept for validation. The weights that ship count as epoch 0, so the result is
never worse on those. Further flags are those of ``main.py``.
"""

import json
import sys
from pathlib import Path

from human_edge_detection.cli import train_main

FLAGS = (
    "--init_from builtin --onnx_model builtin --train_extractor --train_detector "
    "--image_size 768 768 --train_image_size 640 640 --epochs 5 --batch_size 4 --lr 2e-4 "
    "--backbone_lr 2e-5 --warmup_steps 10 --gradient_clip 10 --ema 0.9"
)


def main(photos: str, annotations: str, folder: str, *further: str) -> int:
    """Split the annotations and train; the exit code of ``main.py``."""
    content = json.loads(Path(annotations).read_text(encoding="utf-8"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    arguments = ["--train_img_dir", photos, "--val_img_dir", photos, "--checkpoint_dir", folder]
    for split in ("train", "val"):
        images = [
            image
            for number, image in enumerate(content["images"])
            if (number % 5 == 4) == (split == "val")
        ]
        ids = {image["id"] for image in images}
        people = [item for item in content["annotations"] if item["image_id"] in ids]
        path = Path(folder) / f"{split}.json"
        path.write_text(json.dumps(content | {"images": images, "annotations": people}), "utf-8")
        arguments += [f"--{split}_ann", str(path)]
    return train_main([*FLAGS.split(), *arguments, *further])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 3 else __doc__)
