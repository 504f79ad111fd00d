"""Making the scores of different providers comparable: calibration to P(right).

A provider's 0.9 may mean that half of such answers are right. A calibrated score is the
share of answers with that score that are right: by Platt's logistic curve (Platt 1999)
or by the nearest rising step function (isotonic regression, Zadrozny and Elkan 2002).
A box is right when it finds a true box of its label at IoU 0.5, a tag or label when it
is true of the item.

1. Labels that a provider gives often enough have a curve of their own, mixed with the
   provider's by how often: n / (n + 200).
2. Isotonic curves are interpolated between the means of their steps, so that they keep
   the order of scores wherever they can; a tiny slope parts what is still equal.
3. Curves are kept at 0, 0.01, …, 1 and at 200 quantiles of the provider's scores, as
   those of a network crowd near 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32

from midhaul.errors import DataError
from midhaul.model.display import Shown
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from midhaul.federation.recordings.problem import Answers, Recording

Method = Literal["isotonic", "platt"]

_GRID = np.linspace(0.0, 1.0, 101)
_N_QUANTILES = 200
_ENOUGH = 200
_FEWEST = 30
_SLOPE = 1e-3
_MARGIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Calibration(SavedFields, Shown):
    """A rising curve from score to the share that is right, by provider and label.

    Attributes:
        providers: names, in order.
        names: the label set.
        knots: ``(M, k)`` rising scores from 0 to 1.
        curves: ``(M, c, k)`` calibrated scores at these.
    """

    providers: tuple[str, ...]
    names: tuple[str, ...]
    knots: Float32[np.ndarray, "p k"]
    curves: Float32[np.ndarray, "p c k"]

    def apply(self, recording: Recording) -> Recording:
        """The recording with calibrated scores; its truth is untouched.

        Raises:
            DataError: it has a provider or a label that was not calibrated.
        """
        if recording.names != self.names:
            message = "the recording has other labels than the calibration"
            raise DataError(message, "calibrate on data of the same layout")
        unknown = set(recording.providers) - set(self.providers)
        if unknown:
            message = f"no calibration of provider {min(unknown)}"
            raise DataError(message, "calibrate on a recording that has it")
        answers = tuple(
            self._apply(self.providers.index(name), one)
            for name, one in zip(recording.providers, recording.answers, strict=True)
        )
        return replace(recording, answers=answers)

    def _apply(self, provider: int, answers: Answers) -> Answers:
        knots, scores = self.knots[provider], np.clip(answers.scores, 0, 1)
        low = np.searchsorted(knots, scores, side="right") - 1
        low = np.clip(low, 0, len(knots) - 2)
        width = knots[low + 1] - knots[low]
        part = (scores - knots[low]) / np.where(width > 0, width, 1)
        curve = self.curves[provider]
        below, above = curve[answers.labels, low], curve[answers.labels, low + 1]
        scores = (below + part * (above - below)).astype(np.float32)
        return replace(answers, scores=scores)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """What scores of one provider were worth, in bins.

    Attributes:
        scores: ``(k,)`` mean score of each bin that has entries.
        shares: ``(k,)`` share of its entries that are right.
        low: ``(k,)`` lower end of the 95 % interval of the share (Wilson 1927).
        error: expected calibration error: mean of |share - score| over entries.
    """

    scores: Float64[np.ndarray, " k"]
    shares: Float64[np.ndarray, " k"]
    counts: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]
    error: float


def fit_calibration(
    recording: Recording, *, method: Method = "isotonic"
) -> Calibration:
    """Fit every provider's curves.

    Args:
        recording: with a truth; another one than it will be judged on.
        method: which curve.

    Raises:
        DataError: there is no truth.
    """
    n_names = len(recording.names)
    shape = recording.n_providers, n_names, len(_GRID) + _N_QUANTILES
    knots = np.zeros((shape[0], shape[2]), np.float32)
    curves = np.zeros(shape, np.float32)
    for p, answers in enumerate(recording.answers):
        right, counts_it = rightness(recording, answers)
        scores, labels = answers.scores[counts_it], answers.labels[counts_it]
        right = right[counts_it]
        knots[p] = at = _knots(scores)
        whole = _curve(scores, right, at, method)
        curves[p] = whole
        for label in np.flatnonzero(np.bincount(labels, minlength=n_names) >= _FEWEST):
            mine = labels == label
            n = int(mine.sum())
            own = _curve(scores[mine], right[mine], at, method)
            curves[p, label] = (n * own + _ENOUGH * whole) / (n + _ENOUGH)
    return Calibration(
        providers=recording.providers, names=recording.names, knots=knots, curves=curves
    )


def rightness(
    recording: Recording, answers: Answers
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Whether each entry of an answer is right, and whether it counts at all."""
    truth = recording.truth
    if truth is None:
        message = "calibration needs a truth, and the recording has none"
        raise DataError(message, "name its file in data.truth")
    if recording.task == "boxes":
        from midhaul.federation import matching  # noqa: PLC0415  numba

        is_true, is_ignored = matching.match_items(
            answers.starts,
            answers.labels,
            answers.scores,
            answers.boxes,
            truth.starts,
            truth.labels,
            truth.boxes,
            truth.is_ignored,
            np.array([0.5]),
        )
        return is_true[0], ~is_ignored[0]
    n = len(recording.names)
    own = truth.items * n + truth.labels
    said = answers.items * n + answers.labels
    right = np.isin(said, own[~truth.is_ignored])
    return right, right | ~np.isin(said, own[truth.is_ignored])


