"""A connection to a broker that comes back: growing, random pauses between attempts."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import aiomqtt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np

    from midhaul.deploy.enforcement.bridge_config import Endpoint
    from midhaul.deploy.enforcement.bridge_stats import EndCounts

_LOG = logging.getLogger(__name__)
_LEAST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_MANY_CALLS = 1100  # the library warns beyond; max_in_flight is 1000 at most
_STEADY_S = 5.0  # a connection that lived that long starts the pauses anew


def client_of(
    endpoint: Endpoint, *, identifier: str, password: str | None, is_kept: bool
) -> aiomqtt.Client:
    """A client for a broker.

    Args:
        endpoint: where the broker is.
        identifier: of the client.
        password: of its user.
        is_kept: whether the broker keeps subscriptions and messages while it is away.
    """
    context = None
    if endpoint.has_tls:
        context = ssl.create_default_context(cafile=endpoint.ca_file or None)
    client = aiomqtt.Client(
        endpoint.host,
        endpoint.port,
        username=endpoint.username or None,
        password=password,
        identifier=identifier,
        clean_session=not is_kept,
        keepalive=endpoint.keepalive_s,
        tls_context=context,
        logger=_LOG,
    )
    client.pending_calls_threshold = _MANY_CALLS
    return client


async def stay_connected(
    connect: Callable[[], aiomqtt.Client],
    use: Callable[[aiomqtt.Client], Awaitable[None]],
    counts: EndCounts,
    *,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> None:
    """Connect, use, and connect again, until cancelled.

    Pauses double from 0.1 s to 10 s; each is drawn between its half and its whole, so
    that many bridges do not all come back to a broker in the same moment.
    """
    pause_s = _LEAST_PAUSE_S
    while True:
        begin_s = clock()
        try:
            async with connect() as client:
                counts.n_connects += 1
                counts.is_connected, counts.error = True, ""
                await use(client)
        except* (aiomqtt.MqttError, OSError) as group:
            counts.error = "; ".join(str(error) for error in _leaves(group))
            _LOG.warning("connection lost: %s", counts.error)
        finally:
            counts.is_connected = False
        if clock() - begin_s > _STEADY_S:
            pause_s = _LEAST_PAUSE_S
        await asyncio.sleep(pause_s * rng.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def until_lost(client: aiomqtt.Client) -> None:
    """Wait until a connection is lost; the library says so to those who read."""
    async for _ in client.messages:
        pass


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        is_group = isinstance(error, BaseExceptionGroup)
        found += _leaves(error) if is_group else [error]
    return found
