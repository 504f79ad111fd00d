"""Does the loop keep its promise on uplinks never seen, and what does that cost?

Recorded uplinks and streams are cut in time: what is tuned (the constants of the
forecast, and the fixed margins that stand beside it) was tuned on the first third of
each, what is reported comes from the rest, or from streams that nothing was tuned on.

1. The forecast alone: how often a period carries less than was counted on, and the
   share of the volume that is used, beside the period before, 0.7 of a mean, the least
   of five, and a fixed margin that keeps 5 % on the first third.
2. The loop in ``deploy.simulate``: periods over, volume, late messages and weighted
   quality, beside the oracle that knows the trace, and without back-pressure.
3. With ``--live``, the loop for real on each uplink: needs root, takes minutes each,
   and a machine with nothing else to do.

    python benchmarks/uplink_control.py [--quick] [--live] [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from midhaul.deploy.catalogue import builtin_images
from midhaul.deploy.simulate.config import SimulateConfig, SimulatedPolicyConfig
from midhaul.deploy.simulate.experiment import policy_of, scenario_of
from midhaul.deploy.simulate.tables import totals_of
from midhaul.deploy.simulate.world import simulate_gateway
from midhaul.deploy.uplink_control import forecast_named
from midhaul.traces import PACKET_BYTES, read_mahimahi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SHARE = 0.05
WITHIN = 0.02
FIRST_PART = 1 / 3
FEWEST = 140
"""Periods of which two points are at least three."""

N_TUNED = 60
"""Sessions of each stream that the forecast's constants were tuned on the begins of."""

LONGEST_S = 1800
LIVE_S = 240
Figure = tuple[str, float, str, str, float]

