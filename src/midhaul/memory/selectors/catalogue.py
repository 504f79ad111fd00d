"""Catalogue of selectors by name: where each is, and what it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.memory.selectors.base import Selector

_HERE = "midhaul.memory.selectors"
_NUMBA = (("numba", "memory"),)

SELECTORS: Registry[Callable[..., Selector]] = Registry(
    "selector",
    {
        "priority": Entry(
            place=f"{_HERE}.priority:PrioritySampler",
            needs=_NUMBA,
            options=(
                "capacity",
                "bins",
                "uniform_share",
                "exponent",
                "half_life_s",
                "rarest",
                "seed",
            ),
        ),
        "coverage": Entry(
            place=f"{_HERE}.coverage:CoverageMemory",
            needs=_NUMBA,
            options=(
                "capacity",
                "bins",
                "batch_size",
                "bandwidth",
                "temperature",
                "sort",
                "forget",
                "distance_sample_fraction",
                "insert_chunksize",
            ),
        ),
        "coverage-random": Entry(
            place=f"{_HERE}.several:coverage_with_random",
            needs=_NUMBA,
            options=(
                "capacity",
                "bins",
                "random_fraction",
                "batch_size",
                "bandwidth",
                "temperature",
                "sort",
            ),
        ),
        "reservoir": Entry(place=f"{_HERE}.reservoir:Reservoir", options=("capacity",)),
        "fifo": Entry(place=f"{_HERE}.fifo:Fifo", options=("capacity",)),
        "reservoir-forgetting": Entry(
            place=f"{_HERE}.forgetting:ForgettingReservoir",
            options=("capacity", "forget"),
        ),
        "reservoir-half-life": Entry(
            place=f"{_HERE}.forgetting:HalfLifeReservoir",
            options=("capacity", "half_life_s"),
        ),
        "class-balanced": Entry(
            place=f"{_HERE}.balanced:BalancedReservoir", options=("capacity", "bins")
        ),
        "loss": Entry(
            place=f"{_HERE}.score:ScoreSelector",
            fixed={"of": "loss"},
            options=("capacity", "bins", "temperature"),
        ),
        "confidence": Entry(
            place=f"{_HERE}.score:ScoreSelector",
            fixed={"of": "confidence"},
            options=("capacity", "bins", "temperature"),
        ),
        "committee": Entry(
            place=f"{_HERE}.committee:Committee",
            options=("capacity", "predictors", "temperature"),
        ),
        "lars": Entry(
            place=f"{_HERE}.lars:Lars",
            needs=_NUMBA,
            options=("capacity", "bins", "scale"),
        ),
        "jtt": Entry(
            place=f"{_HERE}.jtt:JustTrainTwice", options=("capacity", "bins", "upscale")
        ),
        "stalled-sessions": Entry(
            place=f"{_HERE}.stalled:StalledSessions",
            options=("capacity", "slow_from", "temperature"),
        ),
    },
)
"""Classes of selectors, made with ``SELECTORS.called(name, **settings)``."""
