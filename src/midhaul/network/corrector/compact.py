"""Our corrector: a compact net over links and classes, evaluated by numpy.

A class of size of a path is one row. Each link is encoded by itself, with what is told
of that class on it, and links are pooled by mean, sum and maximum (M. Zaheer et al.,
"Deep Sets", NeurIPS 2017), so that paths may have any length. What comes out is

    log s(q) = g1 f(q) + g2 j(q) + sum of u(i) for i up to q,    g1, g2, u >= 0

with f the fluid percentiles of the class, j those with waiting and windows added, gates
g, and steps u made positive by the softplus. All terms rise with q and none is below 0,
so percentiles are monotone and at least 1 by construction. Several nets are averaged;
how much they differ says how far an answer is from what they have seen.

The loss is the pinball loss of each percentile on the flows of the row (R. Koenker and
G. Bassett, "Regression Quantiles", Econometrica 46, 1978), which is proper for one flow
as for thousands.

Differences from m3's net (:mod:`.m3`): links are a set with their place told, not a
sequence; a class is a row, so classes share what is learnt; percentiles cannot cross;
intervals and ranges are part of the answer; there is no torch when it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.features import (
    HOP_CLASS_NAMES,
    HOP_NAMES,
    N_CLASSES,
    OWN_LEVELS,
    OWN_NAMES,
    PATH_NAMES,
    PREFIX_NAMES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float32, Float64

N_ROW = len(PATH_NAMES) + len(OWN_NAMES) + len(PREFIX_NAMES) + N_CLASSES
N_HOP = len(HOP_NAMES) + len(HOP_CLASS_NAMES) + 2
"""Columns of a row, and of a link of it; of these the last two are its place."""

CLIP = 6.0
"""Standard deviations beyond which a number is not followed."""

_FLUID = OWN_NAMES.index("fluid p10")
_JOINT = OWN_NAMES.index("joint p10")


def rows_of_classes(
    arrays: Mapping[str, np.ndarray],
) -> tuple[
    Float32[np.ndarray, "r c"],
    Float32[np.ndarray, "r h k"],
    Float32[np.ndarray, "r 2 q"],
]:
    """A row for each path and class of stacked features; links; and the two bases.

    Rows of a path stand together, class by class. Links that are not there are NaN.
    """
    n, h = arrays["hops"].shape[:2]
    b = N_CLASSES
    path = np.repeat(arrays["path"], b, axis=0)
    own = arrays["own"].reshape(n * b, -1)
    prefix = arrays["prefix"].reshape(n * b, -1)
    kind = np.tile(np.eye(b, dtype=np.float32), (n, 1))
    rows = np.concatenate([path, own, prefix, kind], axis=1).astype(np.float32)
    of_path = np.repeat(arrays["hops"], b, axis=0)
    of_class = arrays["hop_classes"].transpose(0, 2, 1, 3).reshape(n * b, h, -1)
    is_there = ~np.isnan(arrays["hops"][:, :, 0])
    lengths = np.maximum(is_there.sum(axis=1), 1)
    place = np.arange(h)[None, :] / lengths[:, None]
    ends = (np.arange(h)[None, :] + 1) / lengths[:, None]
    places = np.repeat(np.stack([place, ends], axis=2), b, axis=0).astype(np.float32)
    hops = np.concatenate([of_path, of_class, places], axis=2).astype(np.float32)
    bases = np.stack([_at_levels(own, _FLUID), _at_levels(own, _JOINT)], axis=1)
    return rows, hops, bases.astype(np.float32)


def _at_levels(
    own: Float32[np.ndarray, "r o"], first: int
) -> Float64[np.ndarray, "r q"]:
    """Percentiles that are told of a class, at the levels that are asked for."""
    told = own[:, first : first + len(OWN_LEVELS)].astype(np.float64)
    right = np.clip(np.searchsorted(OWN_LEVELS, LEVELS), 1, len(OWN_LEVELS) - 1)
    share = (LEVELS - OWN_LEVELS[right - 1]) / (
        OWN_LEVELS[right] - OWN_LEVELS[right - 1]
    )
    share = np.clip(share, 0.0, 1.0)
    mixed = told[:, right - 1] * (1 - share) + told[:, right] * share
    return np.maximum(mixed, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetWeights:
    """Weights of one net: layers of links, of rows, and the last one.

    Attributes:
        layers: matrix and offset of each layer by its name: ``hop0``, ``hop1``,
            ``row0`` …, ``last``.
    """

    layers: Mapping[str, tuple[Float32[np.ndarray, "i o"], Float32[np.ndarray, " o"]]]

    def log_slowdown(
        self,
        rows: Float32[np.ndarray, "r c"],
        hops: Float32[np.ndarray, "r h k"],
        is_there: np.ndarray,
        bases: Float32[np.ndarray, "r 2 q"],
    ) -> Float64[np.ndarray, "r q"]:
        """Logarithms of percentiles; inputs are scaled, links that are none are 0."""
        n, h = is_there.shape
        flat = hops.reshape(n * h, -1)[is_there.ravel()]
        names = [name for name in self.layers if name.startswith("hop")]
        for name in names:
            weight, offset = self.layers[name]
            flat = _silu(flat @ weight + offset)
        coded = np.zeros((n * h, flat.shape[1]), np.float32)
        coded[is_there.ravel()] = flat
        coded = coded.reshape(n, h, -1)
        total = coded.sum(axis=1)
        least = np.where(is_there[:, :, None], coded, np.float32(-1e9))
        mean = total / np.maximum(is_there.sum(axis=1), 1)[:, None].astype(np.float32)
        values = np.concatenate([rows, mean, total / 4, least.max(axis=1)], axis=1)
        for name in self.layers:
            if name.startswith("row"):
                weight, offset = self.layers[name]
                values = _silu(values @ weight + offset)
        weight, offset = self.layers["last"]
        out = (values @ weight + offset).astype(np.float64)
        gates = _softplus(out[:, :2])
        steps = _softplus(out[:, 2:])
        based = np.einsum("rk,rkq->rq", gates, bases.astype(np.float64))
        return based + np.cumsum(steps, axis=1)


def _silu(x: Float32[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


def _softplus(x: Float64[np.ndarray, ...]) -> Float64[np.ndarray, ...]:
    return np.logaddexp(0.0, x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetScaling:
    """Means and deviations by which columns are scaled.

    Attributes:
        row_mean, row_deviation: of rows.
        hop_mean, hop_deviation: of links.
    """

    row_mean: Float32[np.ndarray, " c"]
    row_deviation: Float32[np.ndarray, " c"]
    hop_mean: Float32[np.ndarray, " k"]
    hop_deviation: Float32[np.ndarray, " k"]

    def scaled(
        self, rows: Float32[np.ndarray, "r c"], hops: Float32[np.ndarray, "r h k"]
    ) -> tuple[Float32[np.ndarray, "r c"], Float32[np.ndarray, "r h k"], np.ndarray]:
        """Scaled rows and links, and which links are there."""
        is_there = ~np.isnan(hops[:, :, 0])
        scaled = (hops - self.hop_mean) / self.hop_deviation
        scaled = np.where(is_there[:, :, None], scaled, 0.0).astype(np.float32)
        of_rows = ((rows - self.row_mean) / self.row_deviation).astype(np.float32)
        return np.clip(of_rows, -CLIP, CLIP), np.clip(scaled, -CLIP, CLIP), is_there
