"""The session simulator: kernels against plain loops, schemes, odd input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.sessions.bba import BufferBased
from midhaul.memory.sessions.checks import check_abr, check_players
from midhaul.memory.sessions.fugu_mpc import FuguMpc, download_inputs
from midhaul.memory.sessions.ladder import Ladder, drawn_ladder
from midhaul.memory.sessions.links import RecordedLinks, took_plainly_s
from midhaul.memory.sessions.mpc import RobustMpc, expected_throughput
from midhaul.memory.sessions.planning import Weighing, best_rungs, worth_plainly
from midhaul.memory.sessions.player import (
    Begins,
    PlayerSettings,
    drawn_begins,
    play,
    stall_difference,
)
from midhaul.memory.sources.fugu import FUGU_BINS
from midhaul.traces import Trace

if TYPE_CHECKING:
    from midhaul.memory.sessions.base import Players


def trace(rates_bps: list[float], *, step_s: float = 1.0, name: str = "a") -> Trace:
    """A trace with equal intervals."""
    n = len(rates_bps)
    return Trace(
        name=name,
        times_s=np.arange(n) * step_s,
        rates_bps=np.array(rates_bps, np.float64),
        length_s=n * step_s,
    )


class Always:
    """Always the same rung."""

    def __init__(self, rung: int) -> None:
        self.name, self._rung = f"always {rung}", rung

    def choose(self, now: Players) -> np.ndarray:
        """That rung."""
        return np.full(now.n, self._rung)


class Uniform:
    """A predictor that knows nothing."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Every bin is as likely as every other."""
        return np.full((len(x), FUGU_BINS.n), 1 / FUGU_BINS.n, np.float32)


class Knows:
    """A predictor of a link with a constant rate."""

    def __init__(self, rate_mbytes: float) -> None:
        self._rate = rate_mbytes

    def predict(self, x: np.ndarray) -> np.ndarray:
        """All on the bin of the size over the rate."""
        found = np.zeros((len(x), FUGU_BINS.n), np.float32)
        took_s = (x[:, -1] / self._rate).astype(np.float64)
        found[np.arange(len(x)), FUGU_BINS.of(took_s)] = 1
        return found


@given(
    st.lists(st.sampled_from([0.0, 8e3, 1e6, 7.7e6]), min_size=1, max_size=8),
    st.floats(0, 50),
    st.floats(1, 5e6),
)
def test_a_download_takes_what_a_plain_loop_finds(
    rates: list[float], begin_s: float, size: float
) -> None:
    """The kernel's binary search agrees with going through the intervals."""
    one = trace([*rates, 1e5])
    links = RecordedLinks.of([trace([5e5]), one])
    found = links.took_s(np.array([1]), np.array([begin_s]), np.array([size]))
    assert found[0] == pytest.approx(took_plainly_s(one, begin_s, size), rel=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3))
def test_a_plan_is_worth_what_recursion_says(
    seed: int, n_ahead: int, n_rungs: int
) -> None:
    """The rung that value iteration takes has the highest worth of all plans."""
    rng = np.random.default_rng(seed)
    now = next(check_players())
    cut = {
        "sizes_bytes": now.sizes_bytes[:, :n_ahead, :n_rungs],
        "quality": now.quality[:, :n_ahead, :n_rungs],
    }
    now = type(now)(
        **{f: getattr(now, f) for f in now.__dataclass_fields__ if f not in cut}, **cut
    )
    times_s = rng.random((now.n, n_ahead, n_rungs, 2)) * 12
    shares = rng.dirichlet([1, 1], (now.n, n_ahead, n_rungs))
    weighing = Weighing(stalling=float(rng.choice([1.0, 100.0])), step_s=0.5)
    found = best_rungs(now, times_s, shares, weighing)
    for player in range(now.n):
        worth = worth_plainly(
            float(now.buffer_s[player]),
            float(now.last_quality[player]),
            now.quality[player],
            times_s[player],
            shares[player],
            now.chunk_s,
            now.most_s,
            weighing,
        )
        assert worth[found[player]] == pytest.approx(max(worth), rel=1e-9)


@pytest.mark.parametrize(
    "abr",
    [
        BufferBased(),
        RobustMpc(),
        RobustMpc(is_robust=False),
        FuguMpc(predictor=Uniform()),
    ],
    ids=lambda abr: abr.name,
)
def test_schemes_keep_their_protocol(
    abr: BufferBased | RobustMpc | FuguMpc,
) -> None:
    """Each of ours passes the conformance suite."""
    check_abr(abr)


