"""Settings of online learning: how much is audited, and when it is learned anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineSettings:
    """How much is audited, and when it is learned anew.

    Attributes:
        audit_share: share of the items that everybody is asked about, and paid for.
        boosted_share: the same after an alarm, until enough is known.
        n_fewest: audits that a refit needs.
        n_enough: audits after a change, with which auditing more ends.
        n_routine: audits between routine refits; 0 for never.
        window: audits that are remembered.
        n_between_alarms: within n items, the chance of a false alarm is at most n over
            this number.
        n_to_leave_out: audits since a change with which leaving out who changed is
            first held against going on as before.
    """

    audit_share: Annotated[float, Gt(0), Le(1)] = 0.05
    boosted_share: Annotated[float, Gt(0), Le(1)] = 0.5
    n_fewest: Annotated[int, Ge(1)] = 100
    n_enough: Annotated[int, Ge(1)] = 200
    n_routine: Annotated[int, Ge(0)] = 400
    window: Annotated[int, Ge(1)] = 5000
    n_between_alarms: Annotated[float, Gt(0)] = 10_000
    n_to_leave_out: Annotated[int, Ge(1)] = 20

    def __post_init__(self) -> None:
        """Check the shares."""
        shares = (self.audit_share, self.boosted_share)
        if not all(0 < share <= 1 for share in shares) or self.window < self.n_fewest:
            message = f"shares {shares}, window {self.window} for {self.n_fewest}"
            raise ValueError(message)
