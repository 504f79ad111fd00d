"""testbed.measure, testbed.accuracy and testbed.overhead: what happens when one is run.

Whether detectors *fit* a data set is counted: names of classes and numbers of boxes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from midhaul.model import Verdict
from midhaul.model.estimate import AT_MOST
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows
from midhaul.runs.spec import Spec
from midhaul.testbed.measure.blocks import (
    MEASURED,
    Bench,
    Rig,
    measure_blocks,
    overall_verdict,
)
from midhaul.testbed.measure.config import LoadConfig, NodeConfig
from midhaul.testbed.measure.from_config import (
    configuration_row,
    dataset_of,
    expand,
    name_of,
)
from midhaul.testbed.measure.judging import (
    answer_all,
    answering,
    judge_all,
    known_answers,
    picture,
    pipelines_of,
    write_frame,
)
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.samples import configurations_of, measured
from midhaul.testbed.measure.tables import CELLS, REQUESTS, SUMMARY, USAGE
from midhaul.vision.detectors.detector import stated
from midhaul.vision.images.limits import DecodingLimits
from midhaul.vision.judge.doubts import limit_tallies, name_tallies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Detections
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.testbed.measure.config import (
        AccuracyConfig,
        MeasureConfig,
        OverheadConfig,
        TestbedConfig,
    )
    from midhaul.testbed.measure.from_config import Configuration
    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.detectors.detector import Stated


def tally_fit(
    run: Run,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    detections: pa.Table,
    *,
    max_detections: int,
    seed: int,
) -> None:
    """Count what no detector can find, by its name or by its number.

    MidhaulError if a model's card cannot be read.
    """
    truths = [dataset.truth[image] for image in dataset.image_ids]
    shown = {t.names[n] for t in truths for n in t.labels[~t.is_crowd].tolist()}
    limits: dict[str, int] = {}
    for configuration in configurations:
        detector = str(configuration_row(configuration)["detector"])
        said = _stated(configuration, seed)
        known = _known(said)
        run.tally(
            *name_tallies(
                detector,
                _labels(detections, configuration.index) if known is None else known,
                dataset.names,
                [name for name in dataset.names if name in shown],
                is_complete=known is not None,
            )
        )
        for one in said:
            run.tally(*one.tallies)
            if one.max_detections is not None:
                limits[detector] = min(
                    one.max_detections, limits.get(detector, one.max_detections)
                )
    run.tally(*limit_tallies(truths, max_detections, limits))


def _stated(configuration: Configuration, seed: int) -> list[Stated]:
    """What can be said of the detectors that answer in a configuration."""
    pipelines = pipelines_of(configuration, seed)
    specs = {spec for pipeline in pipelines for spec in answering(pipeline)}
    return [stated(spec) for spec in sorted(specs)]


def _known(said: Sequence[Stated]) -> list[str] | None:
    """All names that can be answered; None where a detector does not state its own."""
    known: set[str] = set()
    for one in said:
        if one.names is None:
            return None
        known |= set(one.names)
    return sorted(known)


def _labels(detections: pa.Table, configuration: int) -> list[str]:
    """The labels that were answered in a configuration."""
    owners = detections["configuration"].to_numpy()
    rows = detections.filter(pa.array(owners == configuration))
    labels = pc.unique(pc.list_flatten(rows["labels"])).to_pylist()
    return sorted(map(str, labels))


MAX_LOAD_IMAGES = 500
"""Images that the workload holds in memory to send; accuracy is judged on all."""


def accuracy(config: AccuracyConfig, run: Run, progress: Progress) -> None:
    """Judge detectors by preprocessings over a data set, without nodes.

    MidhaulError if an image or a detector cannot be loaded, or a detector fails.
    """
    dataset = _opened(config, run)
    _answer_and_judge(config, accuracy_configurations(config), dataset, run, progress)
    run.verdict = Verdict()


def open_inputs(config: AccuracyConfig | TestbedConfig) -> None:
    """Open the data set and every detector that a config names, as far as they say.

    DataError if a file is missing or holds something else; PrerequisiteError if a
    library is missing.
    """
    dataset_of(config.data, config.seed)
    specs: list[object] = [*getattr(config, "detectors", ())]
    specs += [node.detector for node in getattr(config, "nodes", ()) if node.detector]
    for spec in dict.fromkeys(map(str, specs)):
        stated(spec)


def _opened(config: AccuracyConfig | MeasureConfig, run: Run) -> Dataset:
    """The data set; that midhaul draws it stands beside the verdict."""
    if config.data.kind == "builtin":
        run.note(
            "The images are scenes that midhaul draws: what is found on them holds for "
            "nobody's camera."
        )
    return dataset_of(config.data, config.seed)


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

    MidhaulError if an image or a detector cannot be loaded, or nodes do not live.
    """
    dataset = _opened(config, run)
    configurations = configurations_of(config)
    detections, judged = _answer_and_judge(
        config, configurations, dataset, run, progress
    )
    answers = known_answers(detections, configurations, config.seed)
    _measure(config, configurations, dataset, answers, judged, run, progress)


