"""The testbed's experiments: what happens when a file of each kind is run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.model import Verdict
from midhaul.model.estimate import AT_MOST
from midhaul.runs.config import Spec
from midhaul.testbed.blocks import Bench, measure_blocks, overall_verdict
from midhaul.testbed.config_parts import LoadConfig, NodeConfig
from midhaul.testbed.fit import tally_fit
from midhaul.testbed.grid import expand
from midhaul.testbed.judging import (
    answer_all,
    judge_all,
    known_answers,
    picture,
    write_frame,
)
from midhaul.testbed.plan import dataset_of, name_of
from midhaul.testbed.rig import Rig
from midhaul.testbed.samples import configurations_of, measured, request_tables
from midhaul.testbed.summary import summary_rows
from midhaul.testbed.tables import SUMMARY
from midhaul.vision.limits import DecodingLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Detections
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.testbed.config import (
        AccuracyConfig,
        MeasureConfig,
        OverheadConfig,
        TestbedConfig,
    )
    from midhaul.testbed.grid import Configuration
    from midhaul.vision.data import Dataset

MAX_LOAD_IMAGES = 500
"""Images that the workload holds in memory to send; accuracy is judged on all."""


def accuracy(config: AccuracyConfig, run: Run, progress: Progress) -> None:
    """Judge detectors by preprocessings over a data set, without nodes.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: an image or a detector cannot be loaded, or a detector fails.
    """
    dataset = dataset_of(config.data, config.seed)
    _answer_and_judge(config, accuracy_configurations(config), dataset, run, progress)
    run.verdict = Verdict()


def accuracy_configurations(config: AccuracyConfig) -> tuple[Configuration, ...]:
    """Every detector with every preprocessing, as a testbed of a single edge."""
    grid = {
        "edge.detector": config.detectors,
        "edge.encode": tuple(Spec(encode) for encode in config.encode),
        "edge.resize": config.resize,
        "edge.gray": config.gray,
    }
    varied = {
        key: values
        for key, values in grid.items()
        if len(values) > 1 or key == "edge.detector"
    }
    fixed = NodeConfig(
        name="edge",
        role="edge",
        encode=config.encode[0],
        resize=config.resize[0],
        gray=config.gray[0],
        max_pixels=DecodingLimits().max_pixels,  # no server needs to be guarded
    )
    return expand(varied, [fixed], LoadConfig())


def measure(config: MeasureConfig, run: Run, progress: Progress) -> None:
    """Measure running nodes: accuracy, latency, bytes and cost.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: an image or a detector cannot be loaded, or nodes do not live.
    """
    dataset = dataset_of(config.data, config.seed)
    configurations = configurations_of(config)
    _answer_and_judge(config, configurations, dataset, run, progress)
    answers = known_answers(run, configurations, config.seed)
    _measure(config, configurations, dataset, answers, run, progress)


def overhead(config: OverheadConfig, run: Run, progress: Progress) -> None:
    """Measure what midhaul itself costs: every detector is replaced by null.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: an image cannot be loaded, or nodes do not live.
    """
    nodes = tuple(
        node.model_copy(update={"detector": Spec("null" if node.detector else "")})
        for node in config.nodes
    )
    config = config.model_copy(update={"nodes": nodes})
    dataset = dataset_of(config.data, config.seed)
    configurations = configurations_of(config)
    write_frame(run, configurations, dataset, config.seed)
    _measure(config, configurations, dataset, {}, run, progress)


def _answer_and_judge(
    config: AccuracyConfig | MeasureConfig,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    run: Run,
    progress: Progress,
) -> None:
    """The half of an experiment that needs no nodes."""
    seed, jobs = config.seed, config.jobs
    images = dataset.image_ids
    write_frame(run, configurations, dataset, seed)
    answer_all(
        run,
        configurations,
        images,
        config.data,
        max_detections=config.judge.max_detections,
        seed=seed,
        jobs=jobs,
        progress=progress,
    )
    tally_fit(
        run,
        configurations,
        dataset,
        max_detections=config.judge.max_detections,
        seed=seed,
    )
    judge_all(run, config.judge, seed=seed, jobs=jobs, progress=progress)
    picture(run, configurations, dataset, config.judge.threshold)


def _measure(
    config: TestbedConfig,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    answers: Mapping[int, Mapping[str, Detections]],
    run: Run,
    progress: Progress,
) -> None:
    """Run the nodes, measure blocks and sum up, whatever comes in between."""
    order = np.random.default_rng([config.seed, 8]).permutation(len(dataset))
    chosen = [dataset.image_ids[place] for place in order[:MAX_LOAD_IMAGES]]
    images = {image: dataset.read(image) for image in chosen}
    try:
        with Rig(config, run.dir / "files" / "nodes") as rig:
            bench = Bench(
                rig=rig,
                run=run,
                seed=config.seed,
                images=images,
                answers=answers,
                max_detections=config.judge.max_detections,
            )
            measure_blocks(config, configurations, bench, progress)
    finally:
        _sum_up(config, configurations, run)


def _sum_up(
    config: TestbedConfig, configurations: Sequence[Configuration], run: Run
) -> None:
    """Write the measured part of ``summary`` and judge the run."""
    tables = request_tables(run)
    n = len(configurations)
    judged: list[dict[str, Any]] = run.read(SUMMARY).to_pylist()
    f1 = {row["configuration"]: row for row in judged if row["metric"] == "f1"}
    for configuration in configurations:
        index = configuration.index
        rows = summary_rows(
            measured(tables, config, configuration),
            index,
            np.random.default_rng([config.seed, 9, index]),
            config.judge.n_resamples,
        )
        run.write(SUMMARY, [*rows, *_f1_per_s(rows, f1.get(index))], part=n + index)
    names = [name_of(configuration) for configuration in configurations]
    run.verdict = overall_verdict(run, configurations, names)


def _f1_per_s(
    rows: Sequence[Mapping[str, Any]], f1: Mapping[str, Any] | None
) -> list[dict[str, object]]:
    """The thesis's trade-off as a row of ``summary``: F1 over the mean latency.

    F1 varies with the images and latency with the requests, independently of each
    other, so the relative widths of their intervals add up as squares. Of a latency
    that is a bound it is a bound as well, from above.
    """
    latency = next((row for row in rows if row["metric"] == "latency_mean_s"), None)
    if f1 is None or latency is None or not f1["value"] or not latency["value"]:
        return []
    value = f1["value"] / latency["value"]
    low = high = None
    if f1["low"] is not None and latency["high"] is not None:
        down = math.hypot(
            1 - f1["low"] / f1["value"], latency["high"] / latency["value"] - 1
        )
        up = math.hypot(
            f1["high"] / f1["value"] - 1, 1 - latency["low"] / latency["value"]
        )
        low, high = max(0.0, value * (1 - down)), value * (1 + up)
    return [
        {
            **latency,
            "metric": "f1_per_s",
            "value": value,
            "low": low,
            "high": high,
            "bound": AT_MOST if latency["bound"] else None,
            "unit": "1/s",
        }
    ]
