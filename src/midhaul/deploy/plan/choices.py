"""Planners, placers, allocators and evictions by the names experiment files use.

They are imported when they are chosen, so that a config can be read with the core only.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from midhaul.deploy.curves.seed_curves import seed_model
from midhaul.errors import ConfigError, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.joint.base import JointPlan, JointPlanner
    from midhaul.deploy.placement.base import Placer
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation, RateAllocator

PLACERS = {
    "additive-dp": "midhaul.deploy.placement:AdditiveDp",
    "fptas": "midhaul.deploy.placement:Fptas",
    "additive-greedy": "midhaul.deploy.placement:AdditiveGreedy",
    "marginal-greedy": "midhaul.deploy.placement:MarginalGreedy",
    "milp": "midhaul.deploy.placement:MilpPlacer",
    "mincut": "midhaul.deploy.placement:MinCutPlacer",
    "nowhere": "midhaul.deploy.simulate.baselines:Nowhere",
}
"""Where each placer is."""

ALLOCATORS = {
    "raa": "midhaul.deploy.rates:Raa",
    "weighted": "midhaul.deploy.rates:WeightedSplit",
    "even": "midhaul.deploy.rates:EvenSplit",
    "hull": "midhaul.deploy.rates:HullGreedy",
    "exact": "midhaul.deploy.rates:ExactKnapsack",
    "proportional": "midhaul.deploy.rates:ProportionalFair",
    "maxmin": "midhaul.deploy.rates:MaxMinFair",
    "raa-as-coded": "midhaul.deploy.simulate.baselines:raa_as_coded",
}
"""Where each allocator is."""

EVICTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "lru": ("midhaul.deploy.eviction.images:ImageEviction", {"order": "lru"}),
    "mru": ("midhaul.deploy.eviction.images:ImageEviction", {"order": "mru"}),
    "lfu": ("midhaul.deploy.eviction.images:ImageEviction", {"order": "lfu"}),
    "mfu": ("midhaul.deploy.eviction.images:ImageEviction", {"order": "mfu"}),
    "layer-lru": ("midhaul.deploy.eviction.layers:LayerLru", {}),
    "value-per-byte": ("midhaul.deploy.eviction.layers:ValuePerByte", {}),
}
"""Where each eviction policy is, and what makes it that one."""


_EXACT_ANALYTICS = 60
"""``joint`` is exact up to here, where HiGHS still takes seconds."""


def placer_named(
    name: str, *, epsilon: float = 0.1, time_limit_s: float = 60.0
) -> Placer:
    """The placer of that name.

    Args:
        name: one of :data:`PLACERS`.
        epsilon: guarantee of ``fptas``.
        time_limit_s: for ``milp`` and ``mincut``.

    Raises:
        ConfigError: there is none.
    """
    limit = {"time_limit_s": time_limit_s}
    options = {"fptas": {"epsilon": epsilon}, "milp": limit, "mincut": limit}
    return _class(name, PLACERS, "placer")(**options.get(name, {}))


def allocator_named(name: str, *, alpha: float = 0.1) -> RateAllocator:
    """The rate allocator of that name.

    Args:
        name: one of :data:`ALLOCATORS`.
        alpha: step of ``raa`` and ``raa-as-coded``. Both believe the seed's fitted
            models of its two kinds, known by their names; others have none.

    Raises:
        ConfigError: there is none.
    """
    options: dict[str, object] = {}
    if name.startswith("raa"):
        options["alpha"] = alpha
    if name == "raa":
        options["model_of"] = seed_model
    return _class(name, ALLOCATORS, "allocator")(**options)


def planner_named(
    name: str, *, n_analytics: int, time_limit_s: float = 60.0
) -> JointPlanner:
    """The planner of that name.

    Args:
        name: ``joint``, ``joint-milp``, ``joint-lagrangian``, or ``PLACER+ALLOCATOR``.
        n_analytics: how many it will plan; ``joint`` is exact for few.
        time_limit_s: for what solves by branch and bound.

    Raises:
        ConfigError: there is none.
    """
    from midhaul.deploy import joint  # noqa: PLC0415  needs HiGHS and Numba

    if name == "joint":
        is_small = n_analytics <= _EXACT_ANALYTICS
        name = "joint-milp" if is_small else "joint-lagrangian"
    if name == "joint-milp":
        return joint.JointMilp(time_limit_s=time_limit_s)
    if name == "joint-lagrangian":
        return joint.JointLagrangian()
    placer, plus, allocator = name.partition("+")
    if not plus:
        message = f"expected the name of a planner, found {name!r}"
        hint = "joint, joint-milp, joint-lagrangian or PLACER+ALLOCATOR, such as "
        raise ConfigError(
            message, f"{hint}{name if name in PLACERS else 'mincut'}+exact"
        )
    return joint.Sequential(
        placer=placer_named(placer, time_limit_s=time_limit_s),
        allocator=allocator_named(allocator),
    )


def place(
    problem: PlacementProblem, planner: str = "joint", *, time_limit_s: float = 60.0
) -> JointPlan:
    """Plan which analytics run on which gateway, and who gets how much uplink.

    Args:
        problem: the analytics, each with both of its QoS curves, and the gateways.
        planner: ``joint`` decides both at once; ``PLACER+ALLOCATOR``, such as
            ``mincut+exact``, one after the other. The names are keys of
            :data:`PLACERS` and :data:`ALLOCATORS`.
        time_limit_s: for what solves by branch and bound.

    Raises:
        ConfigError: there is no such planner.
        DataError: an analytic has no curves.
        PrerequisiteError: a library of the extra ``deploy`` is missing.
    """
    for library in ("highspy", "numba"):
        require(library, "deploy")
    named = planner_named(
        planner, n_analytics=len(problem.analytics), time_limit_s=time_limit_s
    )
    return named.plan(problem)


def allocate(
    demands: Demands, uplink_bps: float, allocator: str = "hull", *, alpha: float = 0.1
) -> RateAllocation:
    """Divide an uplink among analytics.

    Args:
        demands: who wants upload rate, and what quality each rate buys.
        uplink_bps: what there is.
        allocator: a key of :data:`ALLOCATORS`.
        alpha: step of ``raa``.

    Raises:
        ConfigError: there is no such allocator.
        DataError: the uplink is negative or NaN.
        PrerequisiteError: a library of the extra ``deploy`` is missing.
    """
    for library in ("highspy", "numba"):
        require(library, "deploy")
    return allocator_named(allocator, alpha=alpha).allocate(demands, uplink_bps)


def eviction_named(name: str) -> EvictionPolicy:
    """The eviction policy of that name.

    Raises:
        ConfigError: there is none.
    """
    where = {name: place for name, (place, _) in EVICTIONS.items()}
    return _class(name, where, "eviction policy")(**EVICTIONS[name][1])


def _class(name: str, table: Mapping[str, str], what: str) -> Any:
    if name not in table:
        near = get_close_matches(name, list(table), n=1)
        mean = f"; did you mean {near[0]!r}?" if near else ""
        message = f"expected the name of a {what}, found {name!r}{mean}"
        raise ConfigError(message, f"one of {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
