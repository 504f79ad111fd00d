"""Group counts: how many samples of each cell every viewing session has; a sketch.

A test of whether a stream has changed must know how sessions differ when nothing has.
So counts are kept session by session, only those that are not 0, in whole numbers that
are just wide enough. Sketches of several gateways are joined by writing one behind the
other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32, Int64, Integer

    Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class GroupCounts(Shown):
    """Counts of cells in each of ``n`` groups, ``e`` of them above 0.

    Attributes:
        n: groups, those without a count among them.
        group: ``(e,)`` which group it is, from 0.
        cell: ``(e,)`` which cell.
        count: ``(e,)`` how many samples.
    """

    n: int
    group: Integer[np.ndarray, " e"]
    cell: Integer[np.ndarray, " e"]
    count: Integer[np.ndarray, " e"]

    @classmethod
    def of(
        cls, group: Int64[np.ndarray, " m"], cell: Int64[np.ndarray, " m"]
    ) -> GroupCounts:
        """Those of samples; cells are from 0."""
        names, number = np.unique(group, return_inverse=True)
        n_cells = int(cell.max(initial=-1)) + 1
        key, count = np.unique(number * n_cells + cell, return_counts=True)
        width = max(n_cells, 1)
        return cls(
            n=len(names),
            group=_narrow(key // width),
            cell=_narrow(key % width),
            count=_narrow(count),
        )

    @classmethod
    def joined(cls, parts: Sequence[GroupCounts]) -> GroupCounts:
        """Those of several, whose groups are others in each."""
        shifts = np.cumsum([0, *(part.n for part in parts)])
        shifted = [p.group + s for p, s in zip(parts, shifts, strict=False)]
        nothing = np.zeros(0, np.uint8)
        return cls(
            n=int(shifts[-1]),
            group=_narrow(np.concatenate([nothing, *shifted])),
            cell=np.concatenate([nothing, *(part.cell for part in parts)]),
            count=np.concatenate([nothing, *(part.count for part in parts)]),
        )

    @property
    def n_bytes(self) -> int:
        """What it takes in memory."""
        return self.group.nbytes + self.cell.nbytes + self.count.nbytes

    def thinned(self, most: int, rng: np.random.Generator) -> GroupCounts:
        """At most so many of the groups, drawn at random."""
        if self.n <= most:
            return self
        number = np.full(self.n, -1)
        number[rng.choice(self.n, most, replace=False)] = np.arange(most)
        group = number[self.group]
        stays = group >= 0
        return GroupCounts(
            n=most,
            group=_narrow(group[stays]),
            cell=self.cell[stays],
            count=self.count[stays],
        )

    def dense(
        self, number: Int64[np.ndarray, " c"], k: int
    ) -> Float32[np.ndarray, "n k"]:
        """As a matrix of groups and columns; ``number`` says which one a cell is in."""
        at = self.group.astype(np.int64) * k + number[self.cell]
        flat = np.bincount(at, self.count, self.n * k)
        return flat.reshape(self.n, k).astype(np.float32)

    def state(self) -> Arrays:
        """Its arrays."""
        return {
            "n": np.array(self.n),
            "group": self.group,
            "cell": self.cell,
            "count": self.count,
        }

    @classmethod
    def from_state(cls, state: Arrays) -> GroupCounts:
        """What :meth:`state` gave; DataError where it is none."""
        n = int(state["n"])
        group, cell, count = (state[name] for name in ("group", "cell", "count"))
        is_whole = group.shape == cell.shape == count.shape == (len(group),)
        least = min(
            (int(one.min()) for one in (group, cell, count) if one.size), default=0
        )
        is_within = not group.size or int(group.max()) < n
        if not is_whole or not is_within or least < 0:
            message = f"counts of {n} groups: found {len(group)} entries from {least}"
            raise DataError(message, "the state was changed: use another")
        return cls(n=n, group=_narrow(group), cell=_narrow(cell), count=_narrow(count))

    def _display(self) -> Display:
        return Display(
            text=f"{int(self.count.sum()):,} samples of {counted(self.n, 'group')} in "
            f"{self.n_bytes:,} bytes"
        )


def _narrow(numbers: Integer[np.ndarray, " e"]) -> Integer[np.ndarray, " e"]:
    """The same whole numbers of at least 0, each in as few bytes as the largest."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


NO_GROUPS = GroupCounts.joined([])
"""Of nothing."""
