"""Arrival processes: rate, shape, chance and files."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from midhaul.errors import DataError
from midhaul.testbed.load.checks import check_arrivals
from midhaul.testbed.load.scenarios import (
    Arrivals,
    Constant,
    Gamma,
    Poisson,
    Recorded,
    read_arrivals,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

rates = st.floats(0.01, 1e5)


def gaps(arrivals: Arrivals, n: int = 20_000, seed: int = 0) -> np.ndarray:
    """The first gaps of a process."""
    times = np.array(list(islice(arrivals.times(np.random.default_rng(seed)), n)))
    return np.diff(times)


@pytest.mark.parametrize(
    "arrivals",
    [
        Constant(rate_hz=50),
        Poisson(rate_hz=7.5),
        Gamma(rate_hz=20, cv=3),
        Gamma(rate_hz=20, cv=0.2),
        Recorded(times_s=np.array([5.0, 5.5, 5.5, 7.0])),
        Recorded(times_s=np.array([5.0, 5.5, 5.5, 7.0]), loops=True, speed=2),
    ],
    ids=repr,
)
def test_processes_conform(arrivals: Arrivals) -> None:
    """Every process of ours passes the suite that a stranger's must pass."""
    check_arrivals(arrivals)


@given(rate_hz=rates)
def test_constant_gaps_are_equal(rate_hz: float) -> None:
    """Constant arrivals neither drift nor jitter, at any rate."""
    found = gaps(Constant(rate_hz=rate_hz), n=500)
    assert found == pytest.approx(1 / rate_hz)


def test_poisson_gaps_are_exponential() -> None:
    """The gaps pass a Kolmogorov-Smirnov test against the exponential distribution."""
    found = gaps(Poisson(rate_hz=40))
    assert scipy_stats.kstest(found, "expon", args=(0, 1 / 40)).pvalue > 0.01


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
def test_gamma_gaps_have_the_stated_variation(cv: float) -> None:
    """The gaps pass a test against the gamma distribution of that rate and cv."""
    found = gaps(Gamma(rate_hz=40, cv=cv))
    law = (cv**-2, 0, cv**2 / 40)
    assert scipy_stats.kstest(found, "gamma", args=law).pvalue > 0.01
    assert found.std() / found.mean() == pytest.approx(cv, rel=0.1)


@given(seed=st.integers(0, 2**32), rate_hz=rates, cv=st.floats(0.1, 5))
def test_chance_comes_from_the_argument(seed: int, rate_hz: float, cv: float) -> None:
    """Equal seeds give equal times and other seeds give others."""
    process = Gamma(rate_hz=rate_hz, cv=cv)
    assert np.array_equal(gaps(process, 50, seed), gaps(process, 50, seed))
    assert not np.array_equal(gaps(process, 50, seed), gaps(process, 50, seed + 1))


def test_a_recording_ends_or_loops() -> None:
    """A recording is played from its first time, once or for ever."""
    rng = np.random.default_rng(0)
    times = np.array([10.0, 11.0, 14.0])
    assert list(Recorded(times_s=times).times(rng)) == [0.0, 1.0, 4.0]
    again = Recorded(times_s=times, loops=True).times(rng)
    # One mean gap of 2 s between the last send and the next first.
    assert list(islice(again, 7)) == [0.0, 1.0, 4.0, 6.0, 7.0, 10.0, 12.0]
    assert list(Recorded(times_s=times, speed=4).times(rng)) == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("times", "speed", "fault"),
    [
        ([1.0], 1, "at least two times"),
        ([1.0, 1.0], 1, "span some time"),
        ([1.0, 3.0, 2.0], 1, "found 2.0 after 3.0 at place 2"),
        ([1.0, np.nan, 2.0], 1, "finite, found nan at place 1"),
        ([1.0, 2.0], 0, "speed must be a positive"),
    ],
)
def test_a_recording_that_cannot_be_played_is_refused(
    times: list[float], speed: float, fault: str
) -> None:
    """The message says what is wrong and where."""
    with pytest.raises(ValueError, match=fault):
        Recorded(times_s=np.array(times), speed=speed)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, np.inf, np.nan])
def test_rates_are_positive(rate_hz: float) -> None:
    """No process has a rate of nothing, less or for ever."""
    for make in (Constant, Poisson, lambda rate_hz: Gamma(rate_hz=rate_hz, cv=1)):
        with pytest.raises(ValueError, match="rate_hz must be a positive number"):
            make(rate_hz=rate_hz)
    with pytest.raises(ValueError, match="cv must be a positive number"):
        Gamma(rate_hz=1, cv=rate_hz)


@pytest.mark.parametrize("name", ["times.txt", "times.csv", "times.parquet", "one.csv"])
def test_recordings_are_read_from_files(tmp_path: Path, name: str) -> None:
    """Text, CSV and Parquet give the same arrivals."""
    file = tmp_path / name
    match name:
        case "times.txt":
            file.write_text("# seconds\n1.5\n\n2\n4.25\n")
        case "times.csv":
            file.write_text("node,time_s\na,1.5\nb,2\na,4.25\n")
        case "one.csv":
            file.write_text("seconds\n1.5\n2\n4.25\n")
        case _:
            pq.write_table(pa.table({"x": [1, 2, 3], "time_s": [1.5, 2, 4.25]}), file)
    found = read_arrivals(file, loops=True, speed=2)
    assert found.times_s.tolist() == [1.5, 2, 4.25]
    assert found.loops
    assert found.speed == 2


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.txt", "1\ntwo\n", "line 2 is no number: 'two'"),
        ("a.txt", "", "at least two times"),
        ("a.txt", "2\n1\n", "found 1.0 after 2.0"),
        ("a.csv", "x,y\n1,2\n", "no column time_s among x, y"),
        ("a.csv", "time_s\nnoon\nten\n", "of type double"),
        ("a.csv", "time_s\n1\n\n2,3\n", "columns"),
        ("a.parquet", "no parquet", "a.parquet"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    """A wrong file is one message with its path and a hint, whatever is wrong."""
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        read_arrivals(file)
    assert str(file) in caught.value.message
    assert "time_s" in caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is bad input, no crash."""
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        read_arrivals(tmp_path / "nowhere.txt")


class Broken:
    """Arrivals made of the times it is given."""

    def __init__(self, *turns: list[float], rate_hz: float = 1.0) -> None:
        self.rate_hz = rate_hz
        self._turns = list(turns)

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """The next turn."""
        del rng
        return iter(self._turns.pop(0))


@pytest.mark.parametrize(
    ("arrivals", "fault"),
    [
        (Broken([1, 2, 3], [1, 2, 4]), "equal seeds"),
        (Broken([-1, 0, 1], [-1, 0, 1]), "not negative"),
        (Broken([1, 3, 2], [1, 3, 2]), "must not fall"),
        (Broken([1, 2, 3], [1, 2, 3], rate_hz=2), "rate_hz is 2"),
    ],
)
def test_the_suite_finds_processes_that_do_not_conform(
    arrivals: Broken, fault: str
) -> None:
    """A stranger's process that breaks a rule is told which."""
    with pytest.raises(ValueError, match=fault):
        check_arrivals(arrivals)
