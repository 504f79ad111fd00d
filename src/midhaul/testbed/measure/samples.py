"""A run's metrics unit by unit: what its summary is made of, and what is compared.

Cost and energy models: stated coefficients times measured usage.

Nothing here is measured. A node costs money for every hour it is there, used or not; a
link costs money for what it carries. Energy counts only what work adds: CPU time and
bytes, not the idle machine.

A configuration's price and energy are those of what its cells used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.runs.experiment_file import read_file
from midhaul.stats import ratio_statistic
from midhaul.testbed.measure.accuracy_metrics import (
    accuracy_metrics,
    byte_metrics,
    judged_answers,
)
from midhaul.testbed.measure.config import AccuracyConfig, MeasureConfig, OverheadConfig
from midhaul.testbed.measure.from_config import expand, name_of
from midhaul.testbed.measure.judging import ComparisonFrame, judge_tasks
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.request_metrics import (
    Requests,
    goodput,
    request_metrics,
    requests_of,
)
from midhaul.testbed.measure.tables import CELLS, DETECTIONS, REQUESTS, USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run
    from midhaul.testbed.measure.config import CostConfig, NodeConfig, TestbedConfig
    from midhaul.testbed.measure.from_config import Configuration

_SECONDS_PER_HOUR = 3600.0
_BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What nodes and links cost; ValueError if a price is negative.

    Attributes:
        usd_per_node_hour: price of a node being there, by its name.
        usd_per_gb: price of 10⁹ bytes over a link, by its name.
    """

    usd_per_node_hour: Mapping[str, float] = field(default_factory=dict[str, float])
    usd_per_gb: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check the signs."""
        for name, price in (*self.usd_per_node_hour.items(), *self.usd_per_gb.items()):
            _check_not_negative(f"price of {name}", price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What work takes; ValueError if a coefficient is negative."""

    j_per_cpu_s: Mapping[str, float] = field(default_factory=dict[str, float])
    j_per_byte: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check the signs."""
        for name, value in (*self.j_per_cpu_s.items(), *self.j_per_byte.items()):
            _check_not_negative(f"energy of {name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What requests used; ValueError if there was no request.

    Attributes:
        n_requests: how many they were.
        duration_s: how long the nodes were there for them.
        cpu_s: CPU seconds by node.
        link_bytes: bytes carried by link.
    """

    n_requests: int
    duration_s: float
    cpu_s: Mapping[str, float] = field(default_factory=dict[str, float])
    link_bytes: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check that there is something to divide by."""
        if self.n_requests < 1:
            message = f"usage per request needs a request, found {self.n_requests}"
            raise ValueError(message)


def usd_per_request(usage: Usage, prices: Prices) -> float:
    """Model: what one request costs.

    Links without a price are free; all nodes with a price count, busy or idle.
    """
    hours = usage.duration_s / _SECONDS_PER_HOUR
    nodes = sum(prices.usd_per_node_hour.values()) * hours
    links = _dot(usage.link_bytes, prices.usd_per_gb) / _BYTES_PER_GB
    return (nodes + links) / usage.n_requests


def j_per_request(usage: Usage, energy: Energy) -> float:
    """Model: what one request takes, idle machines not counted.

    What has no coefficient takes nothing.
    """
    nodes = _dot(usage.cpu_s, energy.j_per_cpu_s)
    links = _dot(usage.link_bytes, energy.j_per_byte)
    return (nodes + links) / usage.n_requests


def _dot(amounts: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    return sum(amount * coefficients.get(name, 0.0) for name, amount in amounts.items())


def _check_not_negative(name: str, value: float) -> None:
    if not value >= 0:
        message = f"{name} must not be negative, found {value}"
        raise ValueError(message)


_ACCESS = "access"
_BACKHAUL = "backhaul"
_WAYS = ("up", "down")


def cost_metrics(
    tables: dict[str, pa.Table],
    configuration: int,
    name: str,
    nodes: Sequence[NodeConfig],
    cost: CostConfig,
) -> list[MetricSamples]:
    """Dollars per thousand requests and joule per request; the unit is the block.

    What a request without an answer sent over the backhaul is not known, so where that
    costs anything these are known from below only. The tables are ``requests``,
    ``usage`` and ``cells`` of a run.
    """
    mine = {table: _rows_of(rows, configuration) for table, rows in tables.items()}
    usages = {
        row["block"]: _usage(row, mine["requests"], mine["usage"])
        for row in mine["cells"]
        if row["n_requests"]
    }
    if not usages:
        return []
    prices, energy = _prices(nodes, cost), _energy(nodes, cost)
    n = np.array([usage.n_requests for usage in usages.values()], np.float64)
    usd = np.array([usd_per_request(usage, prices) for usage in usages.values()])
    joule = np.array([j_per_request(usage, energy) for usage in usages.values()])
    is_open = any(row["n_errors"] for row in mine["cells"]) and any(
        node.forward != "nothing" for node in nodes
    )
    found = {
        "usd_per_1000": (1000 * usd, cost.usd_per_gb),
        "joule_per_request": (joule, cost.joule_per_byte),
    }
    return [
        METRICS[metric].samples(
            name,
            tuple(f"block {block}" for block in usages),
            ratio_statistic(values * n, n),
            known_below=-math.inf if is_open and per_byte else math.inf,
            n_stretches=len(usages),
        )
        for metric, (values, per_byte) in found.items()
    ]


def _rows_of(table: pa.Table, configuration: int) -> list[dict[str, Any]]:
    is_mine = table["configuration"].to_numpy() == configuration
    return table.filter(pa.array(is_mine)).to_pylist()


def _usage(
    cell: dict[str, Any], requests: list[dict[str, Any]], usage: list[dict[str, Any]]
) -> Usage:
    """What the judged requests of a cell used.

    The monitor watches the warm-up as well, so its CPU time is shared out evenly.
    """
    block = cell["block"]
    judged = [r for r in requests if r["block"] == block and not r["is_warmup"]]
    n_all = cell["n_requests"] + cell["n_warmup"]
    cpu_s: dict[str, float] = {}
    for row in usage:
        if row["block"] == block and row["cpu_s"] is not None:
            share = row["cpu_s"] * cell["n_requests"] / n_all
            cpu_s[row["node"]] = cpu_s.get(row["node"], 0.0) + share
    return Usage(
        n_requests=cell["n_requests"],
        duration_s=cell["duration_s"],
        cpu_s=cpu_s,
        link_bytes={
            link: float(
                sum(r[f"{link}_{way}_bytes"] or 0 for r in judged for way in _WAYS)
            )
            for link in (_ACCESS, _BACKHAUL)
        },
    )


def _prices(nodes: Sequence[NodeConfig], cost: CostConfig) -> Prices:
    per_hour = {"edge": cost.edge_usd_per_hour, "cloud": cost.cloud_usd_per_hour}
    return Prices(
        usd_per_node_hour={node.name: per_hour[node.role] for node in nodes},
        usd_per_gb={_BACKHAUL: cost.usd_per_gb},
    )


def _energy(nodes: Sequence[NodeConfig], cost: CostConfig) -> Energy:
    return Energy(
        j_per_cpu_s={node.name: cost.joule_per_cpu_s for node in nodes},
        j_per_byte={_ACCESS: cost.joule_per_byte, _BACKHAUL: cost.joule_per_byte},
    )


_CONFIGS = {
    "testbed.accuracy": AccuracyConfig,
    "testbed.measure": MeasureConfig,
    "testbed.overhead": OverheadConfig,
}


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run that have independent units.

    A killed run has those of what is there.
    """
    config = _config_of(run)
    found: list[MetricSamples] = []
    frame, detections = ComparisonFrame.stored(run), run.read(DETECTIONS)
    for task in judge_tasks(frame, detections, config.judge, config.seed):
        judgement, calibration = judged_answers(task)
        found += accuracy_metrics(judgement, calibration, task.threshold, task.name)
        found += byte_metrics(task.detections, task.name)
    if isinstance(config, AccuracyConfig):
        return found
    tables = {table.name: run.read(table) for table in (REQUESTS, USAGE, CELLS)}
    for configuration in configurations_of(config):
        found += measured(tables, config, configuration)
    return found


