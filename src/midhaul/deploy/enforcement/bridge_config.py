"""What a bridge is told: the file behind ``midhaul serve bridge``."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import to_json

from midhaul.errors import ConfigError
from midhaul.runs.config import Section
from midhaul.runs.mistakes import mistakes

if TYPE_CHECKING:
    from pathlib import Path


class Endpoint(Section):
    """A broker, as a client finds it."""

    host: str = Field(default="127.0.0.1", description="Name or address.")
    port: int = Field(default=1883, ge=1, le=65535, description="TCP port.")
    username: str = Field(
        default="",
        description="User; the password is in the environment, "
        "MIDHAUL_BRIDGE_LOCAL_PASSWORD or MIDHAUL_BRIDGE_REMOTE_PASSWORD.",
    )
    has_tls: bool = Field(default=False, description="Whether to use TLS.")
    ca_file: str = Field(
        default="", description="Its certificate authority; the system's where empty."
    )
    keepalive_s: int = Field(
        default=60, ge=5, le=65535, description="Silence after which it is asked."
    )


class BridgeConfig(Section):
    """A bridge from one broker to another."""

    name: str = Field(
        default="midhaul-bridge",
        pattern=r"^[\w.-]{1,64}$",
        description="Client identifier; the local broker keeps its messages under it.",
    )
    rates: str = Field(
        default="rates.json",
        description="The rate map, JSON or TOML; read again when it changes.",
    )
    local: Endpoint = Field(
        default_factory=Endpoint, description="Broker whose topics are forwarded."
    )
    remote: Endpoint = Field(
        default_factory=lambda: Endpoint(port=1884), description="Broker they go to."
    )
    local_prefix: str = Field(
        default="", description="Begin of local topics that is replaced."
    )
    remote_prefix: str = Field(
        default="",
        pattern=r"^[^+#\x00]*$",
        description="What stands in its place at the remote broker.",
    )
    qos: Literal[0, 1] = Field(
        default=1, description="MQTT's quality of service; 1 is at least once."
    )
    max_message_bytes: int = Field(
        default=16_000_000, ge=1, description="Larger payloads are dropped."
    )
    max_queue_messages: int = Field(
        default=100, ge=1, description="Messages that may wait in each lane."
    )
    max_queue_bytes: int = Field(
        default=16_000_000, ge=1, description="Bytes that may wait in each lane."
    )
    drop: Literal["oldest", "newest"] = Field(
        default="oldest", description="Which message goes when a lane is full."
    )
    max_in_flight: int = Field(
        default=20, ge=1, le=1000, description="Messages sent and not acknowledged yet."
    )
    is_work_conserving: bool = Field(
        default=False, description="Whether lanes share what others leave."
    )
    stats: str = Field(
        default="", description="File for the counters, JSON; none where empty."
    )
    stats_topic: str = Field(
        default="midhaul/bridge/stats",
        description="Local topic for the counters; none where empty.",
    )
    watch_s: float = Field(
        default=1.0,
        ge=0.05,
        le=60,
        description="How often the rate map is looked at and counters are written.",
    )
    drain_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="How long waiting messages are still sent after SIGTERM.",
    )


def read_bridge(file: Path) -> BridgeConfig:
    """Read a bridge's file, JSON or TOML; files in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, or a key is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
        values: dict[str, Any] = (
            json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        )
    except (OSError, ValueError, RecursionError) as error:
        message = f"bridge file {file} cannot be read: {error}"
        raise ConfigError(
            message, "it is TOML, or JSON where it ends in .json"
        ) from error
    try:
        config = BridgeConfig.model_validate_json(to_json(values))
    except ValidationError as error:
        found = mistakes(BridgeConfig, error, values, {})
        listed = "".join(f"\n  {mistake}" for mistake in found)
        message = f"bridge file {file} is wrong:{listed}"
        raise ConfigError(message) from error
    return _resolved(config, file)


def _resolved(config: BridgeConfig, file: Path) -> BridgeConfig:
    """The same with absolute paths.

    Raises:
        ConfigError: a certificate authority is not there.
    """
    folder = file.resolve().parent
    changes: dict[str, Any] = {
        key: str(folder / path)
        for key, path in {"rates": config.rates, "stats": config.stats}.items()
        if path
    }
    for name, end in {"local": config.local, "remote": config.remote}.items():
        if not end.ca_file:
            continue
        ca_file = folder / end.ca_file
        if not ca_file.is_file():
            message = f"bridge file {file}: {name}.ca_file {ca_file} is not there"
            raise ConfigError(message)
        changes[name] = end.model_copy(update={"ca_file": str(ca_file)})
    return config.model_copy(update=changes)
