"""Catalogue of retraining rules by name: where each is, and what it can be told.

A rule that is followed only when it is worth it wraps one of these, with a predictor
and a cost: :class:`midhaul.memory.retraining.worth.WorthIt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.memory.retraining.base import RetrainRule

_HERE = "midhaul.memory.retraining"
_NUMBA = (("numba", "memory"),)
_RIVER = (("river", "memory"),)

RULES: Registry[Callable[..., RetrainRule]] = Registry(
    "retraining rule",
    {
        "block-test": Entry(
            place=f"{_HERE}.block_test:BlockTest",
            needs=_NUMBA,
            options=(
                "alpha",
                "n_periods",
                "n_known",
                "most_groups",
                "most_bytes",
                "n_permutations",
            ),
        ),
        "never": f"{_HERE}.schedule:NeverAgain",
        "always": f"{_HERE}.schedule:EveryPeriods",
        "every": Entry(place=f"{_HERE}.schedule:EveryPeriods", options=("every",)),
        "loss": Entry(place=f"{_HERE}.loss:LossRule", options=("share", "is_held")),
        "coverage": Entry(
            place=f"{_HERE}.coverage:CoverageRule",
            needs=_NUMBA,
            options=("threshold", "batch_size", "bandwidth", "sort"),
        ),
        **{
            name: Entry(
                place=f"{_HERE}.drift:DriftRule",
                needs=_RIVER,
                fixed={"detector": name},
                options=("each",),
            )
            for name in ("adwin", "page-hinkley", "kswin")
        },
    },
)
"""Rules, made with ``RULES.called(name, **settings)``."""