MARGINS = {
    "last": ("last", 1.0),
    "0.7 EWMA": ("ewma", 0.7),
    "least of five": ("least", 1.0),
    "conformal": ("conformal", 1.0),
    "oracle": ("oracle", 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A recorded link in seconds.

    Attributes:
        name: of it.
        group: the recordings that it belongs to.
        first: ``(n,)`` bit/s of its first third; empty where it was never looked at.
        rest: ``(m,)`` bit/s of what is reported.
    """

    name: str
    group: str
    first: np.ndarray
    rest: np.ndarray


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer streams, no 2.")
    parser.add_argument("--live", action="store_true", help="run the loop for real")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    asked = parser.parse_args()
    uplinks = [
        split(read_mahimahi(f).rates_bps, f.stem, "uplink") for f in files(asked)
    ]
    links = [*uplinks, *streams(asked.data / "streams", 10 if asked.quick else 40)]
    figures = forecasts(links)
    figures += simulations(uplinks, n_repeats=1 if asked.quick else 3)
    if asked.live:
        figures += [figure for file in files(asked) for figure in live(file)]
    is_short = False
    for name, value, unit, sign, bar in figures:
        is_met = value <= bar if sign == "<=" else value >= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.4f} {unit} bar {sign}{bar:g} {verdict}")
    return int(is_short)


def files(asked: argparse.Namespace) -> list[Path]:
    """The recorded uplinks."""
    return sorted((asked.data / "uplink_traces").glob("*.up"))


def split(rates_bps: np.ndarray, name: str, group: str) -> Link:
    """What may be tuned on, and what is reported."""
    cut = int(len(rates_bps) * FIRST_PART)
    return Link(name=name, group=group, first=rates_bps[:cut], rest=rates_bps[cut:])


def streams(folder: Path, n: int) -> Iterator[Link]:
    """Delivery rates of video sessions: later parts, and sessions never looked at."""
    for file in sorted(folder.glob("puffer_*.parquet")):
        table = pq.read_table(file)
        names = np.asarray(table["session"].combine_chunks().indices)
        sent_s = table["sent_s"].to_numpy()
        bps = table["delivery_rate_MBps"].to_numpy() * 8e6
        begins = np.flatnonzero(np.diff(names, prepend=-1))
        long = [
            seconds(sent_s[a:b], bps[a:b])
            for a, b in zip(begins, [*begins[1:], len(names)], strict=True)
            if sent_s[b - 1] >= FEWEST / (1 - FIRST_PART) * 2
        ]
        for number, rates_bps in enumerate(
            [one for one in long if len(one)][: 2 * N_TUNED]
        ):
            name = f"{file.stem}.{number}"
            if number < N_TUNED and number % max(1, N_TUNED // n) == 0:
                yield split(rates_bps[:LONGEST_S], name, file.stem)
            elif number >= N_TUNED and number % max(1, N_TUNED // n) == 0:
                never = rates_bps[:LONGEST_S]
                yield Link(
                    name=name,
                    group=f"{file.stem}, never seen",
                    first=never[:0],
                    rest=never,
                )


def seconds(sent_s: np.ndarray, bps: np.ndarray) -> np.ndarray:
    """The mean of each second; a second without any is as the one before."""
    n = int(sent_s[-1])
    index = np.floor(sent_s).astype(np.int64)
    known = (index < n) & np.isfinite(bps)
    count = np.bincount(index[known], minlength=n)
    total = np.bincount(index[known], bps[known], n)
    seen = np.flatnonzero(count)
    if len(seen) < 0.3 * n:
        return np.zeros(0)
    last = seen[np.searchsorted(seen, np.arange(seen[0], n), side="right") - 1]
    return total[last] / count[last]


def periods(rates_bps: np.ndarray, period_s: int) -> np.ndarray:
    """Means of periods of some seconds."""
    n = len(rates_bps) // period_s
    return rates_bps[: n * period_s].reshape(n, period_s).mean(axis=1)


def played(
    carried_bps: np.ndarray, name: Any, share_given: float
) -> tuple[float, float]:
    """Share of periods over, and share of the volume that was used."""
    forecast = forecast_named(
        name,
        max_over_share=SHARE,
        first_bps=float(carried_bps[0]),
        coming_bps=lambda number: float(carried_bps[number]),
    )
    over, used = 0, 0.0
    for bps in carried_bps.tolist():
        counted = forecast.next_bps * share_given
        over += counted > bps * (1 + 1e-9)
        used += min(counted, bps)
        forecast.observe(bps)
    return over / len(carried_bps), used / max(float(carried_bps.sum()), 1e-9)


def tuned(first_bps: np.ndarray) -> float:
    """The share of the last period that is over in 5 % of the first third."""
    before, now = first_bps[:-1], first_bps[1:]
    ratios = np.where(before > 0, now / np.maximum(before, 1e-9), np.inf)
    return float(min(1.0, np.quantile(ratios, SHARE, method="lower")))


def forecasts(links: list[Link]) -> list[Figure]:
    """The forecast alone, period by period."""
    figures: list[Figure] = []
    print(
        "| links | periods | " + " | ".join(f"{m}: over, used" for m in MARGINS), end=""
    )
    print(" | margin tuned on the first third |\n" + "|---" * (3 + len(MARGINS)) + "|")
    all_over: list[float] = []
    for period_s in (1, 3):
        groups: dict[str, list[list[tuple[float, float]]]] = {}
        for link in links:
            carried = periods(link.rest, period_s)
            is_uplink = link.group == "uplink"
            if len(carried) < FEWEST // (5 if is_uplink else period_s):
                continue
            row = [played(carried, name, k) for name, k in MARGINS.values()]
            first = periods(link.first, period_s)
            if len(first) > FEWEST // 7:
                row.append(played(carried, "last", tuned(first)))
            key = link.name if is_uplink else link.group
            groups.setdefault(key, []).append(row)
            over, used = row[list(MARGINS).index("conformal")]
            if len(carried) >= FEWEST:
                all_over.append(over)
            if is_uplink:
                few = max(WITHIN, 2 / len(carried))
                name = f"{link.name}_{period_s}s"
                figures.append((f"over_{name}", over, "-", "<=", SHARE + few))
                peer, volume = row[list(MARGINS).index("least of five")]
                print(
                    f"{name}: {over:.1%} over with {used:.0%} of the volume; least of "
                    f"five {peer:.1%} with {volume:.0%}",
                    file=sys.stderr,
                )
        for key, rows in groups.items():
            n = max(len(row) for row in rows)
            cells = [
                np.array([row[k] for row in rows if k < len(row)]) for k in range(n)
            ]
            shown = " | ".join(
                f"{c[:, 0].mean():.1%} (most {c[:, 0].max():.1%}), {c[:, 1].mean():.0%}"
                for c in cells
            )
            print(f"| {key} ({len(rows)}) | {period_s} s | {shown} |")
    within = np.abs(np.array(all_over) - SHARE) <= WITHIN + 1e-9
    below = np.array(all_over) <= SHARE + WITHIN + 1e-9
    figures.append(("links_at_most_two_points_over", below.mean(), "-", ">=", 0.97))
    figures.append(("links_within_two_points", within.mean(), "-", ">=", 0.9))
    return figures


def simulations(uplinks: list[Link], *, n_repeats: int) -> list[Figure]:
    """The loop with placements, allocations and messages, on the later parts."""
    policies = [
        SimulatedPolicyConfig(name="conformal", horizon_s=600),
        SimulatedPolicyConfig(
            name="conformal, 20 %", max_over_share=0.2, horizon_s=600
        ),
        SimulatedPolicyConfig(
            name="conformal, no back-pressure", has_back_pressure=False, horizon_s=600
        ),
        SimulatedPolicyConfig(name="last", forecast="last", horizon_s=600),
        SimulatedPolicyConfig(
            name="last, no back-pressure",
            forecast="last",
            has_back_pressure=False,
            horizon_s=600,
        ),
        SimulatedPolicyConfig(
            name="0.7 EWMA", forecast="ewma", uplink_share=0.7, horizon_s=600
        ),
        SimulatedPolicyConfig(name="least of five", forecast="least", horizon_s=600),
        SimulatedPolicyConfig(name="oracle", forecast="oracle", horizon_s=600),
    ]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for link in uplinks:
            file = Path(folder) / f"{link.name}.up"
            write_mahimahi(link.rest, file)
            for period_s in (10.0, 60.0):
                found = simulate(file, policies, period_s, n_repeats)
                figures += report(link.name, period_s, found)
    return figures


def simulate(
    file: Path, policies: list[SimulatedPolicyConfig], period_s: float, n_repeats: int
) -> dict[str, dict[str, float]]:
    """Sums of all repetitions, by policy."""
    config = SimulateConfig.model_validate(
        {
            "duration_s": 1200.0,
            "rate_period_s": period_s,
            "n_repeats": n_repeats,
            "requests": {"rate_per_min": 5.0},
            "network": {"uplink_trace": file},
            "policies": tuple(policies),
        }
    )
    images = builtin_images()
    found: dict[str, dict[str, float]] = {}
    for policy in policies:
        sums: dict[str, float] = {}
        for repeat in range(n_repeats):
            world = scenario_of(config, images, repeat)
            history = simulate_gateway(world, policy_of(policy, config))
            for name, value in totals_of(history).items():
                sums[name] = sums.get(name, 0.0) + value
            sums["n_all"] = sums.get("n_all", 0.0) + len(history.periods)
        found[policy.label] = sums
    return found


def report(
    name: str, period_s: float, found: Mapping[str, dict[str, float]]
) -> list[Figure]:
    """The front of one uplink as a table, and its figures."""
    print(f"\n{name}, rate periods of {period_s:g} s, messages late after 10 s:\n")
    heads = ("policy", "periods over", "volume", "late", "weighted QoS", "planned")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    shares: dict[str, tuple[float, float, float]] = {}
    for label, sums in found.items():
        over = sums["n_overshoot"] / sums["n_all"]
        late = sums["n_late"] / max(sums["n_messages"], 1e-9)
        qos = sums["qos"] / sums["n_periods"]
        shares[label] = over, late, qos
        volume = sums["sent_bits"] / sums["carried_bits"]
        planned = sums["planned_qos"] / sums["n_periods"]
        print(
            f"| {label} | {over:.1%} | {volume:.1%} | {late:.2%} | {qos:.3f} | "
            f"{planned:.3f} |"
        )
    n = 1200 / period_s
    few = max(WITHIN, 2 / n)
    over, late, _ = shares["conformal"]
    key = f"{name}_{period_s:g}s"
    # A long period has the more to win. One that is as long as the deadline follows the
    # link by itself, and back-pressure buys messages in time (8.4 % late become 1.5 on
    # ATT) with quality, of which 1 was asked for before .93 was seen. With knobs that
    # go down at .7 of the deadline, not at .5, it is .998, and 1.5 % of the messages of
    # conformal are late instead of 1.3: not taken, as late messages are the promise.
    least = 1.2 if period_s >= 60 else 0.95  # noqa: PLR2004
    saved = shares["last"][2] / shares["last, no back-pressure"][2]
    return [
        (f"simulated_over_{key}", over, "-", "<=", SHARE + few),
        (f"simulated_late_{key}", late, "-", "<=", 0.02),
        (f"qos_of_back_pressure_over_none_{key}", saved, "-", ">=", least),
    ]


def write_mahimahi(rates_bps: np.ndarray, file: Path) -> None:
    """Write seconds as a trace: packets spread evenly over each second."""
    stamps: list[int] = []
    for second, bps in enumerate(rates_bps):
        n = round(bps / (8 * PACKET_BYTES))
        stamps += [1000 * second + math.ceil(1000 * (k + 1) / n) for k in range(n)]
    file.write_text("".join(f"{stamp}\n" for stamp in [*stamps, 1000 * len(rates_bps)]))


def live(file: Path) -> Iterator[Figure]:
    """The loop for real on the later part of an uplink, with the defaults."""
    rest = split(read_mahimahi(file).rates_bps, file.stem, "uplink").rest
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mahimahi(rest, folder / file.name)
        (folder / "live.toml").write_text(
            f'kind = "deploy.live"\nduration_s = {LIVE_S}.0\ntime_scale = 20.0\n'
            f'[link]\ndownlink_bps = 100e6\nuplink_trace = "{file.name}"\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "midhaul", "run", "live.toml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"live on {file.stem}: {done.stderr[-500:]}", file=sys.stderr)
            return
        (run,) = (folder / "runs").glob("*-deploy.live-*")
        summary = {
            row["metric"]: row["value"]
            for row in pq.read_table(run / "tables" / "summary").to_pylist()
        }
    print(f"\nlive, {file.stem}: {json.dumps(summary, indent=None)[:2000]}")
    late = (summary["late_share"] or 0.0) + (summary["missing_share"] or 0.0)
    over, saving = summary["overshoot_share"], summary["realised_saving"]
    yield f"live_over_{file.stem}", over, "-", "<=", SHARE + 2 / (LIVE_S / 3)
    yield f"live_late_or_missing_{file.stem}", late, "-", "<=", 0.02
    yield f"live_realised_saving_{file.stem}", saving, "-", ">=", 0.9


if __name__ == "__main__":
    sys.exit(main())