def judged_requests(run: Run) -> dict[int, Requests]:
    """The judged requests of each configuration that sent any, by its number."""
    config = _config_of(run)
    if isinstance(config, AccuracyConfig):
        return {}
    table = run.read(REQUESTS)
    timeouts = {c.index: c.load.timeout_s for c in configurations_of(config)}
    found = {
        index: requests_of(table, index, timeouts.get(index, config.load.timeout_s))
        for index in np.unique(table["configuration"].to_numpy()).tolist()
    }
    return {index: requests for index, requests in found.items() if requests.batches}


def _config_of(run: Run) -> AccuracyConfig | TestbedConfig:
    source = read_file(run.dir / "config.toml")
    return source.config(_CONFIGS[run.manifest.kind], [])


def configurations_of(config: TestbedConfig) -> tuple[Configuration, ...]:
    """What an experiment on running nodes compares."""
    grid = config.grid if isinstance(config, MeasureConfig) else {}
    return expand(grid, config.nodes, config.load)


def measured(
    tables: dict[str, pa.Table], config: TestbedConfig, configuration: Configuration
) -> list[MetricSamples]:
    """The metrics of a configuration that its requests and their costs give.

    The tables are ``requests``, ``usage`` and ``cells`` of a run.
    """
    name = name_of(configuration)
    load = configuration.load
    requests = requests_of(tables[REQUESTS.name], configuration.index, load.timeout_s)
    may_forward = any(node.forward != "nothing" for node in configuration.nodes)
    found = request_metrics(requests, name, may_forward=may_forward)
    bound_s = load.latency_bound_s
    if bound_s is not None and requests.batches:
        good = METRICS["goodput"].samples(
            name,
            requests.batches,
            goodput(requests, bound_s),
            n_stretches=requests.n_blocks,
        )
        found.append(good)
    nodes = configuration.nodes
    return found + cost_metrics(tables, configuration.index, name, nodes, config.cost)
