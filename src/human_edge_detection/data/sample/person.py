"""One drawn person: a clothed body on a transparent layer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.sample.brush import Cloth, Color, Sheet, blob, disc, stroke, tube
from human_edge_detection.data.sample.head import head_frame, paint_hair_behind, paint_head, shade
from human_edge_detection.data.sample.look import Look, random_look
from human_edge_detection.data.sample.pose import Build, Skeleton, Stance, pose, random_build

MARGIN = 0.16
"""Flesh, hair and hats around the joints, statures."""


@dataclass(frozen=True)
class Layer:
    """A figure ready to be laid over a picture.

    Attributes:
        color: float32 [h, w, 3], 0…255, multiplied by ``alpha``.
        alpha: float32 [h, w], 0…1.
        corner_xy: where its top left pixel goes in the picture.
    """

    color: FloatArray
    alpha: FloatArray
    corner_xy: tuple[int, int]


@dataclass(frozen=True)
class Body:
    """What the painting functions need to know of a person."""

    bones: Skeleton
    build: Build
    look: Look
    back: bool

    @property
    def width(self) -> float:
        """Scale of the limbs' thickness."""
        return self.bones.size * (0.35 + 0.65 * self.build.broad)


def draw_person(
    rng: np.random.Generator,
    stance: Stance,
    foot_xy: tuple[float, float],
    stature: float,
    light: tuple[float, float],
    back_share: float = 0.12,
) -> Layer:
    """A random person in a stance.

    Args:
        rng: source of every choice.
        stance: what the body does; it is mirrored in half of the cases.
        foot_xy: where the ground under the person is, picture pixels.
        stature: height of the upright person in pixels.
        light: direction towards the light, a unit vector.
        back_share: how often somebody shows the back.
    """
    stance = stance.mirrored() if rng.random() < 0.5 else stance
    build = random_build(rng, float(rng.uniform(*stance.turn)))
    back = bool(abs(build.turn) < 0.6 and stance.thigh == 1 and rng.random() < back_share)
    body = Body(pose(stance, build, rng), build, random_look(rng, stance.open_mouth), back)
    detail = float(np.clip(460 / stature, 1.2, 2.25))
    low, high = body.bones.joints.min(axis=0) - MARGIN, body.bones.joints.max(axis=0) + MARGIN
    corner = np.floor(np.array(foot_xy) + low * stature)
    start = (corner - foot_xy) / stature
    size = np.ceil((high - start) * stature)
    sheet = Sheet((start[0], start[1], *(start + size / stature)), stature * detail, light)
    _paint_body(sheet, body)
    return _finish(sheet, (int(size[0]), int(size[1])), (int(corner[0]), int(corner[1])))


def _finish(sheet: Sheet, size_wh: tuple[int, int], corner_xy: tuple[int, int]) -> Layer:
    color = cv2.resize(cv2.merge(list(sheet.color)), size_wh, interpolation=cv2.INTER_AREA)
    alpha = np.asarray(cv2.resize(sheet.alpha, size_wh, interpolation=cv2.INTER_AREA), np.float32)
    color = np.minimum(color, 255 * alpha[..., None])
    return Layer(np.asarray(color, np.float32), alpha, corner_xy)


def _paint_body(sheet: Sheet, body: Body) -> None:
    turn, look = body.build.turn, body.look
    head = head_frame(body.bones, body.build.head, turn)
    far = 1 if turn > 0 else 0
    if not body.back:
        paint_hair_behind(sheet, head, look.head)
    early = (0, 1) if body.back else (far,) if abs(turn) > 0.4 else ()
    for side in early:
        _paint_arm(sheet, body, side)
    for side in (far, 1 - far):
        _paint_leg(sheet, body, side)
    _paint_hips(sheet, body)
    _paint_torso(sheet, body)
    _paint_neck(sheet, body)
    if look.jacket and not body.back and abs(turn) < 0.6:
        _paint_lapels(sheet, body)
    paint_head(sheet, head, look.head, body.back)
    for side in (0, 1):
        if side not in early:
            _paint_arm(sheet, body, side)


