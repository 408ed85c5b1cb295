"""``export``: trained weights as ONNX files; ``quantize``: an exported head in 8-bit integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import (
    BUILTIN,
    DEFAULT_TRAIN_ANN,
    DEFAULT_TRAIN_IMG_DIR,
    option,
    require_least,
)
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, shipped_weights


@dataclass(frozen=True)
class ExportOptions:
    """What ``human-edge-detection export`` takes."""

    checkpoint: Path = option(
        Path("checkpoints/best_model.pth"),
        f"checkpoint or weights (.safetensors) to export, or '{BUILTIN}' for the model that ships",
        positional=True,
    )
    output: Path | None = option(None, "file to write (default: the checkpoint's name, .onnx)")
    output_dir: Path | None = option(
        None, "folder of the written files, two of a person model (default: the checkpoint's)"
    )
    onnx_model: Path | None = option(
        None, "extractor to merge with, for one file from image and ROIs to masks"
    )
    image_size: tuple[int, int] | None = option(
        None, "height and width of the network's input (default: as trained)"
    )
    one_input: bool = option(
        False,
        "a head with a trunk for small people takes all people by one input, for engines that "
        "refuse inputs without rows; each person costs both trunks",
    )
    web: Path | None = option(
        None,
        f"with '{BUILTIN}', folder of a static page that cuts people out in the browser; "
        "writes that instead",
    )
    triton: Path | None = option(
        None,
        f"with '{BUILTIN}', folder of a model repository for Triton Inference Server; writes that "
        "instead",
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        if self.web and self.triton:
            raise InputError(f"--web {self.web} excludes --triton {self.triton}: give one")
        if folder := self.web or self.triton:
            flag = f"--{'web' if self.web else 'triton'} {folder}"
            if str(self.checkpoint) != BUILTIN:
                raise InputError(f"{flag} takes the model that ships: export {BUILTIN}")
            for name in ("output", "output_dir", "onnx_model", "image_size", "one_input"):
                if getattr(self, name) not in (None, False):
                    raise InputError(f"--{name} does not go with {flag}: leave it out")
            return
        if self.output and self.output_dir:
            raise InputError(f"--output {self.output} excludes --output_dir: give one")
        if str(self.checkpoint) == BUILTIN and not self.output_dir:
            raise InputError(f"export {BUILTIN} needs --output_dir: the shipped files stay")


def run_export(options: ExportOptions) -> int:
    """Export a model as the options say, print the comparisons and return 0.

    Raises:
        InputError: if the weights are unusable, or an option does not fit their kind of model.
    """
    if options.web:
        from human_edge_detection.inference.web_page import write_page

        write_page(options.web)
        print(f"{options.web}: serve it from any web space, or try it with")
        print(f"  python -m http.server --directory {options.web} 8000")
        return 0
    if options.triton:
        from human_edge_detection.serving.triton import write_repository

        write_repository(options.triton)
        print(f"{options.triton}: start Triton with --model-repository={options.triton}")
        return 0
    from human_edge_detection.export.head import (
        export_end_to_end,
        export_head,
        report,
        with_one_input,
    )
    from human_edge_detection.export.person_model import export_pair
    from human_edge_detection.modeling.weights import read_trained

    checkpoint = options.checkpoint
    if str(checkpoint) == BUILTIN:
        checkpoint = shipped_weights()
    trained = read_trained(checkpoint).at_size(options.image_size)
    folder = options.output_dir or checkpoint.parent
    if trained.has_extractor:
        for name in ("output", "onnx_model"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} does not go with {trained.path}, whose extractor was trained "
                    f"along: it becomes {EXTRACTOR_NAME} and {HEAD_NAME} in --output_dir"
                )
        export_pair(trained, folder, options.one_input)
        return 0
    output = options.output or folder / f"{checkpoint.stem}.onnx"
    head, spec = trained.model()["head"], trained.spec
    if options.one_input:
        head, spec = with_one_input(head, spec)
    if options.onnx_model is None:
        report(output, export_head(head, spec, output))
    else:
        report(output, export_end_to_end(head, spec, options.onnx_model, output))
    return 0


LEAST_AGREEMENT = 0.95
"""Smallest mean IoU with the float head's masks of an 8-bit head that is written."""


@dataclass(frozen=True)
class QuantizeOptions:
    """What ``human-edge-detection quantize`` takes."""

    model: Path = option(
        Path("checkpoints/best_model.onnx"), "exported head to make small", positional=True
    )
    extractor: Path | None = option(None, "the ONNX network that the head was trained on")
    ann: Path = option(DEFAULT_TRAIN_ANN, "COCO annotations of photos like those of later use")
    img_dir: tuple[Path, ...] = option(
        (DEFAULT_TRAIN_IMG_DIR,), "folder, zip file or tar shards of the annotated photos"
    )
    photos: int = option(24, "photos that set the scales; as many others check the result", least=1)
    max_rois: int = option(8, "most people of one photo to look at", least=1)
    output: Path | None = option(None, "file to write (default: the head's name, _int8.onnx)")
    seed: int = option(42, "seed of the choice of photos")

    def __post_init__(self) -> None:
        require_least(self)


def run_quantize(options: QuantizeOptions) -> int:
    """Write the 8-bit head, print its agreement with the float one and return 0.

    Raises:
        InputError: if a file is unusable, or the masks of the two heads differ too much.
    """
    from human_edge_detection.data.coco_reader import load_photos
    from human_edge_detection.data.photos import open_photos
    from human_edge_detection.export.quantize import (
        compare,
        draw_photos,
        head_inputs,
        quantized,
        read_float_head,
    )
    from human_edge_detection.export.torch_to_onnx import serialized

    model = read_float_head(options.model)
    photos, _ = load_photos(options.ann, open_photos(options.img_dir, "--img_dir"))
    drawn = draw_photos(photos, 2 * options.photos, options.seed)
    feeds = head_inputs(drawn, options.model, options.extractor, options.max_rois)
    if len(feeds) < 2:
        raise InputError(f"--ann {options.ann} has fewer than two readable photos of people")
    half = (len(feeds) + 1) // 2
    found = serialized(quantized(model, feeds[:half]))
    agreement = compare(model.SerializeToString(), found, feeds[half:])
    output = options.output or options.model.with_name(f"{options.model.stem}_int8.onnx")
    if agreement.iou < LEAST_AGREEMENT:
        raise InputError(
            f"{output} was not written: its masks agree with {options.model} only to an IoU of "
            f"{agreement.iou:.3f}: calibrate on more photos (--photos {2 * options.photos}) like "
            "those that it was trained on"
        )
    write_atomically(output, found)
    print(f"{output}: {len(found) / 1e6:.2f} MB, 8-bit, for CPUs; scales from {half} photos")
    print(
        f"  masks of {agreement.people} people in {len(feeds) - half} other photos: IoU "
        f"{agreement.iou:.4f} with {options.model}"
    )
    return 0
