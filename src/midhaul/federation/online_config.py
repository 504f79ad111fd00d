"""Keys of online learning that a served federation and an evaluation have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from midhaul.runs.config import Section

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64

    from midhaul.federation.policies.online.refit import OnlineSettings


class OnlineConfig(Section):
    """How a policy is kept up to date: audits, alarms, and learning anew."""

    audit_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Share of the items that everybody is asked about, and paid for.",
    )
    boosted_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The same after an alarm, until enough is known.",
    )
    n_between_alarms: float = Field(
        default=10_000,
        gt=0,
        description="Within n items, the chance of a false alarm is at most n over "
        "this number.",
    )
    window: int = Field(default=5000, ge=1, description="Audits that are remembered.")
    n_fewest: int = Field(default=100, ge=1, description="Audits that a refit needs.")
    n_enough: int = Field(
        default=200,
        ge=1,
        description="Audits after a change, with which auditing more ends.",
    )
    n_routine: int = Field(
        default=400, ge=0, description="Audits between routine refits; 0 for never."
    )
    n_to_leave_out: int = Field(
        default=20,
        ge=1,
        description="Audits since a change with which leaving out who changed is "
        "first held against going on as before.",
    )
    worth_of_all: float = Field(
        default=0.1,
        ge=0,
        description="Quality that the price of asking everybody has to buy: by it "
        "refits weigh quality against price.",
    )

    @model_validator(mode="after")
    def _window_is_enough(self) -> Self:
        if self.window < self.n_fewest:
            message = f"window {self.window} is less than n_fewest {self.n_fewest}"
            raise ValueError(message)
        return self

    def rate(self, prices_usd: Float64[np.ndarray, " p"]) -> float:
        """Quality that one USD has to buy, at these prices of calls."""
        all_usd = float(prices_usd.sum())
        return self.worth_of_all / all_usd if all_usd > 0 else 0.0

    @property
    def settings(self) -> OnlineSettings:
        """The same as the policy takes it."""
        from midhaul.federation.policies.online.refit import (  # noqa: PLC0415
            OnlineSettings,
        )

        names = {one.name for one in fields(OnlineSettings)}
        return OnlineSettings(**self.model_dump(include=names))
