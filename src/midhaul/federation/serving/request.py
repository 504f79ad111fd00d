"""One request on its way through a federation: its time, its money, its calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.federation.money import budget_nusd

if TYPE_CHECKING:
    from midhaul.federation.serving.answer import Call


class Purse:
    """What one request may still spend; reserved money counts as spent.

    Args:
        limit_usd: infinite for no limit but those of the budgets.
    """

    def __init__(self, limit_usd: float) -> None:
        self._left_nusd: float = (
            math.inf if math.isinf(limit_usd) else budget_nusd(limit_usd)
        )

    def take(self, price_nusd: int) -> bool:
        """Reserve money; false, and nothing is taken, where there is too little."""
        if price_nusd > self._left_nusd:
            return False
        self._left_nusd -= price_nusd
        return True

    def give_back(self, price_nusd: int) -> None:
        """Take back what was reserved and not charged."""
        self._left_nusd += price_nusd


@dataclass(slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        data: the encoded image, as it is sent.
        item: its id.
        begun_s: when it came, of the federation's clock.
        deadline_s: when all calls must have ended, of the same clock.
        purse: what it may spend.
        calls: every attempt so far.
        round: number of the present round, from 1.
        retry_after_s: the longest time that a refused budget or an open breaker asks
            to wait.
    """

    data: bytes
    item: str
    begun_s: float
    deadline_s: float
    purse: Purse
    calls: list[Call] = field(default_factory=list["Call"])
    round: int = 0
    retry_after_s: float = 0.0
