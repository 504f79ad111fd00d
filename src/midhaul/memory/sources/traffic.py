"""Traffic shifts: flows of simulated networks as samples, in the patterns of the seed.

How long will the next flow between two nodes take? The inputs are sizes and completion
times of the last flows between them that had ended when it began. Runs of
``network.simulate`` are read by their files.

- **periodic**: the second workload always, the first every fifth period, the third
  every tenth.
- **incremental**: ten periods of each, one workload after the other.
- **congestion**: the same of three loads of one workload.

Differences from the seed (A. Dietmüller et al., "On Sample Selection for Continual
Learning: A Video Streaming Case Study", 2024): a period is a stretch of one run, not a
run of its own; inputs are of flows, not of packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Bins, Samples, concatenate
from midhaul.memory.sources.history import N_PAST
from midhaul.memory.sources.streams import StreamSet
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float64, Int64

TRAFFIC_BINS = Bins(edges=np.array([-np.inf, *np.linspace(-5.6, 1.6, 20), np.inf]))
"""Decimal logarithms of completion times in s."""

N_EACH = 10
"""Periods of each workload in the patterns that go from one to the next."""
N_PERIODIC = 20
"""Periods of the periodic pattern."""

_COLUMNS = ("configuration", "source", "target", "size_bytes", "start_ns", "fct_ns")
_WORKLOAD_BITS = 40
_HINT = "give folders of runs of network.simulate"

Pattern = Literal["periodic", "incremental", "congestion"]


def workload_of(cluster: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Which of the three workloads samples of :func:`traffic_stream` are of."""
    return cluster >> _WORKLOAD_BITS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Flows:
    """Flows of a run that ended, in the order of their starts."""

    pair: Int64[np.ndarray, " n"]
    start_s: Float64[np.ndarray, " n"]
    log_fct: Float64[np.ndarray, " n"]
    log_size: Float64[np.ndarray, " n"]
    unfinished: Tally


def traffic_stream(
    runs: Sequence[Path], *, pattern: Pattern, n_past: int = N_PAST
) -> StreamSet:
    """A stream of flows whose traffic shifts.

    Args:
        runs: three folders of runs: of three workloads, or of three loads.
        pattern: how they follow each other.
        n_past: how many ended flows the inputs know.

    Returns:
        The periods; the output is the decimal logarithm of the completion time in s, a
        group is what two nodes sent each other in a period, a cluster the two nodes.

    Raises:
        DataError: a run has no flows, or too few for its periods.
        ConfigError: there are not three runs, or no such pattern.
    """
    if len(runs) != 3 or pattern not in _PATTERNS or n_past < 1:  # noqa: PLR2004
        message = f"expected three runs and a pattern, found {len(runs)}, {pattern!r}"
        raise ConfigError(message, f"patterns are {', '.join(_PATTERNS)}")
    plan = _PATTERNS[pattern]
    tallies: list[Tally] = []
    slices: list[list[Samples]] = []
    for number, folder in enumerate(runs):
        flows = _read(folder)
        samples, no_past = _samples(flows, n_past, number)
        n = sum(number in period for period in plan)
        if len(samples) < n:
            message = f"{folder}: expected {n} flows with a past, found {len(samples)}"
            raise DataError(message, "simulate more flows between fewer nodes")
        cuts = np.array_split(np.arange(len(samples)), n)
        slices.append([samples.take(slice(c[0], c[-1] + 1)) for c in cuts])
        tallies += (flows.unfinished, no_past)
    periods: list[Samples] = []
    begin_s = 0.0
    for number, workloads in enumerate(plan):
        parts = [slices[workload].pop(0) for workload in workloads]
        period, begin_s = _together(parts, number, begin_s)
        periods.append(period)
    what = ("log10 size_bytes", "log10 fct_s")
    past = [f"{name} {k - n_past} flows" for k in range(n_past) for name in what]
    return StreamSet(
        name=f"traffic-{pattern}",
        periods=tuple(periods),
        bins=TRAFFIC_BINS,
        inputs=(*past, "log10 size_bytes next"),
        tallies=tuple(tallies),
    )


_ONE_BY_ONE = tuple((workload,) for workload in range(3) for _ in range(N_EACH))
_PATTERNS: dict[str, tuple[tuple[int, ...], ...]] = {
    "periodic": tuple(
        (1, *((0,) if number % 5 == 0 else ()), *((2,) if number % 10 == 0 else ()))
        for number in range(1, N_PERIODIC + 1)
    ),
    "incremental": _ONE_BY_ONE,
    "congestion": _ONE_BY_ONE,
}


