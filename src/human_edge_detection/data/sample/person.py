"""One drawn person: a pose, clothes and a face, painted on a transparent layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from human_edge_detection.data.sample import brush
from human_edge_detection.data.sample.brush import Cloth, Color, Layer, Points, Sheet, shade

Rng = np.random.Generator
UPPER_ARM, FOREARM, THIGH, SHIN, ANKLE, TORSO, NECK = 0.165, 0.15, 0.245, 0.235, 0.035, 0.3, 0.03
MARGIN = 0.16  # flesh and hair around the joints

# fmt: off
SKINS: tuple[Color, ...] = (
    (240, 206, 180), (234, 194, 162), (226, 182, 148), (216, 166, 130),
    (196, 144, 106), (172, 120, 84), (140, 94, 66), (108, 72, 52), (84, 56, 42),
)
HAIRS: tuple[Color, ...] = (
    (34, 28, 30), (58, 40, 32), (34, 28, 30), (84, 56, 38),
    (118, 78, 46), (166, 118, 66), (214, 176, 110), (150, 68, 36), (178, 178, 180),
)
FABRICS: tuple[Color, ...] = (
    (206, 62, 58), (236, 122, 76), (240, 182, 72), (250, 220, 130), (110, 160, 92), (48, 112, 84),
    (64, 150, 160), (92, 156, 214), (48, 88, 160), (120, 92, 168), (196, 112, 166),
    (238, 170, 178), (150, 58, 74), (238, 234, 226), (176, 178, 184), (92, 96, 104), (44, 46, 54),
)
TROUSERS: tuple[Color, ...] = (
    (52, 72, 116), (72, 100, 148), (36, 46, 76), (42, 44, 52), (98, 100, 108), (186, 164, 128),
    (128, 102, 76), (92, 100, 74), (222, 216, 204),
)
CALM = 8
STANCES = np.array([
    # left arm, right arm, left leg, right leg (upper and lower bone), turn, lift
    (-10, -5, 10, 5, -4, -2, 4, 2, 0, 0),
    (-42, 38, 42, -38, -8, -6, 8, 6, 0, 0),
    (-12, -6, 40, -36, -3, -2, 12, 8, 0, 0),
    (-11, -5, 22, 158, -4, -2, 4, 2, 0, 0),
    (-16, 55, 16, -55, -5, -3, 5, 3, 0, 0),
    (-12, -6, 84, 88, -7, -4, 7, 4, 0, 0),
    (-24, -2, 22, 42, 24, 6, -16, -34, 0.85, 0),
    (20, 48, -22, -4, -12, -28, 20, 10, 0.8, 0),
    (-152, -172, 150, 174, -7, -4, 7, 4, 0, 0),
    (-118, -165, 122, 158, -9, -6, 9, 6, 0, 0),
    (-160, 172, 20, 60, -5, -3, 5, 3, 0, 0),
    (-145, -165, 140, 160, -26, 24, 30, -20, 0, 0.09),
    (-50, 30, 40, 115, 52, -22, -22, -78, 0.9, 0),
])
# fmt: on
"""What bodies do: bones in degrees from straight down, positive to the right; the body's turn; the
feet's height in statures. In the first ``CALM`` rows people stand or walk."""


def pick(rng: Rng, items: Sequence[Color]) -> Color:
    """One of the colours."""
    return items[int(rng.integers(len(items)))]


def draw_person(
    rng: Rng, foot_xy: Points, stature: float, light: Points, size_hw: tuple[int, int]
) -> Layer:
    """A random person in a picture, above the pixel ``foot_xy`` of its ground.

    ``stature`` is the height of the upright person in pixels, ``light`` a unit vector towards it.
    """
    person = Person(rng, int(rng.integers(len(STANCES))))
    joints = np.concatenate([person.head[None], *person.limbs])
    bounds = np.stack([joints.min(axis=0) - MARGIN, joints.max(axis=0) + MARGIN])
    person.paint(sheet := Sheet(bounds, foot_xy, stature, light))
    return sheet.layer(size_hw)


