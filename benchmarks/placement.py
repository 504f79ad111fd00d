"""How near to the best possible are placements by minimum cuts, and how fast?

Analytics on the layers of Docker Hub (or of a synthetic look-alike, where the data are
not there), for a disk of 10 % of all their bytes: value over bound and time against the
exact solver and both greedies, growth up to 30,000 analytics and 93,000 layers, and
peak memory. Then other disks, several limits and gateways at once, and graphs on which
every method is known to be weak; those have no bar.

    python benchmarks/placement.py [--quick] [--data DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from placement_instances import (
    Bases,
    docker_hub,
    graph_instance,
    hub_problem,
    look_alike,
    many_limits,
)

from midhaul.deploy.placement import AdditiveGreedy, MinCutPlacer
from midhaul.deploy.placement.building import build
from midhaul.deploy.placement.marginal_greedy import solve_greedily
from midhaul.deploy.placement.milp import solve_milp
from midhaul.deploy.placement.mincut import solve
from midhaul.deploy.placement.reduction import reduce

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.placement.arrays import Instance

SHARE, N_DRAWS = 0.1, 3
SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)
QUICK, PROVED_FROM, EXACT_UP_TO = 2000, 1000, 10_000
EXACT_S, GAP = 120.0, 1e-5  # both may stop at this gap
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """Time of a piece of work: on the wall, and of this process."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        """Both, wall first."""
        return f"{self.wall_s:7.3f} /{self.cpu_s:7.3f}"


def main() -> int:
    """Measure, print tables and figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 2,000 analytics")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="folder for the chart of growth")
    options = parser.parse_args()
    file = options.data / "dockerhub" / "amd64_2018.parquet"
    if file.is_file():
        bases = docker_hub(file)
    else:
        bases = look_alike(np.random.default_rng(0))
        print(f"{file} is not there: layers and sizes are made up")
    sizes = [n for n in SIZES if n <= QUICK] if options.quick else list(SIZES)
    print(f"bases: {bases.name}; disk {SHARE:.0%} of the union; seconds wall / cpu")
    _, compile_time = clock(lambda: warm_up(bases))
    print(f"loading the compiled loops first: {compile_time} s, not counted below")
    rows = [measure(bases, n) for n in sizes]
    shares(bases, [n for n in (1000, 10_000) if n in sizes])
    gateways = limits(bases, *((300, 5.0) if options.quick else (1000, 120.0)))
    graphs(options.quick)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    print(f"\nlargest resident size of this whole program: {peak:.0f} MiB")
    if options.out is not None:
        print(f"growth: {draw(rows, options.out)}")
    return report(rows, None if options.quick else gateways)


def warm_up(bases: Bases) -> None:
    """Load what is compiled, and the solver."""
    problem = hub_problem(bases, 60, SHARE, 99)
    MinCutPlacer().place(problem)
    solve_milp(build(problem).instance)


def measure(bases: Bases, n: int) -> dict[str, Any]:
    """One line of the first table."""
    problem = hub_problem(bases, n, SHARE, n)
    instance = build(problem).instance
    choice, time_ = clock(lambda: solve(instance, max_gap=GAP), n_times=5)
    value, bound = instance.value(choice.chosen), choice.bound
    placement, whole = clock(lambda: MinCutPlacer().place(problem))
    additive, _ = clock(lambda: AdditiveGreedy().place(problem))
    marginal, greedy_time = clock(lambda: solve_greedily(instance))
    ratios, times = more_draws(bases, n) if n >= PROVED_FROM else ([], [])
    row: dict[str, Any] = {
        "n": n,
        "ratio": min([value / bound, *ratios]),
        "typical_s": float(np.median([time_.cpu_s, *times])),
        "cut": time_,
        "exact": None,
    }
    exact_text = "      -                  -"
    if n <= EXACT_UP_TO:
        exact, row["exact"] = clock(
            lambda: solve_milp(instance, time_limit_s=EXACT_S, mip_gap=GAP)
        )
        exact_text = f"{row['exact']} {instance.value(exact.chosen) / bound:9.6f}"
    if n == SIZES[0]:
        print(
            "      n layers | exact: wall / cpu s, /bound  |additive marginal  s |"
            " min cut: wall / cpu s, /bound  whole s          |  peak"
        )
    print(
        f"{n:7d} {instance.n_elements:6d} | {exact_text} | "
        f"{additive.value / bound:7.3f} "
        f"{instance.value(marginal.chosen) / bound:7.3f} {greedy_time.wall_s:5.2f} | "
        f"{time_} {value / bound:10.7f} {whole.wall_s:7.3f} "
        f"{'optimal' if choice.is_optimal else '-':>8s} | "
        f"{peak_bytes(instance) / MIB:5.1f} MiB; "
        f"all draws: {row['typical_s']:.3f} s, worst {row['ratio']:.7f}; "
        f"{reduce(instance).n_types} types; "
        f"a GB more is worth {choice.prices[0] * 1e9 / 1e6:.2f} Mbit/s",
        flush=True,
    )
    if not np.isclose(placement.value, value, rtol=1e-9):
        raise SystemExit(f"place(problem): {placement.value}, solve(instance): {value}")  # noqa: EM102
    return row


def more_draws(bases: Bases, n: int) -> tuple[list[float], list[float]]:
    """Values over bounds, and CPU seconds, for other analytics on the same bases."""
    ratios: list[float] = []
    times: list[float] = []
    for seed in range(n + 1, n + N_DRAWS):
        instance = build(hub_problem(bases, n, SHARE, seed)).instance
        choice, time_ = clock(lambda i=instance: solve(i), n_times=3)
        ratios.append(instance.value(choice.chosen) / choice.bound)
        times.append(time_.cpu_s)
    return ratios, times


