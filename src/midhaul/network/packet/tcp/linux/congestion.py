"""Reno and Cubic as Linux has them: windows of segments, jiffies, scaled integers.

Cubic: RFC 9438 and Ha et al., *Cubic* (2008); HyStart: Ha and Rhee, *Taming the
elephants* (2008); Reno: RFC 5681. Numbered differences from them:

1. C is 410/1024 and beta 717/1024. Time since the loss is whole jiffies of 4 ms, then
   1/1024 s; K is the floor of its cube root.
2. The window of the cube is computed anew at most once in a jiffy, and every 1/32 s
   where the window did not change.
3. Friendliness to Reno counts segments, 15/8 of the window for each one more.
4. A window grows by half of what is acknowledged at most, and by a twentieth at least
   before the first loss.
5. HyStart ends slow start, from 16 segments on, when ACKs that are 2 ms apart at most
   last for half of the least round trip and half a millisecond, or the least of 8
   round trips is above the least ever by an eighth (4 to 16 ms). Round trips in the
   second after a loss do not count.
6. Left out: how Cubic shifts its time when an application was idle, as none is here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    BBR,
    C_ALGORITHM,
    C_CONG,
    C_CONGESTION,
    C_COUNT,
    C_LINUX,
    C_PACING,
    C_SENT_I,
    C_TRANSPORT,
    C_UNA_I,
    CA_LOSS,
    CUBIC,
    DCTCP,
    G_NOW,
    T_HYSTART,
    U_IS_LIMITED,
    U_MOST_OUT,
    U_THRESHOLD,
    U_WINDOW,
    compiled,
    merged,
)
from midhaul.network.packet.tcp.linux.bbr import begin_bbr, note_loss, save_window
from midhaul.network.packet.tcp.linux.dctcp import begin_marks, shrunk_by_marks

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

JIFFY = 4_000_000
"""Of kernels with 250 ticks in a second, which most distributions ship."""
NO_THRESHOLD = 0x7FFFFFFF

# cells of Cubic, from C_ALGORITHM
(
    Q_MOST,
    Q_ORIGIN,
    Q_K,
    Q_LEAST_RTT,
    Q_EPOCH,
    Q_ACKS,
    Q_RENO,
    Q_EVERY,
    Q_LAST_WINDOW,
    Q_LAST_TIME,
    Q_HAS_FOUND,
    Q_ROUND_T,
    Q_LAST_ACK_T,
    Q_END_I,
    Q_RTT,
    Q_SAMPLES,
) = range(16)
BETA, SCALE = 717, 1024
CUBE = 410
"""C as a 1024th."""
ROOT = (1 << 40) // CUBE
FRIENDLY = 15
"""Eighths of a window that Reno with this beta needs for a segment more."""
MOST_AWAY = 250_000
"""1024ths of a second from K on which the cube is cut, to stay in 64 bits."""
QUIET_AFTER_LOSS = 250
HYSTART_WINDOW, HYSTART_SAMPLES, HYSTART_GAP = 16, 8, 2_000_000
HYSTART_LEAST, HYSTART_MOST, HYSTART_SLACK = 4_000_000, 16_000_000, 1_000_000
UNKNOWN = (1 << 62) - 1


@compiled
def is_limited(m: Cells, c: int) -> bool:
    """Whether it is the window that bounds what is under way."""
    u = c + C_LINUX
    if m[u + U_IS_LIMITED] != 0:
        return True
    window = m[u + U_WINDOW]
    return window < m[u + U_THRESHOLD] and window < 2 * m[u + U_MOST_OUT]


@compiled
def cube_root(x: int) -> int:
    """The floor of a cube root."""
    root = int(math.pow(float(x), 1.0 / 3.0))
    while root * root * root > x:
        root -= 1
    while (root + 1) * (root + 1) * (root + 1) <= x:
        root += 1
    return root


@compiled
def begin_round(m: Cells, c: int) -> None:
    """Begin a round of HyStart."""
    q = c + C_ALGORITHM
    m[q + Q_ROUND_T] = m[G_NOW]
    m[q + Q_LAST_ACK_T] = m[G_NOW]
    m[q + Q_END_I] = m[c + C_SENT_I]
    m[q + Q_RTT] = UNKNOWN
    m[q + Q_SAMPLES] = 0


@compiled
def forget(m: Cells, c: int) -> None:
    """Let an algorithm begin anew, at first and after a time-out."""
    if m[c + C_CONGESTION] == BBR:
        if m[c + C_CONG] == CA_LOSS:
            note_loss(m, c, CA_LOSS)
        else:
            begin_bbr(m, c)
    if m[c + C_CONGESTION] == DCTCP and m[c + C_CONG] != CA_LOSS:
        begin_marks(m, c)
    if m[c + C_CONGESTION] != CUBIC:
        return
    for i in range(Q_ROUND_T):
        m[c + C_ALGORITHM + i] = 0
    begin_round(m, c)


@compiled
def cube_every(m: Cells, c: int, window: int) -> int:
    """Segments to be acknowledged for one more, by the cube of time alone."""
    q = c + C_ALGORITHM
    jiffies = m[G_NOW] // JIFFY + 1 - m[q + Q_EPOCH]
    jiffies += (m[q + Q_LEAST_RTT] + JIFFY - 1) // JIFFY
    away = jiffies * JIFFY * SCALE // 1_000_000_000 - m[q + Q_K]
    side = min(abs(away), MOST_AWAY)
    change = (CUBE * side * side * side) >> 40
    target = m[q + Q_ORIGIN] + (change if away >= 0 else -change)
    every = window // (target - window) if target > window else 100 * window
    return min(every, 20) if m[q + Q_MOST] == 0 else every


@merged
def _cubic_every(m: Cells, c: int, window: int, n: int) -> int:
    """Segments to be acknowledged for one more."""
    q = c + C_ALGORITHM
    jiffy = m[G_NOW] // JIFFY + 1
    m[q + Q_ACKS] += n
    is_same = m[q + Q_LAST_WINDOW] == window
    if is_same and jiffy - m[q + Q_LAST_TIME] <= 7:  # noqa: PLR2004 - 1/32 s
        return m[q + Q_EVERY]
    if m[q + Q_EPOCH] == 0 or m[q + Q_LAST_TIME] != jiffy:
        m[q + Q_LAST_WINDOW] = window
        m[q + Q_LAST_TIME] = jiffy
        if m[q + Q_EPOCH] == 0:
            m[q + Q_EPOCH] = jiffy
            m[q + Q_ACKS] = n
            m[q + Q_RENO] = window
            m[q + Q_ORIGIN] = max(m[q + Q_MOST], window)
            m[q + Q_K] = cube_root(ROOT * (m[q + Q_ORIGIN] - window))
        m[q + Q_EVERY] = cube_every(m, c, window)
    step = window * FRIENDLY >> 3
    if step > 0 and m[q + Q_ACKS] > step:
        more = (m[q + Q_ACKS] - 1) // step
        m[q + Q_ACKS] -= more * step
        m[q + Q_RENO] += more
    if m[q + Q_RENO] > window:
        m[q + Q_EVERY] = min(m[q + Q_EVERY], window // (m[q + Q_RENO] - window))
    m[q + Q_EVERY] = max(m[q + Q_EVERY], 2)
    return m[q + Q_EVERY]


@compiled
def grow(m: Cells, c: int, n: int) -> None:
    """Let the window grow for so many segments that have arrived."""
    u = c + C_LINUX
    if not is_limited(m, c):
        return
    window, threshold = m[u + U_WINDOW], m[u + U_THRESHOLD]
    if window < threshold:
        larger = min(window + n, threshold)
        n -= larger - window
        window = larger
        m[u + U_WINDOW] = window
        if n == 0:
            return
    every = window
    if m[c + C_CONGESTION] == CUBIC:
        every = _cubic_every(m, c, window, n)
    if m[c + C_COUNT] >= every:
        m[c + C_COUNT] = 0
        window += 1
    m[c + C_COUNT] += n
    if m[c + C_COUNT] >= every:
        more = m[c + C_COUNT] // every
        m[c + C_COUNT] -= more * every
        window += more
    m[u + U_WINDOW] = window


@compiled
def shrunk(m: Cells, c: int) -> int:
    """The threshold once something is lost."""
    window = m[c + C_LINUX + U_WINDOW]
    if m[c + C_CONGESTION] == BBR:
        save_window(m, c)
        return m[c + C_LINUX + U_THRESHOLD]
    if m[c + C_CONGESTION] == DCTCP:
        return shrunk_by_marks(m, c)
    if m[c + C_CONGESTION] != CUBIC:
        return max(window >> 1, 2)
    q = c + C_ALGORITHM
    m[q + Q_EPOCH] = 0
    most = window
    if window < m[q + Q_MOST]:
        most = window * (SCALE + BETA) // (2 * SCALE)
    m[q + Q_MOST] = most
    return max(window * BETA // SCALE, 2)


@merged
def _look_for_queue(m: Cells, c: int, rtt: int) -> None:
    """End slow start at the first signs of a queue."""
    q, u, now = c + C_ALGORITHM, c + C_LINUX, m[G_NOW]
    if m[c + C_UNA_I] > m[q + Q_END_I]:
        begin_round(m, c)
    if m[u + U_WINDOW] < HYSTART_WINDOW:
        return
    least = m[q + Q_LEAST_RTT]
    if now - m[q + Q_LAST_ACK_T] <= HYSTART_GAP:
        m[q + Q_LAST_ACK_T] = now
        train = least + HYSTART_SLACK
        if m[c + C_PACING] == 0:
            train >>= 1
        if now - m[q + Q_ROUND_T] > train:
            m[q + Q_HAS_FOUND] = 1
    m[q + Q_RTT] = min(m[q + Q_RTT], rtt)
    if m[q + Q_SAMPLES] < HYSTART_SAMPLES:
        m[q + Q_SAMPLES] += 1
    else:
        slack = min(max(least >> 3, HYSTART_LEAST), HYSTART_MOST)
        if m[q + Q_RTT] > least + slack:
            m[q + Q_HAS_FOUND] = 1
    if m[q + Q_HAS_FOUND] != 0:
        m[u + U_THRESHOLD] = m[u + U_WINDOW]


@compiled
def note_trip(m: Cells, c: int, rtt: int) -> None:
    """Take in the round trip of the newest segment that has arrived."""
    if m[c + C_CONGESTION] != CUBIC:
        return
    q, u = c + C_ALGORITHM, c + C_LINUX
    epoch = m[q + Q_EPOCH]
    if epoch != 0 and m[G_NOW] // JIFFY + 1 - epoch < QUIET_AFTER_LOSS:
        return
    if m[q + Q_LEAST_RTT] == 0 or m[q + Q_LEAST_RTT] > rtt:
        m[q + Q_LEAST_RTT] = rtt
    looks = m[m[c + C_TRANSPORT] + T_HYSTART] != 0 and m[q + Q_HAS_FOUND] == 0
    if looks and m[u + U_WINDOW] < m[u + U_THRESHOLD]:
        _look_for_queue(m, c, rtt)
