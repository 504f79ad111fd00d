"""Traffic matrices: who sends to whom, uniform, by racks, or by gravity.

A matrix is between groups of nodes; within a pair of groups every pair of nodes is as
likely. So 6,144 hosts that all send to each other are one group, not 38 million pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int32

    from midhaul.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TrafficMatrix(Shown):
    """How likely flows are between groups of nodes.

    Attributes:
        groups: indices of the nodes of each group, at least one.
        weights: ``(g, g)`` of flows from a group (row) to a group (column); their sum
            does not matter.

    Raises:
        ConfigError: the shape is wrong, a weight is negative or no number, all are 0, a
            group is empty, or a group of one node sends to itself.
    """

    groups: tuple[Int32[np.ndarray, " n"], ...]
    weights: Float64[np.ndarray, "g g"]

    def __post_init__(self) -> None:
        """Refuse what no flow can be drawn of."""
        g = len(self.groups)
        if self.weights.shape != (g, g):
            rows = " x ".join(str(n) for n in self.weights.shape)
            message = f"{g} groups need {g} x {g} weights, found {rows}"
            raise ConfigError(message)
        is_good = np.isfinite(self.weights) & (self.weights >= 0)
        if not is_good.all():
            row, column = divmod(int(np.argmin(is_good)), g)
            message = (
                "weights of a traffic matrix are numbers of at least 0, row "
                f"{row + 1}, column {column + 1} has {self.weights[row, column]:g}"
            )
            raise ConfigError(message)
        for i, group in enumerate(self.groups):
            if not len(group):
                message = f"group {i} of a traffic matrix has no nodes"
                raise ConfigError(message)
            if len(group) == 1 and self.weights[i, i] > 0:
                message = f"group {i} of a traffic matrix is one node, and sends to "
                raise ConfigError(message + "itself", "set its weight to 0")
        if not self.weights.any():
            message = "a traffic matrix needs a weight above 0, found none"
            raise ConfigError(message)

    def draw(
        self, rng: np.random.Generator, n: int
    ) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
        """``(n,)`` sources and targets, never the same node twice in a pair."""
        g = len(self.groups)
        ends = np.cumsum(self.weights.ravel())
        pair = np.searchsorted(ends, rng.random(n) * ends[-1], side="right")
        last = int(np.flatnonzero(self.weights.ravel())[-1])
        row, column = np.divmod(np.minimum(pair, last), g)
        sizes = np.array([len(group) for group in self.groups])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        nodes = np.concatenate(self.groups).astype(np.int32)
        one = rng.integers(0, sizes[row])
        # Within a group the target is one of the others, by its distance round it.
        other = rng.integers(0, sizes[column] - (row == column))
        other = np.where(row == column, (one + 1 + other) % sizes[column], other)
        return nodes[offsets[row] + one], nodes[offsets[column] + other]


def uniform(nodes: Int32[np.ndarray, " n"]) -> TrafficMatrix:
    """Every node sends to every other; ConfigError if there are fewer than two."""
    return TrafficMatrix(groups=(nodes,), weights=np.ones((1, 1)))


def by_groups(
    groups: Sequence[Int32[np.ndarray, " n"]], weights: Float64[np.ndarray, "g g"]
) -> tuple[TrafficMatrix, float]:
    """A matrix between groups such as racks, and the share of it that was left out.

    A group of one node cannot send to itself: such weight is left out. ConfigError as
    for :class:`TrafficMatrix`.
    """
    kept = np.array(weights, np.float64)
    if kept.shape == (len(groups), len(groups)):
        for i, group in enumerate(groups):
            if len(group) == 1:
                kept[i, i] = 0
    total = float(np.sum(weights))
    left_out = 1 - float(kept.sum()) / total if total > 0 else 0.0
    return TrafficMatrix(groups=tuple(groups), weights=kept), left_out


def by_nodes(
    nodes: Int32[np.ndarray, " n"], weights: Float64[np.ndarray, "n n"]
) -> tuple[TrafficMatrix, float]:
    """A matrix between single nodes, such as demands of a WAN; see by_groups."""
    return by_groups([nodes[i : i + 1] for i in range(len(nodes))], weights)


def gravity(
    nodes: Int32[np.ndarray, " n"],
    sends: Float64[np.ndarray, " n"],
    receives: Float64[np.ndarray, " n"],
) -> TrafficMatrix:
    """Weights are the product of what one sends and what the other receives.

    Y. Zhang, M. Roughan, N. Duffield, A. Greenberg: *Fast Accurate Computation of
    Large-Scale IP Traffic Matrices from Link Loads*, SIGMETRICS 2003. Nothing is sent
    to oneself. ConfigError as for :class:`TrafficMatrix`.
    """
    if not len(nodes) == len(sends) == len(receives):
        message = (
            f"gravity needs what each of {len(nodes)} nodes sends and receives, found "
            f"{len(sends)} and {len(receives)} numbers"
        )
        raise ConfigError(message)
    weights = np.outer(sends, receives)
    np.fill_diagonal(weights, 0)
    groups = tuple(nodes[i : i + 1] for i in range(len(nodes)))
    return TrafficMatrix(groups=groups, weights=weights)


def host_indices(topology: Topology) -> Int32[np.ndarray, " n"]:
    """Indices of the hosts; of all nodes where none is named."""
    index = {name: i for i, name in enumerate(topology.nodes)}
    names = topology.hosts or topology.nodes
    return np.array([index[name] for name in names], np.int32)
