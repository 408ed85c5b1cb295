"""Boxes in, masks out: one photo (`predictor`) and many files (`batch`)."""
