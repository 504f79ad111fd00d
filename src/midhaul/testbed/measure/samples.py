"""A run's metrics unit by unit: what its summary is made of, and what is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.runs.experiment_file import read_file
from midhaul.testbed.measure.accuracy_metrics import accuracy_metrics, byte_metrics
from midhaul.testbed.measure.config import AccuracyConfig, MeasureConfig, OverheadConfig
from midhaul.testbed.measure.cost import cost_metrics
from midhaul.testbed.measure.from_config import name_of
from midhaul.testbed.measure.grid import expand
from midhaul.testbed.measure.judging import ComparisonFrame, judge_tasks
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.request_metrics import (
    Requests,
    goodput,
    request_metrics,
    requests_of,
)
from midhaul.testbed.measure.summary import judged_answers
from midhaul.testbed.measure.tables import CELLS, DETECTIONS, REQUESTS, USAGE

if TYPE_CHECKING:
    import pyarrow as pa

    from midhaul.model.samples import MetricSamples
    from midhaul.runs.run import Run
    from midhaul.testbed.measure.config import TestbedConfig
    from midhaul.testbed.measure.grid import Configuration

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