def overhead(config: OverheadConfig, run: Run, progress: Progress) -> None:
    """Measure what midhaul itself costs: every detector is replaced by null.

    MidhaulError if an image cannot be loaded, or nodes do not live.
    """
    nodes = tuple(
        node.model_copy(update={"detector": Spec("null" if node.detector else "")})
        for node in config.nodes
    )
    config = config.model_copy(update={"nodes": nodes})
    dataset = dataset_of(config.data, config.seed)
    configurations = configurations_of(config)
    write_frame(run, configurations, dataset, config.seed)
    _measure(config, configurations, dataset, {}, (), run, progress)


def _answer_and_judge(
    config: AccuracyConfig | MeasureConfig,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    run: Run,
    progress: Progress,
) -> tuple[pa.Table, list[dict[str, object]]]:
    """The half of an experiment that needs no nodes: its answers, and how good."""
    seed, jobs = config.seed, config.jobs
    most = config.judge.max_detections
    frame = write_frame(run, configurations, dataset, seed)
    detections = answer_all(
        run,
        configurations,
        dataset.image_ids,
        config.data,
        max_detections=most,
        seed=seed,
        jobs=jobs,
        progress=progress,
    )
    tally_fit(run, configurations, dataset, detections, max_detections=most, seed=seed)
    judged = judge_all(
        run, frame, detections, config.judge, seed=seed, jobs=jobs, progress=progress
    )
    picture(run, configurations, dataset, detections, config.judge.threshold)
    return detections, judged


def _measure(
    config: TestbedConfig,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    answers: Mapping[int, Mapping[str, Detections]],
    judged: Sequence[Mapping[str, object]],
    run: Run,
    progress: Progress,
) -> None:
    """Run the nodes, measure blocks and sum up, whatever comes in between."""
    order = np.random.default_rng([config.seed, 8]).permutation(len(dataset))
    chosen = [dataset.image_ids[place] for place in order[:MAX_LOAD_IMAGES]]
    images = {image: dataset.read(image) for image in chosen}
    kept = KeptTables(run, *MEASURED)
    try:
        with Rig(config, run.dir / "files" / "nodes") as rig:
            bench = Bench(
                rig=rig,
                measured=kept,
                seed=config.seed,
                images=images,
                answers=answers,
                max_detections=config.judge.max_detections,
            )
            measure_blocks(config, configurations, bench, progress)
    finally:
        _sum_up(config, configurations, kept, judged, run)


def _sum_up(
    config: TestbedConfig,
    configurations: Sequence[Configuration],
    kept: KeptTables,
    judged: Sequence[Mapping[str, object]],
    run: Run,
) -> None:
    """Write the measured part of ``summary`` and judge the run."""
    tables = {table.name: kept.read(table) for table in (REQUESTS, USAGE, CELLS)}
    n = len(configurations)
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
    run.verdict = overall_verdict(kept, configurations, names)


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
            "unit": METRICS["f1_per_s"].unit,
        }
    ]
