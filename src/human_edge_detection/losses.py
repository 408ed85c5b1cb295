"""The specification's name for the losses of the wing ``modeling``."""

from human_edge_detection.modeling.losses import RoiMaskLoss, cross_entropy_sum, dice_sum

__all__ = ["RoiMaskLoss", "cross_entropy_sum", "dice_sum"]
