"""Rows of a linear program, collected piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64


class Rows:
    """Rows of ``sum <= limit``, piece by piece.

    Attributes:
        n: how many there are.
        limits: their limits, in pieces.
    """

    def __init__(self) -> None:
        self.n = 0
        self.limits: list[Float64[np.ndarray, " l"]] = []
        self._parts: list[tuple[Any, Any, Any]] = []

    def add(
        self,
        rows: Int64[np.ndarray, " c"],
        columns: Int64[np.ndarray, " c"],
        values: Float64[np.ndarray, " c"],
        limits: Float64[np.ndarray, " l"],
    ) -> None:
        """Add rows, counted from 0 within this call."""
        self._parts.append((rows + self.n, columns, values))
        self.limits.append(limits)
        self.n += len(limits)

    def sparse(self) -> tuple[Any, Any, Any]:
        """Where each row begins, and its columns and values."""
        rows, columns, values = (
            np.concatenate([part[i] for part in self._parts]) for i in range(3)
        )
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows, minlength=self.n)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return starts, columns[order].astype(np.int32), values[order]
