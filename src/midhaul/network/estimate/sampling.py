"""Estimate: the tail of a network in seconds, by sampled paths that are corrected.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024: paths are drawn in proportion to the flows on them, each is looked at
alone with what crosses it, a corrector tells what packets would say, and what it says
of all paths is pooled by classes of size.

Differences from m3:

1. A class that few of the draws meet is drawn from some more, so that the tail of large
   flows does not rest on five paths.
2. A path counts in a class by how many of its flows are in it, and the classes are
   joined by their true shares, which are known.
3. There are intervals, and what of a path lies outside of training is said.
4. A path knows its senders' rates, see :mod:`midhaul.network.decomposition.crossed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import require
from midhaul.network.slowdown import SIZE_CLASSES, size_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.network.corrector.features import PathFeatures
    from midhaul.network.decomposition.crossed import CrossedPath, WholeFlows
    from midhaul.network.problem import NetworkProblem, Routes

    Apply = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]

_FEWEST_OF_CLASS = 40
_MOST_IDEALS = 20
_CHUNK = 125


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampledPaths:
    """Paths that were drawn, and how much each stands for in each class of size.

    Attributes:
        paths: as links of the network.
        draws: ``(k,)`` how often each was drawn.
        of_class: ``(k, b)`` how often it was drawn for the sake of a class besides.
    """

    paths: tuple[tuple[int, ...], ...]
    draws: Int64[np.ndarray, " k"]
    of_class: Int64[np.ndarray, "k b"]

    def weight(self, counts: Int64[np.ndarray, "k b"]) -> Float64[np.ndarray, "k b"]:
        """What each path stands for in each class, given its flows of the classes."""
        total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return self.draws[:, None] * counts / total + self.of_class


def draw_paths(
    routes: Routes,
    size_bytes: Int64[np.ndarray, " n"],
    n: int,
    rng: np.random.Generator,
) -> SampledPaths:
    """Draw paths by their flows, and some more of classes that were hardly drawn.

    Args:
        routes: the ways of all flows.
        size_bytes: of all flows.
        n: how many are drawn.
        rng: draws them.

    Returns:
        The paths, each once.
    """
    classes = size_class(size_bytes)
    drawn = rng.integers(0, len(classes), n)
    met = np.bincount(classes[drawn], minlength=len(SIZE_CLASSES))
    more: list[np.ndarray] = []
    for b in range(len(SIZE_CLASSES)):
        there = np.flatnonzero(classes == b)
        lacking = min(_FEWEST_OF_CLASS, n // 5) - int(met[b])
        if len(there) and lacking > 0:
            more.append(rng.choice(there, lacking))
    index: dict[tuple[int, ...], int] = {}
    draws: list[int] = []
    of_class: list[np.ndarray] = []
    for is_more, flows in ((False, [drawn]), (True, more)):
        for flow in (flow for part in flows for flow in part.tolist()):
            path = tuple(routes.of(flow).tolist())
            at = index.setdefault(path, len(index))
            if at == len(draws):
                draws.append(0)
                of_class.append(np.zeros(len(SIZE_CLASSES), np.int64))
            if is_more:
                of_class[at][classes[flow]] += 1
            else:
                draws[at] += 1
    return SampledPaths(
        paths=tuple(index), draws=np.array(draws), of_class=np.stack(of_class)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LookedAt:
    """What is known of one path.

    Attributes:
        features: what a corrector is told.
        ideal_ns: for each class, ideal completion times of some of its flows.
        waiting_ns: ``(h,)`` what waits at its links, on average when flows start.
        n_flows: flows on it, or parts of them.
    """

    features: PathFeatures
    ideal_ns: tuple[Float64[np.ndarray, " i"], ...]
    waiting_ns: Float64[np.ndarray, " h"]
    n_flows: int


def look_at(
    problem: NetworkProblem,
    paths: Sequence[tuple[int, ...]],
    *,
    prefix: float = 0.0,
    apply: Apply = map,
) -> list[LookedAt]:
    """Cut paths out of a network, and look at each.

    Args:
        problem: the network.
        paths: links of it.
        prefix: share of the flows of a path, those that start first, which are
            simulated packet by packet to tell the corrector; 0: none.
        apply: does a function on each of several chunks; in other processes, say.

    Returns:
        What is known of each path.

    Raises:
        ConfigError: flows wait for others, or a link carries nothing.
        PrerequisiteError: Numba is not installed.
    """
    require("numba", "network")
    chunks = [
        (problem, paths[first : first + _CHUNK], prefix)
        for first in range(0, len(paths), _CHUNK)
    ]
    return [one for part in apply(_look_at_chunk, chunks) for one in part]


def _look_at_chunk(
    chunk: tuple[NetworkProblem, Sequence[tuple[int, ...]], float],
) -> list[LookedAt]:
    from midhaul.network.decomposition.crossed import WholeFlows  # noqa: PLC0415

    problem, paths, prefix = chunk
    whole = WholeFlows(problem)
    return [look_at_path(whole, links, prefix=prefix) for links in paths]


def look_at_path(
    whole: WholeFlows, links: tuple[int, ...], *, prefix: float = 0.0
) -> LookedAt:
    """The same of one path, cut out of flows that are indexed already."""
    from midhaul.network.corrector.crossing import WHOLE, crossing_of  # noqa: PLC0415
    from midhaul.network.corrector.features import features_of  # noqa: PLC0415

    path = whole.cross(links)
    met = crossing_of(path)
    simulated = None
    if prefix > 0:
        simulated = _simulated(path.first(max(1, int(prefix * len(path)))))
    own = np.flatnonzero(path.is_foreground)
    classes = size_class(path.size_bytes[own])
    ideal: list[np.ndarray] = []
    for b in range(len(SIZE_CLASSES)):
        mine = own[classes == b]
        step = max(1, -(-len(mine) // _MOST_IDEALS))
        ideal.append(met.ideal_ns[mine[::step]])
    return LookedAt(
        features=features_of(path, crossing=met, simulated=simulated),
        ideal_ns=tuple(ideal),
        waiting_ns=met.probe_ns[WHOLE].mean(axis=1),
        n_flows=len(path),
    )


def _simulated(path: CrossedPath) -> Float64[np.ndarray, " k"]:
    """Slowdowns of all flows of a path, packet by packet."""
    from midhaul.network.packet.simulator import PacketSimulator  # noqa: PLC0415

    simulation = PacketSimulator().begin(path.problem())
    while not simulation.advance(1_000_000):
        pass
    return simulation.results().slowdown
