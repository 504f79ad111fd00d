"""Config of the MQTT bridge: the file behind ``midhaul serve bridge``.

A broker is told here as the bridge finds it: where it is, who asks, and how TLS is set
up.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from pydantic_core import to_json

from midhaul import documents
from midhaul.deploy.enforcement.bridge_store import IN_MEMORY
from midhaul.deploy.enforcement.rate_map import check_filter
from midhaul.errors import ConfigError, DataError
from midhaul.runs.config import Section, setting
from midhaul.runs.config_errors import mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILES = ("ca_file", "cert_file", "key_file", "password_file")
_LONGEST_FIELD = 65_535


class Endpoint(Section):
    """A broker, as a client finds it."""

    host: str = setting("127.0.0.1", "Name or address.", min_length=1)
    port: int = setting(1883, "TCP port.", ge=1, le=65535)
    fallback: list[str] = setting(
        list, "Other addresses of it, HOST:PORT, tried in turn after this one."
    )
    bind_address: str = setting(
        "", "Address of this machine to connect from; the system's choice where empty."
    )
    client_id: str = setting(
        "",
        "Client identifier; the bridge's name, with -out at the remote broker, where "
        "empty.",
        pattern=r"^[^\x00]{0,128}$",
    )
    username: str = setting(
        "",
        "User; the password is in the environment, MIDHAUL_BRIDGE_LOCAL_PASSWORD or "
        "MIDHAUL_BRIDGE_REMOTE_PASSWORD.",
    )
    password_file: str = setting(
        "", "File whose first line is the password; the environment goes before."
    )
    protocol: Literal["auto", "5", "3.1.1"] = setting(
        "auto",
        "Version of MQTT; auto tries 5, then 3.1.1 as brokers' bridges speak it, then "
        "plain 3.1.1.",
    )
    transport: Literal["tcp", "websockets"] = setting(
        "tcp", "What MQTT travels in, over TLS or without."
    )
    path: str = setting("/mqtt", "Of the address, for websockets.", pattern=r"^/")
    has_tls: bool = setting(False, "Whether to use TLS.")
    ca_file: str = setting("", "Its certificate authority; the system's where empty.")
    cert_file: str = setting("", "Certificate that this client shows, PEM.")
    key_file: str = setting(
        "",
        "Its private key, PEM; in cert_file where empty. The password of one that is "
        "encrypted is in MIDHAUL_BRIDGE_LOCAL_KEY_PASSWORD or "
        "MIDHAUL_BRIDGE_REMOTE_KEY_PASSWORD.",
    )
    tls_version: Literal["1.2", "1.3"] = setting(
        "1.2", "The lowest version of TLS that is accepted."
    )
    server_name: str = setting(
        "",
        "Name that its certificate must have, and that is asked for; the host where "
        "empty.",
    )
    alpn: str = setting(
        "", "Protocol to agree on in TLS, such as x-amzn-mqtt-ca on port 443."
    )
    is_insecure: bool = setting(
        False,
        "Refused: a certificate is always checked; name the authority in ca_file and "
        "the name in server_name.",
    )
    psk_identity: str = setting(
        "",
        "Refused: Python's TLS has no pre-shared keys before 3.13; use a client "
        "certificate, or a TLS proxy beside the bridge.",
    )
    psk_file: str = setting("", "Refused like psk_identity.")
    keepalive_s: int = setting(60, "Silence after which it is asked.", ge=5, le=65535)
    has_retain: bool = setting(
        True,
        "Whether it keeps messages; where not, the flag RETAIN is taken off. MQTT 5 "
        "tells by itself.",
    )
    is_clean_start: bool = setting(
        False,
        "Whether the broker forgets this client at each connection; what is published "
        "meanwhile is then lost, and not known.",
    )
    session_expiry_s: int = setting(
        604_800,
        "How long the broker keeps messages for an absent client, MQTT 5; 4294967295 "
        "is for ever.",
        ge=0,
        le=0xFFFF_FFFF,
    )

    def addresses(self) -> list[tuple[str, int]]:
        """Where it may be found, in the order in which that is tried.

        A ConfigError is a fallback that is not ``HOST:PORT``.
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
        """The same with absolute paths; messages call it ``local`` or ``remote``.

        A ConfigError where a file is not there, or keys contradict each other.
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
        """How TLS is set up, None without it; messages call it ``local`` or ``remote``.

        A ConfigError where a certificate or a key, which may be encrypted, cannot be
        read, or they do not belong together.
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

        A ConfigError if none.
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

    topic: str = setting(
        ..., "Filter: of local topics in up, of remote topics in down."
    )
    local_prefix: str | None = setting(
        None, "As that of the bridge, for these topics.", pattern=_NAME
    )
    remote_prefix: str | None = setting(
        None, "As that of the bridge, for these topics.", pattern=_NAME
    )
    qos: Literal[0, 1, 2] = setting(2, "Highest quality of service of these topics.")


