"""network.train: what happens when a file of that kind is run."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError
from midhaul.model import Tally, Verdict
from midhaul.network.corrector.fitted import load_corrector
from midhaul.network.corrector.scenarios import (
    GROUPS,
    NAMES,
    ScenarioAmount,
    draw_scenario,
)
from midhaul.network.train import tables
from midhaul.network.train.dataset import TrainingRows, rows_of_part
from midhaul.network.train.judging import ALL, card, level
from midhaul.network.train.learning import (
    WHAT,
    Fitting,
    Verdicts,
    error_card_of,
    fit_corrector,
    judge,
    tell,
    with_record,
)
from midhaul.network.train.metrics import METRICS, columns_of, samples, single_rows
from midhaul.network.train.truth import part_name, read_part, simulate_part
from midhaul.runs.metric import summary_rows
from midhaul.runs.perform import n_jobs, parallel
from midhaul.runs.summary import SUMMARY
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.network.train.config import NetworkTrainConfig
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

    Task = tuple[Path, int, list[int], ScenarioAmount, float]

CORRECTOR_FILE = "corrector.npz"
_PER_PART = 25
_TRAIN, _TEST = "train", "test"
_TEST_SEED = 1_000_000
"""Added to the seed for scenarios of the test, none of which is one to learn from."""

_GIVEN_UP_SHARE = 0.02


def train(config: NetworkTrainConfig, run: Run, progress: Progress) -> None:
    """Simulate scenarios, fit a corrector, judge it on others, and write its file.

    Parts of the truth that a resumed run has are kept. A MidhaulError is a library that
    is missing, or truth of another version.
    """
    run.write(
        tables.CONFIGURATIONS,
        [
            {"configuration": i, "name": name, "what": what}
            for i, (name, what) in enumerate(WHAT.items())
        ],
        part=0,
    )
    train_files = _simulated(config, run, progress, _TRAIN)
    test_files = _simulated(config, run, progress, _TEST)
    for folder in config.truth:
        more = sorted({*folder.glob("part-*.npz"), *folder.glob("train-part-*.npz")})
        if not more:
            message = f"{folder} has no parts of truth"
            raise DataError(
                message, "give the folder of files of a run of network.train"
            )
        train_files += more
    _note_parts(run, {_TRAIN: train_files, _TEST: test_files})
    learnt = _rows(train_files, config, progress, "features")
    tested = _rows(test_files, config, progress, "features of the test")
    if config.holds_out:
        learnt = learnt.take(np.flatnonzero(~learnt.groups.any(axis=1)))
    _fit_and_judge(config, run, progress, learnt, tested)


def _simulated(
    config: NetworkTrainConfig, run: Run, progress: Progress, purpose: str
) -> list[Path]:
    """Files of the parts of scenarios to learn from, or of the test."""
    is_test = purpose == _TEST
    n = config.n_tests if is_test else config.n_scenarios
    amount = (config.test_amount if is_test else config.amount).amount()
    seed = config.seed + (_TEST_SEED if is_test else 0)
    share = config.windows if is_test else 0.0
    tasks: list[Task] = []
    for part, first in enumerate(range(0, n, _PER_PART)):
        file = run.file(f"{purpose}-{part_name(part)}")
        numbers = list(range(first, min(first + _PER_PART, n)))
        tasks.append((file, seed, numbers, amount, share))
    missing = [task for task in tasks if not task[0].exists()]
    with progress.task(f"scenarios to {purpose}", total=len(missing)) as task:
        for _ in parallel(_one_part, missing, jobs=n_jobs(config.jobs)):
            task.advance()
    return [task[0] for task in tasks]


def _one_part(task: Task) -> None:
    simulate_part(*task)


def _note_parts(run: Run, files: dict[str, list[Path]]) -> None:
    """Write what the truth cost, and tally what was given up."""
    rows: list[dict[str, object]] = []
    for purpose, of_purpose in files.items():
        for part, file in enumerate(of_purpose):
            found = [truth for _, _, truth in read_part(file)]
            rows.append(
                {
                    "purpose": purpose,
                    "part": part,
                    "n_scenarios": len(found),
                    "n_given_up": sum(one.is_given_up for one in found),
                    "n_events": sum(one.n_events for one in found),
                    "took_s": sum(one.took_s for one in found),
                    "first_s": sum(one.first_s for one in found),
                    "windows_s": sum(one.windows_s for one in found),
                }
            )
    run.write(tables.PARTS, rows, part=0)
    run.tally(
        Tally(
            what="scenarios were given up, as their network collapsed, and count "
            "neither to learn from nor in the test",
            n=sum(int(str(row["n_given_up"])) for row in rows),
            of=sum(int(str(row["n_scenarios"])) for row in rows),
            max_share=_GIVEN_UP_SHARE,
            advice="Errors are of networks that do not collapse.",
        )
    )


def _rows(
    files: Sequence[Path], config: NetworkTrainConfig, progress: Progress, what: str
) -> TrainingRows:
    """Rows of parts, in their order."""
    found: dict[int, TrainingRows] = {}
    with progress.task(what, total=len(files)) as task:
        for place, rows in parallel(rows_of_part, files, jobs=n_jobs(config.jobs)):
            if rows is not None:
                found[place] = rows
            task.advance()
    if not found:
        message = "no scenario has a truth"
        raise DataError(message, "simulate more of them: raise n_scenarios")
    return TrainingRows.joined([found[place] for place in sorted(found)])


def _fit_and_judge(
    config: NetworkTrainConfig,
    run: Run,
    progress: Progress,
    learnt: TrainingRows,
    tested: TrainingRows,
) -> None:
    fitting = Fitting(**config.fitting.model_dump())
    with progress.task("nets", total=1 + len(config.curve)) as task:
        corrector = fit_corrector(
            learnt,
            share=config.calibration_share,
            fitting=fitting,
            seed=config.seed,
            say=lambda text: run.log("fitting", text=text),
        )
        task.advance()
        verdicts = judge(corrector, tested, learnt)
        corrector = with_record(
            corrector,
            holds_out=list(GROUPS) if config.holds_out else [],
            card=error_card_of(verdicts),
        )
        content = corrector.saved()
        run.file(CORRECTOR_FILE).write_bytes(content)
        load_corrector(run.file(CORRECTOR_FILE))
        one = Fitting(**{**config.fitting.model_dump(), "n_nets": 1})
        for place, n in enumerate(config.curve):
            rows = _curve_rows(config, one, learnt, verdicts.rows, n)
            run.write(tables.CURVE, rows, part=place)
            task.advance()
    _write_judged(config, run, verdicts)
    last = len(WHAT)
    run.write(
        SUMMARY,
        [
            METRICS["n_scenarios"].row(0, float(corrector.record["n_scenarios"])),
            METRICS["file_bytes"].row(0, float(len(content))),
        ],
        part=last,
    )
    run.verdict = Verdict()


def _curve_rows(
    config: NetworkTrainConfig,
    fitting: Fitting,
    learnt: TrainingRows,
    tested: TrainingRows,
    n: int,
) -> list[dict[str, object]]:
    """What a net says that has learnt from the first ``n`` scenarios."""
    first = np.unique(learnt.scenario)[:n]
    fewer = learnt.take(np.flatnonzero(np.isin(learnt.scenario, first)))
    corrector = fit_corrector(
        fewer, share=config.calibration_share, fitting=fitting, seed=config.seed
    )
    told, q = tell(corrector, tested).logs[:, ALL], level(0.99)
    rows: list[dict[str, object]] = []
    for transport in ("all", *NAMES):
        mine = np.ones(len(tested), np.bool_)
        if transport != "all":
            mine = tested.transport == NAMES.index(transport)
        one = card(tested.exact[mine, ALL, q].astype(np.float64), told[mine, q])
        if one.n:
            rows.append(
                {
                    "n_scenarios": len(first),
                    "transport": transport,
                    "n": one.n,
                    "mean": one.mean,
                    "median": one.median,
                    "p90": one.p90,
                    "bias": one.bias,
                }
            )
    return rows


def _write_judged(config: NetworkTrainConfig, run: Run, verdicts: Verdicts) -> None:
    """Write the tables of the test and the summary."""
    rows = verdicts.rows
    seed, amount = config.seed + _TEST_SEED, config.test_amount.amount()
    drawn = [draw_scenario(seed, int(number), amount) for number in rows.number]
    names = list(WHAT)
    for i, way in enumerate(names):
        run.write(tables.SCENARIOS, _scenario_rows(i, way, verdicts, drawn), part=i)
    run.write(
        tables.ERRORS,
        [
            {
                "configuration": names.index(way),
                "group": group,
                "transport": transport,
                "size_class": size,
                "percentile": share,
                "n": one.n,
                "mean": one.mean,
                "median": one.median,
                "p90": one.p90,
                "worst": one.worst,
                "bias": one.bias,
                "coverage": known(one.coverage),
            }
            for way, group, transport, size, share, one in verdicts.cards()
        ],
        part=0,
    )
    by_way = {
        way: list(found)
        for way, found in itertools.groupby(samples(run), lambda one: one.configuration)
    }
    for i, way in enumerate(names):
        rng = np.random.default_rng([config.seed, 11, i])
        found = summary_rows(by_way.get(way, []), i, rng, config.n_resamples)
        run.write(SUMMARY, [*found, *single_rows(i, columns_of(run, i))], part=i)


def _scenario_rows(
    configuration: int, way: str, verdicts: Verdicts, drawn: Sequence[Any]
) -> list[dict[str, object]]:
    rows = verdicts.rows
    truth, told = rows.exact[:, ALL], verdicts.told[way][:, ALL]
    low, high = verdicts.low.get(way), verdicts.high.get(way)
    distance = verdicts.distance(way)
    p99 = level(0.99)
    found: list[dict[str, object]] = []
    for k, scenario in enumerate(drawn):
        links = scenario.path.links
        row: dict[str, object] = {
            "configuration": configuration,
            "scenario": int(rows.number[k]),
            "transport": scenario.name,
            "law": scenario.law,
            "groups": ",".join(sorted(scenario.groups)),
            "n_links": len(links),
            "slowest_bps": min(link.rate_bps for link in links),
            "round_trip_s": 2 * sum(link.delay_s for link in links),
            "load": scenario.load,
            "n_own": int(rows.counts[k].sum()),
            "distance": known(float(distance[k])),
            "p99_low": None if low is None else float(np.exp(low[k, ALL, p99])),
            "p99_high": None if high is None else float(np.exp(high[k, ALL, p99])),
        }
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            row[f"true_{name}"] = known(float(np.exp(truth[k, level(share)])))
            row[name] = known(float(np.exp(told[k, level(share)])))
        found.append(row)
    return found