class Person:
    """A person with a pose, a skin, hair and clothes chosen by chance, standing on the ground.

    Args:
        rng: source of every choice.
        stance: row of ``STANCES``; it is varied a little, and mirrored in half of the cases.

    Attributes:
        limbs: left and right arm, left and right leg, float64 [3, 2] each, from the root.
        head: the head's centre, float64 [2]; ``head_size`` is its height.
    """

    def __init__(self, rng: Rng, stance: int) -> None:
        self.rng, self.laughs = rng, rng.random() < (0.2 if stance < CALM else 0.9)
        self._choose_pose(STANCES[stance])
        self._choose_look()

    def _choose_pose(self, stance: Points) -> None:
        rng, angles, (turn, lift) = self.rng, stance[:8].reshape(4, 2), stance[8:]
        if rng.random() < 0.5:
            angles, turn = -angles[[1, 0, 3, 2]], -turn
        self.turn = turn = float(np.clip(turn + rng.uniform(-0.4, 0.4), -1, 1))
        broad, away, lean = rng.uniform(0.88, 1.18), abs(turn), rng.normal(0.05 * turn, 0.03)
        self.head_size = rng.uniform(*((0.175, 0.195) if rng.random() < 0.12 else (0.142, 0.156)))
        self.size = size = (1 - NECK - self.head_size) / (TORSO + THIGH + SHIN + ANKLE)
        self.width = size * (0.35 + 0.65 * broad)
        self.up, side = np.array([(np.sin(lean), -np.cos(lean)), (np.cos(lean), np.sin(lean))])
        shoulder = side * size * broad * (0.111 - 0.065 * away)
        hip, root = side * size * (0.056 - 0.034 * away), self.up * (TORSO - 0.036) * size
        limbs = []
        for row, start in enumerate((root - shoulder, root + shoulder, -hip, hip)):
            bend = np.radians(angles[row] + rng.normal(0, 6 if row < 2 else 2.5, 2))
            bones = np.array([(UPPER_ARM, FOREARM), (THIGH, SHIN)][row // 2]) * size
            steps = bones[:, None] * np.stack([np.sin(bend), np.cos(bend)], axis=1)
            limbs.append(np.concatenate([start[None], start + np.cumsum(steps, axis=0)]))
        lowest = max(limb[2, 1] for limb in limbs[2:])
        self.pelvis = np.array([0, -lowest - ANKLE * size - lift])
        self.limbs = [limb + self.pelvis for limb in limbs]
        self.neck = self.pelvis + self.up * TORSO * size
        self.head = self.neck + self.up * (NECK + self.head_size / 2) + side * rng.normal(0, 0.005)

    def _choose_look(self) -> None:
        rng, tone = self.rng, int(self.rng.integers(len(SKINS)))
        self.skin, self.hair = SKINS[tone], pick(rng, HAIRS if tone < 5 else HAIRS[:4])
        self.feminine = rng.random() < 0.5
        self.hair_length = rng.choice([0.5, 0.9, 1.2, 1.5] if self.feminine else [0.5] * 4 + [0])
        self.skirt = rng.uniform(0.14, 0.34) if self.feminine and rng.random() < 0.4 else 0.0
        self.top = self._fabric(FABRICS, 0.3)
        skirt = self.top if rng.random() < 0.6 else self._fabric(FABRICS, 0.1)
        self.bottom = skirt if self.skirt else self._fabric(TROUSERS, 0.03)
        self.shoe = pick(rng, TROUSERS + FABRICS[-4:])
        self.sleeve = rng.choice([0.0 if self.feminine else 0.5, 0.55, 0.6, 0.9, 1.6, 1.95, 1.95])
        self.leg = rng.choice([1.95, 1.95, 1.95, 1.95, 0.8, 1.0, 1.6])

    def _fabric(self, colors: Sequence[Color], patterned: float) -> Cloth:
        base, accent = (shade(pick(self.rng, colors), self.rng.uniform(0.9, 1.08)) for _ in "ab")
        wave = self.rng.uniform(80, 170) * (self.rng.random() < patterned)
        waves = pick(self.rng, ((0, wave, 0), (0, wave, 0), (wave, 0, 0), (wave, wave, 0)))
        return Cloth(base, accent, waves[:2])

    def paint(self, sheet: Sheet) -> None:
        """Paint the figure, from what is furthest from the viewer to what is nearest."""
        self._paint, far = sheet.paint, int(self.turn > 0)
        if self.hair_length > 0.7:
            low, x = self.hair_length - 0.5, -0.12 * self.turn
            fall = [(x - 0.4, -0.2), (x + 0.4, -0.2), (x + 0.4, low), (x - 0.4, low)]
            self._paint(brush.blob(self._head(fall)), shade(self.hair, 0.8))
        self._arm(far)
        self._leg(far)
        self._leg(1 - far)
        for paint in (self._trunk, self._skull, self._face, self._hair):
            paint()
        self._arm(1 - far)

    def _head(self, points: Sequence[tuple[float, float]], on_face: bool = False) -> Points:
        """Points in head heights from its centre, the chin at +0.5; the face slides as it turns."""
        local = np.asarray(points, np.float64)
        if on_face:
            local = local * (1 - 0.5 * abs(self.turn), 1) + (0.29 * self.turn, 0)
        axes = np.stack([(-self.up[1], self.up[0]), -self.up])
        return np.asarray(self.head + local * self.head_size @ axes)

    def _along(self, limb: Points, radii: Sequence[float], share: float = 2.0) -> list[Points]:
        """A tube around a limb as far as ``share`` of its two bones, a radius every half bone."""
        steps = np.linspace(0, share, 5)
        path = np.stack([np.interp(steps, (0, 1, 2), limb[:, axis]) for axis in (0, 1)], axis=1)
        widths = np.interp(steps, np.linspace(0, 2, 5), radii) * self.width
        return brush.tube(path, widths.tolist(), cut=share < 2)

    def _arm(self, side: int) -> None:
        limb, width = self.limbs[side], self.width
        reach = (limb[2] - limb[1]) / np.hypot(*(limb[2] - limb[1]))
        self._paint(self._along(limb, (0.036, 0.035, 0.029, 0.029, 0.02)), self.skin)
        palm, angle = limb[2] + reach * 0.026 * width, float(np.arctan2(reach[1], reach[0]))
        hand = brush.disc(palm, 0.037 * width, 0.025 * width, angle)
        self._paint(hand, self.skin, shadow=0, softness=0.01)
        if self.sleeve:
            loose = self._along(limb, (0.036, 0.042, 0.039, 0.036, 0.03), self.sleeve)
            self._paint(loose, self.top, volume=0.25, shadow=0.15)

    def _leg(self, side: int) -> None:
        limb, width, turn = self.limbs[2 + side], self.width, self.turn
        self._paint(self._along(limb, (0.05, 0.056, 0.043, 0.041, 0.026)), self.skin)
        splay = turn + (0.25 if side else -0.25) * (1 - abs(turn))
        toe = limb[2] + np.array([0.035 * splay, 0.014]) * width
        shoe = brush.tube([limb[2], toe], [0.026 * width, 0.022 * width])
        self._paint(shoe, self.shoe, softness=0.012)
        if not self.skirt:
            loose = self._along(limb, (0.055, 0.062, 0.052, 0.046, 0.038), self.leg)
            self._paint(loose, self.bottom)

    def _trunk(self) -> None:
        width, down = self.width, -self.up
        side = np.array([down[1], -down[0]])
        left_arm, right_arm, left_leg, right_leg = self.limbs
        hip = np.hypot(*(right_leg[0] - left_leg[0])) / 2
        chest = max(np.hypot(*(right_arm[0] - left_arm[0])) / 2 + 0.004, 0.076 * width)
        waist = max(chest * 0.76, 0.064 * width)
        hips = max(hip + 0.058 * width, waist + 0.006)
        seat = brush.tube([self.pelvis - side * hip, self.pelvis + side * hip], [0.05 * width] * 2)
        self._paint(seat, self.bottom, shadow=0)
        if self.skirt:
            sway = (left_leg[1] + right_leg[1]) / 2 - self.pelvis
            hem = self.pelvis + sway * self.skirt / np.hypot(*sway)
            spread = abs(right_leg[1][0] - left_leg[1][0]) / 2 + 0.07 * width
            cone = brush.tube([self.pelvis, hem], [hips, max(spread, hips + 0.03)], cut=True)
            self._paint(cone, self.bottom)
        rows = (
            (0.042, -0.02), (chest * 0.6, -0.006), (chest * 0.96, 0.018),
            (chest + 0.01 * width, 0.05), (chest, 0.1), (waist, 0.2), (hips, 0.3), (hips, 0.335),
        )  # fmt: skip
        around = [*rows, *((-x, y) for x, y in rows[::-1])]
        outline = [self.neck + down * y * self.size + side * x for x, y in around]
        self._paint(brush.blob(outline), self.top, softness=0.03)
        collar = brush.disc(self.neck + side * 0.03 * self.turn + down * 0.012, 0.036 * width)
        self._paint(collar, shade(self.skin, 0.95), volume=0.1, shadow=0)
        neck = brush.tube([self.neck, self.head], [0.034 * width, 0.03 * width])
        self._paint(neck, self.skin, volume=0.3, shadow=0)

    def _skull(self) -> None:
        unit, turn = self.head_size, self.turn
        for sign in (-1, 1):
            if sign * turn < 0.3:
                ear = brush.disc(self._head([(sign * 0.36, 0.06)])[0], 0.06 * unit, 0.1 * unit)
                self._paint(ear, shade(self.skin, 0.94), softness=0.006)
        top, jaw = self._head([(0, -0.05), (0.09 * turn, 0.2)])
        head = brush.disc(top, 0.36 * unit, 0.45 * unit) + brush.disc(jaw, 0.28 * unit, 0.3 * unit)
        self._paint(head, self.skin, volume=0.3, softness=0.02)

    def _line(self, points: Sequence[tuple[float, float]], radius: float, color: Color) -> None:
        path = self._head(points, on_face=True)
        shape = brush.tube(path, [radius * self.head_size] * len(path))
        self._paint(shape, color, volume=0, shadow=0)

    def _face(self) -> None:
        turn, skin = self.turn, self.skin
        if not self.feminine and self.rng.random() < 0.35:
            beard = [(-0.36, 0), (-0.2, 0.2), (0, 0.17), (0.2, 0.2), (0.36, 0), (0.27, 0.4)]
            outline = self._head([*beard, (0, 0.54), (-0.27, 0.4)], on_face=True)
            self._paint(brush.blob(outline), self.hair, volume=0.2, shadow=0)
        self._line([(0.05 * turn, 0.05), (0.02 + 0.1 * turn, 0.15)], 0.018, shade(skin, 0.82))
        for x in (-0.17, 0.17):
            if x * turn > 0.13:
                continue  # the far eye of a profile
            self._line([(x - 0.03, 0), (x + 0.03, 0)], 0.034, (246, 242, 236))
            self._line([(x + 0.02 * turn, 0)], 0.033, (52, 36, 30))
            brow = [(x - 0.08, -0.1), (x, -0.12), (x + 0.08, -0.1)]
            self._line(brow, 0.013, shade(self.hair, 0.8))
        if self.laughs:
            self._line([(-0.06, 0.28), (0.06, 0.28)], 0.062, (120, 40, 42))
            self._line([(-0.06, 0.25), (0.06, 0.25)], 0.02, (250, 248, 244))
        else:
            lips = (skin[0] * 0.55 + 60, skin[1] * 0.5 + 10, skin[2] * 0.5 + 14)
            self._line([(-0.12, 0.265), (-0.05, 0.3), (0.05, 0.3), (0.12, 0.265)], 0.017, lips)

    def _hair(self) -> None:
        turn, unit = self.turn, self.head_size
        if self.hair_length:
            fall = 0.02 if self.hair_length < 0.7 else 0.3
            left, right = (float(np.clip(s * 0.29 + 0.24 * turn, -0.37, 0.37)) for s in (-1, 1))
            low_left, low_right = fall + 0.25 * max(turn, 0), fall + 0.25 * max(-turn, 0)
            outline = [
                (-0.385, low_left), (-0.4, -0.15), (-0.29, -0.46), (0, -0.57), (0.29, -0.46),
                (0.4, -0.15), (0.385, low_right), (right, low_right - 0.06), (right - 0.05, -0.16),
                (-0.1 + 0.26 * turn, -0.34), (left + 0.05, -0.16), (left, low_left - 0.06),
            ]  # fmt: skip
            self._paint(brush.blob(self._head(outline)), self.hair, shadow=0.15, softness=0.016)
            for a in np.linspace(-0.2, 3.3, 11) if self.rng.random() < 0.25 else ():
                curl = self._head([(-0.38 * np.cos(a) - 0.05 * turn, -0.1 - 0.42 * np.sin(a))])[0]
                self._paint(brush.disc(curl, 0.13 * unit), self.hair, 0.4, 0.1, 0.012)
