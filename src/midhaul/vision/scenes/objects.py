"""Objects of the built-in scenes: the classes, and how each is drawn.

Some differ in fine detail only: a taxi is a car with a chequered band, a stop sign
hangs beside round signs that are no class at all. That is what a detector loses first
when an image is made smaller or compressed harder.

Cars, taxis, buses and trucks are drawn from the side and from an end.

A taxi is a car with a roof sign and a chequered band, whatever its paint; a bus and a
truck share their outline.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.vision.scenes.sketch import (
    PAINTS,
    RED_LIGHT,
    RIM,
    TYRE,
    WHITE_LIGHT,
    Sketch,
    chance,
    pick,
    shade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from midhaul.vision.scenes.sketch import Colour

_SIDE_SHARE = 0.6
_GLASS: Colour = (70, 96, 116)
_GLASS_LIGHT: Colour = (136, 166, 186)


def _wheel(sketch: Sketch, x: float, r: float) -> None:
    sketch.disc(x, r, r, TYRE)
    sketch.disc(x, r, r * 0.58, RIM)
    sketch.disc(x, r, r * 0.2, (70, 72, 76))


def _car_side(rng: np.random.Generator, *, is_taxi: bool) -> Sketch:
    long, high = rng.uniform(3.9, 4.7), rng.uniform(1.4, 1.65)
    sketch = Sketch(width_m=long, height_m=high + 0.2)
    paint = pick(rng, PAINTS)
    belt = high * 0.6
    tail = long * rng.choice([0.04, 0.16])
    roof = [
        (tail, belt),
        (tail + 0.14 * long, high),
        (long * 0.62, high),
        (long * 0.78, belt),
    ]
    sketch.polygon(roof, shade(paint, 0.9))
    glass = [
        (tail + 0.05 * long, belt),
        (tail + 0.16 * long, high * 0.94),
        (long * 0.6, high * 0.94),
        (long * 0.74, belt),
    ]
    sketch.polygon(glass, _GLASS)
    sketch.polygon([glass[2], glass[3], (long * 0.66, belt)], _GLASS_LIGHT)
    post = (tail + long * 0.7) / 2
    sketch.box(post - 0.05, belt, post + 0.05, high * 0.94, shade(paint, 0.8))
    body = [
        (0.0, 0.3),
        (long, 0.28),
        (long, belt * 0.74),
        (long * 0.78, belt),
        (tail * 0.6, belt),
        (0.0, belt * 0.86),
    ]
    sketch.polygon(body, paint)
    sketch.box(0.1, 0.26, long - 0.1, 0.36, shade(paint, 0.45))
    sketch.stroke([(post, belt), (post, 0.4)], 0.03, shade(paint, 0.6))
    sketch.stroke(
        [(0.1, belt * 0.8), (long - 0.1, belt * 0.78)], 0.03, shade(paint, 1.3)
    )
    if is_taxi:
        _chequers(sketch, 0.55, belt * 0.58, long - 0.5)
        sketch.box(long * 0.38, high - 0.02, long * 0.52, high + 0.2, (250, 236, 150))
        sketch.lamp(long * 0.45, high + 0.1, 0.3, (255, 220, 120))
    for x in (long * 0.19, long * 0.8):
        _wheel(sketch, x, 0.34)
    sketch.box(long - 0.14, belt * 0.6, long, belt * 0.74, (250, 246, 220))
    sketch.box(0.0, belt * 0.66, 0.1, belt * 0.84, (190, 20, 20))
    sketch.lamp(long - 0.05, belt * 0.66, 0.7, WHITE_LIGHT)
    sketch.lamp(0.05, belt * 0.74, 0.4, RED_LIGHT)
    return sketch


def _chequers(sketch: Sketch, start: float, y: float, end: float) -> None:
    side = 0.16
    sketch.box(start, y - side, end, y + side, (245, 245, 240))
    for column in range(int((end - start) / side)):
        x, low = start + column * side, y - side * (column % 2)
        sketch.box(x, low, x + side, low + side, (20, 20, 22))


def _car_end(rng: np.random.Generator, *, is_taxi: bool) -> Sketch:
    wide, high = 1.85, rng.uniform(1.4, 1.65)
    sketch = Sketch(width_m=wide, height_m=high + 0.2)
    paint, is_front = pick(rng, PAINTS), chance(rng, 0.5)
    belt = high * 0.58
    for x in (0.12, wide - 0.38):
        sketch.box(x, 0.0, x + 0.26, 0.4, TYRE)
    sketch.polygon(
        [(0.12, belt), (0.36, high), (wide - 0.36, high), (wide - 0.12, belt)], paint
    )
    sketch.polygon(
        [
            (0.24, belt),
            (0.44, high * 0.95),
            (wide - 0.44, high * 0.95),
            (wide - 0.24, belt),
        ],
        _GLASS if is_front else shade(_GLASS, 0.7),
    )
    sketch.polygon([(0.5, belt), (0.6, high * 0.95), (0.8, high * 0.95)], _GLASS_LIGHT)
    sketch.polygon(
        [
            (0.0, 0.28),
            (wide, 0.28),
            (wide, belt * 0.9),
            (wide - 0.1, belt),
            (0.1, belt),
            (0.0, belt * 0.9),
        ],
        shade(paint, 0.92),
    )
    sketch.box(0.04, 0.2, wide - 0.04, 0.38, shade(paint, 0.5))
    lights: Colour = (250, 246, 220) if is_front else (200, 24, 24)
    glow = WHITE_LIGHT if is_front else RED_LIGHT
    for x in (0.08, wide - 0.42):
        sketch.box(x, belt * 0.68, x + 0.34, belt * 0.88, lights)
        sketch.lamp(x + 0.17, belt * 0.78, 0.8 if is_front else 0.45, glow)
    if is_front:
        sketch.box(0.5, belt * 0.62, wide - 0.5, belt * 0.86, (34, 34, 38))
    sketch.box(wide / 2 - 0.26, 0.4, wide / 2 + 0.26, 0.53, (240, 238, 220))
    if is_taxi:
        _chequers(sketch, 0.3, belt * 0.55, wide - 0.3)
        middle = wide / 2
        sketch.box(middle - 0.3, high - 0.02, middle + 0.3, high + 0.2, (250, 236, 150))
        sketch.lamp(middle, high + 0.1, 0.3, (255, 220, 120))
    return sketch


def car(rng: np.random.Generator) -> Sketch:
    """A car from the side, the front or the back."""
    if chance(rng, _SIDE_SHARE):
        return _car_side(rng, is_taxi=False)
    return _car_end(rng, is_taxi=False)


def taxi(rng: np.random.Generator) -> Sketch:
    """A car of any paint with a roof sign and a chequered band."""
    if chance(rng, _SIDE_SHARE):
        return _car_side(rng, is_taxi=True)
    return _car_end(rng, is_taxi=True)


def bus(rng: np.random.Generator) -> Sketch:
    """A bus: a long row of windows, or a wide windscreen under a destination sign."""
    paint, high = pick(rng, PAINTS), rng.uniform(2.8, 3.1)
    stripe = pick(rng, PAINTS)
    if chance(rng, _SIDE_SHARE):
        return _bus_side(rng, high, paint, stripe)
    wide = 2.5
    sketch = Sketch(width_m=wide, height_m=high)
    for x in (0.15, wide - 0.5):
        sketch.box(x, 0.0, x + 0.35, 0.5, TYRE)
    sketch.box(0.0, 0.3, wide, high, paint)
    sketch.box(0.14, 1.1, wide - 0.14, high - 0.55, _GLASS)
    sketch.polygon([(0.5, 1.1), (0.9, high - 0.55), (1.3, high - 0.55)], _GLASS_LIGHT)
    sketch.box(0.4, high - 0.45, wide - 0.4, high - 0.15, (24, 24, 20))
    for i in range(5):
        x = 0.55 + i * 0.29
        sketch.box(x, high - 0.38, x + 0.17, high - 0.22, (255, 190, 60))
    sketch.box(0.0, 0.86, wide, 1.0, stripe)
    for x in (0.14, wide - 0.5):
        sketch.box(x, 0.5, x + 0.36, 0.72, (250, 246, 220))
        sketch.lamp(x + 0.18, 0.6, 0.8, WHITE_LIGHT)
    return sketch


def _bus_side(
    rng: np.random.Generator, high: float, paint: Colour, stripe: Colour
) -> Sketch:
    long = rng.uniform(6.5, 8.0)
    sketch = Sketch(width_m=long, height_m=high)
    sketch.box(0.0, 0.32, long, high, paint)
    sketch.box(0.0, high - 0.14, long, high, shade(paint, 1.2))
    sketch.box(0.0, 0.9, long, 1.12, stripe)
    n_windows = int(rng.integers(5, 8))
    pitch = (long - 0.5) / n_windows
    for i in range(n_windows):
        x = 0.25 + i * pitch
        glass = _GLASS if i % 2 else shade(_GLASS, 1.15)
        low = 0.5 if i in (1, n_windows - 1) else 1.35
        sketch.box(x, low, x + pitch - 0.12, high - 0.35, glass)
    for x in (long * 0.18, long * 0.78):
        _wheel(sketch, x, 0.46)
    sketch.lamp(long - 0.1, 0.7, 0.8, WHITE_LIGHT)
    return sketch


def truck(rng: np.random.Generator) -> Sketch:
    """A truck: a cab and a closed cargo box with ribs or a panel instead of windows."""
    paint, cargo, high = pick(rng, PAINTS), pick(rng, PAINTS), rng.uniform(2.7, 3.2)
    if chance(rng, _SIDE_SHARE):
        return _truck_side(rng, high, paint, cargo)
    wide = 2.5
    sketch = Sketch(width_m=wide, height_m=high)
    for x in (0.15, wide - 0.55):
        sketch.box(x, 0.0, x + 0.4, 0.6, TYRE)
    sketch.box(0.0, 0.6, wide, high, cargo)
    if chance(rng, 0.5):
        sketch.box(0.2, 0.35, wide - 0.2, high * 0.76, paint)
        sketch.box(0.34, high * 0.45, wide - 0.34, high * 0.7, _GLASS)
        sketch.polygon(
            [(0.6, high * 0.45), (0.8, high * 0.7), (1.1, high * 0.7)], _GLASS_LIGHT
        )
        sketch.box(0.6, high * 0.22, wide - 0.6, high * 0.36, (36, 36, 40))
        lights, glow = (250, 246, 220), WHITE_LIGHT
    else:
        sketch.stroke([(wide / 2, 0.65), (wide / 2, high)], 0.05, shade(cargo, 0.5))
        for x in (wide * 0.25, wide * 0.75):
            sketch.stroke([(x, 0.8), (x, high - 0.2)], 0.05, shade(cargo, 0.7))
        lights, glow = (200, 24, 24), RED_LIGHT
    for x in (0.22, wide - 0.52):
        sketch.box(x, 0.45, x + 0.3, 0.62, lights)
        sketch.lamp(x + 0.15, 0.53, 0.6, glow)
    return sketch


def _truck_side(
    rng: np.random.Generator, high: float, paint: Colour, cargo: Colour
) -> Sketch:
    long = rng.uniform(6.0, 7.8)
    sketch = Sketch(width_m=long, height_m=high)
    cab = long - 1.9
    sketch.box(0.1, 0.5, long - 0.2, 0.75, (50, 50, 54))
    sketch.box(0.0, 0.75, cab - 0.12, high, cargo)
    n_ribs = int(rng.integers(5, 10))
    for i in range(1, n_ribs):
        x = i * (cab - 0.12) / n_ribs
        sketch.stroke([(x, 0.8), (x, high - 0.05)], 0.07, shade(cargo, 0.72))
    if chance(rng, 0.6):
        panel = pick(rng, PAINTS)
        sketch.box(cab * 0.2, high * 0.5, cab * 0.8, high * 0.82, panel)
    top = high * 0.86
    sketch.polygon(
        [(cab, 0.42), (long, 0.42), (long, top * 0.62), (long - 0.4, top), (cab, top)],
        paint,
    )
    sketch.polygon(
        [
            (cab + 0.5, top * 0.6),
            (long - 0.1, top * 0.6),
            (long - 0.45, top * 0.93),
            (cab + 0.5, top * 0.93),
        ],
        _GLASS,
    )
    for x in (long * 0.12, long * 0.27, long - 0.9):
        _wheel(sketch, x, 0.47)
    sketch.lamp(long - 0.05, 0.75, 0.8, WHITE_LIGHT)
    return sketch


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
    for path in ([rear, crank, seat, rear], [crank, head], [seat, head], [head, front]):
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
