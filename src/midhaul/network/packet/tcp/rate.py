"""Samples of the delivery rate, for BBR, as ns-3.37 takes them.

After the draft of Cheng et al. (draft-cheng-iccrg-delivery-rate-estimation). Numbered
differences from it:

1. The rate sample is kept from ACK to ACK; the newest segment is the one with the
   largest count of delivered bytes when it was sent, and counts only where that has
   grown.
2. An interval below the least round trip makes the sample void, but the last rate stays
   in it.
3. A flow is limited by its application only when it hands its bytes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import G_NOW, compiled, inlined

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

# cells of a segment in the ring, after its flags
S_SENT, S_FIRST_SENT, S_DELIVERED_T, S_DELIVERED, S_LIMITED = range(1, 6)
STRIDE = 6
GONE = -1
"""``S_DELIVERED_T`` of a segment that was counted."""

# cells from ``C_ALGORITHM`` of a connection with BBR
(
    R_DELIVERED,
    R_DELIVERED_T,
    R_FIRST_SENT,
    R_APP_LIMITED,
    R_LAST_DELIVERED,
    R_LAST_INTERVAL,
    RS_RATE,
    RS_LIMITED,
    RS_INTERVAL,
    RS_DELIVERED,
    RS_PRIOR,
    RS_PRIOR_T,
    RS_SEND,
    RS_ACK,
    RS_LOSS,
    RS_IN_FLIGHT,
    RS_ACKED,
) = range(17)
N_R = 17


@inlined
def is_delivered(m: Cells, at: int) -> bool:
    """True once a segment has been counted as delivered."""
    return m[at + S_DELIVERED_T] == GONE


@compiled
def rate_sent(m: Cells, r: int, at: int, is_first: bool) -> None:  # noqa: FBT001
    """Note the rate when a segment leaves; ``is_first``: nothing is under way."""
    now = m[G_NOW]
    if is_first:
        m[r + R_FIRST_SENT] = now
        m[r + R_DELIVERED_T] = now
    m[at + S_FIRST_SENT] = m[r + R_FIRST_SENT]
    m[at + S_DELIVERED_T] = m[r + R_DELIVERED_T]
    m[at + S_LIMITED] = 1 if m[r + R_APP_LIMITED] != 0 else 0
    m[at + S_DELIVERED] = m[r + R_DELIVERED]
    m[at + S_SENT] = now


@compiled
def rate_delivered(m: Cells, r: int, at: int, size: int) -> None:
    """Count a segment that was acknowledged or sacked for the first time."""
    if m[at + S_DELIVERED_T] == GONE:
        return
    now = m[G_NOW]
    m[r + R_DELIVERED] += size
    m[r + R_DELIVERED_T] = now
    if m[r + RS_PRIOR] == 0 or m[at + S_DELIVERED] > m[r + RS_PRIOR]:
        m[r + RS_ACK] = now - m[r + RS_PRIOR_T]
        m[r + RS_PRIOR] = m[at + S_DELIVERED]
        m[r + RS_PRIOR_T] = m[at + S_DELIVERED_T]
        m[r + RS_LIMITED] = m[at + S_LIMITED]
        m[r + RS_SEND] = m[at + S_SENT] - m[at + S_FIRST_SENT]
        m[r + R_FIRST_SENT] = m[at + S_SENT]
    m[at + S_DELIVERED_T] = GONE


@compiled
def rate_sample(
    m: Cells, r: int, acked: int, lost: int, in_flight: int, min_rtt: int
) -> None:
    """Make a sample of an ACK."""
    if m[r + R_APP_LIMITED] != 0 and m[r + R_DELIVERED] > m[r + R_APP_LIMITED]:
        m[r + R_APP_LIMITED] = 0
    m[r + RS_ACKED] = acked
    m[r + RS_LOSS] = lost
    m[r + RS_IN_FLIGHT] = in_flight
    if m[r + RS_PRIOR_T] == 0:
        m[r + RS_DELIVERED] = -1
        m[r + RS_INTERVAL] = 0
        return
    interval = max(m[r + RS_SEND], m[r + RS_ACK])
    delivered = m[r + R_DELIVERED] - m[r + RS_PRIOR]
    m[r + RS_INTERVAL] = interval
    m[r + RS_DELIVERED] = delivered
    if interval < min_rtt:
        m[r + RS_INTERVAL] = 0
        m[r + RS_PRIOR_T] = 0
        return
    if m[r + RS_LIMITED] == 0 or (
        delivered * m[r + R_LAST_INTERVAL] >= m[r + R_LAST_DELIVERED] * interval
    ):
        m[r + R_LAST_DELIVERED] = delivered
        m[r + R_LAST_INTERVAL] = interval
        if interval > 0:
            m[r + RS_RATE] = int(delivered * 8.0 / (interval / 1e9))
