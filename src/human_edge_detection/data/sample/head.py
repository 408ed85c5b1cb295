"""Heads of drawn people: face, hair and headgear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.data.sample.brush import Color, Sheet, blob, disc, stroke
from human_edge_detection.data.sample.pose import Skeleton

Xy = tuple[float, float]


@dataclass(frozen=True)
class HeadLook:
    """How a head looks; ``hair_length`` is in head heights below the crown, 0 is bald."""

    skin: Color
    hair: Color
    hair_length: float
    curls: float
    bun: bool
    beard: bool
    glasses: bool
    lips: Color
    hat: Callable[[Sheet, HeadFrame, Color], None] | None
    hat_color: Color
    open_mouth: bool


@dataclass(frozen=True)
class HeadFrame:
    """The head's own frame: unit is the head's height, y runs to the chin at +0.5."""

    center: NDArray[np.float64]
    down: NDArray[np.float64]
    size: float
    turn: float

    def at(self, points: Sequence[Xy]) -> NDArray[np.float64]:
        """The points in the figure's frame."""
        right = np.array([self.down[1], -self.down[0]])
        local = np.asarray(points, np.float64) * self.size
        return np.asarray(self.center + local[:, :1] * right + local[:, 1:] * self.down)

    def face(self, points: Sequence[Xy]) -> NDArray[np.float64]:
        """Points on the face, which slide and narrow as the head turns."""
        narrow = 1 - 0.5 * abs(self.turn)
        return self.at([(x * narrow + 0.29 * self.turn, y) for x, y in points])

    @property
    def angle(self) -> float:
        """Tilt in radians."""
        return float(np.arctan2(-self.down[0], self.down[1]))


def head_frame(skeleton: Skeleton, size: float, turn: float) -> HeadFrame:
    """The frame of a skeleton's head."""
    down = skeleton.neck - skeleton.head
    return HeadFrame(skeleton.head, down / np.hypot(*down), size, turn)


def shade(color: Color, factor: float) -> Color:
    """A darker (below 1) or lighter colour."""
    r, g, b = (float(min(255.0, channel * factor)) for channel in color)
    return r, g, b


def paint_hair_behind(sheet: Sheet, frame: HeadFrame, look: HeadLook) -> None:
    """The hair that falls behind neck and shoulders."""
    if look.hair_length < 0.7:
        return
    low, back = look.hair_length - 0.5, -0.12 * frame.turn
    outline = [
        (-0.40 + back, -0.2), (-0.2 + back, -0.52), (0.2 + back, -0.52),
        (0.40 + back, -0.2), (0.43 + back, low * 0.6), (0.34 + back, low),
        (back, low + 0.05), (-0.34 + back, low), (-0.43 + back, low * 0.6),
    ]  # fmt: skip
    sheet.paint(blob(frame.at(outline)), shade(look.hair, 0.8))


def paint_head(sheet: Sheet, frame: HeadFrame, look: HeadLook, back: bool) -> None:
    """Ears, skull, face and hair, and the hat on top."""
    turn = frame.turn
    for sign in (-1, 1):
        if sign * turn < 0.3:
            spot = frame.at([(sign * 0.36, 0.06)])[0]
            ear = disc(spot, 0.06 * frame.size, 0.1 * frame.size)
            sheet.paint(ear, shade(look.skin, 0.94), softness=0.006)
    chin = 0.1 * turn
    skull = [
        (0, -0.5), (0.27, -0.41), (0.355, -0.14), (0.335 + chin / 4, 0.12),
        (0.25 + chin, 0.33), (0.1 + chin, 0.48), (-0.1 + chin, 0.48), (-0.25 + chin, 0.33),
        (-0.335 + chin / 4, 0.12), (-0.355, -0.14), (-0.27, -0.41),
    ]  # fmt: skip
    sheet.paint(blob(frame.at(skull)), look.skin, volume=0.3, softness=0.02)
    if not back:
        _paint_face(sheet, frame, look)
    if look.hair_length:
        _paint_hair(sheet, frame, look, back)
    if not back and abs(turn) > 0.6:
        side = -np.sign(turn)
        spot = frame.at([(side * (0.36 - 0.34 * abs(turn)), 0.07)])[0]
        ear = disc(spot, 0.055 * frame.size, 0.095 * frame.size)
        sheet.paint(ear, shade(look.skin, 0.95), softness=0.006)
    if look.hat is not None:
        look.hat(sheet, frame, look.hat_color)


