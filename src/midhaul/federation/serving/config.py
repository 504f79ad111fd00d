"""Config of a served federation: the file behind ``midhaul serve federation``.

Its tables are providers, policy, budgets, ledger, cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError, field_validator, model_validator
from pydantic_core import to_json

from midhaul import documents
from midhaul.errors import ConfigError
from midhaul.federation.money.budget import Budgets
from midhaul.federation.money.prices import Billable
from midhaul.federation.policies.online.settings import OnlineSettings
from midhaul.federation.providers.endpoints import demand_no_secret
from midhaul.federation.serving.settings import (
    BreakerSettings,
    CacheSettings,
    FederationSettings,
    LearningSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.runs.config import Section, setting
from midhaul.runs.config_errors import mistakes
from midhaul.runs.experiment_file import key_lines
from midhaul.runs.section import key, section, value_of
from midhaul.runs.spec import Spec
from midhaul.wire.limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Float64

NAME = r"^[\w.-]{1,64}$"
"""What names of providers, runs and federations look like."""


class RetryConfig(section(RetrySettings)):
    """When a failed call is made again."""


class BreakerConfig(section(BreakerSettings, without=("statuses", "fatal"))):
    """When a provider is left alone for a while."""


class AskedConfig(Section):
    """A provider that is asked."""

    spec: Spec = setting(
        ...,
        "Such as http://127.0.0.1:8000, local:builtin:street-n, aws:detect_labels, "
        "azure:objects or google:object_localization.",
    )
    name: str = setting(..., "Its name in all tables.", pattern=NAME)
    price_usd: float | None = setting(
        None, "Price of a call in USD; else its price_list must say it.", ge=0
    )
    charged: tuple[Billable, ...] | None = setting(
        None,
        "How calls went that are billed, such as ok, timeout, 5xx, "
        "malformed (which are the default where no price list says otherwise); what "
        "never reached the provider is not billed.",
    )
    price_list: str = setting(
        "",
        "Name of a price list that comes with midhaul, or a file of one, "
        "from the working directory.",
    )
    price_name: str = setting("", "Its name in that list; its spec where empty.")
    timeout_s: float = setting(30.0, "Of one call.", gt=0)
    n_at_once: int = setting(1, "Most calls to it at the same time.", ge=1, le=256)
    rate_hz: float | None = setting(
        None, "Most calls per second; any number if absent.", gt=0
    )
    region: str = setting("", "Of the vendor (aws).")
    endpoint: str = setting("", "Address instead of the vendor's.")
    token_env: str = setting(
        "",
        "Environment variable with a token that is sent as "
        "Authorization: Bearer (http, https).",
        pattern=r"^([A-Za-z_]\w*)?$",
    )
    is_trusted: bool = setting(False, "Whether plain HTTP to another machine is meant.")

    @field_validator("spec", "endpoint")
    @classmethod
    def _holds_no_secret(cls, address: str) -> str:
        return demand_no_secret(address)

    @model_validator(mode="after")
    def _price_is_known(self) -> Self:
        if (self.price_usd is None) == (not self.price_list):
            message = f"give either price_usd or price_list of {self.name}"
            raise ValueError(message)
        return self


class ProviderConfig(AskedConfig):
    """One provider: who it is, what it costs, and how it is called."""

    spec: Spec = setting(
        ...,
        "Such as http://127.0.0.1:8000, local:builtin:street-n, "
        "recorded:FILE?provider=NAME, aws:detect_labels, azure:objects or "
        "google:object_localization.",
    )
    name: str = setting(..., "Its name in answers, ledger and metrics.", pattern=NAME)
    price_list: str = setting(
        "", "File of a price list, or the name of one that comes with midhaul."
    )
    timeout_s: float = key(ProviderSettings, "timeout_s")
    n_at_once: int = key(ProviderSettings, "n_at_once")
    percent_scores: bool = setting(False, "Whether its scores are percentages.")
    burst: int = key(ProviderSettings, "burst")
    hedge_after_s: float | None = key(ProviderSettings, "hedge_after_s")
    retry: RetryConfig = setting(RetryConfig, "When a failed call is made again.")
    breaker: BreakerConfig = setting(BreakerConfig, "When it is left alone.")


class OnlineConfig(section(OnlineSettings)):
    """How a policy is kept up to date: audits, alarms, and learning anew."""

    worth_of_all: float = setting(
        0.1,
        "Quality that the price of asking everybody has to buy: by it "
        "refits weigh quality against price.",
        ge=0,
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
        return value_of(OnlineSettings, self)


class ServedOnlineConfig(OnlineConfig):
    """How the policy of a served federation goes on learning."""

    refit: str = setting(
        "", "Policy that is learned anew: the trained one where empty."
    )
    file: Path | None = setting(
        None, "What was learned (.npz); beside the ledger, with its name, if absent."
    )
    save_s: float = key(LearningSettings, "save_s")
    feedback_wait_s: float = setting(
        600.0,
        "How long answers wait for feedback before they are learned from "
        "without; 0 takes none.",
        ge=0,
    )
    n_waiting: int = key(LearningSettings, "n_waiting")
    max_feedback_bytes: int = setting(1_000_000, "Longer feedback is refused.", ge=1)

    @field_validator("file")
    @classmethod
    def _is_npz(cls, file: Path | None) -> Path | None:
        if file is not None and file.suffix != ".npz":
            message = f"the file of what was learned ends in .npz, found {file}"
            raise ValueError(message)
        return file


class PolicyConfig(Section):
    """Who is asked, and how answers are fused."""

    trained: Path | None = setting(
        None,
        "A federation that federation.train saved: policy, fuser, label "
        "set and calibration. Its providers must be those of this file, in its order.",
    )
    name: Literal["all", "cheapest-first", "single"] = setting(
        "all",
        "Without trained. all: everybody at once; cheapest-first: one "
        "after another until one answers; single: only the first of the file.",
    )
    fuser: str = setting(
        "",
        "Without trained: wbf, nms, soft_nms, nmw (boxes), vote (labels "
        "and tags), with /consensus or /unanimous; wbf or vote where empty.",
    )
    iou: float = setting(0.55, "Overlap of boxes that mean the same.", gt=0, lt=1)
    task: Literal["boxes", "tags", "labels"] = setting(
        "boxes", "Without trained: what an answer is."
    )
    vocabulary: str = setting(
        "",
        "Label set and synonyms: coco80, voc20, or a TOML file. Where "
        "empty, coco80, or the labels of trained without synonyms.",
    )
    embedding: Path | None = setting(
        None, "ONNX file, where trained wants features that come from one."
    )
    fallback: tuple[str, ...] | None = key(FederationSettings, "fallback")
    online: ServedOnlineConfig | None = setting(
        None, "How trained goes on learning; not at all if absent."
    )

    @model_validator(mode="after")
    def _online_is_trained(self) -> Self:
        if self.online is not None and self.trained is None:
            message = "online needs trained: what federation.train saved"
            raise ValueError(message)
        return self


class BudgetConfig(section(Budgets)):
    """How much may be spent; never more, whatever happens."""


class LedgerConfig(Section):
    """Where every call is written down before it is made."""

    file: Path = setting(Path("ledger.tsv"), "The file.", validate_default=False)
    run: str = setting("service", "Name of who spends.", pattern=NAME)
    sync: Literal["never", "interval", "always"] = setting(
        "interval",
        "When lines must be on the disk: when the kernel likes, every "
        "second, or before each call. All of them survive a killed process.",
    )


class CacheConfig(section(CacheSettings)):
    """How answers are kept, by the hash of the image."""


class FederationFile(Section):
    """A served federation."""

    name: str = setting("federation", "Its name.", pattern=NAME)
    host: str = setting("127.0.0.1", "Address to listen on; loopback unless said.")
    port: int = setting(8080, "TCP port; 0 for a free one.", ge=0, le=65535)
    deadline_s: float = key(FederationSettings, "deadline_s")
    margin_s: float = key(FederationSettings, "margin_s")
    max_body_bytes: int = setting(20_000_000, "Larger images are refused.", ge=1)
    max_pixels: int = setting(
        25_000_000,
        "Images of more px, by their head, are refused before they are decoded.",
        ge=1,
        le=1 << 26,
    )
    max_scans: int = setting(100, "JPEGs of more scans are refused.", ge=1, le=100)
    max_decode_s: float = setting(
        10.0,
        "Images that would take longer to decode are refused; estimated "
        "as their px times scans at 100 million a second.",
        gt=0,
        le=10,
    )
    max_head_bytes: int = key(ServerLimits, "max_head_bytes")
    max_url_bytes: int = key(ServerLimits, "max_url_bytes")
    head_timeout_s: float = key(ServerLimits, "head_timeout_s")
    max_flight_bytes: int = key(ServerLimits, "max_flight_bytes")
    max_connections: int = key(ServerLimits, "max_connections")
    answer_timeout_s: float = key(ServerLimits, "answer_timeout_s")
    body_timeout_s: float = setting(10.0, "How long an image may take to arrive.", gt=0)
    n_at_once: int | None = key(FederationSettings, "n_at_once")
    max_requests: int = setting(
        20_000, "Requests at a time, waiting ones too; else 503.", ge=1
    )
    drain_s: float = setting(
        10.0, "How long requests under way may take after SIGTERM.", ge=0
    )
    is_image: bool = setting(True, "Whether bodies must be whole images.")
    seed: int = key(FederationSettings, "seed")
    policy: PolicyConfig = setting(PolicyConfig, "Who is asked, how it is fused.")
    budget: BudgetConfig = setting(BudgetConfig, "How much may be spent.")
    ledger: LedgerConfig = setting(LedgerConfig, "Where calls are written down.")
    cache: CacheConfig = setting(CacheConfig, "How answers are kept.")
    providers: tuple[ProviderConfig, ...] = setting(
        ..., "Who can be asked.", min_length=1, max_length=62
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
    with documents.expected(
        f"federation file {file} cannot be read:", "it is TOML", raises=ConfigError
    ):
        text = documents.read_text(file)
        values = documents.parse_toml(text)
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
