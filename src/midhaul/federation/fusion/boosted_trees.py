"""Boosted trees as flat arrays, evaluated without the library that grew them.

A tree sends a row left where ``row[feature] <= threshold``, or where the value is NaN
and the node says so; a leaf adds its value to the sum. Nodes of all trees stand in one
array; ``roots`` says where each tree begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numba import njit

from midhaul.federation.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoostedTrees(SavedFields):
    """A sum of regression trees.

    Attributes:
        baseline: what the sum begins with.
        roots: ``(t,)`` first node of each tree.
        features: ``(v,)`` column that a node looks at; -1 in leaves.
        thresholds: ``(v,)`` left up to here.
        lefts: ``(v,)`` node.
        rights: ``(v,)`` node.
        nan_left: ``(v,)`` whether a NaN goes left.
        values: ``(v,)`` of leaves.
    """

    baseline: float
    roots: Int32[np.ndarray, " t"]
    features: Int32[np.ndarray, " v"]
    thresholds: Float64[np.ndarray, " v"]
    lefts: Int32[np.ndarray, " v"]
    rights: Int32[np.ndarray, " v"]
    nan_left: Bool[np.ndarray, " v"]
    values: Float64[np.ndarray, " v"]

    @classmethod
    def of_histogram(cls, model: Any) -> BoostedTrees:
        """The trees of a fitted binary HistGradientBoostingClassifier or regressor.

        Its sum is the decision function: log odds of a classifier. Scikit-learn has no
        public way to its nodes; a test compares both forms.
        """
        nodes = [one.nodes for (one,) in model._predictors]  # noqa: SLF001
        sizes = np.array([len(tree) for tree in nodes])
        roots = np.cumsum(sizes) - sizes
        shift = np.repeat(roots, sizes)
        flat = np.concatenate(nodes)
        is_leaf = flat["is_leaf"].astype(bool)
        return cls(
            baseline=float(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
            roots=roots.astype(np.int32),
            features=np.where(is_leaf, -1, flat["feature_idx"]).astype(np.int32),
            thresholds=flat["num_threshold"].astype(np.float64),
            lefts=(flat["left"] + shift).astype(np.int32),
            rights=(flat["right"] + shift).astype(np.int32),
            nan_left=flat["missing_go_to_left"].astype(bool),
            values=flat["value"].astype(np.float64),
        )

    def sums(self, rows: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """The sum of all trees for each row."""
        return self.baseline + _sums(
            np.ascontiguousarray(rows),
            self.roots,
            self.features,
            self.thresholds,
            self.lefts,
            self.rights,
            self.nan_left,
            self.values,
        )


@njit(cache=True)
def _sums(
    rows: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    nan_left: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    result = np.zeros(len(rows))
    for i in range(len(rows)):
        row = rows[i]
        total = 0.0
        for root in roots:
            node = root
            while features[node] >= 0:
                value = row[features[node]]
                if value <= thresholds[node] or (np.isnan(value) and nan_left[node]):
                    node = lefts[node]
                else:
                    node = rights[node]
            total += values[node]
        result[i] = total
    return result