def _paint_face(sheet: Sheet, frame: HeadFrame, look: HeadLook) -> None:
    size, turn = frame.size, frame.turn
    dark: Color = (38, 26, 24)
    for x in (-0.2, 0.2):
        cheek = frame.face([(x * 1.1, 0.19)])[0]
        blush = (look.skin[0] * 0.98, look.skin[1] * 0.88, look.skin[2] * 0.86)
        sheet.paint(disc(cheek, 0.08 * size, 0.06 * size), blush, volume=0, shadow=0)
    if look.beard:
        beard = [
            (-0.36, 0.05), (-0.25, 0.2), (0, 0.17), (0.25, 0.2), (0.36, 0.05),
            (0.29, 0.36), (0.1, 0.53), (-0.1, 0.53), (-0.29, 0.36),
        ]  # fmt: skip
        sheet.paint(blob(frame.face(beard)), look.hair, volume=0.2, shadow=0)
    side = 0.05 * turn
    nose = frame.face([(-0.015 + side, 0.04), (0.03 + 2 * side, 0.15), (-0.03 + side, 0.17)])
    sheet.paint(stroke(nose, 0.016 * size), shade(look.skin, 0.8), volume=0, shadow=0)
    if abs(turn) > 0.85:
        tip = frame.at([(0.345 * np.sign(turn), 0.12)])[0]
        sheet.paint(disc(tip, 0.05 * size, 0.06 * size), look.skin, volume=0.2, shadow=0)
    for x in (-0.17, 0.17):
        if x * turn < 0.13:
            _paint_eye(sheet, frame, look, x, dark)
    _paint_mouth(sheet, frame, look)


def _paint_eye(sheet: Sheet, frame: HeadFrame, look: HeadLook, x: float, dark: Color) -> None:
    size = frame.size
    narrow = 1 - 0.3 * abs(frame.turn)
    white, iris = frame.face([(x, 0.0), (x + 0.02 * frame.turn, 0.005)])
    eyeball = disc(white, 0.07 * narrow * size, 0.042 * size, frame.angle)
    sheet.paint(eyeball, (248, 246, 242), volume=0, shadow=0)
    sheet.paint(disc(iris, 0.038 * size), dark, volume=0, shadow=0)
    lid = frame.face([(x - 0.09, -0.01), (x, -0.055), (x + 0.09, -0.01)])
    sheet.paint(stroke(lid, 0.008 * size), dark, volume=0, shadow=0, opacity=0.65)
    brow = frame.face([(x - 0.1, -0.1), (x, -0.135), (x + 0.1, -0.1)])
    sheet.paint(stroke(brow, 0.014 * size), shade(look.hair, 0.8), 0, 0, opacity=0.75)
    if look.glasses:
        ring = disc(white, 0.125 * narrow * size, 0.1 * size)[0]
        sheet.paint(stroke([*ring[::2], ring[0]], 0.006 * size), (40, 40, 46), 0, 0, opacity=0.5)


def _paint_mouth(sheet: Sheet, frame: HeadFrame, look: HeadLook) -> None:
    size = frame.size
    if look.open_mouth:
        center = frame.face([(0, 0.285)])[0]
        narrow = 1 - 0.4 * abs(frame.turn)
        sheet.paint(disc(center, 0.1 * narrow * size, 0.065 * size), (110, 34, 38), 0, 0)
        teeth = frame.face([(0, 0.25)])[0]
        sheet.paint(disc(teeth, 0.07 * narrow * size, 0.022 * size), (250, 248, 244), 0, 0)
        return
    smile = frame.face([(-0.13, 0.265), (-0.05, 0.305), (0.05, 0.305), (0.13, 0.265)])
    sheet.paint(stroke(smile, 0.019 * size), look.lips, volume=0, shadow=0)


