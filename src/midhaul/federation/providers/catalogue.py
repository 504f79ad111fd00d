"""Providers by name: how a line of text becomes one.

::

    recorded:FILE?provider=NAME[&task=boxes]    a provider of recorded answers (Parquet)
    local:DETECTOR                              a detector, e.g. local:builtin:street-n
    http://HOST:PORT, https://HOST              a node of midhaul
    aws:detect_labels | aws:labels              Amazon Rekognition: boxes, or tags
    azure:objects | azure:tags                  Azure AI Vision
    google:object_localization | google:label_detection     Google Cloud Vision

Nothing here holds credentials: vendors' come from the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from midhaul.errors import ConfigError
from midhaul.federation.providers.endpoints import demand_no_secret
from midhaul.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.providers.base import Provider
    from midhaul.federation.recordings.problem import Task

_TASKS: tuple[Task, ...] = ("boxes", "tags", "labels")
_VENDORS: dict[str, dict[str, Literal["boxes", "tags"]]] = {
    "aws": {"detect_labels": "boxes", "labels": "tags"},
    "azure": {"objects": "boxes", "tags": "tags"},
    "google": {"object_localization": "boxes", "label_detection": "tags"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What is said of a provider.

    Attributes:
        spec: see the head of this module.
        name: its name; what the spec says where empty.
        region: of the vendor (aws).
        endpoint: address instead of the vendor's own.
        token_env: environment variable with a token that is sent (http).
        transport: of Google's SDK.
        min_score: labels below are left out (vendors).
        n_at_once: most calls at the same time; the kind's own number where None.
        is_trusted: plain HTTP to another machine is meant (http).
        threads: CPU threads of a detector (local).
        seed: of whatever the provider leaves to chance.
    """

    spec: str
    name: str = ""
    region: str = ""
    endpoint: str = ""
    token_env: str = ""
    transport: Literal["grpc", "rest"] = "grpc"
    min_score: float = 0.0
    n_at_once: int | None = None
    is_trusted: bool = False
    threads: int = 1
    seed: int = 0

    @property
    def kind(self) -> str:
        """What stands before the first colon.

        ConfigError where it is no kind of provider.
        """
        kind = self.spec.partition(":")[0]
        PROVIDERS.entry(kind, self.spec)
        return kind

    @property
    def location(self) -> str:
        """What stands behind the first colon, without options."""
        return self.spec.partition(":")[2]


def make_provider(spec: ProviderSpec) -> Provider:
    """The provider that a spec names; it is opened by ``async with``.

    ConfigError where the spec is wrong, DataError where a file is missing or holds
    something else, PrerequisiteError without a library, credentials or a region.
    """
    for address in (spec.spec, spec.endpoint):
        try:
            demand_no_secret(address)
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise ConfigError(message, hint) from None
    if spec.n_at_once is not None and spec.n_at_once < 1:
        message = f"n_at_once of {spec.spec} must be at least 1, found {spec.n_at_once}"
        raise ConfigError(message)
    return PROVIDERS.called(spec.kind, spec)


def _recorded(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.local import RecordedProvider  # noqa: PLC0415
    from midhaul.federation.recordings.parquet import read_parquet  # noqa: PLC0415

    file, _, query = spec.location.partition("?")
    options = dict(parse_qsl(query))
    if unknown := set(options) - {"provider", "task"}:
        message = f"unknown option {min(unknown)!r} of provider {spec.spec!r}"
        raise ConfigError(message, "there are provider and task")
    task = options.get("task", "boxes")
    if "provider" not in options or task not in _TASKS:
        message = f"a recorded provider is written otherwise, found {spec.spec!r}"
        raise ConfigError(message, "recorded:FILE?provider=NAME&task=boxes")
    recording = read_parquet(Path(file), task=task, price_usd=0.0)
    return RecordedProvider(
        recording, options["provider"], name=spec.name or None, latency="recorded"
    )


def _local(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.local import LocalProvider  # noqa: PLC0415
    from midhaul.vision.detectors.detector import load_detector  # noqa: PLC0415

    detector = load_detector(spec.location, threads=spec.threads, seed=spec.seed)
    return LocalProvider(
        detector, name=spec.name or None, n_threads=spec.n_at_once or 1
    )


def _http(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.http import HttpProvider, HttpSettings  # noqa: PLC0415

    settings = HttpSettings(
        url=spec.spec,
        is_trusted=spec.is_trusted,
        n_connections=spec.n_at_once or 64,
        token_env=spec.token_env,
    )
    return HttpProvider(settings, name=spec.name or spec.location.strip("/"))


def _aws(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.aws import AwsSettings, aws_provider  # noqa: PLC0415

    settings = AwsSettings(region=spec.region, **_vendor_options(spec))
    return aws_provider(settings, name=spec.name or "aws")


def _azure(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.azure import AzureSettings, azure_provider  # noqa: PLC0415

    settings = AzureSettings(**_vendor_options(spec))
    return azure_provider(settings, name=spec.name or "azure")


def _google(spec: ProviderSpec) -> Provider:
    from midhaul.federation.providers.google import GoogleSettings, google_provider  # noqa: PLC0415

    settings = GoogleSettings(transport=spec.transport, **_vendor_options(spec))
    return google_provider(settings, name=spec.name or "google")


def _vendor_options(spec: ProviderSpec) -> dict[str, Any]:
    """What all vendors are told alike."""
    return {
        "task": _vendor_task(spec),
        "endpoint": spec.endpoint,
        "min_score": spec.min_score,
        "n_threads": spec.n_at_once or 16,
    }


def _vendor_task(spec: ProviderSpec) -> Literal["boxes", "tags"]:
    features = _VENDORS[spec.kind]
    if spec.location not in features:
        message = f"{spec.kind} has no feature {spec.location!r}"
        hint = " or ".join(f"{spec.kind}:{feature}" for feature in features)
        raise ConfigError(message, hint)
    return features[spec.location]


PROVIDERS: Registry[Callable[[ProviderSpec], Provider]] = Registry(
    "kind of provider",
    {
        "recorded": _recorded,
        "local": _local,
        "http": _http,
        "https": _http,
        "aws": _aws,
        "azure": _azure,
        "google": _google,
    },
)
