"""Incast, ring all-reduce and all-to-all: flows that wait for each other.

P. Patarasu, X. Yuan: *Bandwidth Optimal All-reduce Algorithms for Clusters of
Workstations*, J. Parallel Distrib. Comput. 69 (2009) is the ring. A flow that waits
starts a while after the last of those that it waits for has ended, so that a slow link
delays what comes after it, as it does in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64

_MOST = 50_000_000


def incast(
    senders: Int32[np.ndarray, " n"],
    receiver: int,
    size_bytes: int,
    *,
    n_rounds: int = 1,
    gap_ns: int = 0,
    start_ns: int = 0,
) -> Flows:
    """Many senders answer one receiver at the same time.

    Args:
        senders: indices of nodes.
        receiver: index of the node that has asked them.
        size_bytes: of each answer.
        n_rounds: how often it asks; each time when all answers are there.
        gap_ns: from the last answer to the next round.
        start_ns: of the first round.

    Returns:
        Flows, round by round; ``labels`` is ``incast``.

    Raises:
        ConfigError: a count is below 1, a size is no size, or the receiver sends.
    """
    n = len(senders)
    _check(n, 1, "senders", n_rounds * n * max(n, 1), size_bytes)
    if n_rounds < 1:
        message = f"n_rounds must be at least 1, found {n_rounds}"
        raise ConfigError(message)
    if (senders == receiver).any():
        message = f"node {receiver} cannot be sender and receiver of an incast"
        raise ConfigError(message)
    # Each flow of a round waits for every flow of the one before.
    rounds = np.repeat(np.arange(n_rounds), n)
    counts = np.where(rounds > 0, n, 0)
    before = (rounds[rounds > 0] - 1) * n
    after = (before[:, None] + np.arange(n)).ravel()
    starts = np.where(rounds > 0, gap_ns, start_ns)
    return _flows(
        "incast",
        np.tile(senders, n_rounds),
        np.full(n * n_rounds, receiver, np.int32),
        np.full(n * n_rounds, size_bytes, np.int64),
        starts.astype(np.int64),
        counts,
        after,
    )


def ring_all_reduce(
    nodes: Int32[np.ndarray, " n"],
    size_bytes: int,
    *,
    n_rounds: int = 1,
    gap_ns: int = 0,
    step_ns: int = 0,
    start_ns: int = 0,
) -> Flows:
    """Each node ends with the sum of what all have, by parts that go round a ring.

    In each of ``2 (n - 1)`` steps every node sends one of n parts to the next node, as
    soon as it has got it from the one before.

    Args:
        nodes: indices of nodes, in the order of the ring, at least two.
        size_bytes: what each node has; at least a byte for each node.
        n_rounds: how often; each node begins anew when it has all parts.
        gap_ns: from a node's last part to its next round, such as computing.
        step_ns: from a part that came to sending it on, such as adding.
        start_ns: of the first round.

    Returns:
        ``2 n (n - 1)`` flows for each round, step by step; ``labels`` is
        ``all-reduce``.

    Raises:
        ConfigError: there are too few nodes or bytes, or more flows than can be held.
    """
    n = len(nodes)
    n_steps = 2 * (n - 1)
    _check(n, 2, "nodes of a ring", n_rounds * n_steps * n, size_bytes // max(n, 1))
    if n_rounds < 1:
        message = f"n_rounds must be at least 1, found {n_rounds}"
        raise ConfigError(message)
    step, place = np.divmod(np.arange(n_rounds * n_steps * n), n)
    part = (place - step) % n
    sizes = size_bytes // n + (part < size_bytes % n)
    waits = step > 0
    after = (step[waits] - 1) * n + (place[waits] - 1) % n
    starts = np.where(step % n_steps > 0, step_ns, gap_ns)
    starts[:n] = start_ns
    return _flows(
        "all-reduce",
        nodes[place],
        nodes[(place + 1) % n],
        sizes.astype(np.int64),
        starts.astype(np.int64),
        waits.astype(np.int64),
        after,
    )


def all_to_all(
    nodes: Int32[np.ndarray, " n"],
    size_bytes: int,
    *,
    is_stepped: bool = True,
    step_ns: int = 0,
    start_ns: int = 0,
) -> Flows:
    """Each node sends something of its own to each other one.

    Args:
        nodes: indices of nodes, at least two.
        size_bytes: from one to another.
        is_stepped: in steps, in each of which a node sends one flow and receives one,
            and the next begins for it when both have ended; else all at once.
        step_ns: between the steps of a node.
        start_ns: of the first.

    Returns:
        ``n (n - 1)`` flows, step by step; ``labels`` is ``all-to-all``.

    Raises:
        ConfigError: there are too few nodes or bytes, or more flows than can be held.
    """
    n = len(nodes)
    _check(n, 2, "nodes of an all-to-all", n * (n - 1), size_bytes)
    step, place = np.divmod(np.arange(n * (n - 1)), n)
    waits = (step > 0) & is_stepped
    # What it sent in the step before, and what it then received: from as far behind.
    sent = (step - 1) * n + place
    received = (step - 1) * n + (place - step) % n
    after = np.stack([sent[waits], received[waits]], 1).ravel()
    starts = np.where(waits, step_ns, start_ns)
    return _flows(
        "all-to-all",
        nodes[place],
        nodes[(place + step + 1) % n],
        np.full(len(step), size_bytes, np.int64),
        starts.astype(np.int64),
        np.where(waits, 2, 0),
        after,
    )


def _check(n: int, least: int, what: str, n_flows: int, size_bytes: int) -> None:
    if n < least:
        message = f"expected at least {least} {what}, found {n}"
        raise ConfigError(message)
    if size_bytes < 1:
        message = f"a flow has at least 1 byte, found {size_bytes}"
        raise ConfigError(message, "raise size_bytes")
    if n_flows > _MOST:
        message = f"{n_flows:,} flows and what they wait for are more than {_MOST:,}"
        raise ConfigError(message, "take fewer nodes or rounds")


def _flows(
    label: str,
    source: Int32[np.ndarray, " n"],
    target: Int32[np.ndarray, " n"],
    size_bytes: Int64[np.ndarray, " n"],
    start_ns: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, " n"],
    after: Int64[np.ndarray, " k"],
) -> Flows:
    offsets = np.zeros(len(source) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    waits = bool(len(after))
    return Flows(
        source=source.astype(np.int32),
        target=target.astype(np.int32),
        size_bytes=size_bytes,
        start_ns=start_ns,
        labels=(label,),
        after_offsets=offsets if waits else np.zeros(0, np.int64),
        after=after.astype(np.int64),
    )