def _paint_hair(sheet: Sheet, frame: HeadFrame, look: HeadLook, back: bool) -> None:
    size, turn = frame.size, frame.turn
    side = 0.02 if look.hair_length < 0.7 else 0.3
    if back:
        low = max(0.25, look.hair_length - 0.5)
        outline = [
            (-0.3, -0.45), (0, -0.56), (0.3, -0.45), (0.4, -0.1), (0.38, low * 0.7),
            (0.2, low), (-0.2, low), (-0.38, low * 0.7), (-0.4, -0.1),
        ]  # fmt: skip
        sheet.paint(blob(frame.at(outline)), look.hair)
    else:
        left, right = (float(np.clip(s * 0.29 + 0.24 * turn, -0.37, 0.37)) for s in (-1, 1))
        fall_left, fall_right = side + 0.25 * max(turn, 0), side + 0.25 * max(-turn, 0)
        part = -0.1 + 0.26 * turn
        outline = [
            (-0.385, fall_left), (-0.40, -0.15), (-0.29, -0.46), (0, -0.57), (0.29, -0.46),
            (0.40, -0.15), (0.385, fall_right), (right, fall_right - 0.06), (right - 0.03, -0.14),
            (right - 0.12, -0.25), (part, -0.34), (left + 0.1, -0.24), (left + 0.03, -0.12),
            (left, fall_left - 0.06),
        ]  # fmt: skip
        sheet.paint(blob(frame.at(outline)), look.hair, shadow=0.15, softness=0.016)
    if look.curls:
        count = 11
        for angle in np.linspace(-0.2, np.pi + 0.2, count):
            curl = frame.at([(-0.38 * np.cos(angle) - 0.05 * turn, -0.1 - 0.42 * np.sin(angle))])[0]
            sheet.paint(disc(curl, look.curls * size), look.hair, shadow=0.1, softness=0.012)
    if look.bun:
        knot = frame.at([(-0.3 * turn, -0.6)])[0]
        sheet.paint(disc(knot, 0.17 * size, 0.15 * size), look.hair, softness=0.012)


def paint_cap(sheet: Sheet, frame: HeadFrame, color: Color) -> None:
    """A baseball cap."""
    _paint_dome(sheet, frame, color, brow=-0.2, top=-0.6)
    tip = 0.24 * frame.turn + 0.3 * np.sign(frame.turn) * min(1, 2 * abs(frame.turn))
    peak = [
        (-0.32 + tip * 0.6, -0.22), (tip, -0.3), (0.32 + tip * 0.6, -0.22),
        (0.24 + tip, -0.12), (tip, -0.09), (-0.24 + tip, -0.12),
    ]  # fmt: skip
    sheet.paint(blob(frame.at(peak)), shade(color, 0.8), softness=0.008)


def paint_beanie(sheet: Sheet, frame: HeadFrame, color: Color) -> None:
    """A knitted hat with a turned-up edge."""
    _paint_dome(sheet, frame, color, brow=-0.16, top=-0.66)
    band = frame.at([(-0.37, -0.2), (0, -0.24), (0.37, -0.2)])
    sheet.paint(stroke(band, 0.075 * frame.size), shade(color, 1.2), softness=0.01)


def paint_sun_hat(sheet: Sheet, frame: HeadFrame, color: Color) -> None:
    """A straw hat with a wide brim."""
    brim = frame.at([(0, -0.23)])[0]
    sheet.paint(disc(brim, 0.66 * frame.size, 0.12 * frame.size, frame.angle), color, softness=0.01)
    _paint_dome(sheet, frame, color, brow=-0.27, top=-0.62)
    band = frame.at([(-0.33, -0.28), (0, -0.25), (0.33, -0.28)])
    sheet.paint(stroke(band, 0.03 * frame.size), shade(color, 0.5), volume=0, shadow=0)


def _paint_dome(sheet: Sheet, frame: HeadFrame, color: Color, brow: float, top: float) -> None:
    outline = [
        (-0.4, brow), (-0.37, brow - 0.18), (-0.2, top + 0.05), (0, top),
        (0.2, top + 0.05), (0.37, brow - 0.18), (0.4, brow), (0, brow + 0.04),
    ]  # fmt: skip
    sheet.paint(blob(frame.at(outline)), color, softness=0.016)