def _upto(limb: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The limb's joints from its root as far as ``share`` bones (0…2), with a point per half."""
    steps = np.linspace(0, share, 5)
    return np.stack([np.interp(steps, (0, 1, 2), limb[:, axis]) for axis in range(2)], axis=1)


def _radii(radii: tuple[float, ...], share: float, scale: float) -> list[float]:
    steps = np.linspace(0, share, 5)
    return [float(r) for r in np.interp(steps, np.linspace(0, 2, len(radii)), radii) * scale]


def _paint_arm(sheet: Sheet, body: Body, side: int) -> None:
    limb, width, look = body.bones.arms[side], body.width, body.look
    reach = limb[2] - limb[1]
    reach = reach / np.hypot(*reach)
    skin, sleeve = look.head.skin, look.jacket or look.top
    flesh = (0.036, 0.035, 0.029, 0.029, 0.02)
    sheet.paint(tube(_upto(limb, 2), _radii(flesh, 2, width)), skin)
    palm = limb[2] + reach * 0.026 * width
    angle = float(np.arctan2(reach[1], reach[0]))
    sheet.paint(disc(palm, 0.036 * width, 0.023 * width, angle), skin, shadow=0, softness=0.01)
    thumb = palm + np.array([-reach[1], reach[0]]) * 0.02 * width * (1 if side else -1)
    sheet.paint(tube([limb[2], thumb], [0.012 * width, 0.009 * width]), skin, 0.2, 0, 0.006)
    if look.sleeve:
        loose = (0.036, 0.042, 0.039, 0.036, 0.03)
        shape = tube(_upto(limb, look.sleeve), _radii(loose, look.sleeve, width), cut=True)
        sheet.paint(shape, sleeve, volume=0.25, shadow=0.15)


def _paint_leg(sheet: Sheet, body: Body, side: int) -> None:
    limb, width, look = body.bones.legs[side], body.width, body.look
    flesh = (0.05, 0.056, 0.043, 0.041, 0.026)
    covered = look.leg == 2 and not look.skirt
    if not covered:
        sheet.paint(tube(_upto(limb, 2), _radii(flesh, 2, width)), look.head.skin)
    _paint_shoe(sheet, body, side)
    if not look.skirt:
        loose = (0.053, 0.062, 0.052, 0.046, 0.038)
        shape = tube(_upto(limb, look.leg), _radii(loose, look.leg, width), cut=True)
        sheet.paint(shape, look.bottom)


def _paint_shoe(sheet: Sheet, body: Body, side: int) -> None:
    knee, ankle = body.bones.legs[side][1:]
    shin = (ankle - knee) / np.hypot(*(ankle - knee))
    turn, width = body.build.turn, body.width
    tilt = 0.8 * float(np.arctan2(-shin[0], shin[1])) if abs(turn) > 0.6 else 0.0
    c, s = np.cos(tilt), np.sin(tilt)
    splay = turn + 0.25 * (1 if side else -1) * (1 - abs(turn))
    toe, heel = 0.034 + max(0, splay) * 0.06, -0.034 + min(0, splay) * 0.06
    outline = width * np.array([
        (heel, 0.012), (-0.024, -0.02), (0.024, -0.02), (toe, 0.008),
        (toe + 0.002, 0.03), (0.0, 0.033), (heel - 0.002, 0.03),
    ])  # fmt: skip
    rotation = np.array([[c, -s], [s, c]])
    sole = np.array([(heel, 0.031), (0.0, 0.034), (toe, 0.031)]) * width
    sheet.paint(blob(ankle + outline @ rotation.T), body.look.shoe, softness=0.012)
    sheet.paint(stroke(ankle + sole @ rotation.T, 0.006 * width), shade(body.look.shoe, 0.6), 0, 0)


def _paint_hips(sheet: Sheet, body: Body) -> None:
    bones, width, look = body.bones, body.width, body.look
    half = _half_widths(body)[2] * 0.94
    low = 0.03 * width
    seat = np.array([(-half * 0.9, 0), (half * 0.9, 0), (half, low), (0, 2 * low), (-half, low)])
    sheet.paint(blob(bones.pelvis + seat), look.bottom, shadow=0)
    if look.skirt:
        knees = [leg[1] for leg in bones.legs]
        sway = (knees[0] + knees[1]) / 2 - bones.pelvis
        spread = max(half + 0.03, abs(knees[1][0] - knees[0][0]) / 2 + 0.06 * width)
        drop = sway * (look.skirt / max(0.2, float(np.hypot(*sway))))
        waist = np.array(
            [(-half * 1.05, 0.04), (-half * 0.8, -0.01), (half * 0.8, -0.01), (half * 1.05, 0.04)]
        )
        hem = np.array([
            (spread, -0.01), (spread * 0.5, 0.012), (0, 0.014),
            (-spread * 0.5, 0.012), (-spread, -0.01),
        ])  # fmt: skip
        sheet.paint(blob(bones.pelvis + np.concatenate([waist, drop + hem])), look.bottom)


def _half_widths(body: Body) -> tuple[float, float, float]:
    """Half widths of chest, waist and hips, statures."""
    arms, legs = body.bones.arms, body.bones.legs
    shoulder = float(np.hypot(*(arms[1][0] - arms[0][0]))) / 2
    hip = float(np.hypot(*(legs[1][0] - legs[0][0]))) / 2
    chest = max(shoulder + 0.004, 0.076 * body.width)
    waist = max(shoulder * 0.78, 0.064 * body.width)
    return chest, waist, max(hip + 0.058 * body.width, waist + 0.006)


def _paint_torso(sheet: Sheet, body: Body) -> None:
    bones, look, width = body.bones, body.look, body.width
    chest, waist, hips = _half_widths(body)
    down, side = -bones.up, np.array([-bones.up[1], bones.up[0]])
    rows = (
        (0.042, -0.02), (chest * 0.6, -0.006), (chest * 0.96, 0.018),
        (chest + 0.01 * width, 0.05), (chest, 0.1), (waist, 0.2), (hips, 0.3), (hips, 0.335),
    )  # fmt: skip
    right = [bones.neck + down * y * bones.size + side * x for x, y in rows]
    left = [bones.neck + down * y * bones.size - side * x for x, y in rows]
    sheet.paint(blob([*right, *left[::-1]]), look.jacket or look.top, softness=0.03)
    if look.bag and not body.back and abs(body.build.turn) < 0.6:
        path = ((0.6, -0.01), (0.66, 0.06), (0.86, 0.14))
        for sign in (-1, 1):
            strap = [bones.neck + side * sign * chest * f + down * y for f, y in path]
            sheet.paint(stroke(strap, 0.013 * width), look.bag, 0.3, 0.3, 0.008)
    if look.buttons and not look.jacket and not body.back:
        for y in (0.05, 0.1, 0.15, 0.2, 0.25):
            spot = bones.neck + down * y * bones.size + side * 0.075 * body.build.turn
            sheet.paint(disc(spot, 0.005), shade(look.top.color, 0.6), 0, 0)


def _paint_neck(sheet: Sheet, body: Body) -> None:
    bones, width, skin = body.bones, body.width, body.look.head.skin
    ahead = np.array([0.03 * body.build.turn, 0.0])
    if not body.back:
        collar = disc(bones.neck + ahead - bones.up * 0.012, 0.036 * width, 0.03 * width)
        sheet.paint(collar, shade(skin, 0.95), volume=0.1, shadow=0)
    sheet.paint(tube([bones.neck, bones.head], [0.034 * width, 0.03 * width]), skin, 0.3, 0)


def _paint_lapels(sheet: Sheet, body: Body) -> None:
    """The strip of shirt that an open jacket shows."""
    bones, top = body.bones, body.look.top
    down, side = -bones.up, np.array([-bones.up[1], bones.up[0]])
    middle = bones.neck + side * 0.07 * body.build.turn
    narrow = body.width * (1 - 0.5 * abs(body.build.turn))
    outline = (
        (-0.03, 0.012), (0, 0.04), (0.03, 0.012), (0.05, 0.12),
        (0.045, 0.32), (-0.045, 0.32), (-0.05, 0.12),
    )  # fmt: skip
    strip = [middle + down * y + side * x * narrow for x, y in outline]
    sheet.paint([np.stack(strip)], top, volume=0.1, shadow=0.2)
    seam = ((0.032, 0.0), (0.052, 0.12), (0.047, 0.32))
    for sign in (-1, 1):
        edge = [middle + down * y + side * sign * x * narrow for x, y in seam]
        jacket: Cloth | Color = shade(body.look.jacket.color, 0.75) if body.look.jacket else top
        sheet.paint(stroke(edge, 0.006), jacket, 0, 0)
