"""Late labels: outputs that become known after their samples, by time and group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.samples import Samples

_TIME, _GROUP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def matches(
    samples: Samples, time_s: Float64[np.ndarray, " m"], group: Int64[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """Rows of samples that labels are of, and which label each has.

    Samples of the same time and group have the same label; of several labels for one
    sample it is the last one.
    """
    nothing = np.zeros(0, np.int64)
    if not len(samples) or not len(time_s):
        return nothing, nothing
    wanted = _keys(time_s, group)
    order = np.argsort(wanted, kind="stable")
    ranked = wanted[order]
    keys = _keys(samples.time_s, samples.group)
    at = np.searchsorted(ranked, keys, side="right") - 1
    rows = np.flatnonzero((at >= 0) & (ranked[at] == keys))
    labels = order[at[rows]]
    # Two keys may have the same hash, if hardly ever.
    is_same = (samples.time_s[rows] == time_s[labels]) & (
        samples.group[rows] == group[labels]
    )
    return rows[is_same], labels[is_same]


def _keys(
    time_s: Float64[np.ndarray, " n"], group: Int64[np.ndarray, " n"]
) -> np.ndarray:
    # Adding 0 makes 0 of -0, which is the same time and has other bits.
    time = np.ascontiguousarray(time_s + 0.0).view(np.uint64)
    number = np.ascontiguousarray(group).view(np.uint64)
    mixed = (time * _TIME) ^ (number * _GROUP)
    return mixed ^ (mixed >> np.uint64(29))
