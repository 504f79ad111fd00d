"""Batches: samples in an order, cut into equal parts, each as two distributions.

The order is lexicographic: by output (or its bin), by prediction, by input. Of a row of
numbers counts which one is the largest in size, and then how large it is, falling. A
batch's outputs are counted bin by bin; its predictions are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numba import njit

from midhaul.errors import ConfigError, DataError, choice_hint
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Float64, Int64

    from midhaul.memory.samples import Bins, Samples

    Rows = Int64[np.ndarray, " n"]

Sort = Literal["value", "bin"]
"""Whether an output itself is the first key of the order, or its bin."""
SORTS = ("value", "bin")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Batches(Shown):
    """``m`` batches of ``size`` samples each.

    Attributes:
        rows: ``(m, size)`` numbers of samples.
        rest: ``(r,)`` numbers of those behind the last whole batch, fewer than a batch.
        outputs: ``(m, k)`` how many outputs of each batch lie in each bin.
        predictions: ``(m, c)`` the mean of each batch's predictions.
    """

    rows: Int64[np.ndarray, "m size"]
    rest: Int64[np.ndarray, " r"]
    outputs: Int64[np.ndarray, "m k"]
    predictions: Float64[np.ndarray, "m c"]

    def __len__(self) -> int:
        """How many whole batches there are."""
        return len(self.rows)

    @classmethod
    def of(
        cls,
        parts: Sequence[Samples],
        bins: Bins,
        *,
        batch_size: int,
        sort: Sort = "value",
        rows: Rows | None = None,
    ) -> Batches:
        """Batches of samples of one or two parts, numbered in their order.

        Args:
            parts: the samples; they are not copied.
            bins: how outputs are discretised.
            batch_size: how many samples a batch has.
            sort: what the order begins with.
            rows: which samples, all if it is not given.

        Returns:
            The batches, and what is left over.

        Raises:
            ConfigError: a batch without a sample, or another order.
            DataError: an output is not known, or there are no predictions.
        """
        check_batching(batch_size, sort)
        for part in parts:
            check_usable(part)
        outputs = np.concatenate([part.y for part in parts])
        chosen = np.arange(len(outputs)) if rows is None else rows
        order = chosen[_order(parts, outputs[chosen], chosen, bins, sort)]
        n_whole = len(order) // batch_size
        cut = order[: n_whole * batch_size].reshape(n_whole, batch_size)
        at = bins.of(outputs[cut.ravel()]) + np.repeat(
            np.arange(n_whole) * bins.n, batch_size
        )
        first, second = parts[0].prediction, parts[-1].prediction
        return cls(
            rows=cut,
            rest=order[n_whole * batch_size :],
            outputs=np.bincount(at, minlength=n_whole * bins.n).reshape(-1, bins.n),
            predictions=_mean_rows(cut, first, second),
        )

    @property
    def shares(self) -> Float64[np.ndarray, "m k"]:
        """The distribution of each batch's outputs over bins."""
        return self.outputs / self.rows.shape[1]

    def _display(self) -> Display:
        m, size = self.rows.shape
        text = f"{m:,} batches of {counted(size, 'sample')}, {len(self.rest):,} left"
        return Display(text=text)


def check_batching(batch_size: int, sort: str) -> None:
    """Hold the arguments of batches to what they can be, else ConfigError."""
    if batch_size < 1:
        message = f"batch_size: expected 1 sample or more, found {batch_size}"
        raise ConfigError(message, "the seed has 256")
    if sort not in SORTS:
        message = f"sort: expected {' or '.join(SORTS)}, found {sort!r}"
        raise ConfigError(message, choice_hint(sort, SORTS))


def check_usable(samples: Samples) -> None:
    """Hold samples to what batches need: outputs and predictions, else DataError."""
    is_unknown = np.isnan(samples.y)
    if is_unknown.any():
        message = (
            f"y of sample {int(is_unknown.argmax())}: coverage needs every output, "
            f"{counted(int(is_unknown.sum()), 'sample')} of {len(samples):,} have none"
        )
        raise DataError(message, "offer samples when their outputs are known")
    if len(samples) and not samples.prediction.shape[1]:
        message = "coverage needs predictions, and these samples have none"
        raise DataError(message, "ask a model first: samples.predicted(…)")


@njit(cache=True)
def largest(
    rows: Rows, first: Float32[np.ndarray, "a d"], second: Float32[np.ndarray, "b d"]
) -> tuple[Rows, Float32[np.ndarray, " n"]]:
    """Which number of each row is the first largest in size, and that, negated.

    A row's number beyond one array is of the other.
    """
    at = np.zeros(len(rows), np.int64)
    most = np.zeros(len(rows), np.float32)
    for i in range(len(rows)):
        is_first = rows[i] < len(first)
        row = first[rows[i]] if is_first else second[rows[i] - len(first)]
        size = np.float32(-1)
        for j in range(len(row)):
            if abs(row[j]) > size:
                size = abs(row[j])
                at[i] = j
                most[i] = -row[j]
    return at, most


def _order(
    parts: Sequence[Samples], y: np.ndarray, rows: Rows, bins: Bins, sort: Sort
) -> Rows:
    """Places in the order of all keys; later keys are read where earlier ones tie."""
    if sort == "value":
        first = y
        order = np.argsort(first)
    else:
        first = _bin_and_prediction(parts, rows, bins.of(y))
        order = np.argsort(first)
    ranked = first[order]
    is_same = ranked[1:] == ranked[:-1]
    is_tied = np.zeros(len(order), np.bool_)
    is_tied[1:] |= is_same
    is_tied[:-1] |= is_same
    if is_tied.any():
        tied = np.sort(order[is_tied])
        keys: list[np.ndarray] = []
        for name in ("x", "prediction"):
            both = getattr(parts[0], name), getattr(parts[-1], name)
            at, most = largest(rows[tied], *both)
            keys += [most, at]
        order[is_tied] = tied[np.lexsort([*keys, first[tied]])]
    return order


def _bin_and_prediction(
    parts: Sequence[Samples], rows: Rows, at_bin: np.ndarray
) -> np.ndarray:
    """One whole number that ranks as bin, then mode of the prediction, then its size.

    The bits of single-precision numbers of at least 0 rank as the numbers do.
    """
    mode, most = largest(rows, parts[0].prediction, parts[-1].prediction)
    bits = np.uint64(0xFFFFFFFF) - (-most).view(np.uint32).astype(np.uint64)
    n_modes = parts[0].prediction.shape[1]
    return ((at_bin * n_modes + mode).astype(np.uint64) << np.uint64(32)) | bits


@njit(cache=True)
def _mean_rows(
    cut: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Float64[np.ndarray, "m c"]:
    """The mean of the rows of each batch; a number beyond one array is of the other.

    Shares of single precision do not quite sum to one; those of the mean do.
    """
    means = np.zeros((len(cut), first.shape[1]))
    for batch in range(len(cut)):
        total = means[batch]
        for row in cut[batch]:
            if row < len(first):
                total += first[row]
            else:
                total += second[row - len(first)]
        total /= total.sum()
    return means
