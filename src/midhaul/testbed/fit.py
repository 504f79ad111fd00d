"""Whether detectors fit a data set: names of classes and numbers of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from midhaul.testbed.answers import answering, pipelines_of
from midhaul.testbed.plan import configuration_row
from midhaul.testbed.tables import DETECTIONS
from midhaul.vision.detector import stated
from midhaul.vision.doubts import limit_tallies, name_tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.runs.run import Run
    from midhaul.testbed.grid import Configuration
    from midhaul.vision.data import Dataset
    from midhaul.vision.detector import Stated


def tally_fit(
    run: Run,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    *,
    max_detections: int,
    seed: int,
) -> None:
    """Count what no detector can find, by its name or by its number.

    Args:
        run: with its answers.
        configurations: what is compared.
        dataset: the images.
        max_detections: detections per image and class that are judged.
        seed: of the experiment.

    Raises:
        MidhaulError: a model's card cannot be read.
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
                _labels(run, configuration.index) if known is None else known,
                dataset.names,
                [name for name in dataset.names if name in shown],
                is_complete=known is not None,
            )
        )
        for one in said:
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


def _labels(run: Run, configuration: int) -> list[str]:
    """The labels that were answered in a configuration."""
    rows = run.read(DETECTIONS)
    owners = rows["configuration"].to_numpy()
    rows = rows.filter(pa.array(owners == configuration))
    labels = pc.unique(pc.list_flatten(rows["labels"])).to_pylist()
    return sorted(map(str, labels))