@given(st.integers(0, 1000))
def test_a_session_is_that_of_a_plain_loop(seed: int) -> None:
    """Stalls, waits and times agree with one player that is followed by hand."""
    rng = np.random.default_rng(seed)
    one = trace([*rng.choice([0, 3e5, 2e6, 8e6], 20).tolist(), 1e6])
    links, ladder = RecordedLinks.of([one]), drawn_ladder(n_chunks=7, seed=seed)
    how = PlayerSettings(most_s=6.0, rtt_s=0.1, n_chunks=12)
    begins = Begins(link=np.zeros(1, int), time_s=np.array([3.3]), chunk=np.array([5]))
    found = play(BufferBased(), links, ladder, begins, how)
    now_s, buffer_s, stall_s = 3.3, 0.0, 0.0
    for i in range(12):
        size = ladder.sizes_bytes[(5 + i) % 7, found.rung[0, i]]
        took_s = 0.1 + took_plainly_s(one, now_s + 0.1, size)
        assert found.took_s[0, i] == pytest.approx(took_s, rel=1e-9)
        stall_s += max(took_s - buffer_s, 0) if i else 0
        buffer_s = max(buffer_s - took_s, 0) + ladder.chunk_s
        wait_s = max(buffer_s - 6.0, 0)
        buffer_s -= wait_s
        now_s += took_s + wait_s
    assert found.stall_s[0] == pytest.approx(stall_s, abs=1e-9)
    assert found.play_s[0] == pytest.approx(12 * ladder.chunk_s)


def test_a_fast_link_never_stalls_and_a_slow_one_does() -> None:
    """On a link that is too slow, what chunks take and do not play is a stall."""
    ladder = drawn_ladder((1e6, 2e6), n_chunks=50)
    links = RecordedLinks.of([trace([1e8]), trace([5e5], name="b")])
    begins = drawn_begins(links, ladder, 3, np.random.default_rng(0))
    how = PlayerSettings(rtt_s=0, n_chunks=50)
    found = play(Always(0), links, ladder, begins, how)
    assert (found.stall_s[found.link == 0] == 0).all()
    slow = found.link == 1
    stalled = found.stall_s[slow] + found.startup_s[slow]
    took_s = found.took_s[slow].sum(axis=1)
    # What is left in the buffer at the end was downloaded, and not played.
    left_s = stalled - (took_s - 49 * ladder.chunk_s)
    assert ((left_s > -1e-6) & (left_s < ladder.chunk_s)).all()


def test_schemes_use_a_good_link_and_spare_a_bad_one() -> None:
    """All schemes end on the highest rung of a fast link, the lowest of a slow one."""
    ladder = drawn_ladder(n_chunks=60)
    links = RecordedLinks.of([trace([5e7]), trace([2.5e5], name="b")])
    begins = drawn_begins(links, ladder, 2, np.random.default_rng(0))
    how = PlayerSettings(n_chunks=60)
    for abr in (BufferBased(), RobustMpc()):
        found = play(abr, links, ladder, begins, how)
        assert found.rung[:2, 20:].mean() > 4.5, abr.name
        assert found.rung[2:, 20:].mean() < 0.7, abr.name


def test_who_knows_the_link_stalls_less() -> None:
    """Fugu with a predictor that knows beats the one that hopes for ten times more."""
    ladder = drawn_ladder(n_chunks=60)
    links = RecordedLinks.of([trace([2e6]), trace([2e6], name="b")])
    begins = drawn_begins(links, ladder, 4, np.random.default_rng(0))
    how = PlayerSettings(n_chunks=60, rtt_s=0.0)
    knows = play(FuguMpc(predictor=Knows(0.25)), links, ladder, begins, how)
    hopes = play(
        FuguMpc(predictor=Knows(2.5), name="hopes"), links, ladder, begins, how
    )
    assert knows.stalled_share <= 0.001
    assert hopes.stalled_share > 0.3
    assert knows.quality.mean() > ladder.quality[:, 0].mean() + 3
    rng = np.random.default_rng(0)
    found = stall_difference(knows, hopes, rng, n_resamples=50)
    assert found.estimate.n == 2
    assert found.estimate.value < -0.3


