"""Samples of a learning problem: inputs, outputs, what a model said, when, of whom."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Bins(Shown):
    """How outputs are discretised: ``k`` bins between ``k + 1`` rising edges.

    A bin holds what is at least its lower edge and below its upper one. The first and
    the last take what lies outside.

    Attributes:
        edges: ``(k + 1,)`` rising, the first and the last may be infinite.

    Raises:
        DataError: fewer than two edges, or they do not rise.
    """

    edges: Float64[np.ndarray, " k1"]

    def __post_init__(self) -> None:
        """Check that there is a bin, and that edges rise."""
        if len(self.edges) < 2 or not (np.diff(self.edges) > 0).all():  # noqa: PLR2004
            message = f"bins need rising edges, two or more, found {self.edges}"
            raise DataError(message)

    @classmethod
    def of_classes(cls, n: int) -> Bins:
        """Bins of outputs that are the numbers of ``n`` classes."""
        return cls(edges=np.arange(n + 1) - 0.5)

    @property
    def n(self) -> int:
        """How many bins there are."""
        return len(self.edges) - 1

    def of(self, y: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The bin of each output; -1 where it is not known (NaN)."""
        found = np.searchsorted(self.edges[1:-1], y, side="right")
        return np.where(np.isnan(y), -1, found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Samples(Shown):
    """``n`` samples of ``d`` inputs, with what a model of ``k`` bins said of each.

    Attributes:
        x: ``(n, d)`` inputs.
        y: ``(n,)`` the true output; NaN while it is not known.
        prediction: ``(n, k)`` the model's distribution over bins; ``k`` is 0 where no
            model was asked.
        weight: ``(n,)`` how many samples of the stream it stands for, at least 0.
        time_s: ``(n,)`` when it was made, seconds since an epoch of the stream.
        group: ``(n,)`` what it was made in: a viewing session. A group is never cut
            between training and test.
        cluster: ``(n,)`` what groups share: the recorded trace they were played on.
            Intervals rest on clusters.
        model_version: ``(n,)`` the model that predicted; -1 for none.

    Raises:
        DataError: lengths differ, an input or a prediction is no number, a weight is
            negative, or a distribution does not sum to one.
    """

    x: Float32[np.ndarray, "n d"]
    y: Float64[np.ndarray, " n"]
    prediction: Float32[np.ndarray, "n k"]
    weight: Float64[np.ndarray, " n"]
    time_s: Float64[np.ndarray, " n"]
    group: Int64[np.ndarray, " n"]
    cluster: Int64[np.ndarray, " n"]
    model_version: Int64[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        y: np.ndarray | None = None,
        *,
        prediction: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        time_s: np.ndarray | None = None,
        group: np.ndarray | None = None,
        cluster: np.ndarray | None = None,
        model_version: np.ndarray | int = -1,
    ) -> Samples:
        """Samples of what is known of them; the rest has its neutral value.

        Without times they came one a second, without groups each is one of its own, and
        without clusters each group is one. Without ``y`` no output is known.

        Raises:
            DataError: as for the class.
        """
        x = np.asarray(x, np.float32)
        n = len(x)
        group = np.arange(n) if group is None else np.asarray(group, np.int64)
        found = cls(
            x=x,
            y=np.full(n, np.nan) if y is None else np.asarray(y, np.float64),
            prediction=np.zeros((n, 0), np.float32)
            if prediction is None
            else np.asarray(prediction, np.float32),
            weight=np.ones(n) if weight is None else np.asarray(weight, np.float64),
            time_s=np.arange(n, dtype=np.float64)
            if time_s is None
            else np.asarray(time_s, np.float64),
            group=group,
            cluster=group if cluster is None else np.asarray(cluster, np.int64),
            model_version=np.broadcast_to(np.int64(model_version), (n,)).copy()
            if np.ndim(model_version) == 0
            else np.asarray(model_version, np.int64),
        )
        found.check()
        return found

    def check(self) -> None:
        """Hold the arrays to what selectors and models rely on.

        Raises:
            DataError: as for the class, with the first row that is wrong.
        """
        n = len(self.x)
        for field in fields(self):
            array = getattr(self, field.name)
            n_axes = 2 if field.name in ("x", "prediction") else 1
            if array.ndim != n_axes or len(array) != n:
                message = (
                    f"{field.name}: expected {n:,} rows in {n_axes} axes, found the "
                    f"shape {array.shape}"
                )
                raise DataError(message, "every array has a row for each sample")
            if array.dtype != (wanted := _DTYPES.get(field.name, np.float64)):
                message = (
                    f"{field.name}: expected {np.dtype(wanted)}, found {array.dtype}"
                )
                raise DataError(message, "Samples.of() makes it of other numbers")
        is_finite = np.asarray(np.isfinite(self.x).all(axis=1))
        self._refuse(~is_finite, "x", "finite inputs")
        self._refuse(np.isinf(self.y), "y", "a finite output, or NaN for none yet")
        self._refuse(~np.isfinite(self.time_s), "time_s", "a finite time")
        is_weight = np.isfinite(self.weight) & (self.weight >= 0)
        self._refuse(~is_weight, "weight", "a finite weight of at least 0")
        if self.prediction.shape[1]:
            total = self.prediction.sum(axis=1, dtype=np.float64)
            is_one = (np.abs(total - 1) < _SLACK) & (self.prediction >= 0).all(axis=1)
            self._refuse(~is_one, "prediction", "shares of at least 0 that sum to 1")

    def _refuse(self, is_wrong: Bool[np.ndarray, " n"], name: str, wanted: str) -> None:
        if is_wrong.any():
            at = int(is_wrong.argmax())
            found = np.array2string(getattr(self, name)[at], threshold=8, precision=4)
            message = (
                f"{name} of sample {at}: expected {wanted}, found {found} "
                f"({counted(int(is_wrong.sum()), 'sample')} of {len(self):,})"
            )
            raise DataError(message, "leave these samples out, or mend where they come")

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.x)

    @property
    def row_bytes(self) -> int:
        """What the arrays of one sample take."""
        arrays = [getattr(self, f.name) for f in fields(self)]
        return sum(one.itemsize * math.prod(one.shape[1:]) for one in arrays)

    def take(
        self, rows: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"] | slice
    ) -> Samples:
        """The samples of some rows, by number, by mask or between two."""
        return Samples(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def predicted(self, prediction: np.ndarray, version: int) -> Samples:
        """The same samples with what a model of that version says of them.

        Raises:
            DataError: a row is no distribution.
        """
        found = replace(
            self,
            prediction=np.asarray(prediction, np.float32),
            model_version=np.full(len(self), version, np.int64),
        )
        found.check()
        return found

    def _display(self) -> Display:
        known = int(np.isfinite(self.y).sum())
        n_groups = len(np.unique(self.group))
        text = (
            f"{counted(len(self), 'sample')} of {counted(self.x.shape[1], 'input')} in "
            f"{counted(n_groups, 'group')}, {known:,} with their output, predictions "
            f"over {self.prediction.shape[1]} bins"
        )
        return Display(text=text)


_DTYPES = {
    "x": np.float32,
    "prediction": np.float32,
    "group": np.int64,
    "cluster": np.int64,
    "model_version": np.int64,
}
"""Of all columns that are no ``float64``."""
_SLACK = 1e-3
"""By how much a distribution of single precision may miss one."""


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Samples of several parts as one, in their order.

    Raises:
        DataError: they have other numbers of inputs or of bins, or there is no part.
    """
    widths = {(part.x.shape[1], part.prediction.shape[1]) for part in parts}
    if len(widths) != 1:
        message = f"parts have other numbers of inputs and of bins: {sorted(widths)}"
        raise DataError(message, "predict all with one model before they are joined")
    if len(parts) == 1:
        return parts[0]
    return Samples(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Samples)
        }
    )
