"""Lanes keep their rates, the uplink its cap, and messages their order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.enforcement.pacer import Bounds, Bucket, Pacer
from midhaul.errors import DataError

_LANES = ("a", "b", "c")
_SLACK_BYTES = 1.0  # of floating point

_messages = st.lists(
    st.tuples(
        st.sampled_from(_LANES),
        st.integers(1, 5000),
        st.floats(0.0, 0.5),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)
_rates = st.fixed_dictionaries({name: st.floats(1e3, 1e6) for name in _LANES})


@dataclass(frozen=True, slots=True)
class _Sent:
    lane: str
    number: int
    n_bytes: int
    at_s: float


def _drive(
    pacer: Pacer[int],
    messages: list[tuple[str, int, float, bool]],
    late_s: float = 0.0,
) -> list[_Sent]:
    """Offer messages in their time and take what may leave as soon as it may."""
    now, sent = 0.0, []

    def drain(until_s: float) -> None:
        nonlocal now
        while (at_s := pacer.next_s()) <= until_s:
            now = max(now, at_s) + late_s
            taken = pacer.take(now)
            if taken is not None:
                sent.append(_Sent(taken.lane, taken.number, taken.n_bytes, now))

    for lane, n_bytes, gap_s, _ in messages:
        arrives_s = max(now, now + gap_s)
        drain(arrives_s)
        now = max(now, arrives_s)
        pacer.offer(lane, 0, n_bytes, now)
    drain(1e9)
    return sent


def _worst_excess(sent: list[_Sent], rate_bps: float, slack_s: float = 0.0) -> float:
    """Bytes beyond rate times window and one message, of the worst window."""
    worst = -math.inf
    for first in range(len(sent)):
        n_bytes = 0
        for one in sent[first:]:
            n_bytes += one.n_bytes
            window_s = one.at_s - sent[first].at_s + slack_s
            largest = max(each.n_bytes for each in sent[first:])
            worst = max(worst, n_bytes - rate_bps * window_s / 8 - largest)
    return worst


@given(_messages, _rates, st.floats(1e3, 2e6))
def test_no_window_of_a_lane_or_the_uplink_has_more_than_its_rate(
    messages: list[tuple[str, int, float, bool]], rates: dict[str, float], uplink: float
) -> None:
    """Bytes of any window: at most rate times window and one message."""
    pacer = Pacer[int](uplink_bps=uplink)
    pacer.set_rates(rates, 0.0)
    sent = _drive(pacer, messages)
    assert len(sent) == len(messages)
    assert _worst_excess(sent, uplink) <= _SLACK_BYTES
    for lane, rate_bps in pacer.rates_bps.items():
        assert rate_bps <= rates[lane]
        mine = [one for one in sent if one.lane == lane]
        assert not mine or _worst_excess(mine, rate_bps) <= _SLACK_BYTES
        assert all(x.number < y.number for x, y in pairwise(mine))


@given(_messages, _rates, st.floats(1e3, 2e6))
def test_sharing_what_is_left_stays_inside_the_uplink(
    messages: list[tuple[str, int, float, bool]], rates: dict[str, float], uplink: float
) -> None:
    """Work-conserving: nothing is faster than the cap, and the cap is never idle."""
    pacer = Pacer[int](uplink_bps=uplink, is_work_conserving=True)
    pacer.set_rates(rates, 0.0)
    for lane, n_bytes, _, _ in messages:
        pacer.offer(lane, 0, n_bytes, 0.0)
    sent = _drive(pacer, [])
    assert _worst_excess(sent, uplink) <= _SLACK_BYTES
    before_last = sum(one.n_bytes for one in sent[:-1])
    assert sent[-1].at_s == pytest.approx(8 * before_last / uplink, abs=1e-2)
    for lane in _LANES:
        mine = [one.number for one in sent if one.lane == lane]
        assert mine == sorted(mine)


@given(_messages, st.floats(0.0, 0.02))
def test_a_late_timer_costs_no_rate_within_the_stated_lateness(
    messages: list[tuple[str, int, float, bool]], late_s: float
) -> None:
    """The bound grows by the rate times the lateness, and by nothing else."""
    pacer = Pacer[int](uplink_bps=1e6, lateness_s=0.02)
    pacer.set_rates(dict.fromkeys(_LANES, 2e5), 0.0)
    sent = _drive(pacer, messages, late_s)
    assert _worst_excess(sent, 1e6, slack_s=0.02) <= _SLACK_BYTES


def test_rates_that_change_bound_their_integral() -> None:
    """A rate that halves in the middle of a message's time doubles the rest of it."""
    bucket = Bucket(1000.0, 0.0, 0.0)
    bucket.fill(1000.0, 0.0)
    assert bucket.free_s() == pytest.approx(1.0, abs=1e-3)
    bucket.set_rate(500.0, 0.5)
    assert bucket.free_s() == pytest.approx(1.5, abs=2e-3)
    bucket.set_rate(0.0, 1.0)
    assert bucket.free_s() == math.inf
    bucket.set_rate(500.0, 9.0)
    assert bucket.free_s() == pytest.approx(9.5, abs=2e-3)


