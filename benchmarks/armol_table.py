"""What is left of Armol's table on images that nothing was learned on?

Each provider alone, chance, everybody, the best fixed subset, Armol's learners with its
released preset and a corrected one, its mode without ground truth, our cascade, and the
upper bound: AP, AP50, AP75, price and calls, for 3 and for 10 detectors, with intervals
over images; and AP50 against the steps that a learner took, as a chart.

    python benchmarks/armol_table.py [--quick] [--full] [--seeds N] [--table NAME ...]
        [--only NAME ...] [--device cpu|cuda|auto] [--workers N]

Cut, unless ``--full`` is given: SAC and TD3 with armol's preset take all of their
50,000 steps, but with batches of 128 instead of 1,024, and 1 update for 50 steps
instead of 50.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from armol_data import DATA
from armol_lines import difference, gap_recovered, table
from armol_rows import Done, Job, do_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from armol_lines import Row

BASELINES = ("random-1", "random-n", "ensemble-n")
MOST_SEEDS = {
    **{f"single {p}": 1 for p in range(10)},
    "ensemble-n": 1,
    "upper bound": 1,
    "SAC (armol), learned on the test": 3,
    "SAC w/o truth (armol, cost counted)": 3,
    "SAC w/o truth (armol, as released)": 3,
    "PPO (corrected)": 3,
    "TD3 (corrected)": 3,
}
"""Seeds where all of val is the test; once for what chance does not touch."""
STACKED = ", stacked"
"""Lines of calibrated scores and our learned fuser, in the place of WBF of raw ones."""
BUDGETS = (1.0, 1.5, 2.0, 3.0)
TABLES = {
    "three": (3, 5, False, True),
    "ten": (10, 2, False, True),
    "strict": (3, 5, True, True),
    "prices": (3, 2, False, False),
}
"""Providers, seeds, strict or not, equal prices or not."""
QUICK = {"three": (3, 1, False, True), "ten": (10, 1, False, True)}
QUICK_ROWS = (
    *BASELINES,
    "best fixed <= 1",
    "SAC (armol)",
    "cascade (ours) <= 1.5",
    "upper bound",
)
"""With ten providers."""
QUICK_STEPS = 2_000
CUT = {"n_batch": 128, "n_updates": 1}
LEARNERS = (
    ("SAC (armol)", "sac", "armol", {}),
    ("SAC (armol), learned on the test", "sac", "armol", {"is_leaky": True}),
    ("SAC w/o truth (armol, cost counted)", "sac", "armol", {"reference": "ensemble"}),
    ("SAC w/o truth (armol, as released)", "sac", "armol",
     {"reference": "ensemble", "is_cost_counted": False}),
    ("PPO (armol)", "ppo", "armol", {}),
    ("TD3 (armol)", "td3", "armol", {}),
    ("SAC (corrected)", "sac", "corrected", {}),
    ("PPO (corrected)", "ppo", "corrected", {}),
    ("TD3 (corrected)", "td3", "corrected", {}),
)  # fmt: skip


def main() -> int:
    """Learn, judge, print, draw, and fail when a figure is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer steps")
    parser.add_argument("--full", action="store_true", help="as released, hours")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    parser.add_argument(
        "--table", nargs="*", choices=TABLES, default=(), help="only these"
    )
    parser.add_argument(
        "--only", nargs="*", default=[""], help="learners whose name has one of these"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "auto"), default="cpu", help="of learners"
    )
    parser.add_argument("--seeds", type=int, default=5, help="at most so many")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--chart", type=Path, default=None, help="PNG of the curves")
    options = parser.parse_args()
    chart = options.chart or Path(tempfile.gettempdir()) / "armol-curves.png"
    jobs = all_jobs(options.table, is_quick=options.quick, is_full=options.full)
    jobs = [
        replace(one, device=options.device)
        for one in jobs
        if one.seed < options.seeds
        and (not one.preset or any(name in one.row for name in options.only))
    ]
    from armol_curves import draw  # noqa: PLC0415 - Altair is slow, and not in workers

    begin, done = time.perf_counter(), list[Done]()
    tables: dict[tuple[int, bool, bool], list[Row]] = {}
    for which in dict.fromkeys(kind(job) for job in jobs):
        mine = [job for job in jobs if kind(job) == which]
        found = run(options.data, sorted(mine, key=is_quick_to_do), options.workers)
        order = [one.row for one in lines_of(which[0], is_main=True)]
        tables[which] = table(options.data, found, order)
        done += found
    draw(done, chart)
    print(f"\n{time.perf_counter() - begin:.0f} s; curves in {chart}")
    return figures(tables)


def kind(job: Job) -> tuple[int, bool, bool]:
    """What table a job belongs to."""
    return job.n_providers, job.is_strict, job.is_equal


