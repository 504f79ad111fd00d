"""network.estimate: what happens when a file of that kind is run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.model import Verdict
from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.fitted import load_corrector
from midhaul.network.estimate import tables
from midhaul.network.estimate.blame import blamed_links, headroom
from midhaul.network.estimate.metrics import METRICS, NAMES
from midhaul.network.estimate.pooling import (
    NetworkEstimate,
    class_weights,
    percentiles,
    pool_paths,
    with_windows,
)
from midhaul.network.estimate.sampling import draw_paths, look_at
from midhaul.network.estimate.windows import (
    window_tallies,
    window_verdict,
    windows_of,
)
from midhaul.network.simulate.inputs import case_of
from midhaul.network.simulate.tables import TOPOLOGY, topology_rows
from midhaul.runs.perform import n_jobs, parallel
from midhaul.runs.summary import SUMMARY
from midhaul.stats import known

_FEW_SCENARIOS, _MOST_ERROR = 5000, 0.1
"""Of how many a corrector must have learnt for an estimate to be valid, and how far its
p99 may be off on others, on average."""

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.model import Estimate
    from midhaul.network.corrector.base import Corrector
    from midhaul.network.corrector.fitted import FittedCorrector
    from midhaul.network.estimate.blame import Headroom
    from midhaul.network.estimate.config import NetworkEstimateConfig
    from midhaul.network.estimate.sampling import Apply, LookedAt
    from midhaul.network.estimate.windows import WindowedFlows
    from midhaul.network.problem import NetworkProblem
    from midhaul.runs.progress import Progress, Task
    from midhaul.runs.run import Run


def estimate(config: NetworkEstimateConfig, run: Run, progress: Progress) -> None:
    """Draw paths, look at them, correct, pool; then blame links and seek headroom.

    A MidhaulError is a topology, a flow or a file that cannot be.
    """
    case = case_of(config, "estimate")
    problem = case.problem
    run.write(TOPOLOGY, topology_rows(0, problem, case.offered), part=0)
    run.tally(*case.tallies)
    corrector = load_corrector(config.corrector)
    begin_s = time.monotonic()
    rng = np.random.default_rng([problem.seed, 71])
    sampled = draw_paths(problem.routes, problem.flows.size_bytes, config.n_paths, rng)
    with progress.task("paths", total=len(sampled.paths)) as task:
        looked = look_at(
            problem,
            sampled.paths,
            prefix=config.prefix,
            apply=_apply(config, task, len(sampled.paths)),
        )
    correction = corrector.predict([one.features for one in looked])
    found = pool_paths(problem, sampled, looked, correction, corrector, rng)
    if config.windows:
        with progress.task("windows", total=1) as task:
            windows = windows_of(problem, config.windows, within=config.within)
            found = with_windows(found, windows)
            task.advance()
    took_s = time.monotonic() - begin_s
    run.write(
        tables.CONFIGURATIONS,
        [
            {
                "configuration": 0,
                "name": "estimate",
                "corrector": str(config.corrector or "shipped"),
                "transports": ", ".join(case.transports),
                "n_paths": found.n_paths,
                "n_draws": found.n_draws,
                "n_in_windows": 0
                if found.windows is None
                else int(found.windows.is_simulated.sum()),
            }
        ],
        part=0,
    )
    run.write(tables.ESTIMATES, _estimate_rows(found), part=0)
    run.write(tables.CURVES, _curve_rows(problem, found), part=0)
    run.write(
        tables.WARNINGS,
        [{"what": what, "share": share} for what, share in found.outside.items()],
        part=0,
    )
    if found.windows is None:
        run.tally(found.tally)
    else:
        run.tally(*window_tallies(found.windows))
    _blame(config, run, progress, problem, looked, found, corrector)
    room = _headroom(config, run, progress, problem, found, corrector)
    run.write(SUMMARY, _summary(found, room, took_s), part=0)
    run.verdict = _verdict(run, found, corrector)


def _verdict(run: Run, found: NetworkEstimate, corrector: FittedCorrector) -> Verdict:
    """By windows, with a note on what is not by them; or by the corrector's record."""
    learnt = _learnt(corrector)
    if found.windows is None:
        return learnt
    if not learnt.is_valid:
        run.note(
            "Links to blame and headroom are by the corrector, not by windows: take "
            f"them for a direction. {learnt.reasons[0]}"
        )
    return window_verdict(found.windows)


def _learnt(corrector: FittedCorrector) -> Verdict:
    """What speaks against a corrector by its own record."""
    n = int(corrector.record.get("n_scenarios", 0))
    card = corrector.record.get("card") or [{"mean": float("nan")}]
    error = float(card[0]["mean"])
    if n >= _FEW_SCENARIOS and error <= _MOST_ERROR:
        return Verdict()
    reason = (
        f"The corrector learnt from {n:,} scenarios; on others its p99 was off by "
        f"{error:.0%} on average. An estimate is valid with {_FEW_SCENARIOS:,} or more "
        f"and {_MOST_ERROR:.0%} or less."
    )
    advice = (
        "Set windows = 0.2 or less, which takes a share of the time of packets. Or "
        "train a corrector for networks like yours with network.train."
    )
    return Verdict(reasons=(reason,), advice=(advice,))


def _apply(config: NetworkEstimateConfig, task: Task | None, n: int) -> Apply:
    """How chunks of paths are looked at: in processes, results in order."""

    def apply(work: Callable[[Any], Any], chunks: Sequence[Any]) -> list[Any]:
        found: dict[int, Any] = {}
        for place, one in parallel(work, chunks, jobs=n_jobs(config.jobs)):
            found[place] = one
            if task is not None:
                task.advance(n / len(chunks))
        return [found[place] for place in range(len(chunks))]

    return apply


