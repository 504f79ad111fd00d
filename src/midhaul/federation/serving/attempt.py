"""One attempt at one provider: what it reserved, and what it is charged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.federation.money import price_nusd

if TYPE_CHECKING:
    from midhaul.federation.budget import BudgetGuard, Reservation
    from midhaul.federation.serving.request import Request
    from midhaul.model import Prediction, PredictionStatus


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt under way.

    Attributes:
        number: of the attempt at this provider, from 1.
        is_hedge: true for a second call beside a slow one.
        begun_s: when somebody wished to ask.
        sent_s: when the call was made; None where it was not yet.
    """

    number: int
    is_hedge: bool
    begun_s: float
    sent_s: float | None = None


def conclude(
    request: Request,
    guard: BudgetGuard,
    reserved: Reservation,
    status: PredictionStatus,
    *,
    is_sent: bool = True,
) -> float:
    """Settle or release a reservation; what was charged, in USD."""
    charged = guard.conclude(reserved, status, is_sent=is_sent)
    request.purse.give_back(reserved.price_nusd - price_nusd(charged))
    return charged


async def first_ok(tasks: set[asyncio.Task[Prediction]]) -> Prediction:
    """The first answer; the last failure where all fail."""
    waiting = set(tasks)
    found: Prediction | None = None
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            found = task.result()
            if found.is_ok:
                return found
    assert found is not None  # noqa: S101 - there was one task at least
    return found
