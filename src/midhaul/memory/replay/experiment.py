"""memory.replay and memory.compare: what happens when a file of that kind is run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.memory.cells import Cells
from midhaul.memory.replay import tables
from midhaul.memory.replay.inputs import learner_of, rule_of, selector_of, stream_of
from midhaul.memory.replay.metrics import (
    JUDGED,
    METRICS,
    tested_of,
    verdict_sentence,
)
from midhaul.memory.replaying import replay as replay_stream
from midhaul.memory.scores import recalibrated_loss
from midhaul.model import Tally, Verdict
from midhaul.runs.metric import summary_rows
from midhaul.runs.perform import n_jobs, parallel
from midhaul.runs.summary import SUMMARY
from midhaul.stats import known
from midhaul.stats.bootstrap import paired_bootstrap
from midhaul.stats.compare import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Int64

    from midhaul.memory.replay.config import (
        MemoryCompareConfig,
        MemoryReplayConfig,
        SeveralMemoriesConfig,
    )
    from midhaul.memory.replay.metrics import TestedScores
    from midhaul.memory.replaying import PeriodResult
    from midhaul.memory.samples import Samples
    from midhaul.memory.sources.streams import StreamSet
    from midhaul.model.estimate import Statistic
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

Row = dict[str, object]


def replay(config: MemoryReplayConfig, run: Run, progress: Progress) -> None:
    """Go through a stream with one memory, as often as there are seeds.

    A MidhaulError is a stream that cannot be read, or samples that lack what the
    selector or the rule needs. Repetitions that a resumed run has are kept.
    """
    _replay_all(config, run, progress)
    _sum_up(config, run)


def compare(config: MemoryCompareConfig, run: Run, progress: Progress) -> None:
    """Go through a stream with each memory and rule, and say what differs.

    Errors and what is kept as in :func:`replay`.
    """
    _replay_all(config, run, progress)
    found = _sum_up(config, run)
    rng = np.random.default_rng([config.seed, 62])
    rows = [
        row
        for number, one in enumerate(found[1:], 1)
        for row in _differences(number, found[0], one, config, rng)
    ]
    _judge(rows)
    run.write(tables.DIFFERENCES, rows, part=0)
    if rows:
        run.note(verdict_sentence(found[0].name, _results(rows, found)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repetition:
    """One configuration with one seed, to be worked on in a process of its own."""

    config: SeveralMemoriesConfig
    number: int
    seed: int

    @property
    def part(self) -> int:
        """The number of its parts of tables."""
        return self.number * self.config.n_seeds + self.seed


def _replay_all(config: SeveralMemoriesConfig, run: Run, progress: Progress) -> None:
    """Write the parts of all repetitions that are not there yet."""
    first = stream_of(config.stream, config.seed)
    run.tally(*first.tallies)
    _write_configurations(config, first, run)
    done = set(run.parts(tables.SLOW.name))  # the last one that is written
    missing = [
        one
        for seed in range(config.n_seeds)
        for number in range(len(config.configurations()))
        if (one := _Repetition(config=config, number=number, seed=seed)).part
        not in done
    ]
    jobs = n_jobs(config.jobs)
    with progress.task("repetitions", total=len(missing)) as task:
        for place, found in parallel(_repetition, missing, jobs=jobs):
            for table, rows in zip(_WRITTEN, found, strict=True):
                run.write(table, rows, part=missing[place].part)
            task.advance()


_WRITTEN = (tables.PERIODS, tables.KEPT, tables.SCORES, tables.SLOW)


def _write_configurations(
    config: SeveralMemoriesConfig, first: StreamSet, run: Run
) -> None:
    n = sum(len(period) for period in first.periods)
    rows: list[Row] = [
        {
            "configuration": number,
            "name": name,
            "selector": memory.selector,
            "capacity": memory.capacity,
            "capacity_bytes": memory.capacity_bytes,
            "rule": rule.rule,
            "n_samples": n,
            "n_periods": len(first.periods),
        }
        for number, (name, memory, rule) in enumerate(config.configurations())
    ]
    run.write(tables.CONFIGURATIONS, rows, part=0)


def _repetition(one: _Repetition) -> tuple[list[Row], ...]:
    """The rows of one repetition: of periods, of what is kept, of scores, slow ones."""
    config = one.config
    _, memory, rule = config.configurations()[one.number]
    stream = stream_of(config.stream, config.seed + one.seed)
    learner = learner_of(config, stream.bins)
    seed = config.seed + one.seed
    key: Row = {"configuration": one.number, "seed": one.seed}
    periods: list[Row] = []
    kept: list[Row] = []
    tested: list[PeriodResult] = []
    selector = selector_of(memory, stream.bins, learner, seed)
    cells = Cells(bins=stream.bins)
    seen = np.zeros(cells.n, np.int64)
    began, n_before = time.process_time(), 0
    for found in replay_stream(
        stream.periods,
        stream.bins,
        selector,
        rule_of(rule, learner),
        learner,
        seed=seed,
        capacity_bytes=memory.capacity_bytes,
    ):
        now = time.process_time()
        seen += _counted(cells, found.test)
        held = _counted(cells, found.kept)
        n_remainder = int(getattr(selector, "n_remainder_dropped", 0))
        row: Row = {"n_remainder": n_remainder - n_before, "took_s": now - began}
        for name, counts in (("", held), ("_seen", seen)):
            row[f"n_cells{name}"] = int(np.count_nonzero(counts))
            row[f"density{name}"] = _density(counts)
        periods.append(key | _period_row(found) | row)
        began, n_before = now, n_remainder
        kept += [
            key | {"period": found.period, "came_in": came_in, "n": int(n)}
            for came_in, n in enumerate(found.kept_of)
        ]
        tested.append(found)
    return periods, kept, _score_rows(key, tested), _slow_rows(key, tested)


def _counted(cells: Cells, samples: Samples) -> Int64[np.ndarray, " c"]:
    if not len(samples):
        return np.zeros(cells.n, np.int64)
    return np.bincount(cells.of(samples), minlength=cells.n)


def _density(counts: Int64[np.ndarray, " c"]) -> float | None:
    """The mean, over samples, of the share of all that lie in the same cell."""
    return float(np.square(counts / counts.sum()).sum()) if counts.any() else None


def _period_row(found: PeriodResult) -> Row:
    said = found.decision
    is_tested = len(found.raw) > 0
    slow = found.raw[found.is_slow]
    return {
        "period": found.period,
        "n": len(found.test),
        "n_dropped": found.n_dropped,
        "mean": float(found.raw.mean()) if is_tested else None,
        "median": float(np.median(found.raw)) if is_tested else None,
        "p1": float(np.quantile(found.raw, 0.01)) if is_tested else None,
        "smoothed_mean": float(found.smoothed.mean()) if is_tested else None,
        "smoothed_p1": float(np.quantile(found.smoothed, 0.01)) if is_tested else None,
        "n_slow": int(found.is_slow.sum()),
        "slow_mean": float(slow.mean()) if len(slow) else None,
        "retrained": said.retrain,
        "way": found.taken.way,
        "value": known(said.value),
        "threshold": known(said.threshold),
        "p_value": known(said.p_value),
        "why": said.why,
        "n_groups": said.n_groups,
        "n_forgotten": said.n_forgotten,
        "n_kept": int(found.kept_of.sum()),
    }


def _score_rows(key: Row, tested: list[PeriodResult]) -> list[Row]:
    """Scores of all periods, counted by cluster."""
    counts: Counter[tuple[int, float, bool, bool]] = Counter()
    for one in tested:
        if not len(one.raw):
            continue
        for is_smoothed, score in ((False, one.raw), (True, one.smoothed)):
            columns = [one.test.cluster, _steps(score), one.is_slow]
            cells, n = np.unique(
                np.stack([c.astype(np.int64) for c in columns]),
                axis=1,
                return_counts=True,
            )
            for (cluster, step, slow), times in zip(cells.T, n, strict=True):
                at = (int(cluster), int(step) / _FINE, is_smoothed, bool(slow))
                counts[at] += int(times)
    return [
        key
        | {
            "cluster": cluster,
            "score": score,
            "is_smoothed": is_smoothed,
            "is_slow": slow,
            "n": n,
        }
        for (cluster, score, is_smoothed, slow), n in counts.items()
    ]


_FINE, _COARSE = 1000, 20
"""Steps of a score of one, and how many of them are one step below -1."""


def _steps(score: np.ndarray) -> np.ndarray:
    """Scores in steps of a thousandth, of a fiftieth where they are below -1."""
    fine = np.round(score * _FINE)
    return np.where(score > -1, fine, np.round(fine / _COARSE) * _COARSE)


def _slow_rows(key: Row, tested: list[PeriodResult]) -> list[Row]:
    """The recalibrated loss of slow events, cluster by cluster."""
    there = [one for one in tested if len(one.raw)]
    if not there:
        return []
    odds = np.concatenate([one.odds for one in there])
    is_slow = np.concatenate([one.is_slow for one in there])
    cluster = np.concatenate([one.test.cluster for one in there])
    loss = recalibrated_loss(odds, is_slow, cluster)
    clusters, of = np.unique(cluster, return_inverse=True)
    columns = (
        clusters,
        np.bincount(of),
        np.bincount(of, is_slow),
        np.bincount(of, loss),
    )
    return [
        key
        | {"cluster": int(name), "n": int(n), "n_slow": int(slow), "loss": float(sums)}
        for name, n, slow, sums in zip(*columns, strict=True)
    ]


def _tally(run: Run) -> None:
    """Count what was left out of all repetitions into the verdict."""
    (row,) = run.sql(
        "SELECT sum(n)::BIGINT AS n, sum(n_dropped)::BIGINT AS dropped, "
        "sum(n_remainder)::BIGINT AS remainder, sum(n_groups)::BIGINT AS groups, "
        "sum(n_forgotten)::BIGINT AS forgotten FROM periods"
    ).to_pylist()
    run.verdict = Verdict()
    run.tally(
        Tally(
            what="samples had no output and were neither learnt from nor tested",
            n=row["dropped"],
            of=row["n"] + row["dropped"],
            max_share=_MAX_UNKNOWN,
            advice="Bring the outputs, or leave these samples out on purpose.",
        ),
        Tally(
            what="samples filled no batch, and a selector of batches dropped them",
            n=row["remainder"],
            of=row["n"],
            max_share=1.0,
            advice="It is the seed's way; smaller batches drop fewer.",
        ),
        Tally(
            what="groups were forgotten by a rule, whose sketches are of limited size",
            n=row["forgotten"],
            of=row["groups"],
            max_share=1.0,
            advice="Drawn by lot they change no rate of false alarms; fewer see less.",
        ),
    )


_MAX_UNKNOWN = 0.05


def _sum_up(config: SeveralMemoriesConfig, run: Run) -> list[TestedScores]:
    """Write the summary; what was tested of each configuration."""
    _tally(run)
    found = tested_of(run)
    rng = np.random.default_rng([config.seed, 61])
    means = {int(row["configuration"]): row for row in run.sql(_WORK).to_pylist()}
    for number, one in enumerate(found):
        rows = summary_rows(one.samples(), number, rng, config.n_resamples)
        work = means[number]
        rows += [
            METRICS["n_retrained"].row(number, work["n_retrained"], config.n_seeds),
            METRICS["took_s"].row(number, work["took_s"], config.n_seeds),
        ]
        run.write(SUMMARY, rows, part=number)
    return found


_WORK = """
    SELECT configuration,
    sum(retrained::INT)::DOUBLE / count(DISTINCT seed) AS n_retrained,
    sum(took_s) / count(DISTINCT seed) AS took_s
    FROM periods GROUP BY 1
