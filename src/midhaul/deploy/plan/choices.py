"""Planners, placers, allocators and evictions by the names experiment files use.

They are imported when they are chosen, so that a config can be read with the core only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from midhaul.errors import ConfigError, require
from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.joint.base import JointPlan, JointPlanner
    from midhaul.deploy.placement.base import Placer
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation, RateAllocator

_LIMITED = ("time_limit_s",)

PLACERS: Registry[type[Placer]] = Registry(
    "placer",
    {
        "additive-dp": "midhaul.deploy.placement:AdditiveDp",
        "fptas": Entry(place="midhaul.deploy.placement:Fptas", options=("epsilon",)),
        "additive-greedy": "midhaul.deploy.placement:AdditiveGreedy",
        "marginal-greedy": "midhaul.deploy.placement:MarginalGreedy",
        "milp": Entry(place="midhaul.deploy.placement:MilpPlacer", options=_LIMITED),
        "mincut": Entry(
            place="midhaul.deploy.placement:MinCutPlacer", options=_LIMITED
        ),
        "nowhere": "midhaul.deploy.simulate.baselines:Nowhere",
    },
)
"""Which analytics run on a gateway."""

ALLOCATORS: Registry[type[RateAllocator]] = Registry(
    "allocator",
    {
        "raa": Entry(place="midhaul.deploy.rates:Raa", options=("alpha", "model_of")),
        "weighted": "midhaul.deploy.rates:WeightedSplit",
        "even": "midhaul.deploy.rates:EvenSplit",
        "hull": "midhaul.deploy.rates:HullGreedy",
        "exact": "midhaul.deploy.rates:ExactKnapsack",
        "proportional": "midhaul.deploy.rates:ProportionalFair",
        "maxmin": "midhaul.deploy.rates:MaxMinFair",
        "raa-as-coded": Entry(
            place="midhaul.deploy.simulate.baselines:raa_as_coded", options=("alpha",)
        ),
    },
)
"""Who gets how much of an uplink."""

EVICTIONS: Registry[type[EvictionPolicy]] = Registry(
    "eviction policy",
    {
        **{
            order: Entry(
                place="midhaul.deploy.eviction.policies:ImageEviction",
                fixed={"order": order},
            )
            for order in ("lru", "mru", "lfu", "mfu")
        },
        "layer-lru": "midhaul.deploy.eviction.policies:LayerLru",
        "value-per-byte": "midhaul.deploy.eviction.policies:ValuePerByte",
    },
)
"""What leaves a full disk."""

JOINT_PLANNERS: Registry[type[JointPlanner]] = Registry(
    "planner",
    {
        "joint-milp": Entry(place="midhaul.deploy.joint:JointMilp", options=_LIMITED),
        "joint-lagrangian": "midhaul.deploy.joint:JointLagrangian",
    },
)
"""Both at once."""


def _for_plans(choices: Mapping[str, Entry]) -> tuple[str, ...]:
    """All but baselines of the simulation, which are there to be beaten only."""
    return tuple(
        name
        for name, entry in choices.items()
        if not str(entry.place).startswith("midhaul.deploy.simulate.")
    )


if TYPE_CHECKING:
    PlacerName = PlanPlacerName = AllocatorName = PlanAllocatorName = str
    EvictionName = str
else:  # a Literal in a config, so that its mistakes and its reference list the names
    PlacerName = Literal[PLACERS.names]
    PlanPlacerName = Literal[_for_plans(PLACERS)]
    AllocatorName = Literal[ALLOCATORS.names]
    PlanAllocatorName = Literal[_for_plans(ALLOCATORS)]
    EvictionName = Literal[EVICTIONS.names]


def is_planner(name: str) -> bool:
    """Whether :func:`planner_named` knows a name that plans may use."""
    placer, plus, allocator = name.partition("+")
    if not plus:
        return name == "joint" or name in JOINT_PLANNERS
    return placer in _for_plans(PLACERS) and allocator in _for_plans(ALLOCATORS)


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
    return PLACERS.called(name, epsilon=epsilon, time_limit_s=time_limit_s)


def allocator_named(name: str, *, alpha: float = 0.1) -> RateAllocator:
    """The rate allocator of that name.

    Args:
        name: one of :data:`ALLOCATORS`.
        alpha: step of ``raa`` and ``raa-as-coded``. Both believe the seed's fitted
            models of its two kinds, known by their names; others have none.

    Raises:
        ConfigError: there is none.
    """
    from midhaul.deploy.curves.seed_curves import seed_model  # noqa: PLC0415

    return ALLOCATORS.called(name, alpha=alpha, model_of=seed_model)


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
    if name == "joint":
        is_small = n_analytics <= _EXACT_ANALYTICS
        name = "joint-milp" if is_small else "joint-lagrangian"
    if name in JOINT_PLANNERS:
        return JOINT_PLANNERS.called(name, time_limit_s=time_limit_s)
    placer, plus, allocator = name.partition("+")
    if not plus:
        message = f"expected the name of a planner, found {name!r}"
        hint = "joint, joint-milp, joint-lagrangian or PLACER+ALLOCATOR, such as "
        raise ConfigError(
            message, f"{hint}{name if name in PLACERS else 'mincut'}+exact"
        )
    from midhaul.deploy.joint import Sequential  # noqa: PLC0415  needs HiGHS, Numba

    return Sequential(
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
    return EVICTIONS.called(name)
