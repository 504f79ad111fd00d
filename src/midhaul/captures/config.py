"""The experiment file of federation.latency, key by key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.runs.config import Config, Section, setting


class CaptureConfig(Section):
    """The packet captures."""

    kind: Literal["builtin", "files"] = setting(
        "builtin",
        "builtin: a day that midhaul draws, to see how it looks; files: "
        "pcap or pcapng files, also gzipped.",
    )
    folder: Path | None = setting(
        None,
        "Folder of the captures, with those below it, or one file; for a "
        "run of federation.record, its folder files/captures (files).",
    )
    n_requests: int = setting(
        12, "Requests to each server in each hour (builtin).", ge=1
    )
    key_log: Path | None = setting(
        None,
        "Key log of the client (SSLKEYLOGFILE), to see every HTTP message "
        "instead of inferring it; must be as secret as what was sent.",
    )
    region_pair: str = setting(
        "", "Where client and servers stand, such as us2sg, for all captures."
    )
    region_pattern: str = setting(
        r"(?<=[^a-z])(?P<pair>[a-z]{2,4}2[a-z]{2,4})(?![a-z])",
        "Regular expression with a group pair that finds the region pair "
        "in a capture's path, where region_pair does not give it.",
    )
    clock_offset_s: float = setting(
        0.0,
        "Seconds to add to the times of the captures, for a clock that was "
        "wrong; captures count in UTC.",
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.kind == "files" and self.folder is None:
            message = "captures of kind files need the key folder"
            raise ValueError(message)
        try:
            pattern = re.compile(self.region_pattern)
        except re.error as error:
            message = f"region_pattern is no regular expression: {error}"
            raise ValueError(message) from error
        if "pair" not in pattern.groupindex:
            message = "region_pattern needs a group (?P<pair>…)"
            raise ValueError(message)
        return self


class ServersConfig(Section):
    """Which servers are a provider."""

    name: str = setting(..., "Name of the provider.", min_length=1)
    servers: tuple[str, ...] = setting(
        ..., "Patterns of its servers' names or addresses, with * and ?.", min_length=1
    )


VENDORS = (
    ServersConfig(name="aws", servers=("rekognition*.amazonaws.com",)),
    ServersConfig(
        name="azure",
        servers=("*.cognitiveservices.azure.com", "*.api.cognitive.microsoft.com"),
    ),
    ServersConfig(name="google", servers=("*vision.googleapis.com",)),
)


class LatencyConfig(Config):
    """Split captured requests into transmission and inference."""

    kind: str = setting("federation.latency", "Kind of the experiment.")
    capture: CaptureConfig = setting(CaptureConfig, "The packet captures.")
    providers: tuple[ServersConfig, ...] = setting(
        VENDORS, "Providers by their servers; others are called like their server."
    )
    is_named_only: bool = setting(False, "Leave out servers that no pattern names.")
    min_upload_bytes: int = setting(
        512, "Smaller requests are listed, not counted.", ge=0
    )
    min_answer_bytes: int = setting(
        0, "Answers that are smaller on the wire count as failed.", ge=0
    )
    time_zone: str = setting(
        "UTC", "Time zone of the hours of the day, such as Asia/Singapore."
    )
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) < len(names):
            message = f"names of providers must be unique, found {names}"
            raise ValueError(message)
        return self
