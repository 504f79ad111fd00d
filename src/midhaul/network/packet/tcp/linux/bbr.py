"""BBR, version 1, as Linux has it, with its samples of the rate.

Cardwell et al., *BBR: congestion-based congestion control* (2016), and
draft-cheng-iccrg-delivery-rate-estimation. Windows are segments, rates segments in a
microsecond in 24 binary places, gains 256ths. Numbered differences from them:

1. The rate is a maximum over 10 round trips, and paces with a margin of 1 %.
2. Windows have room for 3 bursts (what is sent in a millisecond, 2 segments at least),
   are even, and have 2 more while ProbeBW probes.
3. Aggregated ACKs widen the window by the most that came above the rate in 5 to 10
   round trips, 100 ms of it at most.
4. In recovery what arrived may be sent for a round trip; then the window is as before.
5. The phase of ProbeBW that a sender begins with is drawn by its flow and the time.
6. A policer is suspected where a fifth of what arrived was lost in 4 to 16 round trips:
   two such times in a row with rates within an eighth of each other, or 4 kbit/s, give
   a rate that is kept for 48 round trips of ProbeBW, without probing.
7. What is sent before the first ACK counts as limited by the application.
8. Left out: restarts after idling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.tcp.arena import (
    C_ALGORITHM,
    C_CONG,
    C_FLOW,
    C_LINUX,
    C_MSS,
    C_PACE_RATE,
    C_PACING,
    C_TRANSPORT,
    CA_RECOVERY,
    G_NOW,
    G_SEED,
    T_WINDOW,
    U_DELIVERED,
    U_LOST_EVER,
    U_MIN_RTT,
    U_NEWEST,
    U_NEXT_T,
    U_SRTT,
    U_THRESHOLD,
    U_WINDOW,
    compiled,
    inlined,
    merged,
)
from midhaul.network.packet.tcp.random import mixed
from midhaul.network.packet.tcp.rate import (
    S_DELIVERED,
    S_DELIVERED_T,
    S_FIRST_SENT,
    S_LIMITED,
    S_SENT,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

N_B = 47
(
    B_DELIVERED,
    B_DELIVERED_T,
    B_FIRST_SENT,
    # of the ACK that is taken in
    B_PRIOR,
    B_PRIOR_T,
    B_SEND,
    B_SENT_I,
    B_FLIGHT,
    B_RATE,
    B_IS_LIMITED,
    # the model
    B_LIMITED,
    B_MODE,
    B_PACE_GAIN,
    B_RTT,
    B_RTT_T,
    B_DONE_T,
    B_HAS_ROUND,
    B_ROUNDS,
    B_NEXT_ROUND,
    B_BEGINS_ROUND,
    B_CYCLE,
    B_CYCLE_T,
    B_IS_FULL,
    B_FULL_RATE,
    B_FULL_COUNT,
    B_STATE,
    B_CONSERVES,
    B_PRIOR_WINDOW,
    B_EXTRA,
    _B_EXTRA_1,
    B_EXTRA_WHICH,
    B_EXTRA_ROUNDS,
    B_EPOCH_T,
    B_EPOCH,
    # the most of 10 rounds: three rates, and the rounds they are of
    B_MOST,
    _B_MOST_1,
    _B_MOST_2,
    B_MOST_AT,
    _B_MOST_AT_1,
    _B_MOST_AT_2,
    # the policer: its rate, whether that is kept to, and a sample of it
    B_POLICED,
    B_KEEPS,
    B_SAMPLES,
    B_SAMPLE_ROUNDS,
    B_SAMPLE_MS,
    B_SAMPLE_DELIVERED,
    B_SAMPLE_LOST,
) = range(N_B)

STARTUP, DRAIN, PROBE_BW, PROBE_RTT = range(4)
UNIT, HIGH_GAIN, DRAIN_GAIN, WINDOW_GAIN = 256, 739, 88, 512
FASTER, SLOWER = 320, 192
BITS, PHASES, FILTER_ROUNDS, EXTRA_ROUNDS = 24, 8, 10, 5
LEAST_WINDOW = 4
RTT_NS, PROBE_NS, MOST_EXTRA_US = 10_000_000_000, 200_000_000, 100_000
BURST, LEAST_BURST, SLOW_BPS = 1024, 2, 1_200_000
MOST_BURST_BYTES = 65_215
SAMPLE_ROUNDS, MOST_SAMPLE_ROUNDS, KEPT_ROUNDS = 4, 16, 48
LOST_SHARE = 50
"""What is lost of a policed flow at least, as a 256th of what arrives."""
ALIKE, ALIKE_BYTES = 8, 500
"""Two rates of a policer differ by an 8th, or by so many bytes in a second, at most."""


@compiled
def rate_left(m: Cells, c: int, at: int, is_first: bool) -> None:  # noqa: FBT001
    """Note the rate when a segment leaves; ``is_first``: nothing is under way."""
    b = c + C_ALGORITHM
    if is_first:
        m[b + B_FIRST_SENT] = m[G_NOW]
        m[b + B_DELIVERED_T] = m[G_NOW]
    m[at + S_FIRST_SENT] = m[b + B_FIRST_SENT]
    m[at + S_DELIVERED_T] = m[b + B_DELIVERED_T]
    m[at + S_DELIVERED] = m[b + B_DELIVERED]
    m[at + S_LIMITED] = m[b + B_LIMITED]


@compiled
def rate_arrived(m: Cells, c: int, at: int, i: int) -> None:
    """Let the newest segment that an ACK is for give the sample."""
    b = c + C_ALGORITHM
    sent = m[at + S_SENT]
    first = m[b + B_FIRST_SENT]
    is_newer = sent > first or (sent == first and i > m[b + B_SENT_I])
    if m[b + B_PRIOR_T] == 0 or is_newer:
        m[b + B_PRIOR] = m[at + S_DELIVERED]
        m[b + B_PRIOR_T] = m[at + S_DELIVERED_T]
        m[b + B_IS_LIMITED] = m[at + S_LIMITED]
        m[b + B_SENT_I] = i
        m[b + B_FIRST_SENT] = sent
        m[b + B_SEND] = sent - m[at + S_FIRST_SENT]


@inlined
def _bytes_per_s(m: Cells, c: int, rate: int, gain: int) -> int:
    """Bytes in a second of a rate at a gain, less the margin."""
    return ((rate * m[c + C_MSS] * gain >> 8) * 990_000) >> BITS


@compiled
def set_pace(m: Cells, c: int, rate: int, gain: int) -> None:
    """Set the pacing rate; it does not fall before the rate is known."""
    bits = 8 * _bytes_per_s(m, c, rate, gain)
    if m[c + C_ALGORITHM + B_IS_FULL] != 0 or bits > m[c + C_PACE_RATE]:
        m[c + C_PACE_RATE] = bits


@compiled
def begin_bbr(m: Cells, c: int) -> None:
    """Begin, with the round trip of the handshake."""
    b, u, now = c + C_ALGORITHM, c + C_LINUX, m[G_NOW]
    for i in range(N_B):
        m[b + i] = 0
    m[b + B_DELIVERED] = m[b + B_NEXT_ROUND] = m[b + B_LIMITED] = 1
    m[b + B_DELIVERED_T] = m[b + B_EPOCH_T] = m[b + B_RTT_T] = now
    m[b + B_RTT] = m[u + U_MIN_RTT]
    m[b + B_PACE_GAIN] = HIGH_GAIN
    m[c + C_PACING] = 1
    m[c + C_PACE_RATE] = 0
    rate = (m[u + U_WINDOW] << BITS) * 1000 // max(m[u + U_SRTT], 1000)
    set_pace(m, c, rate, HIGH_GAIN)


@compiled
def save_window(m: Cells, c: int) -> None:
    """Remember the window while it is a good one."""
    b, window = c + C_ALGORITHM, m[c + C_LINUX + U_WINDOW]
    if m[b + B_STATE] < CA_RECOVERY and m[b + B_MODE] != PROBE_RTT:
        m[b + B_PRIOR_WINDOW] = window
    else:
        m[b + B_PRIOR_WINDOW] = max(m[b + B_PRIOR_WINDOW], window)


@inlined
def _rate(m: Cells, b: int) -> int:
    """The rate to keep to: that of a policer, or the most of 10 rounds."""
    return m[b + B_POLICED] if m[b + B_KEEPS] != 0 else m[b + B_MOST]


@compiled
def _burst(m: Cells, c: int) -> int:
    """Segments that Linux would hand to a card at once."""
    rate = m[c + C_PACE_RATE]
    n = min(rate // 8 // BURST, MOST_BURST_BYTES) // m[c + C_MSS]
    return min(max(n, 1 if rate < SLOW_BPS else LEAST_BURST), 127)


@compiled
def _room(m: Cells, c: int, rate: int, gain: int, more: int) -> int:
    """Segments that may be under way at a rate and a gain, and some more."""
    b = c + C_ALGORITHM
    product = rate * m[b + B_RTT] // 1000
    n = ((product * gain >> 8) + (1 << BITS) - 1) >> BITS
    n = (n + more + 3 * _burst(m, c) + 1) & ~1
    if m[b + B_MODE] == PROBE_BW and m[b + B_CYCLE] == 0:
        n += 2
    return n


@compiled
def _on_the_way(m: Cells, c: int, flight: int) -> int:
    """What will be under way when the next segment may go."""
    b = c + C_ALGORITHM
    wait_us = max(m[c + C_LINUX + U_NEXT_T] - m[G_NOW], 0) // 1000
    if m[b + B_PACE_GAIN] > UNIT:
        flight += _burst(m, c)
    return max(flight - (_rate(m, b) * wait_us >> BITS), 0)


@compiled
def _begin_phase(m: Cells, c: int, phase: int) -> None:
    """Begin a phase of ProbeBW."""
    b = c + C_ALGORITHM
    m[b + B_MODE] = PROBE_BW
    m[b + B_CYCLE] = phase % PHASES
    m[b + B_CYCLE_T] = m[b + B_DELIVERED_T]


@compiled
def _cruise(m: Cells, c: int) -> None:
    """Enter ProbeBW with a phase by chance, but not the slower one."""
    key = np.uint64(m[G_SEED]) ^ np.uint64(m[G_NOW])
    key += np.uint64(m[c + C_FLOW]) << np.uint64(40)
    drawn = int(np.int64(mixed(key) >> np.uint64(33)) % (PHASES - 1))
    _begin_phase(m, c, PHASES - drawn)


@compiled
def _begin_sample(m: Cells, c: int) -> None:
    """Begin a sample of a policer's rate."""
    b = c + C_ALGORITHM
    m[b + B_SAMPLE_MS] = m[b + B_DELIVERED_T] // 1_000_000
    m[b + B_SAMPLE_DELIVERED] = m[b + B_DELIVERED]
    m[b + B_SAMPLE_LOST] = m[c + C_LINUX + U_LOST_EVER]
    m[b + B_SAMPLE_ROUNDS] = 0


