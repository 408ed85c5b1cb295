"""Wardrobe of drawn people: skin, hair, fabrics and what is worn, chosen by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.sample.brush import Cloth, Color, Weave
from human_edge_detection.data.sample.head import (
    HeadLook,
    paint_beanie,
    paint_cap,
    paint_sun_hat,
    shade,
)

Item = TypeVar("Item")

# A colour a line would take a page: palettes stay in rows.
# fmt: off
SKINS: tuple[Color, ...] = (
    (250, 220, 196), (241, 204, 174), (232, 190, 158), (222, 172, 136),
    (198, 146, 108), (172, 120, 84), (140, 94, 66), (108, 72, 52), (84, 56, 42),
)
HAIRS: tuple[Color, ...] = (
    (34, 28, 30), (34, 28, 30), (58, 40, 32), (84, 56, 38), (118, 78, 46),
    (166, 118, 66), (214, 176, 110), (150, 68, 36), (150, 150, 154), (210, 208, 204),
)
FABRICS: tuple[Color, ...] = (
    (206, 62, 58), (236, 122, 76), (240, 182, 72), (250, 220, 130), (110, 160, 92), (48, 112, 84),
    (64, 150, 160), (92, 156, 214), (48, 88, 160), (38, 52, 92), (120, 92, 168), (196, 112, 166),
    (238, 170, 178), (150, 58, 74), (238, 234, 226), (238, 234, 226), (176, 178, 184),
    (92, 96, 104), (44, 46, 54), (44, 46, 54), (190, 160, 122), (120, 92, 70),
)
TROUSERS: tuple[Color, ...] = (
    (52, 72, 116), (72, 100, 148), (36, 46, 76), (42, 44, 52), (98, 100, 108), (186, 164, 128),
    (128, 102, 76), (92, 100, 74), (222, 216, 204), (60, 54, 58),
)
SHOES: tuple[Color, ...] = (
    (240, 238, 234), (48, 46, 50), (112, 74, 50), (190, 66, 62), (74, 96, 140), (150, 150, 156),
)
# fmt: on
HATS = (paint_cap, paint_cap, paint_beanie, paint_sun_hat)


@dataclass(frozen=True)
class Look:
    """What a person wears.

    Attributes:
        sleeve: how far down the arm the sleeve reaches: 0 none, 1 the elbow, 2 the wrist.
        leg: how far down the leg the trousers reach, likewise.
        skirt: length of the skirt below the hip, statures; 0 for trousers.
        jacket: what is worn open over ``top``, or None.
        buttons: shows a row of buttons.
        bag: colour of a rucksack's straps, or None.
    """

    head: HeadLook
    top: Cloth
    bottom: Cloth
    shoe: Color
    sleeve: float
    leg: float
    skirt: float
    jacket: Cloth | None
    buttons: bool
    bag: Color | None


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def random_look(rng: np.random.Generator, open_mouth: bool) -> Look:
    """A person's clothes, skin and hair."""
    feminine = rng.random() < 0.5
    top = _fabric(rng, FABRICS, woven=0.35)
    skirt = float(rng.uniform(0.14, 0.34)) if feminine and rng.random() < 0.4 else 0.0
    dress = skirt > 0 and rng.random() < 0.6
    bottom = top if dress else _fabric(rng, FABRICS if skirt else TROUSERS, woven=0.05)
    jacket = _fabric(rng, FABRICS, woven=0.1) if rng.random() < 0.25 and not dress else None
    sleeve = 2.0 if jacket else float(pick(rng, (0.0, 0.55, 0.55, 0.6, 0.9, 1.6, 1.95, 1.95)))
    if not feminine:
        sleeve = max(sleeve, 0.5)
    leg = float(pick(rng, (2.0, 2.0, 2.0, 2.0, 0.75, 1.0, 1.6)))
    bag = pick(rng, FABRICS) if rng.random() < 0.15 else None
    return Look(
        _head_look(rng, feminine, open_mouth),
        top,
        bottom,
        pick(rng, SHOES),
        sleeve,
        leg,
        skirt,
        jacket,
        bool(rng.random() < 0.25),
        bag,
    )


def _head_look(rng: np.random.Generator, feminine: bool, open_mouth: bool) -> HeadLook:
    skin_index = int(rng.integers(len(SKINS)))
    skin = SKINS[skin_index]
    hairs = HAIRS if skin_index < 5 else HAIRS[:4]
    if feminine:
        length = float(rng.uniform(0.75, 1.55)) if rng.random() < 0.75 else 0.5
    else:
        length = float(pick(rng, (0.4, 0.4, 0.4, 0.4, 0.0)))
    curls = float(rng.uniform(0.1, 0.17)) if length and rng.random() < 0.25 else 0.0
    lips = (skin[0] * 0.45 + 90, skin[1] * 0.45 + 24, skin[2] * 0.45 + 30)
    hat = pick(rng, HATS) if rng.random() < 0.2 else None
    return HeadLook(
        skin,
        pick(rng, hairs),
        length,
        0.0 if hat else curls,
        bun=feminine and hat is None and bool(rng.random() < 0.2),
        beard=not feminine and bool(rng.random() < 0.3),
        glasses=bool(rng.random() < 0.2),
        lips=lips if feminine else shade(skin, 0.62),
        hat=hat,
        hat_color=pick(rng, FABRICS),
        open_mouth=open_mouth,
    )


def _fabric(rng: np.random.Generator, colors: Sequence[Color], woven: float) -> Cloth:
    vary = rng.uniform(0.9, 1.08)
    base, accent = shade(pick(rng, colors), vary), shade(pick(rng, colors), vary)
    if rng.random() >= woven:
        return Cloth(base)
    return Cloth(base, accent, pick(rng, WEAVES)(float(rng.uniform(0.018, 0.04))))


def _stripes(pitch: float) -> Weave:
    return lambda x, y: _soft_step(np.sin(y * (np.pi / pitch)))


def _pinstripes(pitch: float) -> Weave:
    return lambda x, y: _soft_step(np.sin(x * (np.pi / pitch)) - 0.6)


def _checks(pitch: float) -> Weave:
    half = np.float32(0.5)
    return lambda x, y: (
        half * _soft_step(np.sin(x * (np.pi / pitch)))
        + half * _soft_step(np.sin(y * (np.pi / pitch)))
    )


def _dots(pitch: float) -> Weave:
    return lambda x, y: _soft_step(np.sin(x * (np.pi / pitch)) * np.sin(y * (np.pi / pitch)) - 0.45)


def _soft_step(wave: FloatArray) -> FloatArray:
    return np.asarray(np.clip(wave * 4 + 0.5, 0, 1), np.float32)


WEAVES = (_stripes, _stripes, _pinstripes, _checks, _dots)
