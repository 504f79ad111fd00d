"""memory.analyse: what happens when a file of that kind is run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.analyse import tables
from midhaul.memory.analyse.metrics import amounts, metric_samples
from midhaul.memory.coverage.distances import jensen_shannon
from midhaul.memory.samples import Bins
from midhaul.memory.sources.drawn_puffer import draw_days
from midhaul.memory.sources.fugu import FUGU_BINS
from midhaul.memory.sources.puffer import days_in, read_day
from midhaul.memory.sources.puffer_download import DownloadLimits, download_day
from midhaul.memory.sources.viewings import (
    joined,
    read_schemes,
    read_viewings,
    viewings_of,
)
from midhaul.model import Verdict
from midhaul.runs.metric import summary_rows
from midhaul.runs.summary import SUMMARY
from midhaul.stats import bootstrap, independent_bootstrap, known, wasserstein

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.memory.analyse.config import AnalyseConfig
    from midhaul.memory.sources.puffer import Chunks, DayFiles
    from midhaul.memory.sources.viewings import Viewings
    from midhaul.model import Tally
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

    Row = dict[str, Any]

_N_BINS = 20


def analyse(config: AnalyseConfig, run: Run, progress: Progress) -> None:
    """Compare schemes by day, and write how samples shift.

    A MidhaulError says what cannot be read or downloaded.
    """
    viewings, tallies = _viewings(config, run, progress)
    rows = _write_viewings(viewings, run)
    names = sorted(set(viewings.abr))
    _write_days(config, names, rows, run)
    _write_differences(config, names, rows, run)
    for number, name in enumerate(names):
        mine = [row for row in rows if row["configuration"] == number]
        rng = np.random.default_rng([config.seed, 72, number])
        found = _modelled(config, metric_samples(mine, name))
        summed = summary_rows(found, number, rng, config.n_resamples)
        run.write(SUMMARY, summed + amounts(mine, number), part=number)
    run.verdict = Verdict.of(*viewings.tallies, *tallies)


def _viewings(
    config: AnalyseConfig, run: Run, progress: Progress
) -> tuple[Viewings, list[Tally]]:
    """The streams of all days; what their chunks say of shifts is written."""
    viewing = config.viewing
    if viewing.kind == "table" and viewing.file is not None:
        run.write(tables.SHIFTS, [], part=0)
        return read_viewings(viewing.file, config.least_s), []
    days = _days(config, run)
    settings = days[0].sent.parent / "expt_settings"
    schemes = read_schemes(settings) if settings.exists() else {}
    parts: list[Viewings] = []
    shifts = _Shifts()
    tallies: list[Tally] = []
    with progress.task("reading days", total=len(days)) as task:
        for number, day in enumerate(days):
            chunks = read_day(day.sent, day.acked)
            tallies += chunks.tallies
            run.write(tables.SHIFTS, shifts.rows(day.day, chunks), part=number)
            parts.append(viewings_of(chunks, day.day, schemes, config.least_s))
            task.advance(1)
    whole = joined(parts)
    if not len(whole):
        message = f"no stream of {len(days)} days played for {config.least_s:g} s"
        raise ConfigError(message, "lower least_s, or give other days")
    return whole, tallies


def _days(config: AnalyseConfig, run: Run) -> Sequence[DayFiles]:
    viewing = config.viewing
    if viewing.kind == "builtin" or viewing.folder is None:
        folder: Path = run.file("days/expt_settings").parent
        return draw_days(
            folder,
            n_days=viewing.n_days,
            n_streams=viewing.n_streams,
            seed=config.seed,
        )
    if viewing.kind == "download":
        limits = DownloadLimits(
            timeout_s=viewing.timeout_s, max_bytes=viewing.max_bytes
        )
        return [
            download_day(day, viewing.folder, base_url=viewing.base_url, limits=limits)
            for day in viewing.days
        ]
    found = [
        one
        for one in days_in(viewing.folder)
        if not viewing.days or one.day.startswith(viewing.days)
    ]
    if not found:
        message = f"{viewing.folder} has no day {', '.join(viewing.days)}"
        raise ConfigError(message, "days begin like 2021-10-17")
    return found


class _Shifts:
    """Holds each day's samples against those of the first."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[Bins, np.ndarray]] = {}

    def rows(self, day: str, chunks: Chunks) -> list[Row]:
        """How far a day lies from the first one; the first itself is at 0."""
        columns = {
            "trans_time_s": chunks.trans_s[np.isfinite(chunks.trans_s)],
            "size_packets": chunks.size_packets,
            "delivery_rate": chunks.tcp[:, 0],
        }
        return [
            {"day": day, "what": what, **self._held(what, values)}
            for what, values in columns.items()
            if len(values)
        ]

    def _held(self, what: str, values: np.ndarray) -> Row:
        if what not in self._first:
            self._first[what] = (_bins(what, values), values)
        bins, first = self._first[what]
        counts = [
            np.bincount(bins.of(one), minlength=bins.n) / len(one)
            for one in (values, first)
        ]
        distance = jensen_shannon(counts[0][None], counts[1][None])
        return {
            "n": len(values),
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "p99": float(np.quantile(values, 0.99)),
            "jsd": float(distance[0, 0]),
            "wasserstein": wasserstein(values, first),
        }