@pytest.mark.parametrize(("drop", "left"), [("oldest", [2, 3]), ("newest", [0, 1])])
def test_a_full_queue_drops_what_it_says(drop: str, left: list[int]) -> None:
    """The oldest go, or those that come; all are counted."""
    bounds = Bounds(n_messages=2, drop="oldest" if drop == "oldest" else "newest")
    pacer = Pacer[int](bounds=bounds)
    pacer.set_rates({"a": 800.0}, 0.0)
    dropped = [d.message for n in range(4) for d in pacer.offer("a", n, 100, 0.0)]
    assert sorted(dropped + left) == [0, 1, 2, 3]
    taken = [pacer.take(t) for t in (0.0, 1.0)]
    assert [one.message for one in taken if one] == left
    counts = pacer.counts["a"]
    assert (counts.n_in, counts.n_out, counts.n_dropped) == (4, 2, 2)
    assert (counts.bytes_in, counts.bytes_out, counts.bytes_dropped) == (400, 200, 200)
    assert counts.max_delay_s == 1.0


def test_a_message_that_never_fits_is_refused() -> None:
    """It comes back as dropped, and what waits stays."""
    pacer = Pacer[int](bounds=Bounds(n_bytes=1000))
    pacer.set_rates({"a": 1.0}, 0.0)
    assert pacer.offer("a", 1, 900, 0.0) == []
    assert [one.message for one in pacer.offer("a", 2, 1001, 0.0)] == [2]
    assert pacer.n_waiting("a") == 1


def test_what_comes_back_goes_first_and_in_order() -> None:
    """Messages that did not arrive leave again before all others."""
    pacer = Pacer[int]()
    pacer.set_rates({"a": 8e9}, 0.0)
    for number in range(4):
        pacer.offer("a", number, 1, 0.0)
    gone = [pacer.take(t) for t in (0.0, 1.0)]
    assert pacer.put_back([one for one in reversed(gone) if one]) == []
    again = [pacer.take(float(t)) for t in range(2, 6)]
    assert [one.message for one in again if one] == [0, 1, 2, 3]


def test_lanes_that_ask_for_too_much_are_scaled_down() -> None:
    """Together they get the uplink, each its proportion; a lane without rate waits."""
    pacer = Pacer[int](uplink_bps=300.0)
    pacer.set_rates({"a": 400.0, "b": 200.0}, 0.0)
    assert pacer.rates_bps == {"a": 200.0, "b": 100.0}
    pacer.set_rates({"b": 200.0}, 0.0, uplink_bps=0.0)
    assert pacer.rates_bps == {"a": 0.0, "b": 0.0}
    pacer.offer("a", 1, 1, 0.0)
    assert pacer.next_s() == math.inf
    assert pacer.take(1e9) is None
    assert len(pacer) == 1


@pytest.mark.parametrize("rate", [-1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """Negative, NaN and, for a lane, infinite."""
    with pytest.raises(DataError, match="lane a: expected"):
        Pacer[int]().set_rates({"a": rate}, 0.0)
    with pytest.raises(DataError, match="room for at least one"):
        Bounds(n_messages=0)
