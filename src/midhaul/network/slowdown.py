"""Slowdown by size class: which flows are judged, and what stands for those cut off.

The slowdown of a flow is its completion time over what it would take alone on its path.
Small flows feel queues, large ones feel who shares their links, so percentiles over all
sizes say little: they are given for five classes of size as well.

A simulation that stops at a time cuts flows off. To judge those that ended would
favour quick ones, so what is judged depends on the start alone: a flow counts when it
began at least ``PATIENCE`` times its ideal completion time before the end. Of these,
one that had not ended stands as the slowdown that it had reached, which its true one
exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.stats import claimed_level, fewest_values, known, quantile

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

SIZE_CLASSES = ("tiny", "small", "medium", "large", "huge")
"""Names of the classes of size, from the smallest."""

UP_TO_BYTES = (1_000, 10_000, 100_000, 1_000_000)
"""The largest payload of each class but the last."""

IN_WORDS = ("≤ 1 kB", "≤ 10 kB", "≤ 100 kB", "≤ 1 MB", "> 1 MB")
"""What each class is, for people."""

WORDS = {"all": "all", **dict(zip(SIZE_CLASSES, IN_WORDS, strict=True))}
"""The same by the name of the class."""

PATIENCE = 10.0
"""A flow that began so many ideal times before the end is judged, ended or not."""

PERCENTILES = (0.5, 0.9, 0.99)
"""What is said of each class."""

_UNFINISHED = -1


def size_class(size_bytes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The class of each size, as an index of :data:`SIZE_CLASSES`."""
    return np.searchsorted(UP_TO_BYTES, size_bytes, side="left").astype(np.int64)


def size_masks(size_bytes: Int64[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """``(n,)`` true where a size is in a class, for all and each class by its name."""
    classes = size_class(size_bytes)
    masks = {"all": np.ones(len(classes), np.bool_)}
    return masks | {name: classes == i for i, name in enumerate(SIZE_CLASSES)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedFlows:
    """Slowdowns and completion times that count, of ``n`` of all flows.

    Attributes:
        flow: ``(n,)`` which flows.
        slowdown: ``(n,)`` theirs; of one that had not ended, what it exceeds.
        fct_s: ``(n,)`` completion time; of one that had not ended, what it exceeds.
        is_finished: ``(n,)`` true where it had ended.
        n_late: flows that began too late to be judged.
        n_never: flows that never began.
    """

    flow: Int64[np.ndarray, " n"]
    slowdown: Float64[np.ndarray, " n"]
    fct_s: Float64[np.ndarray, " n"]
    is_finished: Bool[np.ndarray, " n"]
    n_late: int
    n_never: int

    @property
    def n_unfinished(self) -> int:
        """Judged flows that had not ended."""
        return int(np.sum(~self.is_finished))

    def known_below(self, mask: Bool[np.ndarray, " n"] | None = None) -> float:
        """The least slowdown that is only known to be larger; infinite for none."""
        return self._least(self.slowdown, mask)

    def fct_known_below_s(self, mask: Bool[np.ndarray, " n"] | None = None) -> float:
        """The least completion time that is only known to be larger."""
        return self._least(self.fct_s, mask)

    def _least(
        self, values: Float64[np.ndarray, " n"], mask: Bool[np.ndarray, " n"] | None
    ) -> float:
        open_ = ~self.is_finished if mask is None else mask & ~self.is_finished
        return float(values[open_].min(initial=np.inf))


def judged_flows(
    start_ns: Int64[np.ndarray, " n"],
    fct_ns: Int64[np.ndarray, " n"],
    ideal_fct_ns: Int64[np.ndarray, " n"],
    end_ns: int,
) -> JudgedFlows:
    """Which flows count in a simulation that stopped at ``end_ns``.

    Where every flow has ended, all count. A completion time of -1 is one of a flow that
    had not ended; a start of -1 of one that never could.
    """
    ended = fct_ns != _UNFINISHED
    if ended.all():
        counts = ended
        never = np.zeros(len(ended), np.bool_)
    else:
        never = ~ended & ((start_ns < 0) | (start_ns >= end_ns))
        counts = ~never & (start_ns + PATIENCE * ideal_fct_ns <= end_ns)
    index = np.flatnonzero(counts)
    reached = np.where(ended, fct_ns, end_ns - start_ns)[index].astype(np.float64)
    return JudgedFlows(
        flow=index,
        slowdown=reached / np.maximum(ideal_fct_ns[index], 1),
        fct_s=reached / 1e9,
        is_finished=ended[index],
        n_late=int(np.sum(~counts & ~never)),
        n_never=int(never.sum()),
    )


def class_rows(
    judged: JudgedFlows, size_bytes: Int64[np.ndarray, " n"]
) -> list[dict[str, float | int | str | None]]:
    """A row for all flows and for each class of size that there is.

    ``size_bytes`` is of all flows. A percentile that so few values do not carry is
    None, as one that lies among flows that had not ended.
    """
    rows: list[dict[str, float | int | str | None]] = []
    for name, mask in size_masks(size_bytes[judged.flow]).items():
        if not mask.any():
            continue
        values, limit = judged.slowdown[mask], judged.known_below(mask)
        row: dict[str, float | int | str | None] = {
            "size_class": WORDS[name],
            "n": len(values),
        }
        for q in PERCENTILES:
            row[f"p{q * 100:g}"] = carried(values, q, limit)
        rows.append(row)
    return rows


def carried(
    values: Float64[np.ndarray, " n"], q: float, limit: float, n_own: int | None = None
) -> float | None:
    """A percentile; None where too few values carry it, or it is above the limit.

    ``n_own`` is how many of the values were found, where others are copies of these.
    """
    n = len(values) if n_own is None else n_own
    if n < fewest_values(q) or not len(values):
        return None
    found = quantile(values, claimed_level(n, q))
    return None if found >= limit else known(found)