def _bins(what: str, values: np.ndarray) -> Bins:
    if what == "trans_time_s":
        return FUGU_BINS
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _N_BINS + 1)[1:-1]))
    return Bins(edges=np.array([-np.inf, *edges, np.inf]))


def _write_viewings(found: Viewings, run: Run) -> list[Row]:
    names = sorted(set(found.abr))
    numbered = {name: number for number, name in enumerate(names)}
    run.write(
        tables.CONFIGURATIONS,
        [{"configuration": n, "name": name} for name, n in numbered.items()],
        part=0,
    )
    rows: list[Row] = [
        {
            "configuration": numbered[found.abr[i]],
            "day": found.day[i],
            "viewer": found.viewer[i],
            "ssim_db": known(float(found.ssim_db[i])),
            "variation_db": known(float(found.variation_db[i])),
            "stall_s": float(found.stall_s[i]),
            "play_s": float(found.play_s[i]),
        }
        for i in range(len(found))
    ]
    run.write(tables.VIEWINGS, rows, part=0)
    return rows


def _modelled(config: AnalyseConfig, found: list[Any]) -> list[Any]:
    """What was drawn is of a model."""
    is_drawn = config.viewing.kind == "builtin"
    return [replace(one, is_model=is_drawn) for one in found]


def _write_days(
    config: AnalyseConfig, names: Sequence[str], rows: Sequence[Row], run: Run
) -> None:
    """Every metric of every scheme, day by day."""
    by_day: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        by_day.setdefault((row["configuration"], row["day"]), []).append(row)
    found: list[Row] = []
    for place, ((number, day), mine) in enumerate(sorted(by_day.items())):
        for one in metric_samples(mine, names[number]):
            rng = np.random.default_rng([config.seed, 73, place])
            estimate = bootstrap(
                one.statistic, len(one.units), rng, n_resamples=config.n_resamples
            )
            found.append(
                {
                    "configuration": number,
                    "day": day,
                    "metric": one.metric,
                    "value": known(estimate.value),
                    "low": known(estimate.low),
                    "high": known(estimate.high),
                    "n": estimate.n,
                }
            )
    run.write(tables.DAYS, found, part=0)


def _write_differences(
    config: AnalyseConfig, names: Sequence[str], rows: Sequence[Row], run: Run
) -> None:
    """Every scheme against the baseline; their viewers are others."""
    baseline = config.baseline or _longest(names, rows)
    if baseline not in names:
        message = f"baseline: expected one of {', '.join(names)}, found {baseline!r}"
        raise ConfigError(message, "name a scheme that was watched")
    found: list[Row] = []
    samples = {
        name: metric_samples([r for r in rows if r["configuration"] == n], name)
        for n, name in enumerate(names)
    }
    for number, name in enumerate(names):
        if name == baseline:
            continue
        for mine, other in zip(samples[name], samples[baseline], strict=True):
            rng = np.random.default_rng([config.seed, 74, number])
            difference = independent_bootstrap(
                mine.statistic,
                other.statistic,
                (len(mine.units), len(other.units)),
                rng,
                n_resamples=config.n_resamples,
            )
            found.append(
                {
                    "configuration": number,
                    "baseline": baseline,
                    "metric": mine.metric,
                    "difference": known(difference.estimate.value),
                    "low": known(difference.estimate.low),
                    "high": known(difference.estimate.high),
                    "p_value": known(difference.p_value),
                }
            )
    run.write(tables.DIFFERENCES, found, part=0)


def _longest(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    played: Counter[str] = Counter()
    for row in rows:
        played[names[int(row["configuration"])]] += row["play_s"]
    return max(names, key=lambda name: played[name])
