"""Actor policies (SAC, TD3, PPO): whom to ask, by a small network, on numpy alone.

SAC, TD3 and PPO are trained with torch and leave weights behind; a decision is two
products of matrices and a rounding, so that nobody needs torch to serve one.

The subsets nearest to a point of the action box are found by table or by rounding.

The learners of Armol (Xie et al., INFOCOM 2022) put out a point of [0, 1]^M, the *proto
action*; asked is the subset whose 0/1 vector is nearest in squared distance, the empty
one excluded. Dulac-Arnold et al., "Deep Reinforcement Learning in Large Discrete Action
Spaces", 2015 (Wolpertinger), take the K nearest and let the critic choose.

Distances add up over coordinates, so the nearest vector is every coordinate rounded,
and each other one is that with some coordinates turned over, which costs |1 - 2x| for
each. That makes the K nearest the K smallest sums of subsets of M costs, which a heap
finds without a list of 2^M vectors.

1. Of equally near vectors the table takes the smallest mask; rounding turns a
   coordinate of exactly 1/2 off, which is the same one.
2. Where rounding turns everybody off, the largest coordinate is turned on, which is
   the nearest that is not empty.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jaxtyping import Float32

from midhaul.errors import DataError
from midhaul.federation.recordings.problem import all_masks
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import Situation

_LARGEST_TABLE = 10
"""Providers up to which a list of all subsets is quicker than a heap."""


def nearest_subsets(
    points: Float64[np.ndarray, "b p"], k: int = 1
) -> Int64[np.ndarray, "b k"]:
    """The K subsets nearest to each proto action, or all, the nearest first."""
    n_providers = points.shape[1]
    if k == 1:
        return rounded(points)[:, None]
    if n_providers <= _LARGEST_TABLE:
        return nearest_by_table(points, k)
    return nearest_by_flips(points, k)


def nearest_by_table(
    points: Float64[np.ndarray, "b p"], k: int = 1
) -> Int64[np.ndarray, "b k"]:
    """The same by brute force over all 2^M - 1 subsets."""
    masks = all_masks(points.shape[1])
    vectors = as_vectors(masks, points.shape[1])
    distances = (vectors**2).sum(axis=1) - 2 * points @ vectors.T
    k = min(k, len(masks))
    if k < len(masks):
        near = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    else:
        near = np.broadcast_to(np.arange(k), distances.shape)
    order = np.argsort(np.take_along_axis(distances, near, 1), axis=1, kind="stable")
    return masks[np.take_along_axis(near, order, 1)]


def rounded(points: Float64[np.ndarray, "b p"]) -> Int64[np.ndarray, " b"]:
    """The nearest subset by rounding every coordinate, in O(M)."""
    is_on = points > 1 / 2
    lonely = np.flatnonzero(~is_on.any(axis=1))
    is_on[lonely, np.argmax(points[lonely], axis=1)] = True
    return is_on.astype(np.int64) @ (1 << np.arange(points.shape[1]))


def nearest_by_flips(
    points: Float64[np.ndarray, "b p"], k: int
) -> Int64[np.ndarray, "b k"]:
    """The same by turning over the coordinates that cost least, without a list."""
    n_providers = points.shape[1]
    n_subsets = (1 << n_providers) - 1
    found = np.empty((len(points), min(k, n_subsets)), np.int64)
    start = (points > 1 / 2).astype(np.int64) @ (1 << np.arange(n_providers))
    costs = np.abs(1 - 2 * points)
    for row, (base, cost) in enumerate(zip(start.tolist(), costs, strict=True)):
        found[row] = _cheapest_flips(base, cost, found.shape[1])
    return found


def as_vectors(
    masks: Int64[np.ndarray, " s"], n_providers: int
) -> Float64[np.ndarray, "s p"]:
    """The 0/1 vectors of subsets."""
    return ((masks[:, None] >> np.arange(n_providers)) & 1).astype(np.float64)


def _cheapest_flips(base: int, costs: Float64[np.ndarray, " p"], k: int) -> list[int]:
    """The k masks other than 0 that differ from a mask at the smallest cost.

    Sets of coordinates grow in order of their sums: from a set whose dearest member is
    the j-th cheapest follow the one with the next in addition, and in its place.
    """
    order = np.argsort(costs, kind="stable").tolist()
    found = [base] if base else []
    heap = [(float(costs[order[0]]), 0, base ^ (1 << order[0]))]
    while len(found) < k:
        total, place, mask = heapq.heappop(heap)
        if mask:
            found.append(mask)
        if place + 1 == len(order):
            continue
        here, following = order[place], order[place + 1]
        dearer = total + float(costs[following])
        heapq.heappush(heap, (dearer, place + 1, mask ^ (1 << following)))
        instead = mask ^ (1 << here) ^ (1 << following)
        heapq.heappush(heap, (dearer - float(costs[here]), place + 1, instead))
    return found


Activation = Literal["relu", "tanh"]

_LEAST_SCALE = 1e-6
_FARTHEST = 10.0
"""Standard deviations beyond which a feature says no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActorNetwork(SavedFields):
    """A perceptron with hidden layers.

    Attributes:
        weights: ``(inputs, outputs)`` of each layer.
    """

    weights: tuple[Float32[np.ndarray, "i o"], ...]
    biases: tuple[Float32[np.ndarray, " o"], ...]
    activation: Activation

    def __call__(self, inputs: Float32[np.ndarray, "b i"]) -> np.ndarray:
        """The last layer's outputs."""
        values = inputs
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(
            zip(self.weights, self.biases, strict=True)
        ):
            values = values @ weight + bias
            if layer < last:
                values = (
                    np.maximum(values, 0)
                    if self.activation == "relu"
                    else np.tanh(values)
                )
        return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling(SavedFields):
    """Features as a network takes them: around 0, about 1 wide, never far out.

    Attributes:
        centre: ``(d,)`` taken off.
        scale: ``(d,)`` divides after that.
    """

    centre: Float32[np.ndarray, " d"]
    scale: Float32[np.ndarray, " d"]

    @classmethod
    def of(cls, features: Float32[np.ndarray, "n d"]) -> Scaling:
        """Means and standard deviations of training items."""
        scale = features.std(axis=0, dtype=np.float64)
        return cls(
            centre=features.mean(axis=0, dtype=np.float64).astype(np.float32),
            scale=np.where(scale < _LEAST_SCALE, 1.0, scale).astype(np.float32),
        )

    def apply(self, features: Float32[np.ndarray, "n d"]) -> np.ndarray:
        """``(n, max(d, 1))``; without features a column of ones, to have an input.

        DataError where there are more or fewer features than in training.
        """
        if features.shape[1] != len(self.centre):
            message = (
                f"the actor was trained with {len(self.centre)} features, "
                f"found {features.shape[1]}"
            )
            raise DataError(
                message, "describe items as they were described in training"
            )
        if not len(self.centre):
            return np.ones((len(features), 1), np.float32)
        scaled = (features - self.centre) / self.scale
        return np.nan_to_num(scaled, nan=0.0).clip(-_FARTHEST, _FARTHEST)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActorPolicy(SavedFields):
    """Asks the subset nearest to what a network puts out, in one round.

    Attributes:
        name: of the learner.
        n_providers: width of the action box.
        scaling: of the features.
        actor: features to proto action.
        is_squashed: its output goes through tanh.
        is_box_mapped: (-1, 1) means [0, 1]; false takes the output as it is.
        n_nearest: subsets near the proto action of which the critics choose.
        critics: features and action to reward; the least counts. None are needed, and
            kept, where ``n_nearest`` is 1.
    """

    name: str
    n_providers: int
    scaling: Scaling
    actor: ActorNetwork
    is_squashed: bool
    is_box_mapped: bool
    n_nearest: int = 1
    critics: tuple[ActorNetwork, ...] = ()

    tag: ClassVar[str] = "policy"
    flat: ClassVar[tuple[str, ...]] = ("scaling",)
    kind: ClassVar[str] = "actor"

    def choose(self, features: Float32[np.ndarray, "n d"]) -> Int64[np.ndarray, " n"]:
        """The subset for each item.

        Raises:
            DataError: these are not the features of the training.
        """
        inputs = self.scaling.apply(features)
        actions = self.actor(inputs).astype(np.float64)
        if self.is_squashed:
            actions = np.tanh(actions)
        points = to_points(actions, is_box_mapped=self.is_box_mapped)
        near = nearest_subsets(points, self.n_nearest)
        if near.shape[1] == 1 or not self.critics:
            return near[:, 0]
        return best_of(near, self._worths(inputs, near))

    def decide(
        self,
        situation: Situation,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Int64[np.ndarray, " n"]:
        """Whoever of the subset was not asked yet."""
        return self.choose(situation.features) & ~situation.asked

    def _worths(
        self, inputs: np.ndarray, near: Int64[np.ndarray, "n k"]
    ) -> Float64[np.ndarray, "n k"]:
        """What the critics think of each subset."""
        actions = to_actions(
            as_vectors(near.ravel(), self.n_providers), is_box_mapped=self.is_box_mapped
        )
        repeated = np.repeat(inputs, near.shape[1], axis=0)
        pairs = np.concatenate([repeated, actions.astype(np.float32)], axis=1)
        worths = np.stack([critic(pairs)[:, 0] for critic in self.critics])
        return worths.min(axis=0).reshape(near.shape).astype(np.float64)


def to_points(
    actions: Float64[np.ndarray, "n p"], *, is_box_mapped: bool
) -> Float64[np.ndarray, "n p"]:
    """Where a learner's actions lie in the action box [0, 1]^M."""
    return (actions + 1) / 2 if is_box_mapped else actions


def to_actions(
    points: Float64[np.ndarray, "n p"], *, is_box_mapped: bool
) -> Float64[np.ndarray, "n p"]:
    """The actions that lie at points of the box: the inverse of :func:`to_points`."""
    return 2 * points - 1 if is_box_mapped else points


def best_of(
    near: Int64[np.ndarray, "n k"], worths: Float64[np.ndarray, "n k"]
) -> Int64[np.ndarray, " n"]:
    """The subset of highest worth in each row."""
    best = np.argmax(worths, axis=1)[:, None]
    return np.take_along_axis(near, best, 1)[:, 0]
