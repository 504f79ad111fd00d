"""The processes of a live run: ``python -m midhaul.deploy.live.worker ROLE OPTIONS``.

OPTIONS is JSON. Orders come as lines of JSON on stdin, and what happens goes to stdout
in the same form. When stdin is closed, the process ends.

========  =========================================================
role      what it is
========  =========================================================
publish   all sensors, beside the gateway
consume   all analytics of one place, ``cloud`` or ``gateway``
bridge    the pacing bridge from the gateway's broker to the cloud's
pull      the gateway's layer store and its puller
========  =========================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_json

from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.endpoint import Endpoint
from midhaul.deploy.live.config import WorkloadConfig

if TYPE_CHECKING:
    from collections.abc import Coroutine


def main(argv: list[str]) -> None:
    """Run one role until stdin is closed.

    Args:
        argv: name of the role, and its options as JSON.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    options: dict[str, Any] = json.loads(argv[1])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_role(argv[0], options))


def _role(name: str, options: dict[str, Any]) -> Coroutine[Any, Any, None]:
    # Imported here, so that each process loads only what it needs.
    match name:
        case "publish":
            from midhaul.deploy.live.publisher import publish  # noqa: PLC0415

            return publish(
                _endpoint(options),
                _workload(options),
                options["seed"],
                options.get("expiry_s"),
            )
        case "consume":
            from midhaul.deploy.live.consumer import consume  # noqa: PLC0415

            return consume(
                _endpoint(options),
                options["place"],
                _workload(options),
                options["seed"],
                options["threshold"],
            )
        case "pull":
            from midhaul.deploy.live.pulling import pull  # noqa: PLC0415

            return pull(
                Path(options["folder"]),
                options["registry"],
                options["seed"],
            )
        case _:
            return bridge(Path(options["file"]))


async def bridge(file: Path) -> None:
    """Run a pacing bridge."""
    from midhaul.deploy.enforcement.bridge import Bridge  # noqa: PLC0415  optional
    from midhaul.deploy.live.channel import orders, tell  # noqa: PLC0415  optional

    stop = asyncio.Event()
    one = Bridge(read_bridge(file), clock=time.monotonic, rng=np.random.default_rng())
    running = asyncio.create_task(one.run(stop))
    tell(ready=True)
    async for _ in orders():
        pass
    stop.set()
    await running


def _endpoint(options: dict[str, Any]) -> Endpoint:
    return Endpoint(host=options["host"], port=options["port"])


def _workload(options: dict[str, Any]) -> WorkloadConfig:
    return WorkloadConfig.model_validate_json(to_json(options["workload"]))


if __name__ == "__main__":
    main(sys.argv[1:])
