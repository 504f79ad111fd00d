"""The tables of a federation's file: providers, policy, budgets, ledger, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from midhaul.federation.providers.endpoints import demand_no_secret
from midhaul.federation.tariffs import Billable
from midhaul.runs.config import Section, Spec

Status = Literal["timeout", "throttled", "unavailable", "malformed"]

NAME = r"^[\w.-]{1,64}$"
"""What names of providers, runs and federations look like."""


class RetryConfig(Section):
    """When a failed call is made again."""

    attempts: int = Field(
        default=3, ge=1, le=10, description="Calls at most, the first one included."
    )
    base_s: float = Field(
        default=0.1, ge=0, description="The first wait is drawn from 0 to this."
    )
    cap_s: float = Field(
        default=2.0, ge=0, description="No wait is drawn from more than this."
    )
    statuses: tuple[Status, ...] = Field(
        default=("throttled", "unavailable"),
        description="Failures after which a call is made again; each is paid again.",
    )
    share: float = Field(
        default=0.2, ge=0, le=1, description="Retries for each call that succeeds."
    )
    burst: int = Field(
        default=20, ge=0, description="Retries before that share counts."
    )


class BreakerConfig(Section):
    """When a provider is left alone for a while."""

    window_s: float = Field(
        default=10.0, gt=0, description="Calls that ended in this time count."
    )
    n_calls: int = Field(
        default=10, ge=1, description="Fewer calls than this say nothing."
    )
    failure_rate: float = Field(
        default=0.5, gt=0, le=1, description="Share of failures that opens it."
    )
    open_s: float = Field(
        default=15.0, ge=0, description="How long nobody is asked then."
    )
    n_probes: int = Field(
        default=2, ge=1, description="Calls that must succeed to close it again."
    )


class ProviderConfig(Section):
    """One provider: who it is, what it costs, and how it is called."""

    spec: Spec = Field(
        description="Such as http://127.0.0.1:8000, local:builtin:street-n, "
        "recorded:FILE?provider=NAME, aws:detect_labels, azure:objects or "
        "google:object_localization."
    )
    name: str = Field(
        pattern=NAME, description="Its name in answers, ledger and metrics."
    )
    price_usd: float | None = Field(
        default=None,
        ge=0,
        description="Price of a call in USD; else its price_list must say it.",
    )
    charged: tuple[Billable, ...] | None = Field(
        default=None,
        description="How calls went that are billed, such as ok, timeout, 5xx, "
        "malformed (which are the default where no price list says otherwise); what "
        "never reached the provider is not billed.",
    )
    price_list: str = Field(
        default="",
        description="File of a price list, or the name of one that comes with midhaul.",
    )
    price_name: str = Field(
        default="", description="Its name in that list; its spec where empty."
    )
    percent_scores: bool = Field(
        default=False, description="Whether its scores are percentages."
    )
    timeout_s: float = Field(default=5.0, gt=0, description="Of one attempt.")
    n_at_once: int = Field(
        default=64, ge=1, le=4096, description="Most calls at the same time."
    )
    rate_hz: float | None = Field(
        default=None, gt=0, description="Most calls per second; any number if absent."
    )
    burst: int = Field(
        default=1, ge=1, description="Calls at once before the rate counts."
    )
    hedge_after_s: float | None = Field(
        default=None,
        gt=0,
        description="Ask a second time where there is no answer by then; both are "
        "paid.",
    )
    region: str = Field(default="", description="Of the vendor (aws).")
    endpoint: str = Field(default="", description="Address instead of the vendor's.")
    token_env: str = Field(
        default="",
        pattern=r"^([A-Za-z_]\w*)?$",
        description="Environment variable with a token that is sent as "
        "Authorization: Bearer (http, https).",
    )
    is_trusted: bool = Field(
        default=False, description="Whether plain HTTP to another machine is meant."
    )
    retry: RetryConfig = Field(
        default_factory=RetryConfig, description="When a failed call is made again."
    )
    breaker: BreakerConfig = Field(
        default_factory=BreakerConfig, description="When it is left alone."
    )

    @field_validator("spec", "endpoint")
    @classmethod
    def _holds_no_secret(cls, address: str) -> str:
        return demand_no_secret(address)

    @model_validator(mode="after")
    def _price_is_known(self) -> Self:
        if (self.price_usd is None) == (not self.price_list):
            message = "give either price_usd or price_list"
            raise ValueError(message)
        return self


class PolicyConfig(Section):
    """Who is asked, and how answers are fused."""

    trained: Path | None = Field(
        default=None,
        description="A federation that federation.train saved: policy, fuser, label "
        "set and calibration. Its providers must be those of this file, in its order.",
    )
    name: Literal["all", "cheapest-first", "single"] = Field(
        default="all",
        description="Without trained. all: everybody at once; cheapest-first: one "
        "after another until one answers; single: only the first of the file.",
    )
    fuser: str = Field(
        default="",
        description="Without trained: wbf, nms, soft_nms, nmw (boxes), vote (labels "
        "and tags), with /consensus or /unanimous; wbf or vote where empty.",
    )
    iou: float = Field(
        default=0.55, gt=0, lt=1, description="Overlap of boxes that mean the same."
    )
    task: Literal["boxes", "tags", "labels"] = Field(
        default="boxes", description="Without trained: what an answer is."
    )
    vocabulary: str = Field(
        default="",
        description="Label set and synonyms: coco80, voc20, or a TOML file. Where "
        "empty, coco80, or the labels of trained without synonyms.",
    )
    embedding: Path | None = Field(
        default=None,
        description="ONNX file, where trained wants features that come from one.",
    )
    fallback: tuple[str, ...] | None = Field(
        default=None,
        description="Who is tried where all asked have failed; by price if absent.",
    )


class BudgetConfig(Section):
    """How much may be spent; never more, whatever happens."""

    run_usd: float | None = Field(
        default=None, ge=0, description="Over all days and restarts."
    )
    day_usd: float | None = Field(default=None, ge=0, description="On a day, UTC.")
    item_usd: float | None = Field(
        default=None, ge=0, description="On one item, retries included."
    )
    provider_day_usd: dict[str, float] = Field(
        default_factory=dict[str, float], description="On a day, by provider."
    )
    pace_ahead: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Spread day_usd over the day, ahead by at most this share.",
    )


class LedgerConfig(Section):
    """Where every call is written down before it is made."""

    file: Path = Field(
        default=Path("ledger.tsv"), validate_default=False, description="The file."
    )
    run: str = Field(default="service", pattern=NAME, description="Name of who spends.")
    sync: Literal["never", "interval", "always"] = Field(
        default="interval",
        description="When lines must be on the disk: when the kernel likes, every "
        "second, or before each call. All of them survive a killed process.",
    )


class CacheConfig(Section):
    """How answers are kept, by the hash of the image."""

    n_answers: int = Field(
        default=10_000, ge=0, description="Most answers kept; 0 keeps none."
    )
    max_age_s: float = Field(
        default=3600.0, gt=0, description="Older ones are not given out."
    )