def is_quick_to_do(job: Job) -> tuple[bool, bool]:
    """For an order in which slow jobs come first."""
    return job.policy != "oracle", job.preset != "armol"


def all_jobs(names: Sequence[str], *, is_quick: bool, is_full: bool) -> list[Job]:
    """Every policy with every seed, table by table."""
    cut = {} if is_full else dict(CUT)
    steps = {"n_steps": QUICK_STEPS} if is_quick else {}
    found: list[Job] = []
    tables = QUICK if is_quick else TABLES
    for name in names or tables:
        n_providers, n_seeds, is_strict, is_equal = tables[name]
        found += [
            replace(
                job,
                n_providers=n_providers,
                is_strict=is_strict,
                is_equal=is_equal,
                seed=seed,
                **({**cut, **steps} if job.preset == "armol" else {}),
                **({**steps} if job.preset == "corrected" else {}),
            )
            for job in lines_of(n_providers, is_main=is_equal and not is_strict)
            for seed in range(n_seeds)
            if seed < (n_seeds if is_strict else MOST_SEEDS.get(job.row, n_seeds))
        ]
    if is_quick:
        found = [one for one in found if one.n_providers == 3 or one.row in QUICK_ROWS]  # noqa: PLR2004
    return found


def lines_of(n_providers: int, *, is_main: bool) -> list[Job]:
    """The lines of a table in their order."""
    same = {"n_providers": n_providers}
    found = [
        Job(row=f"single {p}", policy="single", provider=p, **same)
        for p in range(n_providers)
    ]
    found += [Job(row=name, policy=name, **same) for name in BASELINES]
    found += [
        Job(row=f"best fixed <= {c:g}", policy="fixed", budget_calls=c, **same)
        for c in BUDGETS
    ]
    found += [
        Job(row=row, policy=policy, preset=preset, has_curve=is_main, **same, **more)
        for row, policy, preset, more in LEARNERS
        if is_main or not (more or policy != "sac")
    ]
    found += [
        Job(row=f"cascade (ours) <= {c:g}", policy="cascade", budget_calls=c, **same)
        for c in BUDGETS
    ]
    found.append(Job(row="upper bound", policy="oracle", **same))
    found += [
        Job(
            row=f"{title}{STACKED} <= {c:g}",
            policy=policy,
            budget_calls=c,
            is_stacked=True,
            **same,
        )
        for title, policy in (("best fixed", "fixed"), ("cascade (ours)", "cascade"))
        for c in BUDGETS
    ]
    found.append(
        Job(row=f"ensemble-n{STACKED}", policy="ensemble-n", is_stacked=True, **same)
    )
    return found


def run(data: Path, jobs: Sequence[Job], n_workers: int) -> list[Done]:
    """Do all jobs in a few processes, those of one family together."""
    groups: dict[object, list[Job]] = {}
    for number, job in enumerate(jobs):
        key: object = number
        if job.budget_calls:
            key = job.policy, kind(job), job.seed, job.is_stacked
        groups.setdefault(key, []).append(job)
    found: list[Done] = []
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        parts = pool.map(do_all, [data] * len(groups), groups.values())
        for number, part in enumerate(parts, 1):
            found += part
            text = f"\r{number} of {len(groups)}: {part[-1].job.row}"
            print(f"{text:60}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def figures(tables: dict[tuple[int, bool, bool], list[Row]]) -> int:
    """Print how the lines compare, and the figures with their bars."""
    bars: list[tuple[str, float]] = []
    for (n, is_strict, is_equal), rows in tables.items():
        where = f"n{n}" + "_strict" * is_strict + "_second_prices" * (not is_equal)
        print(f"\n{where}, AP50 in points, paired over images:")
        for row in rows:
            if row.name.startswith(("SAC", "PPO", "TD3", "cascade")):
                apart = difference(rows, row.name, "best fixed <= 1")
                pooled, rewarded = gap_recovered(rows, row.name)
                print(
                    f"  {row.name} - best fixed single: {apart.value:+.1f} "
                    f"({apart.low:+.1f} to {apart.high:+.1f}), "
                    f"{100 * rewarded:.0f} % of the gap to the upper bound in reward, "
                    f"{100 * pooled:.0f} % in AP50"
                )
        ours = f"cascade (ours){STACKED} <= 1.5"
        if not any(row.name == "SAC (armol)" for row in rows):
            continue
        apart = difference(rows, ours, "SAC (armol)")
        print(
            f"  {ours} - SAC (armol): {apart.value:+.1f} "
            f"({apart.low:+.1f} to {apart.high:+.1f})"
        )
        bars.append((f"{where}_cascade_less_sac_armol", apart.value))
    print()
    is_short = False
    for name, value in bars:
        is_short |= value < 0
        print(
            f"figure {name} {value:.2f} points bar >=0 {'short' if value < 0 else 'ok'}"
        )
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
