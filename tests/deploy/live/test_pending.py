"""A placement that takes longer than a loop can wait."""

from __future__ import annotations

import asyncio

from midhaul.deploy.live.pending import PendingPlacement
from midhaul.deploy.placement.base import Placement

NOTHING = Placement(status="optimal", value=0.0, bound=0.0, gateway_of={})


def test_the_loop_goes_on_while_a_placement_is_planned() -> None:
    """What is there late is taken once, for the slot that asked for it."""

    async def body() -> None:
        ready, pending = asyncio.Event(), PendingPlacement(0.01)
        n_asked = 0

        async def plan() -> Placement:
            nonlocal n_asked
            n_asked += 1
            await ready.wait()
            return NOTHING

        for slot_s in (15.0, 30.0):
            await pending.ask(slot_s, plan)
            assert pending.take() is None
        ready.set()
        await pending.ask(45.0, plan)
        await asyncio.sleep(0)  # the plan ends
        await asyncio.sleep(0)
        assert pending.take() == (NOTHING, 15.0)
        assert (pending.take(), n_asked) == (None, 1)

    asyncio.run(body())
