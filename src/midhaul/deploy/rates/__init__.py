"""Rates: how an uplink is divided among analytics."""

from midhaul.deploy.rates.base import Demands, RateAllocation, RateAllocator
from midhaul.deploy.rates.checks import check_allocator
from midhaul.deploy.rates.fair import (
    EvenSplit,
    MaxMinFair,
    ProportionalFair,
    WeightedSplit,
)
from midhaul.deploy.rates.hull import HullGreedy
from midhaul.deploy.rates.knapsack import ExactKnapsack
from midhaul.deploy.rates.raa import Raa

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
