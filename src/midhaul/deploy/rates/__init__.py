"""Rates: how an uplink is divided among analytics."""

from midhaul.deploy.rates.base import Demands, RateAllocation, RateAllocator
from midhaul.deploy.rates.checks import check_allocator
from midhaul.deploy.rates.hull import HullGreedy
from midhaul.deploy.rates.knapsack import ExactKnapsack
from midhaul.deploy.rates.max_min_fair import MaxMinFair
from midhaul.deploy.rates.proportional_fair import ProportionalFair
from midhaul.deploy.rates.raa import Raa
from midhaul.deploy.rates.splits import EvenSplit, WeightedSplit

__all__ = [
    "Demands",
    "EvenSplit",
    "ExactKnapsack",
    "HullGreedy",
    "MaxMinFair",
    "ProportionalFair",
    "Raa",
    "RateAllocation",
    "RateAllocator",
    "WeightedSplit",
    "check_allocator",
]
