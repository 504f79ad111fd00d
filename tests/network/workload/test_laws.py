"""Laws of sizes and arrivals: their means, their shapes, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from midhaul.errors import ConfigError, DataError
from midhaul.network.workload import (
    EmpiricalSize,
    ExponentialSize,
    FixedSize,
    GaussianSize,
    LognormalArrivals,
    LognormalSize,
    OnOffArrivals,
    ParetoSize,
    PoissonArrivals,
    TraceArrivals,
    published_sizes,
    read_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.network.workload import FlowArrivals, SizeLaw

LAWS: tuple[SizeLaw, ...] = (
    FixedSize(mean_bytes=20_000),
    ExponentialSize(mean_bytes=20_000),
    LognormalSize(mean_bytes=20_000, sigma=1.2),
    ParetoSize(mean_bytes=20_000, shape=2.5),
    GaussianSize(mean_bytes=20_000, deviation_bytes=3000),
    published_sizes("websearch"),
    published_sizes("webserver"),
)
ARRIVALS: tuple[FlowArrivals, ...] = (
    PoissonArrivals(),
    LognormalArrivals(sigma=2.0),
    OnOffArrivals(on_s=0.001, off_s=0.004),
    TraceArrivals(start_ns=np.arange(0, 50_000, 7)),
)


def rng(seed: int = 0) -> np.random.Generator:
    """Chance for a test."""
    return np.random.default_rng(seed)


@pytest.mark.parametrize("law", LAWS)
def test_sizes_have_the_mean_of_their_law(law: SizeLaw) -> None:
    """Within five standard errors, and whole bytes of at least 1."""
    sizes = law.draw(rng(), 200_000)
    assert sizes.dtype == np.int64
    assert sizes.min() >= 1
    error = sizes.std() / np.sqrt(len(sizes))
    assert abs(sizes.mean() - law.mean_bytes) <= 5 * error + 1


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (LAWS[1], stats.expon(scale=20_000)),
        (LAWS[2], stats.lognorm(1.2, scale=20_000 * np.exp(-0.72))),
        (LAWS[3], stats.pareto(2.5, scale=12_000)),
        (LAWS[4], stats.norm(20_000, 3000)),
    ],
)
def test_sizes_have_the_shape_of_their_law(law: SizeLaw, expected: object) -> None:
    """Kolmogorov and Smirnov find no difference to scipy's law."""
    assert stats.kstest(law.draw(rng(), 5000), expected.cdf).pvalue > 0.01


@given(st.integers(0, 2**32 - 1), st.sampled_from(LAWS), st.integers(0, 50))
def test_sizes_follow_from_the_seed(seed: int, law: SizeLaw, n: int) -> None:
    """The same generator gives the same sizes."""
    one, other = (law.draw(rng(seed), n) for _ in range(2))
    assert len(one) == n
    assert (one == other).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSize(mean_bytes=0), "a fixed size: mean_bytes must be above 0"),
        (lambda: ExponentialSize(mean_bytes=-1), "mean_bytes must be above 0"),
        (lambda: LognormalSize(mean_bytes=1, sigma=0), "sigma must be above 0"),
        (lambda: ParetoSize(mean_bytes=9, shape=1), "shape must be above 1, found 1"),
        (lambda: GaussianSize(mean_bytes=9, deviation_bytes=np.nan), "deviation_bytes"),
        (lambda: cdf([], []), "as many sizes as shares, found 0 and 0"),
        (lambda: cdf([1, 2], [1.0]), "as many sizes as shares, found 2 and 1"),
        (lambda: cdf([2, 1], [0.5, 1.0]), "sizes of a CDF rise.*point 1 has 1"),
        (lambda: cdf([1, 2], [0.9, 0.5]), "shares of a CDF rise.*point 1 has 0.5"),
        (lambda: cdf([1, 2], [0.5, 0.9]), "shares of a CDF end at 1, found 0.9"),
        (lambda: cdf([0, 0], [0.5, 1.0]), "a size above 0 B"),
        (lambda: published_sizes("webserver2"), "did you mean webserver"),
        (lambda: LognormalArrivals(sigma=0), "sigma of arrivals must be above 0"),
        (lambda: OnOffArrivals(on_s=0, off_s=1), "on_s of arrivals must be above 0 s"),
        (lambda: TraceArrivals(start_ns=np.array([3, 2])), "start 1 is before"),
        (lambda: TraceArrivals(start_ns=np.array([-3, 2])), "at least 0 ns, found -3"),
    ],
)
def test_what_is_no_law_is_refused(make: Callable[[], object], message: str) -> None:
    """The name of the law and of its value are said."""
    with pytest.raises(ConfigError, match=message):
        make()


