"""Fronts of houses in the built-in scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.vision.scenes_colours import chance

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from midhaul.vision.scenes_sketch import Colour


def jitter(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour near another: brighter or darker by up to ``spread``, hue shifted."""
    shift = rng.uniform(1.0 - spread, 1.0 + spread)
    red, green, blue = (
        int(np.clip(part * shift * rng.uniform(0.94, 1.06), 0, 255)) for part in colour
    )
    return red, green, blue


def facade(
    rng: np.random.Generator, width: int, height: int, *, is_night: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """The front of a house: courses of brick, rows of windows, a shop below."""
    walls: tuple[Colour, ...] = (
        (150, 92, 74),
        (188, 170, 140),
        (140, 140, 138),
        (170, 110, 88),
        (202, 196, 180),
        (112, 100, 96),
    )
    wall = jitter(rng, walls[int(rng.integers(len(walls)))], 0.15)
    front = np.empty((height, width, 3), np.uint8)
    front[:] = wall
    course = int(rng.integers(4, 8))
    front[::course] = [int(part * 0.86) for part in wall]
    n_rows, n_columns = max(height // 46, 1), max(width // 36, 1)
    row_px, column_px = height / (n_rows + 0.6), width / n_columns
    share = rng.uniform(0.45, 0.65)
    frame = jitter(rng, (226, 222, 210), 0.1)
    lit = rng.random((n_rows, n_columns)) < (0.35 if is_night else 0.06)
    glint = rng.uniform(0.6, 1.4, (n_rows, n_columns))
    for row in range(n_rows):
        y0, y1 = int((row + 0.25) * row_px), int((row + 0.85) * row_px)
        for column in range(n_columns):
            x0 = int((column + 0.5 - share / 2) * column_px)
            x1 = int((column + 0.5 + share / 2) * column_px)
            glass: Colour = (255, 214, 130) if lit[row, column] else (62, 80, 98)
            scale = float(glint[row, column])
            scale = min(scale, 1.1) if lit[row, column] else scale
            front[y0:y1, x0:x1] = frame
            front[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = [
                min(255, int(part * scale)) for part in glass
            ]
            front[(y0 + y1) // 2, x0:x1] = frame
    _shop(rng, front, int(n_rows * row_px))
    return front


def _shop(rng: np.random.Generator, front: np.ndarray, top: int) -> None:
    height, width = front.shape[:2]
    awning = jitter(rng, (150, 60, 60) if chance(rng, 0.5) else (50, 90, 110), 0.4)
    front[top:] = (54, 58, 66)
    stripe = int(rng.integers(5, 12))
    for x in range(0, width, stripe):
        colour = awning if (x // stripe) % 2 else (230, 226, 216)
        front[top : top + max((height - top) // 4, 2), x : x + stripe] = colour
