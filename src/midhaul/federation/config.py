"""The experiment files of federation.train and federation.evaluate, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.federation.config_parts import (
    FaultsConfig,
    FeaturesConfig,
    FusionConfig,
    LearnerConfig,
    RecordingConfig,
)
from midhaul.runs.config import Config

_WHOLE = 1e-9

Reference = Literal["truth", "ensemble"]


class TrainConfig(Config):
    """Learn whom to ask, from recorded answers, and save it to be served."""

    kind: str = Field(default="federation.train", description="Kind of the experiment.")
    data: RecordingConfig = Field(
        default_factory=RecordingConfig, description="The recorded answers."
    )
    features: FeaturesConfig = Field(
        default_factory=FeaturesConfig, description="What is known before a call."
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="How answers are fused."
    )
    policy: str = Field(default="cascade", description="Which policy to learn.")
    providers: tuple[str, ...] = Field(
        default=(),
        description="Whom the policies that are told so ask: subset all of these, "
        "single this one, or the best on the items to learn from when empty.",
    )
    budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="Mean price of an item that the policy may spend.",
    )
    budget_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The same as a share of asking everybody, without budget_usd.",
    )
    reference: Reference = Field(
        default="truth",
        description="What is right: the truth of people, or without labels the fused "
        "answer of all providers, whose calls are charged.",
    )
    learner: LearnerConfig = Field(
        default_factory=LearnerConfig, description="For sac, td3 and ppo."
    )
    shares: tuple[float, float] = Field(
        default=(0.8, 0.2),
        description="Shares of the items to learn from and to calibrate on.",
    )

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        _check_shares(self.shares)
        return self


class EvaluateConfig(Config):
    """Compare policies on items that none of them has seen."""

    kind: str = Field(
        default="federation.evaluate", description="Kind of the experiment."
    )
    data: RecordingConfig = Field(
        default_factory=RecordingConfig, description="The recorded answers."
    )
    features: FeaturesConfig = Field(
        default_factory=FeaturesConfig, description="What is known before a call."
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="How answers are fused."
    )
    policies: tuple[str, ...] = Field(
        default=(
            "single",
            "random-1",
            "random-n",
            "fixed",
            "ensemble-n",
            "frugal",
            "cascade",
            "oracle",
        ),
        min_length=1,
        description="Policies to compare; single stands for each provider alone.",
    )
    trained: tuple[Path, ...] = Field(
        default=(), description="Federations that federation.train saved, to compare."
    )
    budget_shares: tuple[float, ...] = Field(
        default=(0.2, 0.3, 0.4, 0.6, 0.8, 1.0),
        min_length=1,
        description="Budgets for policies that keep one: shares of asking everybody.",
    )
    reference: Reference = Field(
        default="truth",
        description="What policies learn from: the truth, or the fused answer of all "
        "providers. Judged is always by the truth.",
    )
    learner: LearnerConfig = Field(
        default_factory=LearnerConfig, description="For sac, td3 and ppo."
    )
    faults: FaultsConfig = Field(
        default_factory=FaultsConfig, description="What else is tried: a bad day."
    )
    n_seeds: int = Field(default=5, ge=1, description="How many splits to average.")
    shares: tuple[float, float, float] = Field(
        default=(0.4, 0.1, 0.5),
        description="Shares of the items for training, calibration and test.",
    )
    n_resamples: int = Field(
        default=400, ge=50, description="Resamples behind each interval."
    )
    n_examples: int = Field(
        default=3, ge=0, description="Items to show with everybody's boxes."
    )

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        _check_shares(self.shares)
        if any(not 0 < share <= 1 for share in self.budget_shares):
            message = f"budget_shares lie in (0, 1], found {list(self.budget_shares)}"
            raise ValueError(message)
        return self


def _check_shares(shares: tuple[float, ...]) -> None:
    if min(shares) <= 0 or abs(sum(shares) - 1) > _WHOLE:
        message = f"shares must be positive and add up to 1, found {list(shares)}"
        raise ValueError(message)
