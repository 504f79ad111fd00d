"""Config of a served federation: the file behind ``midhaul serve federation``.

Its tables are providers, policy, budgets, ledger, cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import to_json

from midhaul import documents
from midhaul.errors import ConfigError
from midhaul.federation.money.prices import Billable
from midhaul.federation.online_config import OnlineConfig
from midhaul.federation.providers.endpoints import demand_no_secret
from midhaul.federation.serving.settings import (
    BreakerSettings,
    CacheSettings,
    RetrySettings,
)
from midhaul.runs.config import Section
from midhaul.runs.config_errors import mistakes
from midhaul.runs.experiment_file import key_lines
from midhaul.runs.section import key, section
from midhaul.runs.spec import Spec
from midhaul.wire.limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = r"^[\w.-]{1,64}$"
"""What names of providers, runs and federations look like."""


class RetryConfig(section(RetrySettings)):
    """When a failed call is made again."""


class BreakerConfig(section(BreakerSettings, without=("statuses", "fatal"))):
    """When a provider is left alone for a while."""


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


class ServedOnlineConfig(OnlineConfig):
    """How the policy of a served federation goes on learning."""

    refit: str = Field(
        default="",
        description="Policy that is learned anew: the trained one where empty.",
    )
    file: Path | None = Field(
        default=None,
        description="What was learned (.npz); beside the ledger, with its name, if "
        "absent.",
    )
    save_s: float = Field(
        default=5.0,
        ge=0,
        description="It is saved at least so often, and at once after an alarm or "
        "a new policy.",
    )
    feedback_wait_s: float = Field(
        default=600.0,
        ge=0,
        description="How long answers wait for feedback before they are learned from "
        "without; 0 takes none.",
    )
    n_waiting: int = Field(
        default=1000,
        ge=1,
        description="Most answers that wait; beyond it the oldest waits no longer.",
    )
    max_feedback_bytes: int = Field(
        default=1_000_000, ge=1, description="Longer feedback is refused."
    )

    @field_validator("file")
    @classmethod
    def _is_npz(cls, file: Path | None) -> Path | None:
        if file is not None and file.suffix != ".npz":
            message = f"the file of what was learned ends in .npz, found {file}"
            raise ValueError(message)
        return file


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
    online: ServedOnlineConfig | None = Field(
        default=None, description="How trained goes on learning; not at all if absent."
    )

    @model_validator(mode="after")
    def _online_is_trained(self) -> Self:
        if self.online is not None and self.trained is None:
            message = "online needs trained: what federation.train saved"
            raise ValueError(message)
        return self


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


class CacheConfig(section(CacheSettings)):
    """How answers are kept, by the hash of the image."""


class FederationFile(Section):
    """A served federation."""

    name: str = Field(default="federation", pattern=NAME, description="Its name.")
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; loopback unless said."
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="TCP port; 0 for a free one."
    )
    deadline_s: float = Field(
        default=10.0, gt=0, description="Of an answer, where the request says none."
    )
    margin_s: float = Field(
        default=0.02, ge=0, description="Kept back of it, to fuse and to send."
    )
    max_body_bytes: int = Field(
        default=20_000_000, ge=1, description="Larger images are refused."
    )
    max_pixels: int = Field(
        default=25_000_000,
        ge=1,
        le=1 << 26,
        description="Images of more px, by their head, are refused before they are "
        "decoded.",
    )
    max_scans: int = Field(
        default=100, ge=1, le=100, description="JPEGs of more scans are refused."
    )
    max_decode_s: float = Field(
        default=10.0,
        gt=0,
        le=10,
        description="Images that would take longer to decode are refused; estimated "
        "as their px times scans at 100 million a second.",
    )
    max_head_bytes: int = key(ServerLimits, "max_head_bytes")
    max_url_bytes: int = key(ServerLimits, "max_url_bytes")
    head_timeout_s: float = key(ServerLimits, "head_timeout_s")
    max_flight_bytes: int = key(ServerLimits, "max_flight_bytes")
    max_connections: int = key(ServerLimits, "max_connections")
    answer_timeout_s: float = key(ServerLimits, "answer_timeout_s")
    body_timeout_s: float = Field(
        default=10.0, gt=0, description="How long an image may take to arrive."
    )
    n_at_once: int | None = Field(
        default=None,
        ge=1,
        description="Requests worked on at the same time, the others wait in line; "
        "twice as many as all providers' n_at_once if absent.",
    )
    max_requests: int = Field(
        default=20_000,
        ge=1,
        description="Requests at a time, waiting ones too; else 503.",
    )
    drain_s: float = Field(
        default=10.0,
        ge=0,
        description="How long requests under way may take after SIGTERM.",
    )
    is_image: bool = Field(
        default=True, description="Whether bodies must be whole images."
    )
    seed: int = Field(default=0, ge=0, description="Of whatever is left to chance.")
    policy: PolicyConfig = Field(
        default_factory=PolicyConfig, description="Who is asked, how it is fused."
    )
    budget: BudgetConfig = Field(
        default_factory=BudgetConfig, description="How much may be spent."
    )
    ledger: LedgerConfig = Field(
        default_factory=LedgerConfig, description="Where calls are written down."
    )
    cache: CacheConfig = Field(
        default_factory=CacheConfig, description="How answers are kept."
    )
    providers: tuple[ProviderConfig, ...] = Field(
        min_length=1, max_length=62, description="Who can be asked."
    )

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) != len(names):
            message = f"providers must have names of their own, found {names}"
            raise ValueError(message)
        said = {*(self.policy.fallback or ()), *self.budget.provider_day_usd}
        if unknown := sorted(said - set(names)):
            message = f"there is no provider {unknown[0]!r}"
            raise ValueError(message)
        return self


def read_federation(file: Path) -> FederationFile:
    """Read the file of a federation; files in it are relative to its folder.

    ConfigError where it cannot be read, with all mistakes at once.
    """
    try:
        text = documents.read_text(file)
        values = documents.parse_toml(text)
    except (OSError, ValueError) as error:
        message = f"federation file {file} cannot be read: {error}"
        raise ConfigError(message, "it is TOML") from error
    try:
        config = FederationFile.model_validate_json(to_json(values))
    except ValidationError as error:
        found = mistakes(FederationFile, error, values, key_lines(text))
        listed = "".join(f"\n  {mistake}" for mistake in found)
        message = f"federation file {file} is wrong:{listed}"
        raise ConfigError(message) from error
    return _resolved(config, file.resolve().parent)


def _resolved(config: FederationFile, folder: Path) -> FederationFile:
    """The same with absolute paths."""
    ledger = folder / config.ledger.file
    online = config.policy.online
    if online is not None:
        file = folder / (online.file or ledger.with_name(f"{ledger.stem}.online.npz"))
        online = online.model_copy(update={"file": file})
    policy: Mapping[str, Any] = {
        "online": online,
        "trained": config.policy.trained and folder / config.policy.trained,
        "embedding": config.policy.embedding and folder / config.policy.embedding,
        "vocabulary": _file(config.policy.vocabulary, folder),
    }
    return config.model_copy(
        update={
            "policy": config.policy.model_copy(update=policy),
            "ledger": config.ledger.model_copy(update={"file": ledger}),
            "providers": tuple(
                one.model_copy(
                    update={
                        "spec": _spec(one.spec, folder),
                        "price_list": _file(one.price_list, folder),
                    }
                )
                for one in config.providers
            ),
        }
    )


def _file(text: str, folder: Path) -> str:
    """A file of the folder; a name without a suffix is left as it is."""
    return str(folder / text) if text.endswith(".toml") else text


def _spec(spec: Spec, folder: Path) -> Spec:
    is_url = spec.startswith(("http:", "https:"))
    return spec if is_url else spec.resolved(folder)
