"""Colours of the things in the built-in scenes, and how chance picks among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from midhaul.vision.scenes_sketch import Colour

PAINTS: tuple[Colour, ...] = (
    (188, 30, 34),
    (28, 60, 130),
    (226, 226, 222),
    (40, 42, 46),
    (146, 150, 154),
    (238, 188, 40),
    (44, 96, 66),
    (120, 70, 40),
    (92, 150, 190),
)
"""Of vehicles and panels."""
TYRE: Colour = (26, 26, 28)
"""Of tyres and other rubber."""
RIM: Colour = (150, 152, 156)
"""Of bare metal."""
WHITE_LIGHT: Colour = (255, 244, 210)
"""What headlamps shine in."""
RED_LIGHT: Colour = (255, 60, 40)
"""What rear lamps shine in."""


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in ``share`` of all calls."""
    return bool(rng.random() < share)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of several colours."""
    return colours[int(rng.integers(len(colours)))]


def shade(colour: Colour, factor: float) -> Colour:
    """The same colour, brighter or darker."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue
