"""BBR, version 1, as ns-3.37 has it (draft-cardwell-iccrg-bbr-congestion-control-00).

Numbered differences from the draft:

1. The round trip is the smoothed one of the retransmission timer, of whole
   milliseconds.
2. The gain of Startup is 2.89; the pacing rate has no margin of 1 %.
3. The window for aggregated ACKs counts bytes over epochs that end after 4096 bytes,
   and their length is cut to whole seconds.
4. The pacing is that of ns-3's sockets: the first window is not paced.
5. The phase of ProbeBW that a sender begins with is drawn from the same stream of
   random numbers by each: the first of all senders is the same.
6. When recovery ends the window is set to the threshold, before BBR sets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    C_ALGORITHM,
    C_CONG,
    C_CWND,
    C_FLIGHT,
    C_LAST_RTT,
    C_MIN_RTT,
    C_MSS,
    C_PACE_RATE,
    C_PACING,
    C_SSTHRESH,
    C_TRANSPORT,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    G_DRAWS,
    G_N_DRAWS,
    G_NOW,
    T_WINDOW,
    compiled,
    inlined,
    merged,
)
from midhaul.network.packet.tcp.rate import (
    N_R,
    R_DELIVERED,
    RS_ACKED,
    RS_DELIVERED,
    RS_IN_FLIGHT,
    RS_LIMITED,
    RS_LOSS,
    RS_PRIOR,
    RS_RATE,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells

# cells after those of the rate; three are floats
(
    B_MODE,
    X_PACE_GAIN,
    X_WINDOW_GAIN,
    B_IS_FULL,
    B_LEAST_WINDOW,
    B_ROUNDS,
    B_ROUND_START,
    B_NEXT_ROUND,
    B_PROBE_DONE,
    B_PROBE_ROUND,
    B_CONSERVES,
    B_PRIOR_WINDOW,
    B_IDLE,
    B_TARGET,
    B_FULL_RATE,
    B_FULL_COUNT,
    B_RTT,
    B_RTT_STAMP,
    B_CYCLE_STAMP,
    B_CYCLE,
    B_RTT_EXPIRED,
    B_BEGUN,
    B_APP_LIMITED,
    B_EXTRA,
    B_EXTRA_1,
    B_EXTRA_ROUNDS,
    B_EXTRA_INDEX,
    B_EPOCH,
    B_EPOCH_ACKED,
    B_HAS_RTT,
    B_ZERO,
    B_BEST,
    B_BEST_T,
    B_SECOND,
    B_SECOND_T,
    B_THIRD,
    B_THIRD_T,
    B_DRAWN,
) = range(N_R, N_R + 38)

STARTUP, DRAIN, PROBE_BW, PROBE_RTT = range(4)
HIGH_GAIN = 2.89
FILTER_ROUNDS = 10
RTT_WINDOW_NS = 10_000_000_000
PROBE_RTT_NS = 200_000_000
CYCLE = 8
EPOCH_BYTES = 4096
MOST_RATE = 1_000_000_000_000_000
FOREVER = (1 << 63) - 1
_32 = 0xFFFFFFFF


@inlined
def _gain_of(phase: int) -> float:
    if phase == 0:
        return 1.25
    return 0.75 if phase == 1 else 1.0


@compiled
def _at_least(a: int, b: int) -> bool:
    """Whether a rate is no less than another; none is 0."""
    return a != 0 and b != 0 and a >= b


@compiled
def _note_rate(m: Cells, b: int, rate: int) -> None:
    """Take a rate into the windowed maximum."""
    now = m[b + B_ROUNDS]
    if (
        m[b + B_BEST] == m[b + B_ZERO]
        or _at_least(rate, m[b + B_BEST])
        or now - m[b + B_THIRD_T] > FILTER_ROUNDS
    ):
        for i in range(3):
            m[b + B_BEST + 2 * i] = rate
            m[b + B_BEST_T + 2 * i] = now
        return
    if _at_least(rate, m[b + B_SECOND]):
        m[b + B_SECOND] = rate
        m[b + B_SECOND_T] = now
        m[b + B_THIRD] = rate
        m[b + B_THIRD_T] = now
    elif _at_least(rate, m[b + B_THIRD]):
        m[b + B_THIRD] = rate
        m[b + B_THIRD_T] = now
    if now - m[b + B_BEST_T] > FILTER_ROUNDS:
        m[b + B_BEST], m[b + B_BEST_T] = m[b + B_SECOND], m[b + B_SECOND_T]
        m[b + B_SECOND], m[b + B_SECOND_T] = m[b + B_THIRD], m[b + B_THIRD_T]
        m[b + B_THIRD], m[b + B_THIRD_T] = rate, now
        if now - m[b + B_BEST_T] > FILTER_ROUNDS:
            m[b + B_BEST], m[b + B_BEST_T] = m[b + B_SECOND], m[b + B_SECOND_T]
            m[b + B_SECOND], m[b + B_SECOND_T] = m[b + B_THIRD], m[b + B_THIRD_T]
        return
    if (
        m[b + B_SECOND] == m[b + B_BEST]
        and now - m[b + B_SECOND_T] > FILTER_ROUNDS >> 2
    ):
        m[b + B_SECOND], m[b + B_SECOND_T] = rate, now
        m[b + B_THIRD], m[b + B_THIRD_T] = rate, now
        return
    if (
        m[b + B_THIRD] == m[b + B_SECOND]
        and now - m[b + B_THIRD_T] > FILTER_ROUNDS >> 1
    ):
        m[b + B_THIRD], m[b + B_THIRD_T] = rate, now


@compiled
def _begin_pacing(m: Cells, mf: FloatCells, c: int, b: int) -> None:
    """Pace at a window for each round trip of whole milliseconds."""
    m[c + C_PACING] = 1
    rtt_ms = 1
    if m[c + C_MIN_RTT] != FOREVER:
        rtt_ms = max(m[c + C_MIN_RTT] // 1_000_000, 1)
        m[b + B_HAS_RTT] = 1
    nominal = int(((m[c + C_CWND] * 8) & _32) / (rtt_ms / 1e3))
    m[c + C_PACE_RATE] = int(mf[b + X_PACE_GAIN] * nominal)
    m[b + B_ZERO] = nominal
    for i in range(3):
        m[b + B_BEST + 2 * i] = nominal
        m[b + B_BEST_T + 2 * i] = 0


@compiled
def _pace(m: Cells, mf: FloatCells, c: int, b: int, gain: float) -> None:
    """Set the pacing rate."""
    rate = min(int(gain * m[b + B_BEST]), MOST_RATE)
    if m[b + B_HAS_RTT] == 0 and m[c + C_MIN_RTT] != FOREVER:
        _begin_pacing(m, mf, c, b)
    if m[b + B_IS_FULL] != 0 or rate > m[c + C_PACE_RATE]:
        m[c + C_PACE_RATE] = rate


@compiled
def _amount(m: Cells, c: int, b: int, gain: float) -> int:
    """Bytes that may be under way at this gain."""
    mss = m[c + C_MSS]
    if m[b + B_RTT] == FOREVER:
        return m[m[c + C_TRANSPORT] + T_WINDOW] * mss
    product = (m[b + B_RTT] / 1e9) * m[b + B_BEST] / 8.0
    if m[b + B_MODE] == PROBE_BW and m[b + B_CYCLE] == 0:
        return int(gain * product + 3.0 * mss + 2 * mss) & _32
    return int(gain * product + 3.0 * mss) & _32


@compiled
def _next_phase(m: Cells, mf: FloatCells, b: int) -> None:
    """Go to the next phase of ProbeBW."""
    m[b + B_CYCLE_STAMP] = m[G_NOW]
    m[b + B_CYCLE] = (m[b + B_CYCLE] + 1) % CYCLE
    mf[b + X_PACE_GAIN] = _gain_of(m[b + B_CYCLE])


@compiled
def _enter_probe_bw(m: Cells, mf: FloatCells, b: int) -> None:
    """Cruise, beginning with a phase by chance."""
    m[b + B_MODE] = PROBE_BW
    mf[b + X_PACE_GAIN] = 1.0
    mf[b + X_WINDOW_GAIN] = 2.0
    drawn = m[m[G_DRAWS] + m[b + B_DRAWN] % m[G_N_DRAWS]]
    m[b + B_DRAWN] += 1
    m[b + B_CYCLE] = CYCLE - 1 - drawn
    _next_phase(m, mf, b)


@compiled
def _enter_startup(m: Cells, mf: FloatCells, b: int) -> None:
    m[b + B_MODE] = STARTUP
    mf[b + X_PACE_GAIN] = HIGH_GAIN
    mf[b + X_WINDOW_GAIN] = HIGH_GAIN


@compiled
def _save_window(m: Cells, c: int, b: int) -> None:
    if m[c + C_CONG] != CA_RECOVERY and m[b + B_MODE] != PROBE_RTT:
        m[b + B_PRIOR_WINDOW] = m[c + C_CWND]
    else:
        m[b + B_PRIOR_WINDOW] = max(m[b + B_PRIOR_WINDOW], m[c + C_CWND])


@compiled
def _leave_probe_rtt(m: Cells, mf: FloatCells, c: int, b: int) -> None:
    """The least round trip is fresh: go on as before."""
    m[b + B_RTT_STAMP] = m[G_NOW]
    m[c + C_CWND] = max(m[b + B_PRIOR_WINDOW], m[c + C_CWND])
    if m[b + B_IS_FULL] != 0:
        _enter_probe_bw(m, mf, b)
    else:
        _enter_startup(m, mf, b)


@merged
def _count_extra(m: Cells, c: int, b: int) -> None:
    """Take in how much more was acknowledged than the rate gives."""
    r = c + C_ALGORITHM
    acked = m[r + RS_ACKED]
    if acked <= 0 or m[r + RS_DELIVERED] < 0:
        return
    if m[b + B_ROUND_START] != 0:
        m[b + B_EXTRA_ROUNDS] = min(31, m[b + B_EXTRA_ROUNDS] + 1)
        if m[b + B_EXTRA_ROUNDS] >= 5:  # noqa: PLR2004
            m[b + B_EXTRA_ROUNDS] = 0
            m[b + B_EXTRA_INDEX] = 1 - m[b + B_EXTRA_INDEX]
            m[b + B_EXTRA + m[b + B_EXTRA_INDEX]] = 0
    seconds = int(m[G_NOW] / 1e9 - m[b + B_EPOCH] / 1e9)
    expected = (m[b + B_BEST] * seconds // 8) & _32
    epoch = m[b + B_EPOCH_ACKED]
    if epoch <= expected or epoch + acked >= EPOCH_BYTES:
        epoch = 0
        m[b + B_EPOCH] = m[G_NOW]
        expected = 0
    epoch += acked
    m[b + B_EPOCH_ACKED] = epoch
    extra = min((epoch - expected) & _32, m[c + C_CWND])
    at = b + B_EXTRA + m[b + B_EXTRA_INDEX]
    m[at] = max(m[at], extra)


@merged
def _is_phase_over(m: Cells, mf: FloatCells, c: int, b: int) -> bool:
    """Whether ProbeBW goes to its next phase."""
    r = c + C_ALGORITHM
    is_long = m[G_NOW] - m[b + B_CYCLE_STAMP] > m[b + B_RTT]
    gain = mf[b + X_PACE_GAIN]
    if gain == 1.0:
        return is_long
    if gain > 1.0:
        return is_long and (
            m[r + RS_LOSS] > 0 or m[r + RS_IN_FLIGHT] >= _amount(m, c, b, gain)
        )
    return is_long or m[r + RS_IN_FLIGHT] <= _amount(m, c, b, 1.0)


@merged
def _probe_rtt(m: Cells, mf: FloatCells, c: int, b: int) -> None:
    """Keep the least round trip, and look for it anew when it is old."""
    r, now, rtt = c + C_ALGORITHM, m[G_NOW], m[c + C_LAST_RTT]
    expired = now > m[b + B_RTT_STAMP] + RTT_WINDOW_NS
    m[b + B_RTT_EXPIRED] = 1 if expired else 0
    if rtt <= m[b + B_RTT] or expired:
        m[b + B_RTT] = rtt
        m[b + B_RTT_STAMP] = now
    if m[b + B_MODE] != PROBE_RTT and expired and m[b + B_IDLE] == 0:
        m[b + B_MODE] = PROBE_RTT
        mf[b + X_PACE_GAIN] = 1.0
        mf[b + X_WINDOW_GAIN] = 1.0
        _save_window(m, c, b)
        m[b + B_PROBE_DONE] = 0
    if m[b + B_MODE] == PROBE_RTT:
        m[b + B_APP_LIMITED] = max((m[r + R_DELIVERED] + m[c + C_FLIGHT]) & _32, 1)
        if m[b + B_PROBE_DONE] == 0:
            if m[c + C_FLIGHT] <= m[b + B_LEAST_WINDOW]:
                m[b + B_PROBE_DONE] = now + PROBE_RTT_NS
                m[b + B_PROBE_ROUND] = 0
                m[b + B_NEXT_ROUND] = m[r + R_DELIVERED]
        else:
            if m[b + B_ROUND_START] != 0:
                m[b + B_PROBE_ROUND] = 1
            if m[b + B_PROBE_ROUND] != 0 and now > m[b + B_PROBE_DONE]:
                _leave_probe_rtt(m, mf, c, b)
    if m[r + RS_DELIVERED] != 0:
        m[b + B_IDLE] = 0


@merged
def _model(m: Cells, mf: FloatCells, c: int, b: int) -> None:
    """Update rate, round trip and mode."""
    r = c + C_ALGORITHM
    rate, is_limited = m[r + RS_RATE], m[r + RS_LIMITED] != 0
    if rate != 0:
        m[b + B_ROUND_START] = 0
        if m[r + RS_PRIOR] >= m[b + B_NEXT_ROUND]:
            m[b + B_NEXT_ROUND] = m[r + R_DELIVERED]
            m[b + B_ROUNDS] += 1
            m[b + B_ROUND_START] = 1
            m[b + B_CONSERVES] = 0
        if rate >= m[b + B_BEST] or not is_limited:
            _note_rate(m, b, rate)
    _count_extra(m, c, b)
    if m[b + B_MODE] == PROBE_BW and _is_phase_over(m, mf, c, b):
        _next_phase(m, mf, b)
    if m[b + B_IS_FULL] == 0 and m[b + B_ROUND_START] != 0 and not is_limited:
        if m[b + B_BEST] >= m[b + B_FULL_RATE] * 1.25:
            m[b + B_FULL_RATE] = m[b + B_BEST]
            m[b + B_FULL_COUNT] = 0
        else:
            m[b + B_FULL_COUNT] += 1
            if m[b + B_FULL_COUNT] >= 3:  # noqa: PLR2004
                m[b + B_IS_FULL] = 1
    if m[b + B_MODE] == STARTUP and m[b + B_IS_FULL] != 0:
        m[b + B_MODE] = DRAIN
        mf[b + X_PACE_GAIN] = 1.0 / HIGH_GAIN
        mf[b + X_WINDOW_GAIN] = HIGH_GAIN
        m[c + C_SSTHRESH] = _amount(m, c, b, 1.0)
    if m[b + B_MODE] == DRAIN and m[c + C_FLIGHT] <= _amount(m, c, b, 1.0):
        _enter_probe_bw(m, mf, b)
    _probe_rtt(m, mf, c, b)


@merged
def _window(m: Cells, mf: FloatCells, c: int, b: int) -> None:
    """Set the window."""
    r = c + C_ALGORITHM
    acked, least = m[r + RS_ACKED], m[b + B_LEAST_WINDOW]
    while acked != 0:  # left by break, once
        if m[c + C_CONG] == CA_RECOVERY:
            if m[r + RS_LOSS] > 0:
                m[c + C_CWND] = max(m[c + C_CWND] - m[r + RS_LOSS], m[c + C_MSS])
            if m[b + B_CONSERVES] != 0:
                m[c + C_CWND] = max(m[c + C_CWND], m[c + C_FLIGHT] + acked)
                break
        extra = 0
        if m[b + B_IS_FULL] != 0:
            extra = max(m[b + B_EXTRA], m[b + B_EXTRA_1])
            extra = min(extra, (m[b + B_BEST] // 80) & _32)
        target = (_amount(m, c, b, mf[b + X_WINDOW_GAIN]) + extra) & _32
        m[b + B_TARGET] = target
        cwnd = m[c + C_CWND]
        first = m[m[c + C_TRANSPORT] + T_WINDOW] * m[c + C_MSS]
        if m[b + B_IS_FULL] != 0:
            cwnd = min((cwnd + acked) & _32, target)
        elif cwnd < target or m[r + R_DELIVERED] < first:
            cwnd = (cwnd + acked) & _32
        m[c + C_CWND] = max(cwnd, least)
        break
    if m[b + B_MODE] == PROBE_RTT:
        m[c + C_CWND] = min(m[c + C_CWND], least)


@compiled
def bbr_control(m: Cells, mf: FloatCells, c: int) -> None:
    """Take a sample of the rate in and set pacing rate and window."""
    b = c + C_ALGORITHM
    _model(m, mf, c, b)
    _pace(m, mf, c, b, mf[b + X_PACE_GAIN])
    _window(m, mf, c, b)


@compiled
def bbr_state_set(m: Cells, mf: FloatCells, c: int, state: int, delivered: int) -> None:
    """Take in that the state of the sender is going to be a new one."""
    b = c + C_ALGORITHM
    if state == CA_OPEN and m[b + B_BEGUN] == 0:
        m[b + B_RTT] = m[c + C_LAST_RTT]
        m[b + B_RTT_STAMP] = m[G_NOW]
        m[b + B_PRIOR_WINDOW] = m[c + C_CWND]
        m[c + C_SSTHRESH] = _32
        m[b + B_TARGET] = m[c + C_CWND]
        m[b + B_LEAST_WINDOW] = 4 * m[c + C_MSS]
        _enter_startup(m, mf, b)
        _begin_pacing(m, mf, c, b)
        m[b + B_EPOCH] = m[G_NOW]
        m[b + B_BEGUN] = 1
    elif state == CA_LOSS:
        _save_window(m, c, b)
        m[b + B_ROUND_START] = 1
    elif state == CA_RECOVERY:
        _save_window(m, c, b)
        m[c + C_CWND] = (m[c + C_FLIGHT] + max(delivered, m[c + C_MSS])) & _32
        m[b + B_CONSERVES] = 1


@compiled
def bbr_recovered(m: Cells, c: int) -> None:
    """Recovery is over: the window is what it was before."""
    b = c + C_ALGORITHM
    m[b + B_CONSERVES] = 0
    m[c + C_CWND] = max(m[b + B_PRIOR_WINDOW], m[c + C_CWND])


@compiled
def bbr_save(m: Cells, c: int) -> None:
    """Remember the window, as the network is found congested."""
    _save_window(m, c, c + C_ALGORITHM)


@compiled
def bbr_restart(m: Cells, mf: FloatCells, c: int) -> None:
    """Something is sent where nothing was under way."""
    b = c + C_ALGORITHM
    if m[b + B_APP_LIMITED] == 0:
        return
    m[b + B_IDLE] = 1
    m[b + B_EPOCH] = m[G_NOW]
    m[b + B_EPOCH_ACKED] = 0
    if m[b + B_MODE] == PROBE_BW:
        _pace(m, mf, c, b, 1.0)
    elif m[b + B_MODE] == PROBE_RTT:  # noqa: SIM102
        if m[b + B_PROBE_ROUND] != 0 and m[G_NOW] > m[b + B_PROBE_DONE]:
            _leave_probe_rtt(m, mf, c, b)
