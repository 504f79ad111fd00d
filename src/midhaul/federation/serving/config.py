"""What a served federation is told: the file behind ``midhaul serve federation``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import to_json

from midhaul import documents
from midhaul.errors import ConfigError
from midhaul.federation.serving.config_parts import (
    NAME,
    BudgetConfig,
    CacheConfig,
    LedgerConfig,
    PolicyConfig,
    ProviderConfig,
)
from midhaul.runs.config import Section, Spec
from midhaul.runs.mistakes import mistakes
from midhaul.runs.toml_lines import key_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
    max_head_bytes: int = Field(
        default=32_768, ge=1024, description="Longer heads of requests are refused."
    )
    max_url_bytes: int = Field(
        default=8192, ge=128, description="Longer URLs are refused."
    )
    head_timeout_s: float = Field(
        default=10.0, gt=0, description="How long the head of a request may take."
    )
    max_flight_bytes: int = Field(
        default=160_000_000,
        ge=1,
        description="Bodies of all requests together; beyond it, the largest of those "
        "that still arrive are refused.",
    )
    max_connections: int = Field(
        default=10_000,
        ge=1,
        description="Open at once, or fewer where the system allows fewer files; "
        "beyond them, the one that has been silent for the longest time is closed.",
    )
    answer_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="How long a client may take nothing of its answer.",
    )
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

    Raises:
        ConfigError: it cannot be read, or a key is wrong; all mistakes at once.
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
    policy: Mapping[str, Any] = {
        "trained": config.policy.trained and folder / config.policy.trained,
        "embedding": config.policy.embedding and folder / config.policy.embedding,
        "vocabulary": _file(config.policy.vocabulary, folder),
    }
    return config.model_copy(
        update={
            "policy": config.policy.model_copy(update=policy),
            "ledger": config.ledger.model_copy(
                update={"file": folder / config.ledger.file}
            ),
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
