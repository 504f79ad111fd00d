"""The process of a served federation: an HTTP server around its engine."""

from __future__ import annotations

import errno
import math
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from midhaul.errors import NodeError, require
from midhaul.federation.serving.config import read_federation
from midhaul.federation.serving.from_config import build, open_ledger, open_online

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from midhaul.errors import MidhaulError
    from midhaul.federation.serving.config import FederationFile

_BACKLOG = 16_384


def serve(file: Path) -> None:
    """Serve a federation until it is told to stop by SIGTERM or SIGINT.

    Requests under way are answered first, for as long as the file allows; then calls in
    flight are settled, and the ledger is closed. MidhaulError if the file is wrong,
    something that it names is missing, its port or its ledger is in use, or a provider
    cannot be opened.
    """
    config = read_federation(file)
    require("prometheus_client", "federation")
    from midhaul.services.http import (  # noqa: PLC0415 - optional
        ServerLimits,
        allow_connections,
        keep_no_large_memory,
        token_for,
    )

    token = token_for(config.host)
    from midhaul.services.federation_application import (  # noqa: PLC0415 - optional
        FederationApplication,
    )
    from midhaul.services.federation_metrics import Metrics  # noqa: PLC0415
    from midhaul.services.server import server_of  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _leave)
    allow_connections()
    keep_no_large_memory()
    failures: list[MidhaulError] = []

    def fail(error: MidhaulError) -> None:
        failures.append(error)
        server.should_exit = True

    def say() -> None:
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        asked = ", ".join(federation.providers)
        how = federation.knowledge.policy.name
        sys.stdout.write(
            f"{config.name}: http://{host}:{port}/detect asks {asked} ({how})\n"
        )
        sys.stdout.flush()

    with open_ledger(config) as ledger, open_online(config) as online:
        if ledger.recovery.sentence:
            sys.stderr.write(f"{ledger.file}: {ledger.recovery.sentence}\n")
            sys.stderr.flush()
        metrics = Metrics()
        federation = build(config, ledger, online=online, observer=metrics)
        metrics.watch(federation)
        listening = _listen(config)
        application: Any = FederationApplication(
            config, federation, metrics, on_ready=say, on_failure=fail
        )
        limits = ServerLimits.of(config)
        grace_s = math.ceil(config.drain_s)
        server = server_of(application, limits, token, grace_s=grace_s)
        server.run(sockets=[listening])
    if failures:
        raise failures[0]


def _listen(config: FederationFile) -> socket.socket:
    """A socket that takes connections already; they wait until the server is ready."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else str(error)
        message = f"{config.name}: port {config.port} on {config.host} {reason}"
        hint = "choose another port, or 0 for a free one"
        raise NodeError(message, hint) from error
    return listening


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
