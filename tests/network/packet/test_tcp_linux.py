"""TCP with the ways of Linux: each rule by itself, and what flows make of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import FlowResults, NetworkProblem, Routes, TcpTransport
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.packet import PacketSimulator

MS = 1_000_000
SYN, HEADER, SEGMENT = 62, 54, 1448


def one_flow(
    size: int,
    *,
    rate_bps: float = 20e6,
    delay_s: float = 0.02,
    link: dict[str, Any] | None = None,
    until_ns: int | None = None,
    **transport: Any,
) -> FlowResults:
    """A flow over a fast link and a slow one, and what is seen of it."""
    slow = {"rate_bps": rate_bps, "delay_s": delay_s, **(link or {})}
    settings: dict[str, Any] = {"stack": "linux", **transport}
    ends = (("a", "r", {}), ("r", "b", slow), ("b", "r", slow), ("r", "a", {}))
    links = tuple(
        Link(source=x, target=y, **{"rate_bps": 1e9, **more})  # type: ignore[arg-type]
        for x, y, more in ends
    )
    problem = NetworkProblem(
        topology=Topology(nodes=("a", "r", "b"), links=links),
        flows=Flows(
            source=np.zeros(1, np.int32),
            target=np.full(1, 2, np.int32),
            size_bytes=np.array([size]),
            start_ns=np.zeros(1, np.int64),
        ),
        routes=Routes(offsets=np.array([0, 2]), links=np.array([0, 1], np.int32)),
        transports=(TcpTransport(**settings),),
        watched=(0,),
        until_ns=until_ns,
    )
    simulation = part("simulation").begin_tcp(problem)
    while not simulation.advance(100_000):
        pass
    return simulation.results()


def part(name: str) -> Any:
    """A module of the simulator: imported now, as that compiles its kernels."""
    return import_module(f"midhaul.network.packet.tcp.{name}")


def plain(kernel: Any) -> Any:
    """The Python of a kernel."""
    return getattr(kernel, "py_func", kernel)


def windows(results: FlowResults) -> np.ndarray:
    """Windows of the flow at each ACK, in segments."""
    assert results.timeline is not None
    return results.timeline.window_bytes // SEGMENT


# ---- single rules, against plain references ------------------------------------------


@given(st.integers(0, 10**15))
def test_a_cube_root_is_the_floor_of_it(x: int) -> None:
    """Its cube is not above the number, and that of the next is."""
    root = plain(part("linux.congestion").cube_root)(x)
    assert root**3 <= x < (root + 1) ** 3


@pytest.mark.parametrize("elapsed_s", [0.1, 1.0, 2.5, 5.0, 9.0])
def test_the_cube_is_that_of_the_rfc(elapsed_s: float) -> None:
    """W(t) = 0.4 (t - K)^3 + Wmax within a segment, for what jiffies leave of t."""
    a, congestion = part("arena"), part("linux.congestion")
    m = [0] * 4096
    c, most, window = 1024, 500, 350
    q = c + a.C_ALGORITHM
    m[a.G_NOW] = round(elapsed_s * 1e9)
    m[q + congestion.Q_EPOCH] = 1
    m[q + congestion.Q_MOST] = m[q + congestion.Q_ORIGIN] = most
    k = ((most - window) / 0.4) ** (1 / 3)
    m[q + congestion.Q_K] = int(k * 1024)
    every = plain(congestion.cube_every)(m, c, window)
    target = 0.4 * (elapsed_s - k) ** 3 + most
    if target > window + 1:
        assert window / (target - window + 2) - 1 <= every
        assert every <= window / max(target - window - 2, 0.1)
    else:
        assert every >= window // 2


def test_mean_and_deviation_of_round_trips_follow_the_rfc() -> None:
    """RFC 6298 with gains 1/8 and 1/4, but 1/32 for a trip far below the mean."""
    a, timers = part("arena"), part("linux.timers")
    m = [0] * 4096
    c, u, floor = 1024, 1024 + a.C_LINUX, 200 * MS
    m[c + a.C_TRANSPORT] = 8
    m[8 + a.T_MIN_RTO] = floor
    mean = deviation = 0.0
    for i, trip in enumerate([40, 44, 60, 300, 280, 41, 42, 45, 40, 500, 40, 40]):
        plain(timers.note_round_trip)(m, c, trip * MS)
        m[c + a.C_UNA_I] += 1
        m[c + a.C_SENT_I] += 3
        if i == 0:
            mean, deviation = trip, trip / 2
        else:
            error = trip - mean
            mean += error / 8
            gain = 32 if error < 0 and abs(error) > deviation else 4
            deviation += (abs(error) - deviation) / gain
        assert m[u + a.U_SRTT] == pytest.approx(mean * MS, rel=1e-5)
        assert m[u + a.U_DEVIATION] == pytest.approx(4 * deviation * MS, rel=1e-5)
        added = m[u + a.U_RTO] - m[u + a.U_SRTT]
        assert added >= max(floor, m[u + a.U_DEVIATION] - 1)


def test_timers_ring_with_the_jiffy_after_the_wait() -> None:
    """40 ms are 11 jiffies of 4 ms at most; from 252 ms on, multiples of 32 ms."""
    rings_at = plain(part("linux.acks").rings_at)
    for now in (0, 1, 4 * MS - 1, 4 * MS):
        late = rings_at(now, 40 * MS) - now
        assert 40 * MS < late <= 44 * MS
    assert rings_at(0, 300 * MS) == 320 * MS
    assert rings_at(0, 200 * MS) == 204 * MS


def test_cubic_and_reno_shrink_by_three_tenths_and_by_half() -> None:
    """A window of 100 becomes 70 or 50; a lower top is remembered lower."""
    a, congestion = part("arena"), part("linux.congestion")
    m = [0] * 4096
    c = 1024
    m[c + a.C_LINUX + a.U_WINDOW] = 100
    m[c + a.C_CONGESTION] = a.CUBIC
    shrunk = plain(congestion.shrunk)
    assert shrunk(m, c) == 70
    assert m[c + a.C_ALGORITHM + congestion.Q_MOST] == 100
    m[c + a.C_LINUX + a.U_WINDOW] = 90
    assert shrunk(m, c) == 63
    assert m[c + a.C_ALGORITHM + congestion.Q_MOST] == 76  # 90 * (1 + .7) / 2
    m[c + a.C_CONGESTION] = a.LINUX_RENO
    assert shrunk(m, c) == 45


class Policed:
    """The rules of BBR for a policer, in plain Python, a round trip of 50 ms a time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.a, self.bbr = part("arena"), part("linux.bbr")
        for name in ("_begin_sample", "_end_sample", "_forget_policer"):
            patch.setattr(self.bbr, name, plain(getattr(self.bbr, name)))
        for name in ("_bytes_per_s", "_rate"):
            patch.setattr(self.bbr, name, plain(getattr(self.bbr, name)))
        self.n_cruises = 0
        patch.setattr(self.bbr, "_cruise", self._cruise)
        self.m = [0] * 4096
        self.c, self.b = 1024, 1024 + self.a.C_ALGORITHM
        self.m[self.c + self.a.C_MSS] = SEGMENT
        self.m[self.b + self.bbr.B_MODE] = self.bbr.PROBE_BW

    def _cruise(self, _m: object, _c: int) -> None:
        self.n_cruises += 1

    def pass_round(self, arrived: int, lost: int) -> None:
        """Let so many arrive and so many be lost in a round trip."""
        m, b, bbr = self.m, self.b, self.bbr
        m[b + bbr.B_DELIVERED] += arrived
        m[b + bbr.B_DELIVERED_T] += 50 * MS
        m[self.c + self.a.C_LINUX + self.a.U_LOST_EVER] += lost
        m[b + bbr.B_BEGINS_ROUND] = 1
        plain(bbr._look_for_policer)(m, self.c, lost)

    def rate(self) -> float:
        """The rate that is kept to, in segments per second."""
        bbr = self.bbr
        kept = self.m[self.b + bbr.B_POLICED] if self.m[self.b + bbr.B_KEEPS] else 0
        return kept * 1e6 / (1 << bbr.BITS)


