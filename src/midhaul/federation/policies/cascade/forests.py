"""Random forests whose shape is kept apart from what their leaves say.

A regression forest predicts a weighted mean of the training items, and the weights
(how often an item shares a leaf with the row at hand) depend on the shape of the trees
alone (Meinshausen 2006, Quantile Regression Forests, equation 4). So the trees are
grown once, and the leaves are filled with any targets afterwards: what a cascade wants
to know changes with every exchange rate, but not which situations are alike.

1. Trees draw their items without replacement, which Wager and Athey (2018) need for
   their theory and which leaves every tree a fixed share of items that it has not seen.
2. The predictions for training items come from these unseen trees alone.
3. A leaf holds about as many items as the square root of their number, so that leaves
   and their number both grow.

Trees are grown by scikit-learn and evaluated by a kernel of our own.

The inner loops evaluate and fill flat trees.

Nodes of all trees stand in the same arrays: a node's split feature and threshold, its
two children, and its leaf, which is -1 where it is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int32
from numba import njit

from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64


@njit(cache=True)
def leaf_of(
    row: Float32[np.ndarray, " d"],
    root: int,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> int:
    """The leaf that a row falls into."""
    node = root
    while leaves[node] < 0:
        is_left = row[features[node]] <= thresholds[node]
        node = lefts[node] if is_left else rights[node]
    return leaves[node]


@njit(cache=True)
def leaves_of(
    rows: Float32[np.ndarray, "n d"],
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """``(n, t)`` leaf of each row in each tree."""
    found = np.empty((len(rows), len(roots)), np.int32)
    for i in range(len(rows)):
        for t in range(len(roots)):
            found[i, t] = leaf_of(
                rows[i], roots[t], features, thresholds, lefts, rights, leaves
            )
    return found


@njit(cache=True)
def means_of(
    rows: Float32[np.ndarray, "n d"],
    values: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """``(n, k)`` mean over trees of what the leaves of each row say."""
    total = np.zeros((len(rows), values.shape[1]))
    for i in range(len(rows)):
        for t in range(len(roots)):
            leaf = leaf_of(
                rows[i], roots[t], features, thresholds, lefts, rights, leaves
            )
            for k in range(values.shape[1]):
                total[i, k] += values[leaf, k]
    return total / len(roots)


@njit(cache=True)
def fill(
    targets: np.ndarray, members: np.ndarray, is_seen: np.ndarray, n_leaves: int
) -> np.ndarray:
    """``(l, k)`` mean of the targets of the items that each leaf was grown with."""
    n_targets = targets.shape[1]
    total = np.zeros((n_leaves, n_targets))
    counts = np.zeros(n_leaves)
    for i in range(members.shape[0]):
        for t in range(members.shape[1]):
            if is_seen[i, t]:
                leaf = members[i, t]
                counts[leaf] += 1
                for k in range(n_targets):
                    total[leaf, k] += targets[i, k]
    means = np.zeros((n_leaves, n_targets), np.float32)
    for leaf in range(n_leaves):
        for k in range(n_targets):
            means[leaf, k] = total[leaf, k] / max(counts[leaf], 1.0)
    return means


@njit(cache=True)
def unseen_means(
    values: np.ndarray, members: np.ndarray, is_seen: np.ndarray
) -> np.ndarray:
    """``(n, k)`` what trees say of items that they were not grown with.

    Where an item was seen by every tree, it is what all of them say.
    """
    n, n_trees = members.shape
    n_targets = values.shape[1]
    found = np.zeros((n, n_targets))
    for i in range(n):
        n_unseen = 0
        for t in range(n_trees):
            n_unseen += not is_seen[i, t]
        for t in range(n_trees):
            if n_unseen == 0 or not is_seen[i, t]:
                for k in range(n_targets):
                    found[i, k] += values[members[i, t], k]
        for k in range(n_targets):
            found[i, k] /= n_unseen or n_trees
    return found


_ARRAYS = ("roots", "features", "thresholds", "lefts", "rights", "leaves")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestSettings:
    """How trees are grown.

    Attributes:
        leaf_scale: fewest items of a leaf, over the square root of the items of a tree.
        item_share: share of the items that each tree sees.
        column_share: share of the columns that each split may look at.
    """

    n_trees: int = 40
    leaf_scale: float = 1.0
    item_share: float = 0.6
    column_share: float = 0.5
    splitter: str = "random"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest(SavedFields):
    """The shape of a forest: v nodes of t trees, whose leaves are numbered through.

    Attributes:
        roots: ``(t,)`` first node of each tree.
        features: ``(v,)`` column that a node looks at.
        thresholds: ``(v,)`` left up to here.
        leaves: ``(v,)`` number of the leaf; -1 where a node splits.
    """

    roots: Int32[np.ndarray, " t"]
    features: Int32[np.ndarray, " v"]
    thresholds: Float32[np.ndarray, " v"]
    lefts: Int32[np.ndarray, " v"]
    rights: Int32[np.ndarray, " v"]
    leaves: Int32[np.ndarray, " v"]

    @property
    def n_leaves(self) -> int:
        """Leaves of all trees."""
        return int(self.leaves.max()) + 1

    def leaves_of(self, rows: Float32[np.ndarray, "n d"]) -> Int32[np.ndarray, "n t"]:
        """The leaf of every tree that each row falls into."""
        return leaves_of(np.ascontiguousarray(rows, np.float32), *self._arrays())

    def means(
        self, rows: Float32[np.ndarray, "n d"], values: Float32[np.ndarray, "l k"]
    ) -> Float64[np.ndarray, "n k"]:
        """The mean, over trees, of what the leaves of each row say."""
        rows = np.ascontiguousarray(rows, np.float32)
        return means_of(rows, np.ascontiguousarray(values), *self._arrays())

    def _arrays(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _ARRAYS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grown:
    """A forest with where its training items ended.

    Attributes:
        members: ``(n, t)`` leaf of each item in each tree.
        is_seen: ``(n, t)`` whether the tree was grown on the item.
    """

    forest: Forest
    members: Int32[np.ndarray, "n t"]
    is_seen: Bool[np.ndarray, "n t"]

    def fill(self, targets: Float64[np.ndarray, "n k"]) -> Float32[np.ndarray, "l k"]:
        """Mean target of the items that each leaf was grown on, ``(n_leaves, k)``."""
        return fill(targets, self.members, self.is_seen, self.forest.n_leaves)

    def unseen_means(
        self, values: Float32[np.ndarray, "l k"]
    ) -> Float64[np.ndarray, "n k"]:
        """What trees that have not seen an item say, of values as of :meth:`fill`."""
        return unseen_means(values, self.members, self.is_seen)


def grow(
    rows: Float32[np.ndarray, "n d"],
    targets: Float64[np.ndarray, "n k"],
    settings: ForestSettings,
    rng: np.random.Generator,
) -> Grown:
    """Grow a forest that tells items apart whose targets differ.

    Splits reduce their total variance; without columns, or with fewer than two items,
    the forest is one leaf.
    """
    n, d = rows.shape
    if d == 0 or n < 2:  # noqa: PLR2004
        return _one_leaf(n)
    from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415  optional

    n_seen = max(1, round(settings.item_share * n))
    fewest = max(1, round(settings.leaf_scale * math.sqrt(n_seen)))
    is_seen = np.zeros((n, settings.n_trees), bool)
    places, values = _ranks(rows)
    trees: list[Any] = []
    for t in range(settings.n_trees):
        drawn = np.sort(rng.choice(n, n_seen, replace=False))
        is_seen[drawn, t] = True
        tree: Any = DecisionTreeRegressor(
            min_samples_leaf=fewest,
            max_features=settings.column_share,
            splitter=settings.splitter,
            random_state=int(rng.integers(2**31)),
        )
        trees.append(tree.fit(places[drawn], targets[drawn], check_input=False).tree_)
    forest = _flatten(trees, values)
    return Grown(forest=forest, members=forest.leaves_of(rows), is_seen=is_seen)


def _ranks(
    rows: Float32[np.ndarray, "n d"],
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "n d"]]:
    """The rank of each value in its column, equal ones by the first, and all sorted."""
    values = np.sort(rows, axis=0)
    ranks = np.empty_like(rows)
    for column in range(rows.shape[1]):
        ranks[:, column] = np.searchsorted(values[:, column], rows[:, column])
    return ranks, values


def _flatten(trees: list[Any], values: Float32[np.ndarray, "n d"]) -> Forest:
    """The nodes of scikit-learn's trees, one tree after another.

    ``values`` are of each rank, in each column.
    """
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.cumsum(sizes) - sizes
    shift = np.repeat(roots, sizes)
    lefts = np.concatenate([tree.children_left for tree in trees])
    rights = np.concatenate([tree.children_right for tree in trees])
    is_leaf = lefts < 0
    features = np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees]))
    ranks = np.concatenate([tree.threshold for tree in trees])
    places = np.clip(np.floor(ranks).astype(np.int64), 0, len(values) - 1)
    return Forest(
        roots=roots.astype(np.int32),
        features=features.astype(np.int32),
        thresholds=values[places, features],
        lefts=(lefts + shift).astype(np.int32),
        rights=(rights + shift).astype(np.int32),
        leaves=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
    )


def _one_leaf(n: int) -> Grown:
    zero = np.zeros(1, np.int32)
    forest = Forest(
        roots=zero,
        features=zero,
        thresholds=np.zeros(1, np.float32),
        lefts=zero,
        rights=zero,
        leaves=zero,
    )
    return Grown(
        forest=forest, members=np.zeros((n, 1), np.int32), is_seen=np.ones((n, 1), bool)
    )
