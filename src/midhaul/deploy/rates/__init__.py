"""Rates: how an uplink is divided among analytics."""

from midhaul.deploy.rates.base import Demands, RateAllocation, RateAllocator
from midhaul.deploy.rates.hull import HullGreedy
from midhaul.deploy.rates.knapsack import ExactKnapsack

__all__ = [
    "Demands",
    "ExactKnapsack",
    "HullGreedy",
    "RateAllocation",
    "RateAllocator",
]
