"""A broker starts where it is told to, holds its limits, and keeps what it promised."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from midhaul.deploy.enforcement.broker import Broker
from midhaul.errors import NodeError, PrerequisiteError

if TYPE_CHECKING:
    from pathlib import Path

_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path=_PATH) is None, reason="needs mosquitto"
)


@needs_mosquitto
def test_a_broker_listens_on_loopback_and_starts_again(tmp_path: Path) -> None:
    """It keeps its port over a restart and is gone when it was stopped."""
    with Broker(tmp_path) as broker:
        first = broker.pid
        socket.create_connection(("127.0.0.1", broker.port), 5).close()
        broker.restart(is_kill=True)
        socket.create_connection(("127.0.0.1", broker.port), 5).close()
        assert broker.pid != first
    assert broker.pid is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), 5)


@needs_mosquitto
def test_a_port_in_use_is_an_error_in_words(tmp_path: Path) -> None:
    """The broker's last line is the message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = Broker(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(NodeError, match="Address already in use"):
            broker.start()
    assert broker.pid is None


def test_without_mosquitto_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint of one command."""
    monkeypatch.setattr(
        "midhaul.deploy.enforcement.broker.shutil.which", lambda *_, **__: None
    )
    with pytest.raises(PrerequisiteError) as caught:
        Broker(tmp_path)
    assert caught.value.hint == "apt install mosquitto"
