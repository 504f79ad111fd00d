"""The classes of the built-in scenes, and how each is drawn.

Some differ in fine detail only: a taxi is a car with a chequered band, a stop sign
hangs beside round signs that are no class at all. That is what a detector loses first
when an image is made smaller or compressed harder.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.vision.scenes_colours import (
    PAINTS,
    RIM,
    TYRE,
    WHITE_LIGHT,
    chance,
    pick,
    shade,
)
from midhaul.vision.scenes_sketch import Sketch
from midhaul.vision.scenes_vehicles import bus, car, taxi, truck

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from midhaul.vision.scenes_sketch import Colour

_CLOTHES: tuple[Colour, ...] = (
    (170, 40, 50),
    (40, 70, 120),
    (220, 210, 190),
    (50, 50, 56),
    (70, 120, 80),
    (200, 150, 60),
    (130, 80, 140),
    (90, 110, 130),
)
_SKINS: tuple[Colour, ...] = ((236, 196, 168), (198, 150, 112), (120, 82, 60))
_FURS: tuple[Colour, ...] = (
    (120, 82, 48),
    (60, 46, 40),
    (206, 178, 138),
    (150, 146, 140),
)


def person(rng: np.random.Generator) -> Sketch:
    """A walking person with changing clothes, hair and sometimes a bag."""
    tall = rng.uniform(1.6, 1.9)
    sketch = Sketch(width_m=0.8, height_m=tall)
    skin, shirt = pick(rng, _SKINS), pick(rng, _CLOTHES)
    trousers, hair = shade(pick(rng, _CLOTHES), 0.7), shade(pick(rng, _FURS), 0.7)
    step, middle, hip = rng.uniform(0.04, 0.26), 0.4, tall * 0.5
    sketch.stroke([(middle, hip), (middle - step, 0.08)], 0.15, shade(trousers, 0.8))
    sketch.stroke([(middle, hip), (middle + step, 0.08)], 0.15, trousers)
    for foot in (middle - step, middle + step):
        sketch.box(foot - 0.07, 0.0, foot + 0.14, 0.09, TYRE)
    shoulder, chin = tall * 0.82, tall * 0.86
    swing = rng.uniform(-0.2, 0.2)
    sketch.stroke([(middle, shoulder - 0.06), (middle - swing, hip)], 0.11, skin)
    half = rng.uniform(0.16, 0.2)
    sketch.polygon(
        [
            (middle - half * 0.85, hip - 0.08),
            (middle + half * 0.85, hip - 0.08),
            (middle + half, shoulder),
            (middle - half, shoulder),
        ],
        shirt,
    )
    arm = shade(shirt, 0.75)
    sketch.stroke([(middle, shoulder - 0.06), (middle + swing, hip + 0.02)], 0.11, arm)
    sketch.box(middle - 0.05, shoulder, middle + 0.05, chin, skin)
    radius = (tall - chin) * 0.5
    sketch.disc(middle, chin + radius * 0.92, radius * 0.86, hair, ry=radius)
    sketch.disc(middle + 0.02, chin + radius * 0.7, radius * 0.7, skin)
    if chance(rng, 0.4):
        bag = shade(pick(rng, PAINTS), 0.8)
        sketch.box(
            middle - half - 0.14, hip, middle - half + 0.04, shoulder - 0.05, bag
        )
    return sketch


def _cycle_frame(sketch: Sketch, paint: Colour) -> None:
    rear, front, crank = (0.36, 0.36), (1.4, 0.36), (0.82, 0.34)
    seat, head = (0.68, 0.88), (1.24, 0.9)
    for path in (
        [rear, crank, seat, rear],
        [crank, head],
        [seat, head],
        [head, front],
    ):
        sketch.stroke(path, 0.055, paint)
    sketch.stroke([(0.56, 0.95), (0.8, 0.95)], 0.08, TYRE)
    sketch.stroke([head, (1.2, 1.04), (1.34, 1.06)], 0.05, TYRE)


def bicycle(rng: np.random.Generator) -> Sketch:
    """A bicycle from the side; one sees through its wheels."""
    sketch = Sketch(width_m=1.76, height_m=1.1)
    paint = pick(rng, PAINTS)
    for x in (0.36, 1.4):
        sketch.ring(x, 0.36, 0.33, 0.05, TYRE)
        for turn in range(4):
            across = turn * math.pi / 4
            dx, dy = 0.32 * math.cos(across), 0.32 * math.sin(across)
            spoke = [(x - dx, 0.36 - dy), (x + dx, 0.36 + dy)]
            sketch.stroke(spoke, 0.008, (150, 150, 150))
    _cycle_frame(sketch, paint)
    if chance(rng, 0.3):
        sketch.box(0.1, 0.72, 0.5, 0.94, (150, 110, 60))
    return sketch


def motorcycle(rng: np.random.Generator) -> Sketch:
    """A motorcycle from the side: a bicycle's outline with a filled middle."""
    sketch = Sketch(width_m=1.9, height_m=1.15)
    paint = pick(rng, PAINTS)
    for x in (0.36, 1.5):
        sketch.ring(x, 0.34, 0.27, 0.13, TYRE)
        sketch.disc(x, 0.34, 0.1, RIM)
    sketch.polygon([(0.6, 0.3), (1.15, 0.26), (1.2, 0.62), (0.64, 0.66)], (58, 58, 62))
    sketch.disc(0.86, 0.44, 0.16, (120, 122, 126))
    sketch.stroke([(0.5, 0.28), (0.06, 0.34)], 0.09, (176, 178, 182))
    sketch.stroke([(1.24, 0.92), (1.5, 0.34)], 0.08, (160, 162, 166))
    sketch.polygon([(0.86, 0.6), (1.3, 0.66), (1.26, 0.94), (0.94, 0.86)], paint)
    sketch.polygon([(0.14, 0.66), (0.9, 0.62), (0.9, 0.8), (0.2, 0.84)], TYRE)
    sketch.polygon([(0.1, 0.62), (0.42, 0.6), (0.36, 0.76), (0.08, 0.78)], paint)
    sketch.stroke([(1.24, 0.92), (1.14, 1.08)], 0.05, TYRE)
    sketch.disc(1.4, 0.86, 0.1, (230, 230, 220))
    sketch.lamp(1.45, 0.86, 0.5, WHITE_LIGHT)
    return sketch


