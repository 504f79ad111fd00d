"""Links to blame for a tail, what each would give at twice the rate, and headroom.

A link is a candidate for what waits at it on the paths that were drawn, by what these
stand for. Of the first candidates it is told what the tail would be if it were twice as
fast: paths over it are looked at and corrected again, on the same flows. In the same
way headroom is what is found when all starts are moved together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Topology
from midhaul.network.estimate.pooling import class_weights, percentiles
from midhaul.network.estimate.sampling import LookedAt, SampledPaths, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.network.corrector.base import Correction, Corrector
    from midhaul.network.estimate.sampling import Apply
    from midhaul.network.problem import NetworkProblem

_TAIL = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class BlamedLink:
    """A link and what it costs.

    Attributes:
        link: its index.
        name: ``SOURCE->TARGET``.
        waiting_share: share of all that waits on the paths that were drawn.
        p99: slowdown that 99 % of the flows would not exceed at twice its rate.
        gain: share by which that is below what it is now; below 0 where it is worse.
    """

    link: int
    name: str
    waiting_share: float
    p99: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """How much more load a network takes.

    Attributes:
        factors: of the load, rising.
        p99: slowdown that 99 % of the flows do not exceed at each.
        doubles_at: factor at which that has doubled; None where it has not within
            ``factors``.
        is_outside: true where a factor led out of what the corrector has seen.
    """

    factors: tuple[float, ...]
    p99: tuple[float, ...]
    doubles_at: float | None
    is_outside: bool


def blamed_links(
    problem: NetworkProblem,
    sampled: SampledPaths,
    looked: Sequence[LookedAt],
    correction: Correction,
    corrector: Corrector,
    *,
    n: int = 5,
    prefix: float = 0.0,
    apply: Apply = map,
) -> list[BlamedLink]:
    """The links to blame, those first that would give most at twice the rate.

    Args:
        problem: the network.
        sampled: the paths that were drawn.
        looked: what is known of them.
        correction: what the corrector said of them.
        corrector: is asked again.
        n: how many candidates are tried.
        prefix: as it was when the paths were looked at.
        apply: as in :func:`~midhaul.network.estimate.sampling.look_at`.

    Returns:
        At most ``n`` links, of those at which anything waits.
    """
    weight = class_weights(problem, sampled, correction)["all"]
    of_path = weight.sum(axis=1) / weight.sum()
    waits = np.zeros(len(problem.topology.links))
    for path, one, share in zip(sampled.paths, looked, of_path, strict=True):
        waits[list(path)] += share * one.waiting_ns
    total = float(waits.sum())
    if total <= 0:
        return []
    now = _p99(correction.slowdown, weight)
    found: list[BlamedLink] = []
    for link in np.argsort(-waits, kind="stable")[:n].tolist():
        if waits[link] <= 0:
            break
        over = [k for k, path in enumerate(sampled.paths) if link in path]
        faster = _twice_as_fast(problem, link)
        again = look_at(
            faster, [sampled.paths[k] for k in over], prefix=prefix, apply=apply
        )
        corrected = corrector.predict([one.features for one in again])
        slowdown = correction.slowdown.copy()
        slowdown[over] = corrected.slowdown
        then = _p99(slowdown, weight)
        found.append(
            BlamedLink(
                link=link,
                name=problem.topology.links[link].name,
                waiting_share=float(waits[link]) / total,
                p99=then,
                gain=1 - then / now,
            )
        )
    return sorted(found, key=lambda one: -one.gain)


def _twice_as_fast(problem: NetworkProblem, link: int) -> NetworkProblem:
    links = list(problem.topology.links)
    links[link] = replace(links[link], rate_bps=2 * links[link].rate_bps)
    topology = problem.topology
    faster = Topology(nodes=topology.nodes, links=tuple(links), hosts=topology.hosts)
    return replace(problem, topology=faster)


def headroom(
    problem: NetworkProblem,
    sampled: SampledPaths,
    corrector: Corrector,
    *,
    n_paths: int = 100,
    factors: Sequence[float] = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5),
    apply: Apply = map,
) -> Headroom:
    """At which load the p99 slowdown has doubled.

    Args:
        problem: the network.
        sampled: the paths that were drawn.
        corrector: is asked.
        n_paths: how many of the paths are looked at.
        factors: of the load, from 1 upwards, until it has doubled.
        apply: as in :func:`~midhaul.network.estimate.sampling.look_at`.

    Returns:
        What was found on the way.
    """
    kept = SampledPaths(
        paths=sampled.paths[:n_paths],
        draws=sampled.draws[:n_paths],
        of_class=sampled.of_class[:n_paths],
    )
    told: list[float] = []
    is_outside = False
    doubles_at: float | None = None
    for factor in factors:
        starts = np.rint(problem.flows.start_ns / factor).astype(np.int64)
        closer = replace(problem, flows=replace(problem.flows, start_ns=starts))
        looked = look_at(closer, kept.paths, apply=apply)
        correction = corrector.predict([one.features for one in looked])
        told.append(
            _p99(correction.slowdown, class_weights(problem, kept, correction)["all"])
        )
        is_outside |= any(correction.outside)
        if told[-1] >= 2 * told[0]:
            doubles_at = factor
            if len(told) > 1:
                share = np.log(2 * told[0] / told[-2]) / np.log(told[-1] / told[-2])
                doubles_at = float(
                    factors[len(told) - 2] * (1 - share) + factor * share
                )
            break
    return Headroom(
        factors=tuple(factors[: len(told)]),
        p99=tuple(told),
        doubles_at=doubles_at,
        is_outside=is_outside,
    )


def _p99(slowdown: Float64[np.ndarray, "k b q"], weight: np.ndarray) -> float:
    return float(percentiles(slowdown, weight, (_TAIL,))[0])
