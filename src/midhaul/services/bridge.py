"""The process of an MQTT bridge: a shell around :class:`Bridge`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.enforcement.bridge_config import read_bridge

if TYPE_CHECKING:
    from pathlib import Path

_SECRETS = {
    "local": "MIDHAUL_BRIDGE_LOCAL_PASSWORD",
    "remote": "MIDHAUL_BRIDGE_REMOTE_PASSWORD",
    "local_key": "MIDHAUL_BRIDGE_LOCAL_KEY_PASSWORD",
    "remote_key": "MIDHAUL_BRIDGE_REMOTE_KEY_PASSWORD",
}


def serve(file: Path) -> None:
    """Run a bridge until it is told to stop by SIGTERM or SIGINT.

    MidhaulError if the file or its rate map is wrong, or a library is missing.
    """
    config = read_bridge(file)
    from midhaul.deploy.enforcement.bridge import Bridge  # noqa: PLC0415  slow

    async def live() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        bridge = Bridge(
            config,
            clock=time.monotonic,
            rng=np.random.default_rng(),
            secrets={
                key: os.environ[name]
                for key, name in _SECRETS.items()
                if name in os.environ
            },
        )
        sys.stdout.write(
            f"{config.name}: forwarding by {config.rates}\n"
            f"{config.name}: what waits is in {config.queue_file}\n"
        )
        sys.stdout.flush()
        await bridge.run(stop)

    asyncio.run(live())