def test_two_alike_samples_of_a_policer_are_kept_for_48_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """80 and 84 segments in 50 ms, with a quarter lost: their mean is the rate."""
    policed = Policed(monkeypatch)
    policed.pass_round(80, 20)  # begins a sample
    for _ in range(3):
        policed.pass_round(80, 20)
    assert policed.rate() == 0
    for _ in range(4):
        policed.pass_round(84, 21)
    assert policed.rate() == pytest.approx(82 / 0.05, rel=1e-3)
    for _ in range(47):
        policed.pass_round(160, 0)
        assert policed.rate() == pytest.approx(82 / 0.05, rel=1e-3)
    policed.pass_round(160, 0)
    assert policed.rate() == 0
    assert policed.n_cruises == 1


@pytest.mark.parametrize(("arrived", "lost"), [((80, 80), 15), ((80, 100), 25)])
def test_fewer_losses_or_other_rates_are_no_policer(
    arrived: tuple[int, int], lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than 50/256 of what arrives is lost, or rates differ by more than 1/8."""
    policed = Policed(monkeypatch)
    for n in arrived:
        for _ in range(4):
            policed.pass_round(n, lost)
    assert policed.rate() == 0


# ---- flows ---------------------------------------------------------------------------


def test_one_segment_takes_a_handshake_and_its_own_time() -> None:
    """SYN and SYN-ACK have 62 bytes, the ACK 54, each on two links."""
    results = one_flow(SEGMENT, rate_bps=1e9, delay_s=0.001)
    sent = 2 * 8 * (2 * SYN) + 8 * HEADER + 2 * 8 * (SEGMENT + HEADER)
    assert results.fct_ns[0] == 3 * MS + sent


def test_acks_are_quick_while_the_window_grows_and_16_times_more() -> None:
    """Counted in the bytes of the link back: 101 segments give 45 + 16 + 20 ACKs.

    The kernel acknowledges 61 segments one by one: its window grows with 45 of them.
    """
    n_segments, n_quick = 101, 45 + 16
    results = one_flow(n_segments * SEGMENT)
    n_acks = n_quick + (n_segments - n_quick) // 2
    least = SYN + HEADER * n_acks
    # the last one is the receiver's FIN, and one more answers the sender's
    assert least <= results.links.n_bytes[2] <= least + 2 * HEADER


def test_slow_start_ends_with_the_train_of_acks() -> None:
    """At 20 Mbit/s and 40 ms the window stops at 75 segments, as in the kernel."""
    results = one_flow(3_000_000)
    window = windows(results)
    doubled = window[: int(np.argmax(window >= 75)) + 8]
    assert doubled[-1] - doubled[-8] <= 2
    assert results.n_retransmitted[0] == 0
    without = windows(one_flow(3_000_000, has_hystart=False))
    assert without.max() > 2 * 75


def test_a_lost_tail_is_probed_for_before_the_time_out() -> None:
    """Of ten segments at once a queue of five loses three; none waits for 200 ms."""
    queue = {"queue": LinkQueue(max_packets=5)}
    results = one_flow(10 * SEGMENT, link=queue)
    assert results.links.n_dropped[1] == 3
    # the probe after two trips and 2 ms, then one each trip, as PRR has it
    assert results.n_retransmitted[0] == 3
    assert 270 * MS < results.fct_ns[0] < 280 * MS
    ns3 = one_flow(10 * SEGMENT, link=queue, stack="ns3")
    assert ns3.fct_ns[0] > 280 * MS


def test_recovery_ends_with_seven_tenths_of_the_window() -> None:
    """Some losses at the end of a growth are repaired without a time-out."""
    results = one_flow(6_000_000, link={"queue": LinkQueue(max_packets=66)})
    window = windows(results)
    assert results.n_retransmitted[0] == results.links.n_dropped[1] > 0
    first = int(np.argmax(np.diff(window) < 0))
    fallen = window[first : first + 100]
    assert 0.7 * window[first] - 2 <= fallen.min() <= 0.7 * window[first]


def test_a_window_that_does_not_bound_the_sender_does_not_grow() -> None:
    """The last ACKs of a flow leave it as it was."""
    results = one_flow(9 * SEGMENT)
    assert windows(results).max() <= 18


def test_a_lost_syn_is_sent_each_second() -> None:
    """Four times, before the pauses double; ns-3 doubles them at once."""
    for stack, n_sent, size in (("linux", 5, SYN), ("ns3", 3, 58)):
        results = one_flow(
            SEGMENT, link={"loss_share": 1 - 1e-12}, until_ns=4500 * MS, stack=stack
        )
        assert results.links.n_bytes[1] == n_sent * size
        assert results.fct_ns[0] == -1


def test_bbr_keeps_the_queue_short_and_the_link_full() -> None:
    """Once it has found the rate, half of its window or less waits at the link."""
    results = one_flow(
        6_000_000,
        congestion="bbr",
        link={"queue": LinkQueue(max_packets=300)},
    )
    assert results.timeline is not None
    late = results.timeline.time_ns > 1500 * MS
    in_flight = results.timeline.in_flight_bytes[late] // SEGMENT
    assert np.median(in_flight) < 90  # 67 fill the path of 20 Mbit/s and 40 ms
    rates = results.timeline.rate_bps[late]
    assert 0.93 * 20e6 < np.median(rates) < 0.97 * 20e6  # 1 % less, of payload
    assert results.fct_ns[0] < 1.1 * results.ideal_fct_ns[0]


@pytest.mark.parametrize(
    "congestion_control", ["newreno", "linux-reno", "cubic", "bbr", "dctcp"]
)
def test_it_is_a_simulator(congestion_control: str) -> None:
    """The conformance suite; a flow alone has slow start above its ideal time."""
    transport = TcpTransport(
        congestion=congestion_control,  # type: ignore[arg-type]
        stack="linux",
    )
    claims = SimulatorClaims(max_lone_slowdown=1.2)
    check_simulator(PacketSimulator(), transport, claims=claims)