def test_robust_mpc_expects_less_where_it_was_wrong() -> None:
    """A steady past is believed, an unsteady one is divided by its error."""
    now = next(check_players())
    steady = type(now)(
        **{f: getattr(now, f) for f in now.__dataclass_fields__ if f[:5] != "past_"},
        past_bytes=np.full((6, 16), 1e6),
        past_s=np.full((6, 16), 2.0),
        past_buffer_s=now.past_buffer_s,
    )
    assert expected_throughput(steady) == pytest.approx(np.full(6, 5e5))
    plain = expected_throughput(now, is_robust=False)
    assert (expected_throughput(now) < plain).all()
    slowness = now.past_s / now.past_bytes
    errors = [
        np.abs(slowness[:, i] / slowness[:, i - 5 : i].mean(axis=1) - 1)
        for i in range(11, 16)
    ]
    assert expected_throughput(now) == pytest.approx(plain / (1 + np.max(errors, 0)))


def test_inputs_of_a_predictor_are_those_of_streams() -> None:
    """34 inputs: the past by chunk, the buffer now, the size asked about."""
    now = next(check_players())
    x = download_inputs(now).reshape(6, 5, 4, 34)
    assert x[2, 3, 1, 33] == pytest.approx(now.sizes_bytes[2, 3, 1] / 1e6)
    assert x[2, 3, 1, 28:32] == pytest.approx(
        [
            now.past_bytes[2, -1] / now.past_s[2, -1] / 1e6,
            now.past_s[2, -1],
            now.past_bytes[2, -1] / 1e6,
            now.past_buffer_s[2, -1],
        ],
        rel=1e-5,
    )
    assert x[4, 0, 0, 32] == pytest.approx(now.past_buffer_s[4, -1])


def test_traces_that_end_go_on_and_are_counted() -> None:
    """A session longer than its trace goes round, and the tally says so."""
    ladder = drawn_ladder((1e5,), n_chunks=5)
    links = RecordedLinks.of([trace([1e6] * 3), trace([1e6] * 900, name="b")])
    begins = Begins(link=np.arange(2), time_s=np.zeros(2), chunk=np.zeros(2, int))
    found = play(Always(0), links, ladder, begins, PlayerSettings(n_chunks=20))
    assert [(tally.n, tally.of) for tally in found.tallies] == [(1, 2)]


def test_odd_input_is_refused() -> None:
    """Links that never send, ladders without a rung, begins off the link."""
    for bad in ([], [trace([0.0, 0.0])], [trace([1e6, -1.0])], [trace([np.nan])]):
        with pytest.raises(DataError, match="trace"):
            RecordedLinks.of(bad)
    for sizes in (np.zeros((0, 0)), np.zeros((2, 1)), np.array([[2.0, 1.0]])):
        with pytest.raises(DataError, match="ladder"):
            Ladder(sizes_bytes=sizes, quality=np.zeros(sizes.shape))
    with pytest.raises(DataError, match="quality"):
        Ladder(sizes_bytes=np.ones((1, 1)), quality=np.full((1, 1), np.nan))
    ladder, links = drawn_ladder(n_chunks=4), RecordedLinks.of([trace([1e6])])
    off = Begins(link=np.array([1]), time_s=np.zeros(1), chunk=np.zeros(1, int))
    with pytest.raises(DataError, match="links from 0 to 0"):
        play(BufferBased(), links, ladder, off)
    begins = Begins(link=np.zeros(1, int), time_s=np.zeros(1), chunk=np.zeros(1, int))
    with pytest.raises(DataError, match="expected rungs"):
        play(Always(9), links, ladder, begins)
    with pytest.raises(ConfigError, match="most_s"):
        play(BufferBased(), links, ladder, begins, PlayerSettings(most_s=1.0))
    with pytest.raises(DataError, match="bins"):
        play(FuguMpc(predictor=Uniform(), times_s=np.ones(3)), links, ladder, begins)
    for wrong in ({"n_chunks": 0}, {"n_ahead": 0}, {"rtt_s": -1.0}):
        with pytest.raises(ConfigError):
            PlayerSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Weighing(step_s=0)
    with pytest.raises(ConfigError):
        BufferBased(reservoir=0.9, upper=0.1)
    with pytest.raises(ConfigError):
        drawn_ladder((2e6, 1e6))


def test_what_surely_stalls_takes_the_lowest_rung() -> None:
    """All rungs are in the last bin: the smaller chunk is there sooner all the same."""

    class Hopeless:
        def predict(self, x: np.ndarray) -> np.ndarray:
            shares = np.zeros((len(x), 21))
            shares[:, -1] = 1.0
            return shares

    for now in check_players():
        chosen = FuguMpc(predictor=Hopeless()).choose(now)
        assert (chosen == now.sizes_bytes[:, 0].argmin(axis=1)).all()
