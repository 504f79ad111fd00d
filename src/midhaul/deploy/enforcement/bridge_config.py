"""Config of the MQTT bridge: the file behind ``midhaul serve bridge``.

A broker is told here as the bridge finds it: where it is, who asks, and how TLS is set
up.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import to_json

from midhaul import documents
from midhaul.deploy.enforcement.bridge_store import IN_MEMORY
from midhaul.deploy.enforcement.topics import check_filter
from midhaul.errors import ConfigError, DataError
from midhaul.runs.config import Section
from midhaul.runs.config_errors import mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILES = ("ca_file", "cert_file", "key_file", "password_file")
_LONGEST_FIELD = 65_535


class Endpoint(Section):
    """A broker, as a client finds it."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Name or address.")
    port: int = Field(default=1883, ge=1, le=65535, description="TCP port.")
    fallback: list[str] = Field(
        default_factory=list,
        description="Other addresses of it, HOST:PORT, tried in turn after this one.",
    )
    bind_address: str = Field(
        default="",
        description="Address of this machine to connect from; the system's choice "
        "where empty.",
    )
    client_id: str = Field(
        default="",
        pattern=r"^[^\x00]{0,128}$",
        description="Client identifier; the bridge's name, with -out at the remote "
        "broker, where empty.",
    )
    username: str = Field(
        default="",
        description="User; the password is in the environment, "
        "MIDHAUL_BRIDGE_LOCAL_PASSWORD or MIDHAUL_BRIDGE_REMOTE_PASSWORD.",
    )
    password_file: str = Field(
        default="",
        description="File whose first line is the password; the environment goes "
        "before.",
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto",
        description="Version of MQTT; auto tries 5, then 3.1.1 as brokers' bridges "
        "speak it, then plain 3.1.1.",
    )
    transport: Literal["tcp", "websockets"] = Field(
        default="tcp", description="What MQTT travels in, over TLS or without."
    )
    path: str = Field(
        default="/mqtt", pattern=r"^/", description="Of the address, for websockets."
    )
    has_tls: bool = Field(default=False, description="Whether to use TLS.")
    ca_file: str = Field(
        default="", description="Its certificate authority; the system's where empty."
    )
    cert_file: str = Field(
        default="", description="Certificate that this client shows, PEM."
    )
    key_file: str = Field(
        default="",
        description="Its private key, PEM; in cert_file where empty. The password of "
        "one that is encrypted is in MIDHAUL_BRIDGE_LOCAL_KEY_PASSWORD or "
        "MIDHAUL_BRIDGE_REMOTE_KEY_PASSWORD.",
    )
    tls_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="The lowest version of TLS that is accepted."
    )
    server_name: str = Field(
        default="",
        description="Name that its certificate must have, and that is asked for; the "
        "host where empty.",
    )
    alpn: str = Field(
        default="",
        description="Protocol to agree on in TLS, such as x-amzn-mqtt-ca on port 443.",
    )
    is_insecure: bool = Field(
        default=False,
        description="Refused: a certificate is always checked; name the authority "
        "in ca_file and the name in server_name.",
    )
    psk_identity: str = Field(
        default="",
        description="Refused: Python's TLS has no pre-shared keys before 3.13; use a "
        "client certificate, or a TLS proxy beside the bridge.",
    )
    psk_file: str = Field(default="", description="Refused like psk_identity.")
    keepalive_s: int = Field(
        default=60, ge=5, le=65535, description="Silence after which it is asked."
    )
    has_retain: bool = Field(
        default=True,
        description="Whether it keeps messages; where not, the flag RETAIN is taken "
        "off. MQTT 5 tells by itself.",
    )
    is_clean_start: bool = Field(
        default=False,
        description="Whether the broker forgets this client at each connection; what "
        "is published meanwhile is then lost, and not known.",
    )
    session_expiry_s: int = Field(
        default=604_800,
        ge=0,
        le=0xFFFF_FFFF,
        description="How long the broker keeps messages for an absent client, MQTT 5; "
        "4294967295 is for ever.",
    )

    def addresses(self) -> list[tuple[str, int]]:
        """Where it may be found, in the order in which that is tried.

        Raises:
            ConfigError: a fallback is not ``HOST:PORT``.
        """
        found = [(self.host, self.port)]
        for one in self.fallback:
            host, _, port = one.rpartition(":")
            if not host or not port.isascii() or not port.isdigit():
                message = f"fallback: expected HOST:PORT, found {one!r}"
                raise ConfigError(message)
            if not 1 <= int(port) <= 65_535:  # noqa: PLR2004 - ports of TCP
                message = f"fallback: expected a port of 1 to 65535, found {one!r}"
                raise ConfigError(message)
            found.append((host.strip("[]"), int(port)))
        return found

    def resolved(self, folder: Path, name: str) -> Endpoint:
        """The same with absolute paths.

        Args:
            folder: that its files are relative to.
            name: ``local`` or ``remote``, for messages.

        Raises:
            ConfigError: a file is not there, or keys contradict each other.
        """
        self._check(name)
        changes: dict[str, Any] = {}
        for key in _FILES:
            given: str = getattr(self, key)
            if not given:
                continue
            file = folder / given
            if not file.is_file():
                message = f"{name}.{key} {file} is not there"
                raise ConfigError(message)
            changes[key] = str(file)
        return self.model_copy(update=changes)

    def _check(self, name: str) -> None:
        self.addresses()
        if self.is_insecure:
            message = f"{name}.is_insecure: a certificate is always checked"
            hint = (
                "name its authority in ca_file, or itself if it signed itself, and the "
                "name that it has in server_name"
            )
            raise ConfigError(message, hint)
        if self.psk_identity or self.psk_file:
            message = (
                f"{name}: pre-shared keys are refused: the TLS of Python has them from "
                "3.13 on, and midhaul runs from 3.11 on"
            )
            hint = (
                "use cert_file and key_file, or stunnel in PSK mode on this machine "
                "with host = 127.0.0.1"
            )
            raise ConfigError(message, hint)
        if self.key_file and not self.cert_file:
            message = f"{name}.key_file: there is no cert_file for it"
            raise ConfigError(message, "name the certificate in cert_file")
        needs_tls = ("ca_file", "cert_file", "server_name", "alpn")
        if not self.has_tls and (given := _first(self, needs_tls)):
            message = f"{name}.{given}: it means nothing without TLS"
            raise ConfigError(message, f"set has_tls = true in [{name}], or remove it")

    def context(self, name: str, key_password: str | None) -> ssl.SSLContext | None:
        """How TLS is set up; None without it.

        Args:
            name: ``local`` or ``remote``, for messages.
            key_password: of the private key, where it is encrypted.

        Raises:
            ConfigError: a certificate or a key cannot be read, or do not belong
                together.
        """
        if not self.has_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            message = f"{name}.ca_file {self.ca_file}: {error}"
            raise ConfigError(message, "it is one or more certificates, PEM") from error
        is_three = self.tls_version == "1.3"
        context.minimum_version = (
            ssl.TLSVersion.TLSv1_3 if is_three else ssl.TLSVersion.TLSv1_2
        )
        if self.alpn:
            context.set_alpn_protocols([self.alpn])
        if self.cert_file:
            self._load(context, name, key_password)
        return context

    def _load(
        self, context: ssl.SSLContext, name: str, key_password: str | None
    ) -> None:
        variable = f"MIDHAUL_BRIDGE_{name.upper()}_KEY_PASSWORD"
        asked: list[bool] = []

        def password() -> str:  # without it the library asks at the terminal
            asked.append(True)
            return key_password or ""

        try:
            context.load_cert_chain(
                self.cert_file, self.key_file or None, password=password
            )
        except (OSError, ssl.SSLError, ValueError) as error:
            file = self.key_file or self.cert_file
            if asked:
                message = f"{name}: the key in {file} is encrypted, and not with "
                message += "this password" if key_password else "an empty password"
                raise ConfigError(message, f"its password is in {variable}") from error
            message = (
                f"{name}: {self.cert_file} and {file} are no certificate with its "
                f"key: {error}"
            )
            raise ConfigError(message, "both are PEM, and belong together") from error

    def password(self, given: str | None) -> str | None:
        """The password: what is given, or the first line of its file.

        Raises:
            ConfigError: the file cannot be read.
        """
        if given is not None or not self.password_file:
            return given
        try:
            text = Path(self.password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"password file {self.password_file} cannot be read: {error}"
            raise ConfigError(message) from error
        return text.partition("\n")[0].rstrip("\r")[:_LONGEST_FIELD]


def _first(endpoint: Endpoint, keys: Iterable[str]) -> str:
    return next((key for key in keys if getattr(endpoint, key)), "")


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
