"""Placement: which analytics run on which gateway."""

from midhaul.deploy.placement.additive import AdditiveDp, AdditiveGreedy, Fptas
from midhaul.deploy.placement.base import GatewayUse, Placement, Placer, Pull
from midhaul.deploy.placement.checks import check_placement, check_placer
from midhaul.deploy.placement.marginal_greedy import MarginalGreedy
from midhaul.deploy.placement.milp import MilpPlacer
from midhaul.deploy.placement.mincut import MinCutPlacer
from midhaul.deploy.placement.schedule import planned_saved_bits
from midhaul.deploy.placement.tabu import TabuSearch

__all__ = [
    "AdditiveDp",
    "AdditiveGreedy",
    "Fptas",
    "GatewayUse",
    "MarginalGreedy",
    "MilpPlacer",
    "MinCutPlacer",
    "Placement",
    "Placer",
    "Pull",
    "TabuSearch",
    "check_placement",
    "check_placer",
    "planned_saved_bits",
]
