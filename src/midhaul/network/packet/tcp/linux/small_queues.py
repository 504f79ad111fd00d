"""TCP small queues: how much of a connection waits at its sender's own host.

Linux, *TCP small queues* (Dumazet, 2012; ``tcp_small_queue_check`` in the sources of
6.18). What waits at the host counts with the memory that a segment takes. Numbered
differences:

1. A segment leaves its host when its first bit does. A token bucket is so; a card says
   it some time after the last bit.
2. What is held back goes in the same nanosecond, and not some microseconds later.
3. A segment that finds the queue of its host full stays with its sender, which shrinks
   its window as for a mark. Those of time-outs and probes of the tail, SYN and ACKs are
   lost there, and so is what RED drops.
4. Left out: Linux does not send a segment again that still waits at its host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    BUFFER_BYTES,
    C_FIRST,
    C_LINUX,
    C_PACE_RATE,
    C_SENT_I,
    C_UNA_I,
    CODEL,
    FIFO,
    L_BYTES,
    L_DROPS,
    L_KIND,
    L_MAX_BYTES,
    L_MAX_N,
    L_N,
    U_AT_HOST,
    U_IS_HELD,
    compiled,
    inlined,
)
from midhaul.network.packet.tcp.ends import HEADER_BYTES

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

LEAST_SEGMENTS = 2
MS_BITS = 10
"""A host holds what the pace brings in 1/1024 s."""
MOST_BYTES = 1 << 22
"""``tcp_limit_output_bytes``."""
DEVICE_HEADER = 2
"""Bytes of a packet that queues do not count."""


@inlined
def is_held_back(m: Cells, c: int, size: int, bits: int) -> bool:
    """Whether a segment has to wait as its host has enough; the host wakes the sender.

    ``bits``: 1 for one that is sent again, of which there may be twice as much.
    """
    u = c + C_LINUX
    paced = m[c + C_PACE_RATE] >> 3 + MS_BITS
    limit = max(LEAST_SEGMENTS * (size + BUFFER_BYTES), paced)
    if m[u + U_AT_HOST] < min(limit, MOST_BYTES) << bits:
        return False
    if m[c + C_SENT_I] - m[c + C_UNA_I] <= 1:
        return False
    m[u + U_IS_HELD] = 1
    return True


@compiled
def is_refused(m: Cells, f: Cells, c: int, size: int) -> bool:
    """Whether the queue of its host is full for a segment; counts it as dropped."""
    link = f[m[c + C_FIRST]]
    kind = m[link + L_KIND]
    if kind not in (FIFO, CODEL):
        return False
    more = size + HEADER_BYTES - DEVICE_HEADER
    if (
        m[link + L_N] + 1 <= m[link + L_MAX_N]
        and m[link + L_BYTES] + more <= m[link + L_MAX_BYTES]
    ):
        return False
    m[link + L_DROPS] += 1
    return True
