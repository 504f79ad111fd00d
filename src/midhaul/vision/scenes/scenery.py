"""Things in the built-in scenes that are no class: they hide others and mislead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.vision.scenes.sketch import Sketch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from midhaul.vision.scenes.sketch import Colour

_STEEL: Colour = (96, 100, 104)


def pole(height_m: float) -> Sketch:
    """What signs and traffic lights hang on."""
    sketch = Sketch(width_m=0.16, height_m=height_m)
    sketch.box(0.0, 0.0, 0.16, height_m, _STEEL)
    sketch.box(0.0, 0.0, 0.05, height_m, (140, 144, 148))
    return sketch


def tree(rng: np.random.Generator) -> Sketch:
    """A street tree with a crown of many leaves' colours."""
    high = rng.uniform(3.2, 5.0)
    sketch = Sketch(width_m=3.0, height_m=high, foot_m=(1.2, 1.8))
    sketch.box(1.38, 0.0, 1.62, high * 0.6, (84, 62, 46))
    base = rng.uniform(0.7, 1.1)
    for _ in range(26):
        x, y = rng.normal(1.5, 0.5), rng.normal(high * 0.68, high * 0.12)
        shade = base * rng.uniform(0.6, 1.2)
        green: Colour = (int(62 * shade), int(110 * shade), int(50 * shade))
        sketch.disc(x, y, rng.uniform(0.25, 0.55), green)
    return sketch


def street_lamp(rng: np.random.Generator) -> Sketch:
    """A lamp post; it lights the ground at night."""
    high = rng.uniform(4.0, 5.0)
    sketch = Sketch(width_m=1.2, height_m=high, foot_m=(0.05, 0.4))
    sketch.box(0.14, 0.0, 0.26, high - 0.1, _STEEL)
    sketch.stroke([(0.2, high - 0.1), (1.0, high - 0.06)], 0.08, _STEEL)
    sketch.box(0.7, high - 0.2, 1.15, high - 0.08, (230, 226, 200))
    sketch.lamp(0.92, high - 0.16, 1.3, (255, 226, 160))
    return sketch


def litter_bin(rng: np.random.Generator) -> Sketch:
    """A bin, as dark and as tall as a dog."""
    sketch = Sketch(width_m=0.7, height_m=1.0)
    green = int(rng.integers(50, 110))
    sketch.polygon(
        [(0.1, 0.0), (0.6, 0.0), (0.68, 0.85), (0.02, 0.85)], (40, green, 54)
    )
    sketch.box(0.0, 0.85, 0.7, 1.0, (30, 34, 34))
    return sketch


def bollard(rng: np.random.Generator) -> Sketch:
    """A bollard, upright like a far person."""
    high = rng.uniform(0.9, 1.2)
    sketch = Sketch(width_m=0.3, height_m=high)
    sketch.box(0.04, 0.0, 0.26, high, (150, 60, 40))
    sketch.box(0.04, high * 0.6, 0.26, high * 0.8, (236, 234, 228))
    return sketch


def letter_box(rng: np.random.Generator) -> Sketch:
    """A red box that has a stop sign's colour."""
    sketch = Sketch(width_m=0.7, height_m=1.5)
    red = int(rng.integers(160, 210))
    sketch.box(0.0, 0.0, 0.7, 1.4, (red, 30, 34))
    sketch.disc(0.35, 1.38, 0.35, (red, 30, 34), ry=0.12)
    sketch.box(0.14, 1.1, 0.56, 1.18, (30, 20, 20))
    return sketch


def round_sign(rng: np.random.Generator) -> Sketch:
    """A round sign: no entry, no parking, or a limit; no class."""
    sketch = Sketch(width_m=1.0, height_m=1.0)
    kind = ("no entry", "one way", "no parking", "limit")[int(rng.integers(4))]
    red, white, blue = (196, 26, 34), (240, 238, 234), (34, 70, 160)
    sketch.disc(0.5, 0.5, 0.5, white if kind in ("no entry", "one way") else red)
    if kind == "no entry":
        sketch.disc(0.5, 0.5, 0.46, red)
        sketch.box(0.2, 0.42, 0.8, 0.58, white)
    elif kind == "one way":
        sketch.disc(0.5, 0.5, 0.46, blue)
        sketch.polygon([(0.3, 0.4), (0.7, 0.4), (0.5, 0.8)], white)
    elif kind == "no parking":
        sketch.disc(0.5, 0.5, 0.38, blue)
        sketch.stroke([(0.2, 0.8), (0.8, 0.2)], 0.1, red)
    else:
        sketch.disc(0.5, 0.5, 0.37, white)
        for x in (0.36, 0.64):
            left, right = x + 0.09, x + 0.09 * math.cos(4)
            sketch.polygon([(left, 0.34), (left, 0.66), (right, 0.66)], (20, 20, 20))
    return sketch


STREET_FURNITURE: tuple[Callable[[np.random.Generator], Sketch], ...] = (
    tree,
    street_lamp,
    litter_bin,
    bollard,
    letter_box,
)
"""What stands on the pavement."""
