"""The chord: fixed subsets mixed by chance, so that a mean price is met exactly.

Between two points of a plane of price and quality lies every mixture of them: an item
is left to the one or the other by chance. Whoever looks at items has to be above the
upper concave envelope of all fixed subsets, or looking was in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation.policies.fixed import FixedPolicy
from midhaul.federation.policies.mixed import MixedPolicy, NobodyPolicy

if TYPE_CHECKING:
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.policies.fixed import FixedFamily


def chord(family: FixedFamily, budget_usd: float) -> SubsetPolicy:
    """The best mixture of fixed subsets at a mean price of an item.

    Args:
        family: subsets with their training quality.
        budget_usd: mean price; what nobody can use is left.

    Returns:
        A fixed subset or a mixture of two neighbours on the envelope. Below the price
        of the cheapest subset a share of the items is asked about with nobody.
    """
    hull = family.hull()
    costs = family.costs_usd[hull]
    policies = [FixedPolicy(mask=int(family.masks[i]), name="chord") for i in hull]
    if budget_usd >= costs[-1]:
        return policies[-1]
    if budget_usd < costs[0]:
        return MixedPolicy(
            first=NobodyPolicy(),
            second=policies[0],
            share=1.0 - max(0.0, budget_usd) / float(costs[0]),
        )
    high = int((costs > budget_usd).argmax())
    below, above = float(costs[high - 1]), float(costs[high])
    return MixedPolicy(
        first=policies[high],
        second=policies[high - 1],
        share=(budget_usd - below) / (above - below),
    )
