"""The estimator of arrivals, on packets whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.captures.request_times import (
    Arrival,
    arrival,
    least_round_trip_ns,
    round_trips,
)
from midhaul.captures.streams import Times

MS = 1_000_000
MSS = 1448


def times(sent: list[tuple[int, int, int]], acked: list[tuple[int, int]]) -> Times:
    """Segments as (time, begin, end), acknowledgements as (time, offset)."""
    columns = np.array(sent, np.int64).reshape(-1, 3)
    acks = np.array(acked, np.int64).reshape(-1, 2)
    return Times(columns[:, 0], columns[:, 1], columns[:, 2], acks[:, 0], acks[:, 1])


def estimate(known: Times, end: int, answer_ns: int, rtt_ns: int) -> Arrival:
    """The arrival of a request that is the whole stream."""
    return arrival(known, round_trips(known), (0, end), (0, answer_ns), rtt_ns)


def upload(
    n: int, *, pace_ns: int, rtt_ns: int, queue_ns: int = 0, delayed_ns: int = 0
) -> tuple[Times, int]:
    """A request of n segments, and when it was whole, as seen at the client.

    It leaves in ``pace_ns`` steps and goes through a bottleneck with ``queue_ns`` for
    each segment; every second segment is acknowledged, the last one late.
    """
    sent = [(i * pace_ns, i * MSS, (i + 1) * MSS) for i in range(n)]
    free_ns = 0
    home_ns: list[int] = []
    for time_ns, _, _ in sent:
        free_ns = max(free_ns, time_ns) + queue_ns
        home_ns.append(free_ns + rtt_ns)
    acked = [(home_ns[i], (i + 1) * MSS) for i in range(n) if i % 2 and i < n - 1]
    acked.append((home_ns[-1] + delayed_ns, n * MSS))
    return times(sent, sorted(acked)), home_ns[-1]


@pytest.mark.parametrize("delayed_ns", [0, 40 * MS, 200 * MS])
@pytest.mark.parametrize("queue_ns", [0, MS // 10, 3 * MS])
@pytest.mark.parametrize("n", [1, 2, 7, 40, 41])
def test_neither_queues_nor_late_acknowledgements_mislead(
    n: int, queue_ns: int, delayed_ns: int
) -> None:
    """Within 2 ms, where each simple rule is wrong by tens of them."""
    known, truth_ns = upload(
        n,
        pace_ns=50_000,
        rtt_ns=20 * MS,
        queue_ns=queue_ns,
        delayed_ns=delayed_ns,
    )
    found = estimate(known, n * MSS, truth_ns + 300 * MS, 20 * MS)
    few = queue_ns * 2 if n <= 7 else 0  # a queue of few segments is not seen
    assert abs(found.at_ns - truth_ns) <= 2 * MS + few
    assert found.earliest_ns <= truth_ns <= found.latest_ns


def test_an_acknowledgement_that_comes_with_the_answer_bounds_nothing() -> None:
    """Then the answer itself is the latest time."""
    known = times([(0, 0, 1000)], [(150 * MS, 1000)])
    found = estimate(known, 1000, 150 * MS, 20 * MS)
    assert found.at_ns == 20 * MS
    assert found.latest_ns == 150 * MS


def test_a_request_that_was_sent_again_counts_from_the_last_time() -> None:
    """The server had it when the repeated segment came."""
    sent = [(0, 0, MSS), (MS, MSS, 2 * MSS), (60 * MS, 0, MSS)]
    known = times(sent, [(80 * MS, 2 * MSS)])
    found = estimate(known, 2 * MSS, 180 * MS, 20 * MS)
    assert found.last_sent_ns == 60 * MS
    assert found.at_ns == 80 * MS
    assert found.n_repeated == 1


def test_a_repetition_behind_the_acknowledgement_was_needless() -> None:
    """It does not move the arrival."""
    sent = [(0, 0, MSS), (25 * MS, 0, MSS)]
    known = times(sent, [(20 * MS, MSS)])
    assert estimate(known, MSS, 120 * MS, 20 * MS).at_ns == 20 * MS


def test_round_trips_leave_out_what_a_loss_has_held_up() -> None:
    """Acknowledgements that waited for a repeated segment say nothing of the way."""
    sent = [
        (0, 0, MSS),
        (MS, MSS, 2 * MSS),
        (2 * MS, 2 * MSS, 3 * MSS),
        (40 * MS, MSS, 2 * MSS),
        (70 * MS, 3 * MSS, 4 * MSS),
    ]
    known = times(sent, [(20 * MS, MSS), (60 * MS, 3 * MSS), (91 * MS, 4 * MSS)])
    trips = round_trips(known)
    assert trips.rtt_ns.tolist() == [20 * MS, 21 * MS]


def test_the_least_round_trip_is_that_of_its_minute() -> None:
    """A route that changed an hour ago does not count any more."""
    hour = 3_600_000_000_000
    known = times([(0, 0, 10), (hour, 10, 20)], [(5 * MS, 10), (hour + 30 * MS, 20)])
    trips = round_trips(known)
    assert least_round_trip_ns(trips, hour, 0) == 30 * MS
    assert least_round_trip_ns(trips, 0, 0) == 5 * MS
    assert least_round_trip_ns(trips, hour, 8 * MS) == 8 * MS
    assert least_round_trip_ns(round_trips(times([], [])), 0, 7) == 7


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 5000), st.integers(1, 3000)),
        max_size=30,
    ),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 9000)), max_size=30),
    st.integers(1, 10**9),
    st.integers(0, 10**8),
)
def test_the_estimate_never_leaves_its_bounds(
    sent: list[tuple[int, int, int]],
    acked: list[tuple[int, int]],
    answer_ns: int,
    rtt_ns: int,
) -> None:
    """Whatever was captured, the order of the four times holds."""
    segments = sorted((t, begin, begin + n) for t, begin, n in sent)
    rising: list[tuple[int, int]] = []
    for t, offset in sorted(acked):
        if not rising or offset > rising[-1][1]:
            rising.append((t, offset))
    found = estimate(times(segments, rising), 5000, answer_ns, rtt_ns)
    assert found.earliest_ns <= found.at_ns <= found.latest_ns <= answer_ns
