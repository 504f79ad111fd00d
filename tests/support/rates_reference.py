"""What the kernels compute, in plain Python: slow, and simple enough to be believed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.rates.base import Demands


def upper_hull(rates: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices of the steps on the upper concave hull that begins at rate and value 0.

    A step is on it when no straight line between two others (or the origin) passes
    above or through it, and it is better than all that cost less.

    Args:
        rates: rising strictly.
        values: of the same steps.
    """
    points = [(0.0, 0.0), *zip(rates, values, strict=True)]
    on_hull: list[int] = []
    for number in range(1, len(points)):
        x, y = points[number]
        is_covered = any(
            (y - a[1]) * (b[0] - a[0]) <= (b[1] - a[1]) * (x - a[0])
            for a, b in itertools.product(points[:number], points[number + 1 :])
        )
        if y > max(before[1] for before in points[:number]) and not is_covered:
            on_hull.append(number - 1)
    return on_hull


def best_value(demands: Demands, uplink_bps: float) -> float:
    """The highest weighted quality, by trial of every combination of steps."""
    steps = [
        [(0.0, 0.0)]
        + [
            (demands.rates_bps[option], weight * demands.qualities[option])
            for option in range(begin, end)
        ]
        for weight, begin, end in zip(
            demands.weights, demands.offsets[:-1], demands.offsets[1:], strict=True
        )
    ]
    return max(
        float(sum(value for _, value in chosen))
        for chosen in itertools.product(*steps)
        if sum(rate for rate, _ in chosen) <= uplink_bps * (1 + 1e-9)
    )
