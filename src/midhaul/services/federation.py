"""The process of a served federation: an HTTP server around its engine."""

from __future__ import annotations

import math
import signal
import sys
from typing import TYPE_CHECKING, Any

from midhaul.errors import require
from midhaul.federation.serving.config import read_federation
from midhaul.federation.serving.from_config import build, open_ledger, open_online

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from midhaul.errors import MidhaulError


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
    from midhaul.services.server import listen, server_of, url_of  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _leave)
    allow_connections()
    keep_no_large_memory()
    failures: list[MidhaulError] = []

    def fail(error: MidhaulError) -> None:
        failures.append(error)
        server.should_exit = True

    def say() -> None:
        asked = ", ".join(federation.providers)
        how = federation.knowledge.policy.name
        sys.stdout.write(
            f"{config.name}: {url_of(listening)}/detect asks {asked} ({how})\n"
        )
        sys.stdout.flush()

    with open_ledger(config) as ledger, open_online(config) as online:
        if ledger.recovery.sentence:
            sys.stderr.write(f"{ledger.file}: {ledger.recovery.sentence}\n")
            sys.stderr.flush()
        metrics = Metrics()
        federation = build(config, ledger, online=online, observer=metrics)
        metrics.watch(federation)
        listening = listen(config.name, config.host, config.port)
        application: Any = FederationApplication(
            config, federation, metrics, on_ready=say, on_failure=fail
        )
        limits = ServerLimits.of(config)
        grace_s = math.ceil(config.drain_s)
        server = server_of(application, limits, token, grace_s=grace_s)
        server.run(sockets=[listening])
    if failures:
        raise failures[0]


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