def _estimate_rows(found: NetworkEstimate) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in found.classes:
        pairs = zip(found.shares, found.slowdown[name], found.fct_s[name], strict=True)
        for share, slowdown, fct in pairs:
            rows.append(
                {
                    "size_class": name,
                    "n": found.n_flows[name],
                    "percentile": share,
                    "slowdown": slowdown.value,
                    "slowdown_low": slowdown.low,
                    "slowdown_high": slowdown.high,
                    "fct_s": fct.value,
                    "fct_low_s": fct.low,
                    "fct_high_s": fct.high,
                }
            )
    return rows


def _curve_rows(
    problem: NetworkProblem, found: NetworkEstimate
) -> list[dict[str, object]]:
    """Whole distributions with their bands."""
    rows: list[dict[str, object]] = []
    weights = class_weights(problem, found.sampled, found.correction)
    for name in found.classes:
        if found.windows is not None:
            rows += _window_curve(found.windows, name)
            continue
        correction = found.correction
        told = [
            percentiles(values, weights[name], LEVELS.tolist())
            for values in (correction.slowdown, correction.low, correction.high)
        ]
        for share, value, low, high in zip(LEVELS, *told, strict=True):
            row: dict[str, object] = {"size_class": name, "share": float(share)}
            row |= {"slowdown": float(value), "low": float(low), "high": float(high)}
            rows.append(row)
    return rows


def _window_curve(windows: WindowedFlows, name: str) -> list[dict[str, object]]:
    """The distribution of a class by windows."""
    mine = windows.members(name)
    factors = np.exp(windows.half(mine, LEVELS.tolist()))
    told = np.quantile(windows.flows.slowdown[mine], LEVELS, method="higher")
    return [
        {
            "size_class": name,
            "share": float(share),
            "slowdown": float(value),
            "low": float(max(value / factor, 1.0)),
            "high": float(value * factor),
        }
        for share, value, factor in zip(LEVELS, told, factors, strict=True)
    ]


def _blame(
    config: NetworkEstimateConfig,
    run: Run,
    progress: Progress,
    problem: NetworkProblem,
    looked: Sequence[LookedAt],
    found: NetworkEstimate,
    corrector: Corrector,
) -> None:
    if not config.n_blamed:
        return
    with progress.task("links to blame", total=1) as task:
        blamed = blamed_links(
            problem,
            found.sampled,
            looked,
            found.correction,
            corrector,
            n=config.n_blamed,
            prefix=config.prefix,
            apply=_apply(config, None, 0),
        )
        task.advance()
    run.write(
        tables.BLAMED,
        [
            {
                "link": one.link,
                "name": one.name,
                "waiting_share": one.waiting_share,
                "slowdown_p99": one.p99
                if found.windows is None
                else found.p99.value * (1 - one.gain),
                "gain": one.gain,
            }
            for one in blamed
        ],
        part=0,
    )


def _headroom(
    config: NetworkEstimateConfig,
    run: Run,
    progress: Progress,
    problem: NetworkProblem,
    found: NetworkEstimate,
    corrector: Corrector,
) -> Headroom | None:
    if not config.headroom_paths:
        return None
    with progress.task("headroom", total=1) as task:
        room = headroom(
            problem,
            found.sampled,
            corrector,
            n_paths=config.headroom_paths,
            apply=_apply(config, None, 0),
        )
        task.advance()
    # By few paths, so in proportion to the p99 by windows where there are some.
    unit = 1.0 if found.windows is None else found.p99.value / room.p99[0]
    run.write(
        tables.HEADROOM,
        [
            {"factor": factor, "slowdown_p99": p99 * unit}
            for factor, p99 in zip(room.factors, room.p99, strict=True)
        ],
        part=0,
    )
    if room.doubles_at is None:
        run.note(
            f"The p99 slowdown does not double at {room.factors[-1]:g} times the load; "
            "headroom is more than that."
        )
    elif room.is_outside:
        run.note(
            "Headroom was looked for at loads that the corrector has not seen in "
            "training: take it for a direction, not for a number."
        )
    return room


def _summary(
    found: NetworkEstimate, room: Headroom | None, took_s: float
) -> list[dict[str, object]]:
    def of(name: str, one: Estimate) -> dict[str, object]:
        return METRICS[name].estimate_row(0, one)

    rows = [
        of(f"slowdown_{NAMES[share]}", one)
        for share, one in zip(found.shares, found.slowdown["all"], strict=True)
    ]
    p50, p99 = found.shares.index(0.5), found.shares.index(0.99)
    rows += [
        of("fct_p50_s", found.fct_s["all"][p50]),
        of("fct_p99_s", found.fct_s["all"][p99]),
    ]
    rows += [
        of(f"slowdown_{name}_p99", found.slowdown[name][p99])
        for name in found.classes
        if name != "all"
    ]
    n = found.n_paths
    singles = {
        "sampling_error": found.sampling[p99],
        "model_error": found.model[p99],
        "outside_share": found.outside.get("", 0.0),
        "n_flows": found.n_flows["all"],
        "n_paths": n,
        "took_s": took_s,
    }
    if room is not None and room.doubles_at is not None:
        singles["headroom"] = room.doubles_at
    rows += [
        METRICS[name].row(0, float(value), n)
        for name, value in singles.items()
        if known(float(value)) is not None
    ]
    return rows
