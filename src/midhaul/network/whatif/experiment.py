"""network.whatif: what happens when a file of that kind is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.compare.experiment import simulate_all
from midhaul.network.simulate.experiment import sum_up, write_frame
from midhaul.network.simulate.inputs import case_of, flows_of, topology_of
from midhaul.network.simulate.rungs import on_the_ladder
from midhaul.network.simulate.tables import MOST_CONFIGURATIONS
from midhaul.network.slowdown import SIZE_CLASSES
from midhaul.network.whatif.metrics import TAILS, choices_of, verdict_sentence
from midhaul.network.whatif.tables import CHOICE_CLASSES, CHOICES
from midhaul.runs.metric import summary_rows
from midhaul.runs.summary import SUMMARY
from midhaul.stats import known
from midhaul.stats.bootstrap import estimate_row
from midhaul.stats.compare import compare as compare_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model.estimate import MetricSamples
    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.network.whatif.config import NetworkWhatifConfig
    from midhaul.network.whatif.metrics import ChoiceFlows
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.stats.compare import MetricComparison

_EQUAL = ("best", "equal")


def whatif(config: NetworkWhatifConfig, run: Run, progress: Progress) -> None:
    """Simulate the same flows under every choice, and say which is best.

    What a resumed run has finished is kept, as in network.compare. A MidhaulError is a
    choice that cannot be, or what a simulator lacks.
    """
    cases = on_the_ladder(config, cases_of(config), run, progress)
    write_frame(cases, run)
    simulate_all(config, cases, run, progress, _case)
    found = sum_up(config, cases, run)
    choices = choices_of(run, found)
    rng = np.random.default_rng([config.seed, 54])
    run.write(CHOICE_CLASSES, _class_rows(choices, rng, config.n_resamples), part=0)
    rows = judged_choices(config, choices, rng)
    run.write(CHOICES, rows, part=0)
    for number, choice in enumerate(choices):
        pooled = [choice.percentile("all", q) for q in TAILS]
        summed = summary_rows(pooled, number, rng, config.n_resamples)
        run.write(SUMMARY, summed, part=len(found) + number)
    named = [row | {"name": one.name} for row, one in zip(rows, choices, strict=True)]
    run.note(verdict_sentence(config.percentile, config.size_class, named))


def cases_of(config: NetworkWhatifConfig) -> list[NetworkCase]:
    """Every choice with every workload, one workload after the other.

    ConfigError if a choice cannot be, or there are too many.
    """
    n = config.n_seeds * len(list(config.points()))
    if n > MOST_CONFIGURATIONS:
        message = f"vary and n_seeds make {n:,} simulations"
        raise ConfigError(message, f"at most {MOST_CONFIGURATIONS:,}")
    return [case for seed in range(config.n_seeds) for case in _workload(config, seed)]


def _workload(config: NetworkWhatifConfig, workload: int) -> list[NetworkCase]:
    points = list(config.points())
    of_seed = config.model_copy(update={"seed": config.seed + workload})
    drawn = flows_of(of_seed, topology_of(of_seed))
    return [
        case_of(
            of_seed,
            f"{name} · workload {workload}" if workload else name,
            workload * len(points) + number,
            dict(point),
            drawn,
        )
        for number, (name, point) in enumerate(points)
    ]


def _case(config: NetworkWhatifConfig, number: int) -> NetworkCase:
    """A case by its number, in a process of its own."""
    n_choices = len(list(config.points()))
    return _workload(config, number // n_choices)[number % n_choices]


def _class_rows(
    choices: Sequence[ChoiceFlows], rng: np.random.Generator, n_resamples: int
) -> list[dict[str, object]]:
    return [
        {
            "configuration": number,
            "size_class": name,
            "percentile": q * 100,
            "n": choice.n_own(name),
            **{
                key: row[key]
                for row in [
                    estimate_row(
                        choice.percentile(name, q), rng, n_resamples=n_resamples
                    )
                ]
                for key in ("value", "low", "high", "bound")
            },
        }
        for number, choice in enumerate(choices)
        for name in ("all", *SIZE_CLASSES)
        if choice.mask(name).any()
        for q in TAILS
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How a choice stands to the best one."""

    result: str
    comparison: MetricComparison | None = None


def judged_choices(
    config: NetworkWhatifConfig,
    choices: Sequence[ChoiceFlows],
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """The rows of the table ``choices``: who is best, how surely, and who is equal."""
    judged = [
        one.percentile(config.size_class, config.percentile / 100) for one in choices
    ]
    estimates = [
        estimate_row(one, rng, n_resamples=config.n_resamples) for one in judged
    ]
    values = np.array(
        [np.inf if row["value"] is None else row["value"] for row in estimates], float
    )
    best = int(values.argmin())
    standings = _standings(config, judged, best, rng)
    shares = _best_shares(judged, rng, config.n_resamples)
    points = [point for _, point in config.points()]
    costs = [config.cost_usd(point) for point in points]
    names = [name for name, _ in config.points()]
    present = names.index(config.present) if config.present else 0
    equal = [i for i, one in enumerate(standings) if one.result in _EQUAL]
    # Of equal ones the cheapest, then the one that is there already, then the best.
    advised = min(equal, key=lambda i: (costs[i] or 0.0, i != present, values[i]))
    return [
        {
            "configuration": i,
            "value": estimates[i]["value"],
            "low": estimates[i]["low"],
            "high": estimates[i]["high"],
            "best_share": known(shares[i]),
            "result": standings[i].result,
            "cost_usd": costs[i],
            "is_advised": i == advised,
            **_comparison(standings[i].comparison),
        }
        for i in range(len(choices))
    ]


def _comparison(one: MetricComparison | None) -> dict[str, object]:
    if one is None:
        return {}
    return {
        "ratio": known(one.ratio.value),
        "ratio_low": known(one.ratio.low),
        "ratio_high": known(one.ratio.high),
        "p_value": known(one.p_value),
        "reason": one.reason or None,
    }


def _standings(
    config: NetworkWhatifConfig,
    judged: Sequence[MetricSamples],
    best: int,
    rng: np.random.Generator,
) -> list[_Standing]:
    """Each choice beside the best one; all are corrected together."""
    others = [one for i, one in enumerate(judged) if i != best]
    against = [replace(judged[best], configuration=x.configuration) for x in others]
    found = {one.configuration: one for one in compare_samples(against, others, rng)}
    least, most = 1 - config.equal_within, 1 + config.equal_within
    standings: list[_Standing] = []
    for i, one in enumerate(judged):
        if i == best:
            standings.append(_Standing(result="best"))
            continue
        mine = found[one.configuration]
        is_near = least <= mine.ratio.low <= mine.ratio.high <= most
        # At what fewer flows carry, the order may be another.
        told = {"tie": "equal", "better": "cannot tell"}.get(mine.result, mine.result)
        result = "equal" if is_near else told
        standings.append(_Standing(result=result, comparison=mine))
    return standings


def _best_shares(
    judged: Sequence[MetricSamples], rng: np.random.Generator, n_resamples: int
) -> np.ndarray:
    """Share of resamples of the batches in which each choice is the best."""
    units = judged[0].units
    if any(one.units != units or one.lack for one in judged):
        return np.full(len(judged), np.nan)
    n = len(units)
    weights = rng.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float64)
    values = np.array([one.statistic(weights) for one in judged])
    values = np.where(np.isnan(values), np.inf, values)
    is_best = values == values.min(axis=0)
    return (is_best / is_best.sum(axis=0)).mean(axis=1)
