"""How far off is an estimate of a tail from ns-3's DCTCP, on another's scenarios?

Reads a folder of scenarios that some program simulated by ns-3, estimates the p99
slowdown of the flows from the first host to the last by windows of packets, by what is
shipped and by the fluid, and says how far these lie from ns-3's. The folder has

    scenarios.csv   a row each: scenario, hosts, mark_from (packets at which a queue
                    marks), initial_window (segments); and, where they are not those of
                    a data centre, edge_bps (of the first and the last link), inner_bps,
                    delay_s (of a link), segment_bytes, min_timeout_s,
                    connect_timeout_s, acks_every
    flows.parquet   a row for each flow: scenario, src and dst (hosts of the line, 0
                    first), size_bytes, start_ns, fct_ns (-1: it is not known)

Hosts stand in a row; those between the ends come in and leave over links that bound
nothing (1 Tbit/s). With --make the folder is written first, by ns-3.37 here
(apt-get install libns3-dev g++): 3, 5 or 7 hosts of 10 and 40 Gbit/s, loads of .2 to
.8, bursts of sigma 1 to 2, mean sizes of 1 to 100 KB, thresholds of 5 to 20 packets,
windows of 5 to 30 segments.

    python benchmarks/estimate_ns3.py DIR [--make N] [--flows N] [--seed N]
        [--windows SHARE] [--within SHARE]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.tcp_scenarios import dctcp_problem

from midhaul.errors import PrerequisiteError
from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, Routes, TcpTransport, load_corrector
from midhaul.network.corrector.base import pooled
from midhaul.network.decomposition.crossed import WholeFlows
from midhaul.network.estimate.sampling import look_at_path
from midhaul.network.estimate.windows import windows_of
from midhaul.network.fluid import FluidSimulator
from midhaul.network.ideal import ideal_fct_ns
from midhaul.network.judges.ns3.simulator import Ns3Simulator
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.work import work_off

UNBOUND_BPS = 1e12
MOST_ERROR = 0.10
FEWEST = 30
"""Flows that a p99 is judged of."""

USUAL = {
    "edge_bps": 10e9,
    "inner_bps": 40e9,
    "delay_s": 1e-6,
    "segment_bytes": 1000,
    "min_timeout_s": 0.005,
    "connect_timeout_s": 0.01,
    "acks_every": 1,
}
TOLD = ("windows", "shipped", "fluid")


def main() -> int:
    """Make a folder if asked to, read it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of scenarios")
    parser.add_argument("--quick", action="store_true", help="few and small ones")
    parser.add_argument("--make", type=int, default=0, help="scenarios written first")
    parser.add_argument("--flows", type=int, default=4000, help="of each made")
    parser.add_argument("--seed", type=int, default=0, help="of the first made")
    parser.add_argument("--windows", type=float, default=0.7, help="flows at most")
    parser.add_argument("--within", type=float, default=0.1, help="of their p99")
    options = parser.parse_args()
    if options.quick:
        options.flows = 500
    n_made = options.make or (0 if options.folder else 2 if options.quick else 8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if n_made:
            seeds = range(options.seed, options.seed + n_made)
            try:
                make(folder, seeds, options.flows)
            except PrerequisiteError as error:
                print(f"no ns-3: {error}")
                return 0
        rows: list[dict[str, Any]] = []
        for name, problem, fct_ns in scenarios(folder):
            row = held_against(problem, fct_ns, options.windows, options.within)
            print(name, said(row), flush=True)
            rows.append(row)
    return int(say(rows) and not options.quick)


def make(folder: Path, seeds: range, n_flows: int) -> None:
    """Write scenarios of the law of ``benchmarks/tcp.py``, simulated by ns-3."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    tables: list[pa.Table] = []
    for seed in seeds:
        problem = dctcp_problem(seed, n_flows)
        simulation = Ns3Simulator().begin(problem)
        work_off(simulation)
        n_hosts = sum(name.startswith("n") for name in problem.topology.nodes)
        (transport,) = problem.transports
        assert isinstance(transport, TcpTransport)  # noqa: S101  what was asked for
        row: dict[str, object] = {"scenario": seed, "hosts": n_hosts}
        row["mark_from"] = problem.topology.links[0].queue.mark_from
        row["initial_window"] = transport.initial_window
        rows.append(row)
        nodes = np.array(
            [int(name[1:]) for name in problem.topology.nodes]
        )  # h2 stands beside n2
        flows = problem.flows
        columns: dict[str, Any] = {
            "scenario": np.full(len(flows), seed),
            "src": nodes[flows.source],
            "dst": nodes[flows.target],
            "size_bytes": flows.size_bytes,
            "start_ns": flows.start_ns,
            "fct_ns": simulation.results().fct_ns,
        }
        tables.append(pa.table(columns))  # pyright: ignore[reportArgumentType]
        print(f"made scenario {seed}: {n_hosts} hosts, {len(flows):,} flows")
    with (folder / "scenarios.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.concat_tables(tables), folder / "flows.parquet")


def scenarios(folder: Path) -> list[tuple[str, NetworkProblem, np.ndarray]]:
    """All of a folder: names, problems, and completion times by ns-3."""
    table = pq.read_table(folder / "flows.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    found: list[tuple[str, NetworkProblem, np.ndarray]] = []
    with (folder / "scenarios.csv").open() as file:
        for row in csv.DictReader(file):
            mine = np.flatnonzero(columns["scenario"] == int(row["scenario"]))
            mine = mine[np.argsort(columns["start_ns"][mine], kind="stable")]
            own = {name: values[mine] for name, values in columns.items()}
            found.append((row["scenario"], line_of(row, own), own["fct_ns"]))
    return found


def line_of(row: dict[str, str], own: dict[str, np.ndarray]) -> NetworkProblem:
    """The network of a row, and its flows."""
    told = {name: float(row.get(name) or usual) for name, usual in USUAL.items()}
    n, mark = int(row["hosts"]), float(row["mark_from"])
    queue = LinkQueue(discipline="red", mark_from=mark, mark_all_from=mark)
    names = [f"n{i}" for i in range(n)] + [f"h{i}" for i in range(1, n - 1)]
    links: list[Link] = []

    def join(a: str, b: str, rate_bps: float) -> None:
        for source, target in ((a, b), (b, a)):
            link = Link(
                source=source,
                target=target,
                rate_bps=rate_bps,
                delay_s=told["delay_s"],
                queue=queue,
            )
            links.append(link)

    for i in range(n - 1):
        is_edge = i in (0, n - 2)
        join(names[i], names[i + 1], told["edge_bps" if is_edge else "inner_bps"])
    for i in range(1, n - 1):
        join(names[i], f"h{i}", UNBOUND_BPS)
    ways = [way(n, a, b) for a, b in zip(own["src"], own["dst"], strict=True)]
    ends = [(links[one[0]].source, links[one[-1]].target) for one in ways]
    index = {name: i for i, name in enumerate(names)}
    flows = Flows(
        source=np.array([index[a] for a, _ in ends], np.int32),
        target=np.array([index[b] for _, b in ends], np.int32),
        size_bytes=own["size_bytes"].astype(np.int64),
        start_ns=own["start_ns"].astype(np.int64),
    )
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in ways])])
    transport = TcpTransport(
        congestion="dctcp",
        initial_window=int(row["initial_window"]),
        segment_bytes=int(told["segment_bytes"]),
        min_timeout_s=told["min_timeout_s"],
        connect_timeout_s=told["connect_timeout_s"],
        acks_every=int(told["acks_every"]),
    )
    return NetworkProblem(
        topology=Topology(nodes=tuple(names), links=tuple(links)),
        flows=flows,
        routes=Routes(
            offsets=offsets.astype(np.int64),
            links=np.concatenate(ways).astype(np.int32),
        ),
        transports=(transport,),
    )


def way(n: int, first: int, last: int) -> list[int]:
    """Links from a host of a line of ``n`` to a later one."""
    found = [2 * i for i in range(first, last)]
    if first > 0:
        found.insert(0, 2 * (n - 1) + 2 * (first - 1) + 1)
    if last < n - 1:
        found.append(2 * (n - 1) + 2 * (last - 1))
    return found


def held_against(
    problem: NetworkProblem, fct_ns: np.ndarray, share: float, within: float
) -> dict[str, Any]:
    """Percentiles of the foreground by ns-3, and what others say of them."""
    flows = problem.flows
    last = sum(name.startswith("n") for name in problem.topology.nodes) - 1
    own = (flows.source == 0) & (flows.target == last)
    judged = own & (fct_ns >= 0)
    truth = fct_ns[judged] / ideal_fct_ns(problem)[judged]
    classes = size_class(flows.size_bytes)[judged]
    begin_s = time.process_time()
    found = windows_of(problem, share, within=within, of=own)
    took_s = time.process_time() - begin_s
    fluid = FluidSimulator().begin(problem)
    work_off(fluid)
    links = tuple(way(last + 1, 0, last))
    looked = look_at_path(WholeFlows(problem), links)
    correction = load_corrector().predict([looked.features])
    counts = correction.counts[0] / correction.counts[0].sum()
    told = {
        "windows": found.flows.slowdown[judged],
        "fluid": fluid.results().slowdown[judged],
    }
    errors: dict[str, dict[float, float]] = {name: {} for name in TOLD}
    for q in (0.5, 0.95, 0.99):
        true = np.quantile(truth, q, method="higher")
        for name, values in told.items():
            errors[name][q] = float(np.quantile(values, q, method="higher") / true - 1)
        shipped = float(pooled(correction.slowdown[0], counts, np.array([q]))[0])
        errors["shipped"][q] = shipped / true - 1
    by_class = {
        name: float(
            np.quantile(told["windows"][classes == b], 0.99, method="higher")
            / np.quantile(truth[classes == b], 0.99, method="higher")
            - 1
        )
        for b, name in enumerate(SIZE_CLASSES)
        if (classes == b).sum() >= FEWEST
    }
    return {
        "n": int(judged.sum()),
        "p99": float(np.quantile(truth, 0.99, method="higher")),
        "errors": errors,
        "by_class": by_class,
        "share": float(found.is_simulated.mean()),
        "took_s": took_s,
    }


def said(row: dict[str, Any]) -> str:
    """A line of the table."""
    errors = (f"{name} {row['errors'][name][0.99]:+7.1%}" for name in TOLD)
    return (
        f"{row['n']:6,d} flows judged, p99 {row['p99']:6.2f}  {'  '.join(errors)}  "
        f"({row['share']:.0%} of the flows in windows, {row['took_s']:.1f} CPU s)"
    )


def say(rows: list[dict[str, Any]]) -> bool:
    """Print the figures; whether one is short of its bar."""
    judged = [row for row in rows if row["n"] >= FEWEST]
    is_short = False
    if not judged:
        print(f"no scenario has {FEWEST} flows from the first host to the last")
        return False

    def figure(name: str, value: float, most: float = float("inf")) -> None:
        nonlocal is_short
        is_short |= value > most
        verdict = "short" if value > most else "ok"
        print(f"figure {name} {value:.4f} - bar <={most:g} {verdict}")

    figure("scenarios", len(judged))
    for name in TOLD:
        for q in (0.5, 0.95, 0.99):
            errors = np.array([row["errors"][name][q] for row in judged])
            what = f"{name}_p{q * 100:g}_error"
            most = MOST_ERROR if (name, q) == ("windows", 0.99) else float("inf")
            figure(f"{what}_mean", float(np.abs(errors).mean()), most)
            if q == 0.99:  # noqa: PLR2004
                figure(f"{what}_median", float(np.median(np.abs(errors))))
                figure(f"{what}_p90", float(np.quantile(np.abs(errors), 0.9)))
                figure(f"{what}_bias", float(errors.mean()))
    for name in SIZE_CLASSES:
        errors = [row["by_class"][name] for row in judged if name in row["by_class"]]
        if errors:
            figure(f"windows_p99_error_mean_{name}", float(np.abs(errors).mean()))
    figure("share_in_windows", float(np.mean([row["share"] for row in judged])))
    return is_short


if __name__ == "__main__":
    sys.exit(main())
