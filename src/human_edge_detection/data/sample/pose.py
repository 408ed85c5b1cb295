"""Skeletons of drawn people: a stance (joint angles) and a build become joint positions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
Limb = tuple[float, float]
"""Angles of the upper and lower bone from straight down, degrees, positive to the right."""

UPPER_ARM, FOREARM, THIGH, SHIN, ANKLE = 0.165, 0.15, 0.245, 0.235, 0.035
TORSO, NECK = 0.30, 0.03


@dataclass(frozen=True)
class Stance:
    """What a body does; ``left`` and ``right`` are the picture's.

    Attributes:
        turn: range of the body's turn: 0 faces the viewer, 1 the picture's right side.
        thigh: visible part of the thigh's length, small for somebody sitting towards the viewer.
        lift: height of the feet above the ground, in statures.
        open_mouth: shouts or laughs.
    """

    left_arm: Limb
    right_arm: Limb
    left_leg: Limb = (-4.0, -2.0)
    right_leg: Limb = (4.0, 2.0)
    lean: float = 0.0
    turn: tuple[float, float] = (-0.45, 0.45)
    thigh: float = 1.0
    lift: float = 0.0
    open_mouth: bool = False

    def mirrored(self) -> Stance:
        """The same stance seen in a mirror."""
        return replace(
            self,
            left_arm=_opposite(self.right_arm),
            right_arm=_opposite(self.left_arm),
            left_leg=_opposite(self.right_leg),
            right_leg=_opposite(self.left_leg),
            lean=-self.lean,
            turn=(-self.turn[1], -self.turn[0]),
        )


def _opposite(limb: Limb) -> Limb:
    return -limb[0], -limb[1]


STANDING = (
    Stance((-10, -5), (10, 5)),
    Stance((-14, -8), (9, 3), (-9, -3), (3, 4), lean=2),
    Stance((-42, 38), (42, -38), (-8, -6), (8, 6)),
    Stance((-12, -6), (40, -36), (-3, -2), (12, 8), lean=-2),
    Stance((-11, -5), (22, 158)),
    Stance((-16, 55), (16, -55), (-5, -3), (5, 3)),
    Stance((-12, -6), (84, 88), (-7, -4), (7, 4)),
    Stance((-10, 4), (128, 168), (-4, -3), (6, 3), open_mouth=True),
)
WALKING = (
    Stance((-24, -2), (22, 42), (24, 6), (-16, -34), lean=2, turn=(0.75, 1.0)),
    Stance((20, 48), (-22, -4), (-12, -28), (20, 10), lean=3, turn=(0.7, 0.95)),
    Stance((-50, 30), (40, 115), (52, -22), (-22, -78), lean=11, turn=(0.8, 1.0)),
    Stance((-14, 4), (13, -2), (-7, -2), (5, 0), turn=(-0.3, 0.3)),
)
CHEERING = (
    Stance((-152, -172), (150, 174), (-7, -4), (7, 4), open_mouth=True),
    Stance((-118, -165), (122, 158), (-9, -6), (9, 6), open_mouth=True),
    Stance((-160, 172), (20, 60), (-5, -3), (5, 3), open_mouth=True),
    Stance((-100, -165), (58, 128), (-22, -6), (16, 10), lean=5, open_mouth=True),
    Stance((-145, -165), (140, 160), (-26, 24), (30, -20), lift=0.09, open_mouth=True),
    Stance((-28, 28), (24, -30), (-4, -2), (4, 2), open_mouth=True),
)
SITTING = (
    Stance((-16, 14), (16, -14), (-18, -2), (18, 2), thigh=0.36),
    Stance((-20, 50), (18, -48), (-14, 4), (14, -4), thigh=0.33, open_mouth=True),
)
OUTDOORS = STANDING + STANDING + WALKING + CHEERING
EVERYDAY = STANDING + STANDING + WALKING


@dataclass(frozen=True)
class Build:
    """A body's proportions: ``broad`` scales widths, ``head`` is the head's height in statures."""

    broad: float
    hips: float
    head: float
    turn: float


@dataclass(frozen=True)
class Skeleton:
    """Joint positions float64 [2] in the figure's frame; limbs are root, middle, end."""

    pelvis: Point
    neck: Point
    head: Point
    up: Point
    arms: tuple[NDArray[np.float64], NDArray[np.float64]]
    legs: tuple[NDArray[np.float64], NDArray[np.float64]]
    size: float

    @property
    def joints(self) -> NDArray[np.float64]:
        """All joints, float64 [N, 2]."""
        trunk = np.stack([self.pelvis, self.neck, self.head])
        return np.concatenate([trunk, *self.arms, *self.legs])


def random_build(rng: np.random.Generator, turn: float) -> Build:
    """Grown-ups mostly, some children."""
    child = rng.random() < 0.12
    head = rng.uniform(0.175, 0.195) if child else rng.uniform(0.142, 0.156)
    return Build(rng.uniform(0.88, 1.18), rng.uniform(0.9, 1.15), float(head), turn)


def pose(stance: Stance, build: Build, rng: np.random.Generator) -> Skeleton:
    """The skeleton of a stance, a little different each time, standing on the ground."""
    size = (1 - NECK - build.head) / (TORSO + THIGH + SHIN + ANKLE)
    lean = np.radians(stance.lean + rng.normal(0, 1.5))
    up = np.array([np.sin(lean), -np.cos(lean)])
    side = np.array([-up[1], up[0]])
    pelvis = np.zeros(2)
    neck = pelvis + up * TORSO * size
    away = abs(build.turn)
    shoulder = size * build.broad * (0.111 - 0.065 * away)
    hip = size * build.hips * (0.056 - 0.034 * away)
    arms, legs = [], []
    for sign, arm, leg in (
        (-1, stance.left_arm, stance.left_leg),
        (1, stance.right_arm, stance.right_leg),
    ):
        root = neck - up * 0.036 * size + side * sign * shoulder
        arms.append(_limb(root, arm, (UPPER_ARM * size, FOREARM * size), rng, 6))
        root = pelvis + side * sign * hip
        legs.append(_limb(root, leg, (THIGH * size * stance.thigh, SHIN * size), rng, 2.5))
    head = neck + up * NECK + _turned(up, rng.normal(0, 0.07)) * build.head / 2
    ground = max(limb[2, 1] for limb in legs) + ANKLE * size + stance.lift
    drop = np.array([0.0, -ground])
    return Skeleton(
        pelvis + drop,
        neck + drop,
        head + drop,
        up,
        (arms[0] + drop, arms[1] + drop),
        (legs[0] + drop, legs[1] + drop),
        size,
    )


def _limb(
    root: Point, angles: Limb, lengths: tuple[float, float], rng: np.random.Generator, loose: float
) -> NDArray[np.float64]:
    joints = [root]
    for angle, length in zip(angles, lengths, strict=True):
        bend = np.radians(angle + rng.normal(0, loose))
        joints.append(joints[-1] + length * np.array([np.sin(bend), np.cos(bend)]))
    return np.stack(joints)


def _turned(vector: Point, angle: float) -> Point:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])
