"""What commands and files versions have promised (docs/api.md): more may come, none may go."""

from __future__ import annotations

import importlib

import pytest

from human_edge_detection.cli import COMMANDS, load
from human_edge_detection.core.options import option_fields
from human_edge_detection.inference import SAVE_KINDS

FLAGS = {
    "predict": (
        "source boxes boxes_format model extractor detector detector_layout person_class output "
        "save threshold score fuse draw_boxes recursive every track max_pixels max_people "
        "device max_rois workers threads overwrite"
    ),
    "train": (
        "train_ann val_ann train_img_dir val_img_dir data_stats min_roi_size max_rois "
        "repeat_crowds head head_widths small_branch mask_size roi_size roi_padding image_size "
        "onnx_model layers cache_features cache_limit train_extractor train_detector "
        "train_image_size detector_weight box_jitter zoom_jitter zoom_middle color_jitter "
        "no_flip copy_paste ce_weight dice_weight dice_classes optimizer lr backbone_lr "
        "momentum weight_decay scheduler min_lr lr_decay_epochs lr_decay_rate warmup_steps "
        "gradient_clip gradient_accumulation ema amp amp_dtype epochs batch_size num_workers "
        "seed device checkpoint_dir log_dir val_output_dir validate_every save_every keep "
        "early_stop init_from resume resume_epochs test_only"
    ),
    "validate": (
        "models ensemble multiple val_ann val_img_dir onnx_model image_size data_stats "
        "batch_size num_workers device no_visualization val_output_dir min_side bootstrap "
        "best_by robustness"
    ),
    "export": "checkpoint output output_dir onnx_model image_size one_input web triton",
    "quantize": "model extractor ann img_dir photos max_rois output seed",
    "check": "onnx_model layers device",
    "check_data": "ann img_dir val_ann val_img_dir min_roi_size decode examples output",
    "serve": (
        "host port model extractor detector detector_layout person_class fuse device max_rois "
        "workers threads queue max_mb max_pixels max_people seconds body_seconds cors page"
    ),
    "fleet": (
        "source output boxes boxes_format model extractor detector detector_layout person_class "
        "threshold score fuse recursive max_pixels max_people max_rois image_size actors cpus gpus "
        "device batch block address max_errors"
    ),
    "gather": "results output overlays seed",
    "benchmark": (
        "model extractor versus versus_extractor providers people photos rounds warmup no_cold "
        "max_rois threads output"
    ),
    "stats": "ann output mask_size roi_padding",
    "subset": "ann output_dir sizes seed",
}
"""Command → its flags."""

FACADES = {
    "dataset": "Person Photo PhotoDataset load_photos",
    "feature_extractor": "YOLOv9FeatureExtractor",
    "model": "DynamicRoIAlign LiteHead ModelSpec SpecHead build_head",
    "losses": "RoiMaskLoss cross_entropy_sum dice_sum",
    "train": "Run Trainer run_train",
    "visualize": "draw_people overlay_masks_on_image panel",
    "export_onnx": "export_end_to_end export_head",
    "fleet": "SegmentRows SegmentSettings find_photos manifest_schema read_rows result_schema "
    "write_manifest",
}
"""Module of the specification, or for other engines, → its names."""


@pytest.mark.parametrize("command", FLAGS)
def test_no_promised_flag_has_gone(command: str) -> None:
    present = {field.name for field in option_fields(load(COMMANDS[command][0]))}
    assert set(FLAGS[command].split()) <= present, "breaks callers: see docs/api.md on versions"


@pytest.mark.parametrize("name", FACADES)
def test_no_promised_name_of_a_module_has_gone(name: str) -> None:
    module = importlib.import_module(f"human_edge_detection.{name}")
    assert set(FACADES[name].split()) <= set(module.__all__)


def test_no_result_format_has_gone() -> None:
    assert {"overlay", "coco", "labels", "cutouts", "polygons"} <= set(SAVE_KINDS)
