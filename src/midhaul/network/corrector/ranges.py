"""Ranges of what training has seen, and the words for what is outside of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.corrector.features import (
    HOP_NAMES,
    PATH_NAMES,
    TRANSPORT_NAMES,
    PathFeatures,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32

JUDGED_PATH = (
    "slowest link",
    "round trip",
    "pipe in packets",
    "packet size",
    "links",
    "load of the busiest link",
    "first window",
    "window",
    "segments per ACK",
    "ACK delay",
    "least time-out",
    "ECN from",
    "ECN spread",
    "ECN share",
    "aim",
    "additive increase",
    "rounds",
    "low round trip",
    "high round trip",
    "switch memory",
)
"""Of what is told once, what is held against its range, by transport."""

JUDGED_HOPS = (
    "rate of a link",
    "mean size",
    "length of a queue",
    "marks from",
    "target of CoDel",
    "interval of CoDel",
)
"""The same of what is told of each link."""

_MARGIN = 0.02
_HARMLESS = {"load of the busiest link"}
"""What may lie below its range, as little happens there."""

_SCALES = {"slowest link", "round trip", "least time-out"}
"""What only scales a path, or is far from it: it may lie outside by a factor of two."""

_FACTOR = float(np.log(2))

_PATH = [PATH_NAMES.index(name) for name in JUDGED_PATH]
_HOPS = [HOP_NAMES.index(name) for name in JUDGED_HOPS]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenRanges:
    """The least and the most of each column that is judged, for each transport.

    Attributes:
        path: ``(t, j, 2)`` of what is told once.
        hops: ``(t, k, 2)`` of what is told of links.
    """

    path: Float32[np.ndarray, "t j 2"]
    hops: Float32[np.ndarray, "t k 2"]

    def outside(self, features: PathFeatures) -> tuple[str, ...]:
        """What of a path training has not seen, in words."""
        kind = TRANSPORT_NAMES.index(features.transport)
        found = list(features.odd)
        for names, values, ranges in (
            (JUDGED_PATH, features.path[None, _PATH], self.path[kind]),
            (JUDGED_HOPS, features.hops[:, _HOPS], self.hops[kind]),
        ):
            if ranges[0, 0] > ranges[0, 1]:
                return (*found, f"no {features.transport} was seen in training")
            slack = _MARGIN * (ranges[:, 1] - ranges[:, 0]) + 1e-4
            slack += np.array([_FACTOR * (name in _SCALES) for name in names])
            below = (values < ranges[:, 0] - slack).any(axis=0)
            above = (values > ranges[:, 1] + slack).any(axis=0)
            found += [
                f"{names[i]} below what was seen"
                for i in np.flatnonzero(below)
                if names[i] not in _HARMLESS
            ]
            found += [f"{names[i]} above what was seen" for i in np.flatnonzero(above)]
        return tuple(found)


def seen_ranges(
    path: Float32[np.ndarray, "n p"], hops: Float32[np.ndarray, "n h k"]
) -> SeenRanges:
    """The ranges of stacked features; an empty one of a transport that is not there."""
    n = len(TRANSPORT_NAMES)
    of_path = np.tile(np.array([1.0, -1.0], np.float32), (n, len(_PATH), 1))
    of_hops = np.tile(np.array([1.0, -1.0], np.float32), (n, len(_HOPS), 1))
    kinds = path[:, :n].argmax(axis=1)
    for kind in range(n):
        mine = kinds == kind
        if mine.any():
            values = path[mine][:, _PATH]
            of_path[kind] = np.stack([values.min(axis=0), values.max(axis=0)], axis=1)
            links = hops[mine][:, :, _HOPS].reshape(-1, len(_HOPS))
            links = links[~np.isnan(links[:, 0])]
            of_hops[kind] = np.stack([links.min(axis=0), links.max(axis=0)], axis=1)
    return SeenRanges(path=of_path, hops=of_hops)


def outside_of(
    ranges: SeenRanges, features: Sequence[PathFeatures]
) -> tuple[tuple[str, ...], ...]:
    """The same of many paths."""
    return tuple(ranges.outside(one) for one in features)
