"""The testbed's experiments: what happens when a file of each kind is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.model import Verdict
from midhaul.runs.config import Spec
from midhaul.testbed.config import LoadConfig, NodeConfig
from midhaul.testbed.grid import expand
from midhaul.testbed.judging import answer_all, judge_all, write_frame
from midhaul.testbed.plan import dataset_of

if TYPE_CHECKING:
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.testbed.config import AccuracyConfig
    from midhaul.testbed.grid import Configuration


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
    configurations = accuracy_configurations(config)
    write_frame(run, configurations, dataset, config.seed)
    answer_all(
        run,
        configurations,
        dataset.image_ids,
        config.data,
        seed=config.seed,
        jobs=config.jobs,
        progress=progress,
    )
    judge_all(run, config.judge, seed=config.seed, jobs=config.jobs, progress=progress)
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
    )
    return expand(varied, [fixed], LoadConfig())