class BridgeConfig(Section):
    """A bridge from one broker to another."""

    name: str = setting(
        "midhaul-bridge",
        "Client identifier; the local broker keeps its messages under it.",
        pattern=r"^[\w.-]{1,64}$",
    )
    rates: str = setting(
        "rates.json", "The rate map, JSON or TOML; read again when it changes."
    )
    local: Endpoint = setting(Endpoint, "Broker whose topics are forwarded.")
    remote: Endpoint = setting(lambda: Endpoint(port=1884), "Broker they go to.")
    local_prefix: str = setting(
        "", "Begin of local topics that is replaced.", pattern=_NAME
    )
    remote_prefix: str = setting(
        "", "What stands in its place at the remote broker.", pattern=_NAME
    )
    up: list[TopicRule] = setting(
        list[TopicRule],
        "Topics of the rate map that are renamed otherwise; the first rule that "
        "matches holds.",
    )
    down: list[TopicRule] = setting(
        list[TopicRule],
        "Topics of the remote broker that are published at the local one, as fast as "
        "they come.",
    )
    qos: Literal[0, 1, 2] = setting(
        2, "Highest quality of service; messages keep their own below it."
    )
    least_qos: Literal[0, 1, 2] = setting(
        0, "Lowest quality of service; messages below it are raised to it."
    )
    max_message_bytes: int = setting(16_000_000, "Larger payloads are dropped.", ge=1)
    max_queue_messages: int = setting(
        1000, "Messages that may wait in each lane.", ge=1
    )
    max_queue_bytes: int = setting(
        64_000_000, "Bytes that may wait in each lane.", ge=1
    )
    drop: Literal["oldest", "newest"] = setting(
        "oldest", "Which message goes when a lane is full."
    )
    queue_file: str = setting(
        "",
        "File that holds what waits, through restarts; NAME.queue beside this file "
        "where empty, :memory: for none.",
    )
    queue_survives: Literal["kill", "power"] = setting(
        "kill",
        "What a message that was acknowledged survives: the end of the process, or a "
        "loss of power as well, for a write to the medium per message.",
    )
    idle_s: float = setting(
        3600.0,
        "After which silent topics are counted together, and messages that no filter "
        "has any more are dropped.",
        gt=0,
    )
    max_in_flight: int = setting(
        20, "Messages sent and not acknowledged yet.", ge=1, le=1000
    )
    max_in_flight_s: float | None = setting(
        None,
        "Time's worth of the rate map's uplink that may be sent and not acknowledged "
        "yet, at least a round trip; what is more waits in its lane, where it can "
        "expire and make room for what is newer.",
        gt=0,
    )
    is_work_conserving: bool = setting(False, "Whether lanes share what others leave.")
    is_loop_checked: bool = setting(
        True,
        "Whether it says hello to other bridges on $midhaul/hello at both brokers, and "
        "marks messages, to find loops.",
    )
    stats: str = setting("", "File for the counters, JSON; none where empty.")
    stats_topic: str = setting(
        "midhaul/bridge/stats",
        "Local topic for the counters; none where empty.",
        pattern=_NAME,
    )
    state_topic: str = setting(
        "",
        "Topic at both brokers that says 1 while the remote broker is reached and 0 "
        "else, retained; none where empty.",
        pattern=_NAME,
    )
    watch_s: float = setting(
        1.0,
        "How often the rate map is looked at and counters are written.",
        ge=0.05,
        le=60,
    )
    drain_s: float = setting(
        1.0, "How long waiting messages are still sent after SIGTERM.", ge=0, le=600
    )


def read_bridge(file: Path) -> BridgeConfig:
    """Read a bridge's file, JSON or TOML; files in it are relative to its folder.

    A ConfigError says what cannot be read, and which keys are wrong.
    """
    with documents.expected(
        f"bridge file {file} cannot be read:",
        "it is TOML, or JSON where it ends in .json",
        raises=ConfigError,
    ):
        text = documents.read_text(file)
        is_json = file.suffix == ".json"
        parse = documents.parse_json if is_json else documents.parse_toml
        values: dict[str, Any] = parse(text)
    try:
        config = BridgeConfig.model_validate_json(to_json(values))
    except ValidationError as error:
        found = mistakes(BridgeConfig, error, values, {})
        listed = "".join(f"\n  {mistake}" for mistake in found)
        message = f"bridge file {file} is wrong:{listed}"
        raise ConfigError(message) from error
    return _resolved(config, file)


def _resolved(config: BridgeConfig, file: Path) -> BridgeConfig:
    """The same with absolute paths; a ConfigError where a file is not there."""
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
