"""Congestion control of TCP: NewReno, LinuxReno, Cubic and DCTCP, as ns-3.37 has them.

NewReno: RFC 6582 and 5681; Cubic: RFC 8312 and Ha et al., *Taming the elephants*
(2008); DCTCP: RFC 8257. Numbered differences from them:

1. Windows are bytes in 32 bits, and grow by whole segments (but NewReno's).
2. NewReno grows by at most one segment at each ACK in slow start, and drops to half of
   what is under way, not of the window.
3. Cubic has no friendliness to Reno; its cube is cut to whole segments; it counts to at
   least 2 ACKs a segment, and to at most 20 before the first loss. Slow start may pass
   its threshold. HyStart takes the smoothed round trip, of whole milliseconds.
4. DCTCP's window has no least value. The end of its observation window is the next
   segment to send, which goes back when a segment is sent again, and the ACK that sets
   it first can be the one that reaches it.
5. PRR (RFC 6937) bounds what is sent by what was just delivered, and by one segment
   more only where a segment that was sent again was acknowledged. Its product is of 32
   bits and wraps. It also runs in CWR, and twice for the ACK that enters it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    C_ALGORITHM,
    C_ALPHA_MARKED,
    C_ALPHA_NEXT,
    C_ALPHA_SET,
    C_ALPHA_TOTAL,
    C_CONGESTION,
    C_COUNT,
    C_CWND,
    C_ECN,
    C_FLIGHT,
    C_HIGH,
    C_LAST_ACKED,
    C_LAST_RTT,
    C_MSS,
    C_NXT,
    C_PRR_DELIVERED,
    C_PRR_FLIGHT,
    C_PRR_OUT,
    C_RETRANS_ACKED,
    C_SSTHRESH,
    C_TRANSPORT,
    CA_LOSS,
    CUBIC,
    DCTCP,
    ECN_ECE,
    G_NOW,
    LINUX_RENO,
    NEWRENO,
    T_HYSTART,
    X_ALPHA,
    compiled,
    inlined,
    merged,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells

_32 = 0xFFFFFFFF
_LOWEST = -(1 << 31)
NEVER = -1
"""A time that has not come yet."""

# cells of Cubic, from C_ALGORITHM; the third is a float
(
    K_MOST,
    K_ORIGIN,
    X_K,
    K_DELAY_MIN,
    K_EPOCH,
    K_FOUND,
    K_ROUND,
    K_END,
    K_LAST_ACK,
    K_RTT,
    K_SAMPLES,
) = range(11)
CUBIC_C, CUBIC_BETA = 0.4, 0.7
COUNT_LIMIT = 20
OVERFLOW = 9.2e18
"""From here on the cube, as a whole number of 64 bits, has 32 zeros at its end."""
HYSTART_WINDOW, HYSTART_SAMPLES = 16, 8
HYSTART_GAP, HYSTART_LEAST, HYSTART_MOST = 2_000_000, 4_000_000, 1_000_000_000
QUIET_AFTER_LOSS = 10_000_000


@compiled
def begin_congestion(m: Cells, mf: FloatCells, c: int) -> None:
    """Set what an algorithm keeps to its beginning."""
    mf[c + X_ALPHA] = 1.0
    k = c + C_ALGORITHM
    if m[c + C_CONGESTION] == CUBIC:
        mf[k + X_K] = 0.0
        m[k + K_DELAY_MIN] = NEVER
        m[k + K_EPOCH] = NEVER
        m[k + K_ROUND] = NEVER
        m[k + K_LAST_ACK] = NEVER
        m[k + K_RTT] = NEVER


# ---- PRR -----------------------------------------------------------------------------


@compiled
def recovery_step(m: Cells, c: int, delivered: int) -> None:
    """Let the window follow what was delivered in recovery."""
    m[c + C_PRR_DELIVERED] = (m[c + C_PRR_DELIVERED] + delivered) & _32
    flight, threshold = m[c + C_FLIGHT], m[c + C_SSTHRESH]
    out, mss = m[c + C_PRR_OUT], m[c + C_MSS]
    if flight > threshold:
        product = (m[c + C_PRR_DELIVERED] * threshold) & _32
        at_entry = m[c + C_PRR_FLIGHT]
        if at_entry == 0:
            more = _LOWEST
        else:
            more = int(math.ceil(product * 1.0 / at_entry) - out)
            if more < _LOWEST or more > -_LOWEST - 1:
                more = _LOWEST
    else:
        room = threshold - flight
        limit = delivered
        if m[c + C_RETRANS_ACKED] != 0:
            limit = max((m[c + C_PRR_DELIVERED] - out) & _32, delivered) + mss
            limit &= _32
            if limit > -_LOWEST - 1:
                limit -= 1 << 32
        more = min(limit, room)
    more = max(more, 0 if out > 0 else mss)
    m[c + C_CWND] = (flight + more) & _32


@compiled
def enter_recovery_step(m: Cells, c: int, outstanding: int, delivered: int) -> None:
    """Begin to follow what is delivered."""
    m[c + C_PRR_OUT] = 0
    m[c + C_PRR_DELIVERED] = 0
    m[c + C_PRR_FLIGHT] = outstanding & _32
    recovery_step(m, c, delivered)


# ---- Reno ----------------------------------------------------------------------------


@inlined
def _linux_avoidance(m: Cells, c: int, n: int) -> None:
    """Grow by a segment for each window of segments."""
    mss = m[c + C_MSS]
    window = max(m[c + C_CWND] // mss, 1)
    if m[c + C_COUNT] >= window:
        m[c + C_COUNT] = 0
        m[c + C_CWND] = (m[c + C_CWND] + mss) & _32
    m[c + C_COUNT] += n
    if m[c + C_COUNT] >= window:
        more = m[c + C_COUNT] // window
        m[c + C_COUNT] -= more * window
        m[c + C_CWND] = (m[c + C_CWND] + more * mss) & _32


@compiled
def _cubic_count(m: Cells, mf: FloatCells, c: int) -> int:
    """How many segments have to be acknowledged until the window grows by one."""
    k = c + C_ALGORITHM
    window = m[c + C_CWND] // m[c + C_MSS]
    if m[k + K_EPOCH] == NEVER:
        m[k + K_EPOCH] = m[G_NOW]
        if m[k + K_MOST] <= window:
            mf[k + X_K] = 0.0
            m[k + K_ORIGIN] = window
        else:
            mf[k + X_K] = math.pow((m[k + K_MOST] - window) / CUBIC_C, 1.0 / 3.0)
            m[k + K_ORIGIN] = m[k + K_MOST]
    centre = mf[k + X_K]
    if m[k + K_DELAY_MIN] == NEVER:
        target = m[k + K_ORIGIN]
    else:
        elapsed = (m[G_NOW] + m[k + K_DELAY_MIN] - m[k + K_EPOCH]) / 1e9
        away = CUBIC_C * math.pow(abs(elapsed - centre), 3.0)
        change = 0 if away >= OVERFLOW else int(away) & _32
        if elapsed < centre:
            target = (m[k + K_ORIGIN] - change) & _32
        else:
            target = (m[k + K_ORIGIN] + change) & _32
    count = window // (target - window) if target > window else 100 * window
    if m[k + K_MOST] == 0 and count > COUNT_LIMIT:
        count = COUNT_LIMIT
    return max(count, 2)


# ---- Cubic ---------------------------------------------------------------------------


@compiled
def _hystart_reset(m: Cells, c: int) -> None:
    """Begin a round of HyStart."""
    k = c + C_ALGORITHM
    m[k + K_ROUND] = m[G_NOW]
    m[k + K_LAST_ACK] = m[G_NOW]
    m[k + K_END] = m[c + C_HIGH]
    m[k + K_RTT] = NEVER
    m[k + K_SAMPLES] = 0


@merged
def _cubic_increase(m: Cells, mf: FloatCells, c: int, n: int) -> None:
    """Grow by bytes in slow start, by the cube of time after that."""
    k = c + C_ALGORITHM
    mss = m[c + C_MSS]
    if m[c + C_CWND] < m[c + C_SSTHRESH]:
        has_hystart = m[m[c + C_TRANSPORT] + T_HYSTART] != 0
        if has_hystart and m[c + C_LAST_ACKED] > m[k + K_END]:
            _hystart_reset(m, c)
        m[c + C_CWND] = (m[c + C_CWND] + n * mss) & _32
        return
    if n == 0:
        return
    m[c + C_COUNT] = (m[c + C_COUNT] + n) & _32
    count = _cubic_count(m, mf, c)
    if m[c + C_COUNT] >= count:
        m[c + C_CWND] = (m[c + C_CWND] + mss) & _32
        m[c + C_COUNT] -= count


@compiled
def increase(m: Cells, mf: FloatCells, c: int, n: int) -> None:
    """Let the window grow for so many segments acknowledged."""
    kind = m[c + C_CONGESTION]
    cwnd, mss, threshold = m[c + C_CWND], m[c + C_MSS], m[c + C_SSTHRESH]
    if kind in (DCTCP, LINUX_RENO):
        if cwnd >= threshold:
            _linux_avoidance(m, c, n)
        elif n >= 1:
            m[c + C_CWND] = min((cwnd + n * mss) & _32, threshold)
        return
    if kind == NEWRENO:
        if cwnd < threshold and n >= 1:
            cwnd = (cwnd + mss) & _32
            n -= 1
        if cwnd >= threshold and n > 0:
            cwnd = (cwnd + int(max(1.0, float((mss * mss) & _32) / cwnd))) & _32
        m[c + C_CWND] = cwnd
        return
    if kind == CUBIC:
        _cubic_increase(m, mf, c, n)


@merged
def _cubic_threshold(m: Cells, c: int) -> int:
    """Note how large the window was, and take three tenths off."""
    k = c + C_ALGORITHM
    window = m[c + C_CWND] // m[c + C_MSS]
    if window < m[k + K_MOST]:
        m[k + K_MOST] = int((window * (1.0 + CUBIC_BETA)) / 2.0)
    else:
        m[k + K_MOST] = window
    m[k + K_EPOCH] = NEVER
    return max(int(window * CUBIC_BETA), 2) * m[c + C_MSS]


@compiled
def threshold_after(m: Cells, mf: FloatCells, c: int, flight: int) -> int:
    """The slow start threshold once the network is found congested."""
    kind, mss, cwnd = m[c + C_CONGESTION], m[c + C_MSS], m[c + C_CWND]
    if kind == DCTCP:
        return int((1.0 - mf[c + X_ALPHA] / 2.0) * cwnd)
    if kind == NEWRENO:
        return max(2 * mss, flight // 2)
    if kind == LINUX_RENO:
        return max(2 * mss, cwnd // 2)
    if kind == CUBIC:
        return _cubic_threshold(m, c)
    return m[c + C_SSTHRESH]


@merged
def _cubic_acked(m: Cells, c: int) -> None:  # noqa: C901
    """Take the round trip in, and look for the end of slow start."""
    k = c + C_ALGORITHM
    now, rtt = m[G_NOW], m[c + C_LAST_RTT]
    if m[k + K_EPOCH] != NEVER and now - m[k + K_EPOCH] < QUIET_AFTER_LOSS:
        return
    if m[k + K_DELAY_MIN] == NEVER or m[k + K_DELAY_MIN] > rtt:
        m[k + K_DELAY_MIN] = rtt
    cwnd = m[c + C_CWND]
    looks = m[m[c + C_TRANSPORT] + T_HYSTART] != 0 and m[k + K_FOUND] == 0
    if not looks or cwnd > m[c + C_SSTHRESH]:
        return
    if cwnd < HYSTART_WINDOW * m[c + C_MSS]:
        return
    least = m[k + K_DELAY_MIN]
    if m[k + K_LAST_ACK] == NEVER or now - m[k + K_LAST_ACK] <= HYSTART_GAP:
        m[k + K_LAST_ACK] = now
        if m[k + K_ROUND] != NEVER and now - m[k + K_ROUND] > least:
            m[k + K_FOUND] = 1
    if m[k + K_SAMPLES] < HYSTART_SAMPLES:
        if m[k + K_RTT] == NEVER or m[k + K_RTT] > rtt:
            m[k + K_RTT] = rtt
        m[k + K_SAMPLES] += 1
    elif m[k + K_RTT] > least + min(max(least, HYSTART_LEAST), HYSTART_MOST):
        m[k + K_FOUND] = 1
    if m[k + K_FOUND] != 0:
        m[c + C_SSTHRESH] = cwnd


@compiled
def segments_acked(m: Cells, mf: FloatCells, c: int, n: int) -> None:
    """Take in that so many segments were acknowledged."""
    kind = m[c + C_CONGESTION]
    if kind == DCTCP:
        n_bytes = n * m[c + C_MSS]
        m[c + C_ALPHA_TOTAL] = (m[c + C_ALPHA_TOTAL] + n_bytes) & _32
        if m[c + C_ECN] == ECN_ECE:
            m[c + C_ALPHA_MARKED] = (m[c + C_ALPHA_MARKED] + n_bytes) & _32
        if m[c + C_ALPHA_SET] == 0:
            m[c + C_ALPHA_SET] = 1
            m[c + C_ALPHA_NEXT] = m[c + C_NXT]
        if m[c + C_LAST_ACKED] >= m[c + C_ALPHA_NEXT]:
            share = 0.0
            if m[c + C_ALPHA_TOTAL] > 0:
                share = m[c + C_ALPHA_MARKED] * 1.0 / m[c + C_ALPHA_TOTAL]
            mf[c + X_ALPHA] = (1.0 - 0.0625) * mf[c + X_ALPHA] + 0.0625 * share
            m[c + C_ALPHA_NEXT] = m[c + C_NXT]
            m[c + C_ALPHA_TOTAL] = 0
            m[c + C_ALPHA_MARKED] = 0
    elif kind == CUBIC:
        _cubic_acked(m, c)


@compiled
def state_set(m: Cells, c: int, state: int) -> None:
    """Take in that the state of the sender is a new one."""
    if m[c + C_CONGESTION] == CUBIC and state == CA_LOSS:
        k = c + C_ALGORITHM
        m[k + K_MOST] = 0
        m[k + K_ORIGIN] = 0
        m[k + X_K] = 0
        m[k + K_DELAY_MIN] = NEVER
        m[k + K_FOUND] = 0
        _hystart_reset(m, c)