def _read(folder: Path) -> _Flows:
    with documents.expected(
        f"{folder}: expected a run with flows,",
        _HINT,
        also=(pa.ArrowException, KeyError),
    ):
        files = sorted((folder / "tables" / "flows").glob("part-*.parquet"))
        if not files:
            message = "it has no tables/flows/part-*.parquet"
            raise ValueError(message)
        parts = [documents.read_parquet(file, list(_COLUMNS)) for file in files]
        table = pa.concat_tables(parts, promote_options="permissive")
        if lacking := [c for c in _COLUMNS if c not in table.column_names]:
            message = f"the column {lacking[0]!r} is missing"
            raise ValueError(message)
        numbers = {
            name: np.asarray(
                pc.cast(table.column(name), pa.float64(), safe=False).to_numpy()
            )
            for name in ("configuration", "size_bytes", "start_ns", "fct_ns")
        }
        ends = [
            pc.rank(table.column(name).combine_chunks(), tiebreaker="dense")
            for name in ("source", "target")
        ]
    is_first = numbers["configuration"] == np.nanmin(numbers["configuration"])
    is_good = is_first & (numbers["fct_ns"] > 0) & (numbers["size_bytes"] > 0)
    is_good &= np.isfinite(numbers["start_ns"])
    source, target = (np.asarray(one.to_numpy(), np.int64) for one in ends)
    order = np.argsort(numbers["start_ns"], kind="stable")
    rows = order[is_good[order]]
    together = source * (int(target.max(initial=0)) + 1) + target
    return _Flows(
        pair=np.unique(together, return_inverse=True)[1][rows].astype(np.int64),
        start_s=numbers["start_ns"][rows] / 1e9,
        log_fct=np.log10(numbers["fct_ns"][rows] / 1e9),
        log_size=np.log10(numbers["size_bytes"][rows]),
        unfinished=Tally(
            what=f"flows of {folder.name} had not ended, and were left out",
            n=int((is_first & ~is_good).sum()),
            of=int(is_first.sum()),
            max_share=0.05,
            advice="Let the simulation go on until they have.",
        ),
    )


def _samples(flows: _Flows, n_past: int, workload: int) -> tuple[Samples, Tally]:
    """Each flow with those of its pair that had ended when it began."""
    n = len(flows.pair)
    past = np.full((n, n_past), -1)
    end_s = flows.start_s + 10.0**flows.log_fct
    for pair in np.unique(flows.pair):
        mine = np.flatnonzero(flows.pair == pair)
        ended = mine[np.argsort(end_s[mine], kind="stable")]
        n_ended = np.searchsorted(end_s[ended], flows.start_s[mine], side="right")
        wanted = np.maximum(n_ended[:, None] + np.arange(-n_past, 0), 0)
        known = n_ended > 0
        past[mine[known]] = ended[wanted[known]]
    rows = np.flatnonzero(past[:, 0] >= 0)
    both = np.stack([flows.log_size, flows.log_fct], axis=1)
    x = both[past[rows]].reshape(len(rows), 2 * n_past)
    cluster = (workload << _WORKLOAD_BITS) + flows.pair[rows]
    samples = Samples.of(
        np.column_stack([x, flows.log_size[rows]]),
        flows.log_fct[rows],
        time_s=flows.start_s[rows],
        group=cluster,
        cluster=cluster,
    )
    none = Tally(
        what="flows began before any between the same nodes had ended",
        n=n - len(rows),
        of=n,
        max_share=1.0,
        advice="Nothing: a sample needs a flow before it.",
    )
    return samples, none


def _together(
    parts: Sequence[Samples], number: int, begin_s: float
) -> tuple[Samples, float]:
    """Stretches of several runs as one period, from a time on; and when it ends."""
    whole = concatenate(parts)
    since_s = np.concatenate([one.time_s - one.time_s[0] for one in parts])
    order = np.argsort(since_s, kind="stable")
    taken = whole.take(order)
    found = Samples.of(
        taken.x,
        taken.y,
        time_s=begin_s + since_s[order],
        group=taken.group + (number << 48),
        cluster=taken.cluster,
    )
    return found, float(found.time_s[-1])
