"""What breaks on purpose in a live run, and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.deploy.live.config import FaultConfig
    from midhaul.deploy.live.site import Site


async def break_things(
    faults: Sequence[FaultConfig], site: Site, clock: Callable[[], float]
) -> int:
    """Let every fault happen at its time.

    Args:
        faults: what, when, for how long.
        site: whose processes.
        clock: seconds on the experiment's clock.

    Returns:
        How many there were.
    """
    for fault in sorted(faults, key=lambda one: one.at_s):
        await asyncio.sleep(max(0.0, fault.at_s - clock()))
        if fault.what == "registry":
            await asyncio.to_thread(site.registry.kill)
            await asyncio.sleep(fault.down_s)
            await asyncio.to_thread(site.registry.start)
            continue
        is_near = fault.what == "gateway-broker"
        broker = site.gateway_broker if is_near else site.cloud_broker
        await asyncio.to_thread(broker.restart, down_s=fault.down_s)
    return len(faults)
