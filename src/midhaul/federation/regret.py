"""Regret over time: the test items of a split, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation import tables
from midhaul.federation.policies.streaming import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.preparing import TestPart
    from midhaul.runs.run import Run

_MOST_ITEMS = 3_000
_WORTH_OF_ALL = 0.1
"""Quality that the price of asking everybody has to buy, as Armol weighs calls."""


def write_regret(
    run: Run,
    part: TestPart,
    fuser: Fuser,
    policies: Mapping[int, SubsetPolicy],
    seed: int,
) -> None:
    """Stream the test items to some policies and write what each lost.

    Args:
        run: the run to fill.
        part: the test items, in the order of a permutation.
        fuser: what fuses answers.
        policies: by the number of their configuration.
        seed: of the permutation and the policies' chance.
    """
    price_usd = float(part.recording.prices_usd.sum())
    multiplier = _WORTH_OF_ALL / price_usd if price_usd > 0 else 0.0
    order = np.random.default_rng([seed, 7]).permutation(len(part.items))[:_MOST_ITEMS]
    recording, features = part.recording.take(order), part.features[order]
    for number, policy in policies.items():
        done = stream(
            policy,
            recording,
            features,
            fuser,
            np.random.default_rng([seed, 8]),
            multiplier=multiplier,
            batch=64,
        )
        rows = [
            {
                "configuration": number,
                "item_number": point.item_number,
                "regret": point.regret,
                "quality": point.quality,
                "cost_usd": point.cost_usd,
                "is_alarm": point.is_alarm,
            }
            for point in done.points()
        ]
        run.write(tables.REGRET, rows, part=number)
