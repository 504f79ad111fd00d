"""When a cell counts as steady."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.testbed.load.scenarios import SteadyWatch, Warmup, agree


def fed(latencies_s: list[float], warmup: Warmup, cycle: int = 1) -> int | None:
    """After how many requests a watch is steady."""
    watch = SteadyWatch(warmup, cycle=cycle)
    for n, latency_s in enumerate(latencies_s, start=1):
        watch.add(latency_s)
        if watch.is_steady:
            return n
    return None


@given(latency_s=st.floats(1e-6, 1e3), window=st.integers(2, 50))
def test_equal_latencies_are_steady_after_two_windows(
    latency_s: float, window: int
) -> None:
    """Two windows is the least that can agree."""
    assert fed([latency_s] * 200, Warmup(window=window)) == 2 * window


def test_a_slow_begin_is_warm_up() -> None:
    """The first windows disagree with the later ones, so they do not count."""
    assert fed([1.0] * 10 + [0.1] * 10 + [0.01] * 30, Warmup(window=10)) == 40


def test_a_growing_queue_is_never_steady() -> None:
    """Latencies that rise for ever never agree."""
    rising = [0.1 * 1.05**n for n in range(200)]
    assert fed(rising, Warmup(window=10)) is None


@given(seed=st.integers(0, 2**32))
def test_noise_is_steady_soon(seed: int) -> None:
    """Medians far apart by chance agree through their intervals."""
    noise = np.random.default_rng(seed).lognormal(0, 1, 200).tolist()
    steady = fed(noise, Warmup(window=10, tolerance=0.0))
    assert steady is not None
    assert steady <= 60


def test_one_slow_request_does_not_unsettle() -> None:
    """Medians do not see a single outlier."""
    calm = [0.1] * 40
    calm[15] = 5.0
    assert fed(calm, Warmup(window=10)) == 20


def test_windows_are_whole_turns_over_the_nodes() -> None:
    """A fast and a slow node in turns are steady, since each window holds both."""
    turns = ([0.1] * 4 + [1.0] * 4) * 20
    assert fed(turns, Warmup(window=3), cycle=8) == 16


def test_short_windows_are_held_to_the_tolerance() -> None:
    """Windows too short for an interval agree by their medians alone."""
    one, two = np.array([1.0, 1.0]), np.array([1.2, 1.2])
    assert not agree(one, two, tolerance=0.1)
    assert agree(one, two, tolerance=0.2001)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"window": 1}, "needs 2 requests"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"max_requests": 0}, "max_requests"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, int], fault: str) -> None:
    """A warm-up that could not end, or not begin, is a mistake."""
    with pytest.raises(ValueError, match=fault):
        Warmup(**settings)