def shares(bases: Bases, sizes: list[int]) -> None:
    """Other sizes of the disk."""
    print("\n      n  disk | min cut: wall / cpu s  /bound  | marginal /bound")
    for n in sizes:
        for share in (0.02, 0.3, 0.6):
            instance = build(hub_problem(bases, n, share, n)).instance
            choice, time_ = clock(lambda i=instance: solve(i))
            greedy = solve_greedily(instance)
            print(
                f"{n:7d} {share:5.0%} | {time_} "
                f"{instance.value(choice.chosen) / choice.bound:10.7f} | "
                f"{instance.value(greedy.chosen) / choice.bound:7.3f}",
                flush=True,
            )


def limits(bases: Bases, n: int, time_s: float) -> float:
    """Disk, cores, memory and deadlines of pulls together, each within a time.

    The value over the bound where there are most gateways.
    """
    ratio = 1.0
    print(
        f"\nseveral limits ({time_s:.0f} s at most each)\n"
        " analytics gateways rows | min cut: wall / cpu s /bound | marginal /bound"
    )
    for n_gateways in (1, 3):
        problem = many_limits(bases, n // n_gateways, n_gateways, n)
        instance = build(problem).instance
        choice, time_ = clock(lambda i=instance: solve(i, time_limit_s=time_s))
        ratio = instance.value(choice.chosen) / choice.bound
        greedy = solve_greedily(instance)
        print(
            f"{len(problem.analytics):10d} {n_gateways:8d} {len(instance.rows):4d} | "
            f"{time_} {ratio:10.6f} | "
            f"{instance.value(greedy.chosen) / choice.bound:7.3f}",
            flush=True,
        )
    return ratio


def graphs(is_quick: bool) -> None:  # noqa: FBT001 - a switch of the command line
    """Densest subgraphs: where the linear relaxation says little."""
    time_s = 2.0 if is_quick else 20.0
    print(
        f"\nedges of random graphs ({time_s:.0f} s at most each), over the best bound\n"
        "  nodes edges  room | marginal  exact  min cut |  min cut's own bound"
    )
    for n_nodes, n_edges, share in ((20, 60, 0.3), (40, 160, 0.3), (80, 400, 0.25)):
        rng = np.random.default_rng(n_nodes)
        instance = graph_instance(n_nodes, n_edges, share, rng)
        choice = solve(instance, time_limit_s=time_s)
        exact = solve_milp(instance, time_limit_s=time_s)
        bound = min(choice.bound, exact.bound)
        found = [
            instance.value(answer.chosen) / bound
            for answer in (solve_greedily(instance), exact, choice)
        ]
        print(
            f"{n_nodes:7d} {n_edges:5d} {instance.capacities[0]:5.0f} | "
            f"{found[0]:8.3f} {found[1]:6.3f} {found[2]:8.3f} | "
            f"{choice.bound:8.2f} (best bound {bound:.2f})",
            flush=True,
        )


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """A chart of time over analytics, both on logarithmic axes."""
    import altair as alt  # noqa: PLC0415

    from midhaul.report import Figure, figure_png  # noqa: PLC0415

    points = [
        {"analytics": row["n"], "seconds": row[key].cpu_s, "method": name}
        for row in rows
        for key, name in (("cut", "minimum cuts"), ("exact", "exact (HiGHS)"))
        if row[key] is not None
    ]
    log = alt.Scale(type="log")
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=True)
        .encode(
            x=alt.X("analytics:Q", scale=log),
            y=alt.Y("seconds:Q", scale=log, title="CPU seconds"),
            color=alt.Color("method:N", title=None),
        )
        .properties(width=420, height=280)
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "placement-growth.png"
    file.write_bytes(figure_png(Figure(title="Time to place", chart=chart)))
    return file


def report(rows: list[dict[str, Any]], gateways: float | None) -> int:
    """The figures with their bars; 1 if one is short.

    Values are the worst of several draws, growth is that of the median time, and the
    exact solver is compared on the draw of the table.
    """
    by_size = {row["n"]: row for row in rows}
    figures = [
        (f"value_over_bound_{n}", row["ratio"], "-", ">=", 0.9999)
        for n, row in by_size.items()
        if n >= PROVED_FROM
    ]
    if EXACT_UP_TO in by_size:
        row = by_size[EXACT_UP_TO]
        exact_s = min(row["exact"].cpu_s, row["exact"].wall_s)
        speedup = exact_s / row["cut"].cpu_s
        figures.append(("speedup_over_highs", speedup, "times", ">=", 10))
        growth = by_size[SIZES[-1]]["typical_s"] / row["typical_s"]
        figures.append(("time_30000_over_10000", growth, "times", "<=", 4))
    if gateways is not None:
        figures.append(("three_gateways_over_bound", gateways, "-", ">=", 0.99))
    is_short = False
    for name, value, unit, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.7g} {unit} bar {sign}{bar:g} {verdict}")
    return int(is_short)


def peak_bytes(instance: Instance) -> int:
    """What Python and NumPy hold at most while solving, on top of the arrays given."""
    tracemalloc.start()
    solve(instance)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def clock(work: Callable[[], Any], n_times: int = 1) -> tuple[Any, Clocked]:
    """What some work returns, and the time of its fastest go."""
    times: list[tuple[float, float]] = []
    result = None
    for _ in range(n_times):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        result = work()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        times.append((cpu_s, wall_s))
    cpu_s, wall_s = min(times)
    return result, Clocked(wall_s=wall_s, cpu_s=cpu_s)


if __name__ == "__main__":
    sys.exit(main())
