"""Brokers that ask for more than a port: certificates, passwords, websockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.deploy.enforcement.bridge_parts import (
    bridging,
    config_of,
    connected,
    listening,
    needs_mosquitto,
    publish,
    until,
)
from tests.deploy.enforcement.certificates import PASSWORD, write_certificates

from midhaul.deploy.enforcement.bridge import Bridge
from midhaul.deploy.enforcement.bridge_config import BridgeConfig, Endpoint, read_bridge
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FAST = RateMap(rates_bps={"iot/#": 1e8})


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


async def _passes(
    folder: Path,
    local: Broker,
    remote: Broker,
    endpoint: Endpoint,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Send one message by an endpoint of the remote broker; the bridge's counters."""
    config = config_of(folder, local, remote, _FAST)
    config = config.model_copy(update={"remote": endpoint})
    async with (
        listening(remote, "iot/#") as found,
        bridging(config, secrets=secrets) as bridge,
    ):
        await connected(bridge)
        await publish(local, "iot/a", [b"x"])
        await until(lambda: len(found) == 1)
        return bridge.stats()


@needs_mosquitto
@pytest.mark.parametrize("key", ["client.key", "locked.key"])
def test_a_broker_that_asks_for_a_certificate_is_reached(
    tmp_path: Path, key: str
) -> None:
    """By its own name, and without one it refuses; a key may be encrypted."""
    write_certificates(tmp_path)
    port = _free_port()
    more = [
        f"listener {port} 127.0.0.1",
        *[f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/server.pem"],
        *[f"keyfile {tmp_path}/server.key", "require_certificate true"],
    ]
    tls = Endpoint(
        port=port,
        has_tls=True,
        ca_file=str(tmp_path / "ca.pem"),
        server_name="broker.example",
        tls_version="1.3",
    )
    shown = {"cert_file": str(tmp_path / "client.pem"), "key_file": str(tmp_path / key)}
    with (
        Broker(tmp_path / "local") as local,
        Broker(tmp_path / "remote", more=more) as remote,
    ):
        secrets = {"remote_key": PASSWORD}
        known = tls.model_copy(update=shown)
        asyncio.run(_passes(tmp_path / "with", local, remote, known, secrets))

        async def refused(endpoint: Endpoint) -> str:
            config = config_of(tmp_path / "without", local, remote, _FAST)
            config = config.model_copy(update={"remote": endpoint})
            async with bridging(config) as bridge:
                await until(lambda: bridge.stats()["remote"]["error"] != "")
                return bridge.stats()["remote"]["error"]

        assert asyncio.run(refused(tls))
        other = known.model_copy(update={"server_name": "other.example"})
        if key == "client.key":
            assert "other.example" in asyncio.run(refused(other))


@needs_mosquitto
def test_a_broker_is_reached_by_websockets_with_a_password(tmp_path: Path) -> None:
    """The password is the first line of a file; the environment's goes before."""
    port = _free_port()
    users = tmp_path / "users"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(users), "gw", "right"], check=True
    )
    more = [
        f"listener {port} 127.0.0.1",
        *["protocol websockets", f"password_file {users}"],
    ]
    secret = tmp_path / "secret"
    secret.write_text("right\nno password\n", encoding="utf-8")
    endpoint = Endpoint(
        port=port, transport="websockets", username="gw", password_file=str(secret)
    )
    with (
        Broker(tmp_path / "local") as local,
        Broker(tmp_path / "remote", more=more) as remote,
    ):
        said = asyncio.run(_passes(tmp_path / "right", local, remote, endpoint))
        assert said["remote"]["protocol"] == "5"

        async def wrong() -> str:
            config = config_of(tmp_path / "wrong", local, remote, _FAST)
            config = config.model_copy(update={"remote": endpoint})
            async with bridging(config, secrets={"remote": "wrong"}) as bridge:
                await until(lambda: bridge.stats()["remote"]["error"] != "")
                return bridge.stats()["remote"]["error"]

        assert "refuses" in asyncio.run(wrong())


@needs_mosquitto
def test_another_address_is_tried_where_one_does_not_answer(tmp_path: Path) -> None:
    """The first port has nobody, the second one has the broker."""
    with Broker(tmp_path / "local") as local, Broker(tmp_path / "remote") as remote:
        endpoint = Endpoint(port=_free_port(), fallback=[f"127.0.0.1:{remote.port}"])
        said = asyncio.run(_passes(tmp_path, local, remote, endpoint))
    assert said["remote"]["n_connects"] == 1


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("psk_identity = 'gw'", "pre-shared keys are refused: the TLS of", "stunnel"),
        ("has_tls = true\nis_insecure = true", "is always checked", "ca_file"),
        ("cert_file = 'a.pem'", "means nothing without TLS", "has_tls = true"),
        ("has_tls = true\nkey_file = 'k.pem'", "there is no cert_file", "cert_file"),
        ("has_tls = true\ncert_file = 'k.pem'", "cert_file .*k.pem is not there", ""),
        ("password_file = 'p'", "password_file .*p is not there", ""),
        ("fallback = ['host']", "expected HOST:PORT, found 'host'", ""),
        ("fallback = ['host:70000']", "expected a port of 1 to 65535", ""),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_reason(
    tmp_path: Path, text: str, said: str, hint: str
) -> None:
    """Before anything connects, with what to do instead."""
    file = tmp_path / "bridge.toml"
    file.write_text(f"[remote]\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        read_bridge(file)
    assert str(file) in caught.value.message
    assert hint in caught.value.hint


def test_a_shared_subscription_down_is_refused(tmp_path: Path) -> None:
    """As one in the rate map is."""
    file = tmp_path / "bridge.toml"
    file.write_text('[[down]]\ntopic = "$share/g/cmd/#"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="only a part of the messages"):
        read_bridge(file)


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """An encrypted key without its password is never asked for at a terminal."""
    write_certificates(tmp_path)
    _FAST.write(tmp_path / "rates.json")

    def bridge(cert: str, key: str, **secrets: str) -> Bridge:
        endpoint = Endpoint(
            has_tls=True, cert_file=str(tmp_path / cert), key_file=str(tmp_path / key)
        )
        config = BridgeConfig(rates=str(tmp_path / "rates.json"), remote=endpoint)
        rng = np.random.default_rng(0)
        return Bridge(config, clock=lambda: 0.0, rng=rng, secrets=secrets)

    with pytest.raises(ConfigError, match=r"locked\.key is encrypted") as caught:
        bridge("client.pem", "locked.key")
    assert "MIDHAUL_BRIDGE_REMOTE_KEY_PASSWORD" in caught.value.hint
    with pytest.raises(ConfigError, match="not with this password"):
        bridge("client.pem", "locked.key", remote_key="wrong")
    with pytest.raises(ConfigError, match="no certificate with its key"):
        bridge("client.pem", "server.key")
