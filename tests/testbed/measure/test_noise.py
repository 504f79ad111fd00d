"""Two runs of the same thing on a busy machine, which must not be called different.

``noise.parquet`` holds every judged latency of one detector on an edge, on two cores
that other programs used: 40 blocks of two cells of 128 requests, one request after the
other. The two configurations differ in a setting that does nothing. The rules were
chosen on it. ``noise_elsewhen.parquet`` is the same of another day and other programs,
and was seen before they were final. ``noise_last.parquet`` was recorded after, on a
machine so busy that half as much again cannot be found in it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from midhaul.stats.compare import compare
from midhaul.testbed.measure.request_metrics import request_metrics, requests_of
from midhaul.testbed.measure.tables import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int64

    from midhaul.model.estimate import MetricSamples

    Cells = Int64[np.ndarray, "blocks requests"]

N_BLOCKS = 40
BOUND = 0.05
LESS_BUSY = ("noise", "noise_elsewhen")
LATENCIES = ("latency_mean_s", "latency_p50_s", "latency_p90_s")


@pytest.fixture(scope="module", params=[*LESS_BUSY, "noise_last"])
def recorded(request: pytest.FixtureRequest) -> tuple[Cells, Cells]:
    """Latencies in ns of the two configurations, by block and request."""
    table = pq.read_table(Path(__file__).with_name(f"{request.param}.parquet"))
    latency_ns = table["latency_us"].to_numpy().astype(np.int64) * 1000
    one, two = latency_ns.reshape(2, N_BLOCKS, -1)
    return one, two


def run_of(cells: Cells) -> tuple[MetricSamples, ...]:
    """The metrics of a run that measured these cells, one request after the other."""
    return _run_of(tuple(map(tuple, cells.tolist())))


@functools.lru_cache(maxsize=256)  # several tests look at the same blocks
def _run_of(cells: tuple[tuple[int, ...], ...]) -> tuple[MetricSamples, ...]:
    rows = []
    for block, latencies in enumerate(cells):
        planned_ns = 0
        for request, latency_ns in enumerate(latencies):
            done_ns = planned_ns + latency_ns
            rows.append(
                {
                    "configuration": 0,
                    "block": block,
                    "request": request,
                    "is_warmup": False,
                    "node": "edge",
                    "images": ["a"],
                    "status": "ok",
                    "planned_ns": planned_ns,
                    "sent_ns": planned_ns,
                    "done_ns": done_ns,
                    "latency_ns": latency_ns,
                    "service_ns": latency_ns,
                    "access_up_bytes": 1000,
                }
            )
            planned_ns = done_ns
    requests = requests_of(REQUESTS.from_rows(rows), 0, 30.0)
    return tuple(request_metrics(requests, "all"))


def n_different(
    pairs: Sequence[tuple[Cells, Cells]], metrics: Sequence[str] = LATENCIES
) -> int:
    """Of how many pairs any metric, of all if none is named, is called different."""
    count = 0
    for number, (first, second) in enumerate(pairs):
        one, two = (
            [m for m in run_of(cells) if not metrics or m.metric in metrics]
            for cells in (first, second)
        )
        found = compare(one, two, np.random.default_rng(number))
        assert len(found) == len(one) >= len(LATENCIES)
        count += any(each.result in ("better", "worse") for each in found)
    return count


def most(n_pairs: int) -> int:
    """What chance gives of so many pairs in 95 % of cases, if each errs in 5 %."""
    return int(binom.ppf(0.95, n_pairs, BOUND))


@pytest.mark.parametrize(("size", "metrics"), [(3, ()), (5, LATENCIES), (6, LATENCIES)])
def test_runs_that_take_turns_are_not_called_different(
    size: int, metrics: tuple[str, ...], recorded: tuple[Cells, Cells]
) -> None:
    """Block by block, whatever the machine did meets both; no block is in two pairs."""
    one, two = recorded
    starts = range(0, N_BLOCKS - size + 1, size)
    pairs = [(one[at : at + size], two[at : at + size]) for at in starts]
    assert n_different(pairs, metrics) <= most(len(pairs))


def test_runs_after_each_other_are_not_called_different(
    recorded: tuple[Cells, Cells],
) -> None:
    """However long they are: the machine drifts, and longer runs drift farther."""
    pairs = [
        (cells[at : at + size], cells[at + size : at + 2 * size])
        for size in (3, 4, 5, 6, 8, 10)
        for cells in recorded
        for at in range(0, N_BLOCKS - 2 * size + 1, 2 * size)
    ]
    assert n_different(pairs) <= most(len(pairs))


def test_halves_of_a_long_run_are_not_called_different(
    recorded: tuple[Cells, Cells],
) -> None:
    """Twenty blocks and the twenty after them are the same thing."""
    half = N_BLOCKS // 2
    pairs = [(cells[:half], cells[half:]) for cells in recorded]
    assert n_different(pairs) == 0


@pytest.mark.parametrize("recorded", LESS_BUSY, indirect=True)
@pytest.mark.parametrize("change", [1.2, 0.8])
def test_a_fifth_is_found_on_a_calm_machine(
    change: float, recorded: tuple[Cells, Cells]
) -> None:
    """With three blocks after each other, where noise is a fifth of the recorded."""
    pairs: list[tuple[Cells, Cells]] = []
    for cells in recorded:
        middle = np.median(cells)
        calm = (middle * (cells / middle) ** 0.2).astype(np.int64)
        pairs += [
            (calm[at : at + 3], (calm[at + 3 : at + 6] * change).astype(np.int64))
            for at in range(0, N_BLOCKS - 5, 6)
        ]
    assert n_different(pairs) >= 0.9 * len(pairs)


@pytest.mark.parametrize("recorded", LESS_BUSY, indirect=True)
@pytest.mark.parametrize("size", [3, 6])
def test_runs_that_differ_by_half_are_called_different(
    size: int, recorded: tuple[Cells, Cells]
) -> None:
    """What is careful with noise must still find what a user would notice."""
    one, two = recorded
    starts = range(0, N_BLOCKS - size + 1, 2 * size)
    pairs = [(one[at : at + size], two[at : at + size] * 3 // 2) for at in starts]
    assert n_different(pairs) >= len(pairs) / 2