def reliability(
    recording: Recording, answers: Answers, n_bins: int = 10
) -> Reliability:
    """What an answerer's scores are worth, in equal bins but for empty ones."""
    right, counts_it = rightness(recording, answers)
    scores = answers.scores[counts_it].astype(np.float64)
    which = np.minimum((scores * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(which, minlength=n_bins).astype(np.float64)
    some = counts > 0
    sums = np.bincount(which, scores, minlength=n_bins)[some]
    hits = np.bincount(which, right[counts_it], minlength=n_bins)[some]
    counts = counts[some]
    means, shares = sums / counts, hits / counts
    gap = np.abs(shares - means)
    error = float((gap * counts).sum() / counts.sum()) if len(counts) else 0.0
    low, high = _wilson(shares, counts)
    return Reliability(
        scores=means, shares=shares, counts=counts, low=low, high=high, error=error
    )


def _wilson(
    shares: Float64[np.ndarray, " k"], counts: Float64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """95 % intervals of shares; entries are taken to be independent."""
    z = 1.96
    centre = (shares + z**2 / (2 * counts)) / (1 + z**2 / counts)
    spread = np.sqrt(shares * (1 - shares) / counts + z**2 / (4 * counts**2))
    half = z * spread / (1 + z**2 / counts)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _knots(scores: Float32[np.ndarray, " m"]) -> Float32[np.ndarray, " k"]:
    """Where the curves of a provider with these scores are kept; some may be equal."""
    often = np.zeros(_N_QUANTILES)
    if len(scores):
        often = np.quantile(np.clip(scores, 0, 1), np.linspace(0, 1, _N_QUANTILES))
    return np.sort(np.concatenate([_GRID, often])).astype(np.float32)


def _curve(
    scores: Float32[np.ndarray, " m"],
    right: Bool[np.ndarray, " m"],
    knots: Float32[np.ndarray, " k"],
    method: Method,
) -> Float64[np.ndarray, " k"]:
    """A rising curve at the knots."""
    at = knots.astype(np.float64)
    if not len(scores):
        return at
    if method == "platt":
        curve = _platt(scores.astype(np.float64), right, at)
    else:
        curve = _isotonic(scores.astype(np.float64), right, at)
    curve = (1 - _SLOPE) * curve + _SLOPE * at
    return np.clip(curve, _MARGIN * at, 1 - _MARGIN + _MARGIN * at)


def _platt(
    scores: Float64[np.ndarray, " m"],
    right: Bool[np.ndarray, " m"],
    at: Float64[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  optional

    if right.all() or not right.any():
        return np.full(len(at), (right.sum() + 1) / (len(right) + 2))
    model = LogisticRegression(C=1e3).fit(_logit(scores)[:, None], right)
    slope = max(float(model.coef_[0, 0]), 0.0)
    shift = float(model.intercept_[0])
    return 1 / (1 + np.exp(-(slope * _logit(at) + shift)))


def _isotonic(
    scores: Float64[np.ndarray, " m"],
    right: Bool[np.ndarray, " m"],
    at: Float64[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415  optional

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fitted = model.fit_transform(scores, right.astype(np.float64))
    levels, which = np.unique(fitted, return_inverse=True)
    centres = np.bincount(which, scores) / np.bincount(which)
    return np.interp(at, centres, levels)


def _logit(scores: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    inside = np.clip(scores, 1e-3, 1 - 1e-3)
    return np.log(inside / (1 - inside))