def dog(rng: np.random.Generator) -> Sketch:
    """A large dog from the side, head up or down."""
    fur = pick(rng, _FURS)
    sketch = Sketch(width_m=1.3, height_m=0.95)
    for i, x in enumerate((0.3, 0.42, 0.8, 0.92)):
        reach = rng.uniform(-0.1, 0.1)
        leg = fur if i % 2 else shade(fur, 0.7)
        sketch.stroke([(x, 0.4), (x + reach, 0.03)], 0.09, leg)
    sketch.disc(0.62, 0.48, 0.4, fur, ry=0.17)
    sketch.stroke([(0.26, 0.54), (0.08, rng.uniform(0.5, 0.82))], 0.06, fur)
    nod = rng.uniform(-0.12, 0.06)
    sketch.polygon(
        [(0.84, 0.5), (0.92, 0.62), (1.08, 0.78 + nod), (1.0, 0.6 + nod)], fur
    )
    sketch.disc(1.04, 0.76 + nod, 0.13, fur)
    sketch.box(1.1, 0.66 + nod, 1.28, 0.77 + nod, shade(fur, 0.85))
    sketch.polygon(
        [(0.9, 0.66 + nod), (1.0, 0.66 + nod), (1.03, 0.86 + nod)], shade(fur, 0.5)
    )
    if chance(rng, 0.6):
        sketch.stroke([(0.9, 0.6 + nod), (1.02, 0.57 + nod)], 0.05, pick(rng, PAINTS))
    return sketch


def traffic_light(rng: np.random.Generator) -> Sketch:
    """The head of a traffic light, one lamp lit; its pole is scenery."""
    sketch = Sketch(width_m=0.62, height_m=1.5)
    sketch.box(0.0, 0.0, 0.62, 1.5, (30, 32, 32))
    sketch.box(0.05, 0.05, 0.57, 1.45, (46, 48, 46))
    lit = int(rng.integers(3))
    colours: tuple[Colour, ...] = ((50, 230, 110), (255, 180, 40), (255, 50, 40))
    for i, colour in enumerate(colours):
        y = 0.3 + i * 0.45
        sketch.disc(0.31, y, 0.19, colour if i == lit else shade(colour, 0.28))
        if i == lit:
            sketch.lamp(0.31, y, 0.7, colour)
    return sketch


def stop_sign(rng: np.random.Generator) -> Sketch:
    """A red octagon with a white rim and white letters; its pole is scenery."""
    sketch = Sketch(width_m=1.0, height_m=1.0)
    red = shade((196, 26, 34), rng.uniform(0.85, 1.1))
    for radius, colour in ((0.54, (240, 238, 234)), (0.47, red)):
        turn = [math.pi / 8 + i * math.pi / 4 for i in range(8)]
        corners = [
            (0.5 + radius * math.cos(t), 0.5 + radius * math.sin(t)) for t in turn
        ]
        sketch.polygon(corners, colour)
    white: Colour = (240, 238, 234)
    letters = (
        [
            (0.27, 0.59),
            (0.17, 0.59),
            (0.17, 0.5),
            (0.27, 0.5),
            (0.27, 0.41),
            (0.17, 0.41),
        ],
        [(0.33, 0.59), (0.45, 0.59), (0.39, 0.59), (0.39, 0.41)],
        [(0.51, 0.59), (0.62, 0.59), (0.62, 0.41), (0.51, 0.41), (0.51, 0.59)],
        [(0.7, 0.41), (0.7, 0.59), (0.81, 0.59), (0.81, 0.5), (0.7, 0.5)],
    )
    for letter in letters:
        sketch.stroke(letter, 0.045, white)
    return sketch


SKETCHES: dict[str, Callable[[np.random.Generator], Sketch]] = {
    "person": person,
    "bicycle": bicycle,
    "motorcycle": motorcycle,
    "car": car,
    "taxi": taxi,
    "bus": bus,
    "truck": truck,
    "dog": dog,
    "traffic light": traffic_light,
    "stop sign": stop_sign,
}
"""How each class is drawn, by its label."""
