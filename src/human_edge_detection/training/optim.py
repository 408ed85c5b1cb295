"""The optimizer of a run, and which weights decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from human_edge_detection.training.config import TrainOptions


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimizer of the options; norms, biases and the position bias are not decayed."""
    lr = options.peak_lr
    groups: list[dict[str, Any]] = []
    for is_backbone, factor in ((False, 1.0), (True, options.backbone_lr / lr)):
        own = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith("extractor.backbone.") == is_backbone
        ]
        decayed = [p for p in own if p.ndim == 4 and p.shape[0] > 1]
        chosen = {id(p) for p in decayed}
        plain = [p for p in own if id(p) not in chosen]
        if own:
            groups += [
                {"params": decayed, "weight_decay": options.weight_decay, "lr_factor": factor},
                {"params": plain, "weight_decay": 0.0, "lr_factor": factor},
            ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=options.momentum)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=lr)
