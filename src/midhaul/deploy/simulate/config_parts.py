"""The tables of deploy.simulate's experiment file, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.deploy.networks import NETWORKS
from midhaul.runs.config import Section


class RequestsConfig(Section):
    """Who asks for an analytic when."""

    kind: Literal["poisson", "csv", "parquet"] = Field(
        default="poisson",
        description="poisson: drawn anew for each repetition; csv: a file in the "
        "seed's form, one version for each repetition; parquet: the same for all.",
    )
    file: Path | None = Field(
        default=None,
        description="version,analytic,arrival_min,lifetime_min (csv), or columns "
        "image, arrival_s, lifetime_s (parquet).",
    )
    versions: tuple[str, ...] = Field(
        default=("1", "2", "3", "4", "5"),
        min_length=1,
        description="Versions of the file, in the order of the repetitions (csv).",
    )
    rate_per_min: float = Field(
        default=3.0, ge=0, description="Mean number of arrivals in a minute (poisson)."
    )
    min_lifetime_min: int = Field(
        default=1, ge=0, description="Shortest lifetime, in minutes (poisson)."
    )
    max_lifetime_min: int = Field(
        default=10, ge=0, description="Longest lifetime, in minutes (poisson)."
    )
    is_distinct: bool = Field(
        default=True, description="No image twice within one minute (poisson)."
    )

    @model_validator(mode="after")
    def _requests_can_be(self) -> Self:
        if self.kind != "poisson" and self.file is None:
            message = f"requests of kind {self.kind} need the key file"
            raise ValueError(message)
        if self.min_lifetime_min > self.max_lifetime_min:
            message = "min_lifetime_min is above max_lifetime_min"
            raise ValueError(message)
        return self


class AnalyticKindConfig(Section):
    """What all analytics of one kind have in common."""

    images: str = Field(
        min_length=1,
        description="Pattern of the names of their container images; the first kind "
        "whose pattern fits counts.",
    )
    cloud_curve: str = Field(
        description="Curve while one runs in the cloud, of [curves]."
    )
    gateway_curve: str = Field(description="Curve while one runs on a gateway.")
    saved_bps: float | None = Field(
        default=None,
        ge=0,
        description="Upload rate saved on a gateway; by default the difference of the "
        "last steps of its curves.",
    )
    n_cores: float = Field(
        default=0.0, ge=0, description="CPU cores each keeps busy on a gateway."
    )
    memory_bytes: float = Field(
        default=0.0, ge=0, description="Memory each holds on a gateway."
    )


class NetworkConfig(Section):
    """The links of the gateway."""

    name: str = Field(
        default="optical",
        description="optical (100/5 Mbit/s), optical50 (50/5), up10 (100/10), up75 "
        "(100/7.5), up25 (100/2.5), 4G (22.67/16.97) or 3G (9.6/2.9).",
    )
    downlink_bps: float | None = Field(
        default=None, gt=0, description="Downlink, instead of the named one's."
    )
    uplink_bps: float | None = Field(
        default=None, ge=0, description="Uplink, instead of the named one's."
    )
    uplink_trace: Path | None = Field(
        default=None,
        description="Mahimahi trace (*.up) that the uplink follows; of it, the policy "
        "knows the rate periods that have ended.",
    )
    goodput: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the downlink that carries layers.",
    )

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.name not in NETWORKS:
            message = f"network name must be one of {', '.join(NETWORKS)}"
            raise ValueError(message)
        return self


class HostConfig(Section):
    """What the gateway has for analytics."""

    disk_bytes: float = Field(default=6e9, ge=0, description="Disk for layers.")
    disk_unit: Literal["uncompressed", "compressed"] = Field(
        default="uncompressed",
        description="What a layer takes on the disk. compressed is wrong, and what the "
        "seed charges.",
    )
    n_cores: float = Field(default=4.0, ge=0, description="CPU cores for analytics.")
    memory_bytes: float = Field(default=8e9, ge=0, description="Memory for analytics.")


class StartupConfig(Section):
    """Time from the end of a pull to the first answer: unpacking and starting."""

    fixed_s: float = Field(default=2.0, ge=0, description="The same for every image.")
    s_per_gb: float = Field(
        default=10.0, ge=0, description="Seconds per uncompressed gigabyte."
    )
