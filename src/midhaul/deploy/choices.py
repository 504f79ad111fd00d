"""Placers, allocators and eviction policies by the names that experiment files use.

They are imported when they are chosen, so that a config can be read with the core only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from midhaul.deploy.seed_curves import seed_model
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.placement.base import Placer
    from midhaul.deploy.rates.base import RateAllocator

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


def placer_named(
    name: str, *, epsilon: float = 0.1, time_limit_s: float = 60.0
) -> Placer:
    """The placer of that name.

    Args:
        name: one of :data:`PLACERS`.
        epsilon: guarantee of ``fptas``.
        time_limit_s: for ``milp``.

    Raises:
        ConfigError: there is none.
    """
    options = {"fptas": {"epsilon": epsilon}, "milp": {"time_limit_s": time_limit_s}}
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


def eviction_named(name: str) -> EvictionPolicy:
    """The eviction policy of that name.

    Raises:
        ConfigError: there is none.
    """
    where = {name: place for name, (place, _) in EVICTIONS.items()}
    return _class(name, where, "eviction policy")(**EVICTIONS[name][1])


def _class(name: str, table: Mapping[str, str], what: str) -> Any:
    if name not in table:
        message = f"expected the name of a {what}, found {name!r}"
        raise ConfigError(message, f"one of {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
