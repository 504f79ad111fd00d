"""What a bridge is told: the file behind ``midhaul serve bridge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import to_json

from midhaul import documents
from midhaul.deploy.enforcement.bridge_store import IN_MEMORY
from midhaul.deploy.enforcement.endpoint import Endpoint
from midhaul.deploy.enforcement.topics import check_filter
from midhaul.errors import ConfigError, DataError
from midhaul.runs.config import Section
from midhaul.runs.mistakes import mistakes

if TYPE_CHECKING:
    from pathlib import Path

_NAME = r"^[^+#\x00]*$"  # what topics may hold


class TopicRule(Section):
    """How some topics are forwarded."""

    topic: str = Field(
        description="Filter: of local topics in up, of remote topics in down."
    )
    local_prefix: str | None = Field(
        default=None,
        pattern=_NAME,
        description="As that of the bridge, for these topics.",
    )
    remote_prefix: str | None = Field(
        default=None,
        pattern=_NAME,
        description="As that of the bridge, for these topics.",
    )
    qos: Literal[0, 1, 2] = Field(
        default=2, description="Highest quality of service of these topics."
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
        default="",
        pattern=_NAME,
        description="Begin of local topics that is replaced.",
    )
    remote_prefix: str = Field(
        default="",
        pattern=_NAME,
        description="What stands in its place at the remote broker.",
    )
    up: list[TopicRule] = Field(
        default_factory=list[TopicRule],
        description="Topics of the rate map that are renamed otherwise; the first "
        "rule that matches holds.",
    )
    down: list[TopicRule] = Field(
        default_factory=list[TopicRule],
        description="Topics of the remote broker that are published at the local one, "
        "as fast as they come.",
    )
    qos: Literal[0, 1, 2] = Field(
        default=2,
        description="Highest quality of service; messages keep their own below it.",
    )
    least_qos: Literal[0, 1, 2] = Field(
        default=0,
        description="Lowest quality of service; messages below it are raised to it.",
    )
    max_message_bytes: int = Field(
        default=16_000_000, ge=1, description="Larger payloads are dropped."
    )
    max_queue_messages: int = Field(
        default=1000, ge=1, description="Messages that may wait in each lane."
    )
    max_queue_bytes: int = Field(
        default=64_000_000, ge=1, description="Bytes that may wait in each lane."
    )
    drop: Literal["oldest", "newest"] = Field(
        default="oldest", description="Which message goes when a lane is full."
    )
    queue_file: str = Field(
        default="",
        description="File that holds what waits, through restarts; NAME.queue beside "
        "this file where empty, :memory: for none.",
    )
    queue_survives: Literal["kill", "power"] = Field(
        default="kill",
        description="What a message that was acknowledged survives: the end of the "
        "process, or a loss of power as well, for a write to the medium per message.",
    )
    idle_s: float = Field(
        default=3600.0,
        gt=0,
        description="After which silent topics are counted together, and messages that "
        "no filter has any more are dropped.",
    )
    max_in_flight: int = Field(
        default=20, ge=1, le=1000, description="Messages sent and not acknowledged yet."
    )
    max_in_flight_s: float | None = Field(
        default=None,
        gt=0,
        description="Time's worth of the rate map's uplink that may be sent and not "
        "acknowledged yet, at least a round trip; what is more waits in its lane, "
        "where it can expire and make room for what is newer.",
    )
    is_work_conserving: bool = Field(
        default=False, description="Whether lanes share what others leave."
    )
    is_loop_checked: bool = Field(
        default=True,
        description="Whether it says hello to other bridges on $midhaul/hello at "
        "both brokers, and marks messages, to find loops.",
    )
    stats: str = Field(
        default="", description="File for the counters, JSON; none where empty."
    )
    stats_topic: str = Field(
        default="midhaul/bridge/stats",
        pattern=_NAME,
        description="Local topic for the counters; none where empty.",
    )
    state_topic: str = Field(
        default="",
        pattern=_NAME,
        description="Topic at both brokers that says 1 while the remote broker is "
        "reached and 0 else, retained; none where empty.",
    )
    watch_s: float = Field(
        default=1.0,
        ge=0.05,
        le=60,
        description="How often the rate map is looked at and counters are written.",
    )
    drain_s: float = Field(
        default=1.0,
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
        text = documents.read_text(file)
        is_json = file.suffix == ".json"
        parse = documents.parse_json if is_json else documents.parse_toml
        values: dict[str, Any] = parse(text)
    except (OSError, ValueError) as error:
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
        ConfigError: a file is not there, or keys contradict each other.
    """
    folder = file.resolve().parent
    queue = config.queue_file or f"{config.name}.queue"
    paths = {"rates": config.rates, "stats": config.stats}
    if queue != IN_MEMORY:
        paths["queue_file"] = queue
    changes: dict[str, Any] = {
        key: str(folder / path) for key, path in paths.items() if path
    }
    try:
        for rule in (*config.up, *config.down):
            check_filter(rule.topic)
        for name, end in {"local": config.local, "remote": config.remote}.items():
            changes[name] = end.resolved(folder, name)
    except (ConfigError, DataError) as error:
        message = f"bridge file {file}: {error.message}"
        raise ConfigError(message, error.hint) from error
    if config.least_qos > config.qos:
        message = (
            f"bridge file {file}: least_qos {config.least_qos} is above qos "
            f"{config.qos}"
        )
        raise ConfigError(message)
    return config.model_copy(update=changes)