def cdf(sizes: list[float], shares: list[float]) -> EmpiricalSize:
    """A CDF of these points."""
    return EmpiricalSize(size_bytes=np.array(sizes), share=np.array(shares))


def test_a_cdf_may_begin_with_a_share() -> None:
    """Flows below the first point have its size."""
    law = cdf([100.0, 200.0], [0.75, 1.0])
    assert law.mean_bytes == 75 + 37.5
    sizes = law.draw(rng(), 10_000)
    assert abs((sizes == 100).mean() - 0.75) < 0.02
    assert sizes.max() <= 200


def test_published_means_are_those_that_papers_say() -> None:
    """91, 610 and 569 KB, and 1.7 MB, within 4 %."""
    expected = {
        "webserver": 91e3,
        "cachefollower": 610e3,
        "hadoop": 569e3,
        "websearch": 1.7e6,
    }
    for name, mean in expected.items():
        assert published_sizes(name).mean_bytes == pytest.approx(mean, rel=0.04)


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["webserver", "cachefollower", "hadoop"])
def test_published_sizes_are_near_the_whole_curve(data_dir: Path, name: str) -> None:
    """No share differs by more than six points from the curve in all its detail."""
    whole = read_sizes(data_dir / "flow_sizes" / f"{name}-all.tsv")
    own = published_sizes(name)
    at = np.geomspace(50, 1e8, 500)
    difference = np.interp(at, whole.size_bytes, whole.share) - np.interp(
        at, own.size_bytes, own.share
    )
    assert abs(difference).max() < 0.06
    assert own.mean_bytes == pytest.approx(whole.mean_bytes, rel=0.04)


@pytest.mark.parametrize("law", ARRIVALS)
@given(
    n=st.integers(0, 300), horizon_ns=st.integers(1, 10**10), seed=st.integers(0, 99)
)
def test_starts_rise_within_the_horizon(
    law: FlowArrivals, n: int, horizon_ns: int, seed: int
) -> None:
    """As many as asked for, from 0 to the horizon, and the same from the same seed."""
    starts, again = (law.draw(rng(seed), n, horizon_ns) for _ in range(2))
    assert len(starts) == n
    assert starts.dtype == np.int64
    assert (starts == again).all()
    assert (np.diff(starts) >= 0).all()
    assert n == 0 or 0 <= starts[0] <= starts[-1] <= horizon_ns


def test_poisson_starts_are_uniform_and_bursts_are_not() -> None:
    """Counts in windows vary as a Poisson process says; more with lognormal gaps."""
    counts = {
        name: np.bincount(law.draw(rng(3), 20_000, 10**9) // 10**6, minlength=1000)
        for name, law in (
            ("poisson", PoissonArrivals()),
            ("sigma 1", LognormalArrivals(sigma=1.0)),
            ("sigma 2", LognormalArrivals(sigma=2.0)),
            ("on and off", OnOffArrivals(on_s=0.01, off_s=0.03)),
        )
    }
    spread = {name: float(n.var() / n.mean()) for name, n in counts.items()}
    assert 0.85 < spread["poisson"] < 1.15
    assert spread["poisson"] < spread["sigma 1"] < spread["sigma 2"]
    assert abs((counts["on and off"] > 0).mean() - 0.25) < 0.12


def test_a_trace_that_ends_says_so() -> None:
    """More flows than starts is an error with both numbers, and no starting again."""
    trace = TraceArrivals(start_ns=np.array([0, 5, 2_000_000_000]), name="day.csv")
    with pytest.raises(
        DataError, match=r"day\.csv ends after 3 starts at 2 s, 4 are wan"
    ):
        trace.draw(rng(), 4, 10)
    assert trace.draw(rng(), 2, 100).tolist() == [0, 50]
    kept = TraceArrivals(start_ns=np.array([3, 5, 9]), is_scaled=False)
    assert kept.draw(rng(), 2, 100).tolist() == [3, 5]


def test_on_and_off_times_are_not_endless() -> None:
    """A million short times in a horizon are refused before memory is full."""
    with pytest.raises(ConfigError, match="more than"):
        OnOffArrivals(on_s=1e-9, off_s=1e-9).draw(rng(), 1, 10**12)