"""


def _differences(
    number: int,
    first: TestedScores,
    one: TestedScores,
    config: SeveralMemoriesConfig,
    rng: np.random.Generator,
) -> list[Row]:
    """Each metric against the first configuration, by the same clusters."""
    theirs, mine = first.statistics(), one.statistics()
    rows: list[Row] = []
    for name in mine:
        a, b = mine[name], theirs[name]
        if name == "slow_loss":
            a, b = _share(a, b), _none
        found = paired_bootstrap(
            a, b, len(one.clusters), rng, n_resamples=config.n_resamples
        )
        rows.append(
            {
                "configuration": number,
                "metric": name,
                "difference": known(found.estimate.value),
                "low": known(found.estimate.low),
                "high": known(found.estimate.high),
                "p_value": known(found.p_value),
                "n": len(one.clusters),
            }
        )
    return rows


def _judge(rows: list[Row]) -> None:
    """Say of each difference what it is, corrected for all that are compared."""
    judged = [row for row in rows if row["metric"] in JUDGED]
    others = [row for row in rows if row["metric"] not in JUDGED]
    for several in (judged, others):
        p_values = [_float(row["p_value"]) for row in several]
        for row, p_value in zip(several, holm(p_values), strict=True):
            row["result"] = "equal"
            if p_value < _LEVEL:
                is_above = _float(row["difference"]) > 0
                is_better = is_above == (METRICS[str(row["metric"])].better == "higher")
                row["result"] = "better" if is_better else "worse"


_LEVEL = 0.05


def _float(value: object) -> float:
    return float("nan") if value is None else float(cast("float", value))


def _results(
    rows: Sequence[Mapping[str, object]], found: Sequence[TestedScores]
) -> dict[str, dict[str, str]]:
    """The results of what is judged, by configuration."""
    return {
        one.name: {
            str(row["metric"]): str(row["result"])
            for row in rows
            if row["configuration"] == number and row["metric"] in JUDGED
        }
        for number, one in enumerate(found)
        if number
    }


def _share(a: Statistic, b: Statistic) -> Statistic:
    """By what share one is above the other."""

    def statistic(weights: Any) -> Any:
        return a(weights) / b(weights) - 1

    return statistic


def _none(weights: Any) -> Any:
    return np.zeros(len(weights))