@compiled
def _forget_policer(m: Cells, c: int) -> None:
    """Suspect no policer any more."""
    b = c + C_ALGORITHM
    m[b + B_POLICED] = m[b + B_KEEPS] = m[b + B_SAMPLES] = 0
    _begin_sample(m, c)


@compiled
def _end_sample(m: Cells, c: int, rate: int) -> None:
    """A policer's rate was seen: keep to it where the one before was like it."""
    b = c + C_ALGORITHM
    before = m[b + B_POLICED]
    apart = abs(rate - before)
    is_alike = apart * ALIKE <= before or (
        _bytes_per_s(m, c, apart, UNIT) <= ALIKE_BYTES
    )
    if before != 0 and is_alike:
        m[b + B_POLICED] = (rate + before) >> 1
        m[b + B_KEEPS] = 1
        m[b + B_PACE_GAIN] = UNIT
        m[b + B_SAMPLE_ROUNDS] = 0
        return
    m[b + B_POLICED] = rate
    _begin_sample(m, c)


@compiled
def _look_for_policer(m: Cells, c: int, lost: int) -> None:
    """Sample the rate of a policer between losses; give it up after a while."""
    b = c + C_ALGORITHM
    if m[b + B_KEEPS] != 0:
        if m[b + B_MODE] == PROBE_BW and m[b + B_BEGINS_ROUND] != 0:
            m[b + B_SAMPLE_ROUNDS] += 1
            if m[b + B_SAMPLE_ROUNDS] >= KEPT_ROUNDS:
                _forget_policer(m, c)
                _cruise(m, c)
        return
    if m[b + B_SAMPLES] == 0:
        if lost == 0:
            return
        _begin_sample(m, c)
        m[b + B_SAMPLES] = 1
    if m[b + B_IS_LIMITED] != 0:
        _forget_policer(m, c)
        return
    m[b + B_SAMPLE_ROUNDS] += m[b + B_BEGINS_ROUND]
    if m[b + B_SAMPLE_ROUNDS] < SAMPLE_ROUNDS:
        return
    if m[b + B_SAMPLE_ROUNDS] > MOST_SAMPLE_ROUNDS:
        _forget_policer(m, c)
        return
    arrived = m[b + B_DELIVERED] - m[b + B_SAMPLE_DELIVERED]
    gone = m[c + C_LINUX + U_LOST_EVER] - m[b + B_SAMPLE_LOST]
    ms = m[b + B_DELIVERED_T] // 1_000_000 - m[b + B_SAMPLE_MS]
    is_lossy = arrived > 0 and gone * UNIT >= LOST_SHARE * arrived
    if lost > 0 and is_lossy and ms >= 1:
        _end_sample(m, c, (arrived << BITS) // (ms * 1000))


@compiled
def note_loss(m: Cells, c: int, state: int) -> None:
    """Take in that there was a time-out."""
    b = c + C_ALGORITHM
    m[b + B_STATE] = state
    m[b + B_FULL_RATE] = 0
    m[b + B_BEGINS_ROUND] = 1
    m[b + B_IS_LIMITED] = 0
    _look_for_policer(m, c, 1)


@compiled
def note_undo(m: Cells, c: int) -> None:
    """Take in that a time-out was too early: nothing that was lost says anything."""
    b = c + C_ALGORITHM
    m[b + B_FULL_RATE] = 0
    m[b + B_FULL_COUNT] = 0
    _forget_policer(m, c)


@compiled
def _put(m: Cells, b: int, first: int, rate: int) -> None:
    """Let a rate of now be the best from this place on."""
    for k in range(first, 3):
        m[b + B_MOST + k] = rate
        m[b + B_MOST_AT + k] = m[b + B_ROUNDS]


@merged
def _note_most(m: Cells, b: int, rate: int) -> None:
    """Take a rate into the maximum of 10 rounds (Nichols' three best)."""
    now, at = m[b + B_ROUNDS], b + B_MOST_AT
    if rate >= m[b + B_MOST] or now - m[at + 2] > FILTER_ROUNDS:
        _put(m, b, 0, rate)
    elif rate >= m[b + B_MOST + 1]:
        _put(m, b, 1, rate)
    elif rate >= m[b + B_MOST + 2]:
        _put(m, b, 2, rate)
    age = now - m[at]
    while now - m[at] > FILTER_ROUNDS:
        for k in range(2):
            m[b + B_MOST + k], m[at + k] = m[b + B_MOST + k + 1], m[at + k + 1]
        _put(m, b, 2, rate)
    if age <= FILTER_ROUNDS:
        if m[at + 1] == m[at] and age > FILTER_ROUNDS // 4:
            _put(m, b, 1, rate)
        elif m[at + 2] == m[at + 1] and age > FILTER_ROUNDS // 2:
            _put(m, b, 2, rate)


@merged
def _count_extra(m: Cells, b: int, delivered: int, window: int) -> None:
    """Take in how much more was acknowledged than the rate gives."""
    if m[b + B_BEGINS_ROUND] != 0:
        m[b + B_EXTRA_ROUNDS] += 1
        if m[b + B_EXTRA_ROUNDS] >= EXTRA_ROUNDS:
            m[b + B_EXTRA_ROUNDS] = 0
            m[b + B_EXTRA_WHICH] = 1 - m[b + B_EXTRA_WHICH]
            m[b + B_EXTRA + m[b + B_EXTRA_WHICH]] = 0
    us = (m[b + B_DELIVERED_T] - m[b + B_EPOCH_T]) // 1000
    expected = _rate(m, b) * us >> BITS
    if m[b + B_EPOCH] <= expected:
        m[b + B_EPOCH] = 0
        m[b + B_EPOCH_T] = m[b + B_DELIVERED_T]
        expected = 0
    m[b + B_EPOCH] += delivered
    at = b + B_EXTRA + m[b + B_EXTRA_WHICH]
    m[at] = max(m[at], min(m[b + B_EPOCH] - expected, window))


@merged
def _probe_rtt(m: Cells, c: int, flight: int) -> None:
    """Keep the least round trip, and look for it anew when it is old."""
    b, u, now = c + C_ALGORITHM, c + C_LINUX, m[G_NOW]
    is_old, trip = now > m[b + B_RTT_T] + RTT_NS, m[u + U_NEWEST]
    if trip >= 0 and (trip < m[b + B_RTT] or is_old):
        m[b + B_RTT] = trip
        m[b + B_RTT_T] = now
    if is_old and m[b + B_MODE] != PROBE_RTT:
        m[b + B_MODE] = PROBE_RTT
        save_window(m, c)
        m[b + B_DONE_T] = 0
    if m[b + B_MODE] != PROBE_RTT:
        return
    m[b + B_LIMITED] = m[b + B_DELIVERED] + flight
    if m[b + B_DONE_T] == 0:
        if flight <= LEAST_WINDOW:
            m[b + B_DONE_T] = now + PROBE_NS
            m[b + B_HAS_ROUND] = 0
            m[b + B_NEXT_ROUND] = m[b + B_DELIVERED]
        return
    if m[b + B_BEGINS_ROUND] != 0:
        m[b + B_HAS_ROUND] = 1
    if m[b + B_HAS_ROUND] != 0 and now > m[b + B_DONE_T]:
        m[b + B_RTT_T] = now
        m[u + U_WINDOW] = max(m[u + U_WINDOW], m[b + B_PRIOR_WINDOW])
        m[b + B_MODE] = STARTUP
        if m[b + B_IS_FULL] != 0:
            _cruise(m, c)


@merged
def _is_phase_over(m: Cells, c: int, lost: int) -> bool:
    """Whether ProbeBW goes to its next phase."""
    b = c + C_ALGORITHM
    gain = m[b + B_PACE_GAIN]
    is_long = m[b + B_DELIVERED_T] - m[b + B_CYCLE_T] > m[b + B_RTT]
    there = _on_the_way(m, c, m[b + B_FLIGHT])
    if gain > UNIT:
        return is_long and (lost > 0 or there >= _room(m, c, m[b + B_MOST], gain, 0))
    return is_long or (gain < UNIT and there <= _room(m, c, m[b + B_MOST], UNIT, 0))


@merged
def _model(m: Cells, c: int, flight: int, lost: int) -> None:
    """Let rate, round trip and mode follow an ACK."""
    b, u = c + C_ALGORITHM, c + C_LINUX
    rate, delivered = m[b + B_RATE], m[u + U_DELIVERED]
    m[b + B_BEGINS_ROUND] = 0
    if rate > 0:
        if m[b + B_PRIOR] >= m[b + B_NEXT_ROUND]:
            m[b + B_NEXT_ROUND] = m[b + B_DELIVERED]
            m[b + B_ROUNDS] += 1
            m[b + B_BEGINS_ROUND] = 1
            m[b + B_CONSERVES] = 0
        _look_for_policer(m, c, lost)
        if rate >= m[b + B_MOST] or m[b + B_IS_LIMITED] == 0:
            _note_most(m, b, rate)
        if delivered > 0:
            _count_extra(m, b, delivered, m[u + U_WINDOW])
    if m[b + B_MODE] == PROBE_BW and _is_phase_over(m, c, lost):
        _begin_phase(m, c, m[b + B_CYCLE] + 1)
    looks = m[b + B_IS_FULL] == 0 and m[b + B_IS_LIMITED] == 0
    if looks and m[b + B_BEGINS_ROUND] != 0:
        if m[b + B_MOST] >= m[b + B_FULL_RATE] * 5 // 4:
            m[b + B_FULL_RATE] = m[b + B_MOST]
            m[b + B_FULL_COUNT] = 0
        else:
            m[b + B_FULL_COUNT] += 1
            m[b + B_IS_FULL] = 1 if m[b + B_FULL_COUNT] >= 3 else 0  # noqa: PLR2004
    if m[b + B_MODE] == STARTUP and m[b + B_IS_FULL] != 0:
        m[b + B_MODE] = DRAIN
        m[u + U_THRESHOLD] = _room(m, c, m[b + B_MOST], UNIT, 0)
    if m[b + B_MODE] == DRAIN and _on_the_way(m, c, flight) <= _room(
        m, c, m[b + B_MOST], UNIT, 0
    ):
        _cruise(m, c)
    _probe_rtt(m, c, flight)


@merged
def _set_window(m: Cells, c: int, flight: int, lost: int) -> None:
    """Let the window follow the model."""
    b, u = c + C_ALGORITHM, c + C_LINUX
    acked, window = m[u + U_DELIVERED], m[u + U_WINDOW]
    while acked > 0:  # left by break, once
        before, state = m[b + B_STATE], m[c + C_CONG]
        window = max(window - lost, 1)
        if state == CA_RECOVERY and before != CA_RECOVERY:
            m[b + B_CONSERVES] = 1
            m[b + B_NEXT_ROUND] = m[b + B_DELIVERED]
            window = flight + acked
        elif before >= CA_RECOVERY > state:
            window = max(window, m[b + B_PRIOR_WINDOW])
            m[b + B_CONSERVES] = 0
        m[b + B_STATE] = state
        if m[b + B_CONSERVES] != 0:
            window = max(window, flight + acked)
            break
        gain, extra = HIGH_GAIN, 0
        if m[b + B_MODE] >= PROBE_BW:
            gain = WINDOW_GAIN if m[b + B_MODE] == PROBE_BW else UNIT
        if m[b + B_IS_FULL] != 0:
            extra = max(m[b + B_EXTRA], m[b + B_EXTRA + 1])
            extra = min(extra, _rate(m, b) * MOST_EXTRA_US >> BITS)
        target = _room(m, c, _rate(m, b), gain, extra)
        if m[b + B_IS_FULL] != 0:
            window = min(window + acked, target)
        elif window < target or m[b + B_DELIVERED] < m[m[c + C_TRANSPORT] + T_WINDOW]:
            window += acked
        window = max(window, LEAST_WINDOW)
        break
    if m[b + B_MODE] == PROBE_RTT:
        window = min(window, LEAST_WINDOW)
    m[u + U_WINDOW] = window


@compiled
def control(m: Cells, c: int, flight: int, lost: int) -> None:
    """Make a sample of an ACK, and set pacing rate and window."""
    b, u, now = c + C_ALGORITHM, c + C_LINUX, m[G_NOW]
    m[b + B_DELIVERED] += m[u + U_DELIVERED]
    if m[u + U_DELIVERED] > 0:
        m[b + B_DELIVERED_T] = now
    if m[b + B_DELIVERED] > m[b + B_LIMITED]:
        m[b + B_LIMITED] = 0
    m[b + B_RATE] = 0
    if m[b + B_PRIOR_T] != 0:
        interval = max(m[b + B_SEND], now - m[b + B_PRIOR_T])
        if interval >= m[u + U_MIN_RTT] and interval > 0:
            delivered = m[b + B_DELIVERED] - m[b + B_PRIOR]
            m[b + B_RATE] = (delivered << BITS) * 1000 // interval
    _model(m, c, flight, lost)
    gain = UNIT
    if m[b + B_MODE] <= DRAIN:
        gain = HIGH_GAIN if m[b + B_MODE] == STARTUP else DRAIN_GAIN
    elif m[b + B_MODE] == PROBE_BW and m[b + B_KEEPS] == 0 and m[b + B_CYCLE] <= 1:
        gain = FASTER if m[b + B_CYCLE] == 0 else SLOWER
    m[b + B_PACE_GAIN] = gain
    set_pace(m, c, _rate(m, b), gain)
    _set_window(m, c, flight, lost)


@compiled
def begin_ack(m: Cells, c: int, flight: int) -> None:
    """Begin to take an ACK in."""
    b = c + C_ALGORITHM
    m[b + B_PRIOR_T] = 0
    m[b + B_FLIGHT] = flight
