"""Answers without nodes: what every configuration says about every image.

Accuracy depends on the image, the detectors, the preprocessing and the rule of
forwarding, not on time. So it is computed once per such *pipeline*, in this machine's
processes, by the very functions that the nodes run; the running nodes are then only
held against it.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.testbed.config_parts import DataConfig
from midhaul.testbed.pipeline import Station, process
from midhaul.testbed.plan import dataset_of, settings_of
from midhaul.vision.detector import load_detector
from midhaul.vision.precision import as_double

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midhaul.model import Detections
    from midhaul.testbed.grid import Configuration
    from midhaul.testbed.nodes import NodeSettings
    from midhaul.testbed.pipeline import Settled
    from midhaul.vision.data import Dataset
    from midhaul.vision.detector import Detector

CHUNK = 40
"""Images in a task: small enough that a killed run loses little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """All that an answer depends on, beside the image.

    Attributes:
        edge: settings of the edge.
        cloud: settings of its cloud; None where no image gets there.
    """

    edge: NodeSettings
    cloud: NodeSettings | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Some images through one pipeline.

    Attributes:
        pipeline: what they go through.
        configurations: numbers of all configurations that use it.
        images: ids of the images.
        data: where the images come from.
        max_detections: boxes kept per image and class.
        seed: of the experiment.
    """

    pipeline: Pipeline
    configurations: tuple[int, ...]
    images: tuple[str, ...]
    data: DataConfig
    max_detections: int
    seed: int


def plan_tasks(
    configurations: Sequence[Configuration],
    images: Sequence[str],
    data: DataConfig,
    max_detections: int,
    seed: int,
) -> list[Task]:
    """The work that answers every configuration on every image, none of it twice.

    Where a testbed has edges that differ, they share the images out in turns, as the
    load does.

    Args:
        configurations: what is compared.
        images: ids of the images.
        data: where they come from.
        max_detections: boxes kept per image and class.
        seed: of the experiment.
    """
    users: dict[Pipeline, dict[int, list[str]]] = {}
    for configuration in configurations:
        pipelines = pipelines_of(configuration, seed)
        for place, image in enumerate(images):
            pipeline = pipelines[place % len(pipelines)]
            users.setdefault(pipeline, {}).setdefault(configuration.index, []).append(
                image
            )
    tasks: list[Task] = []
    for pipeline, asked in users.items():
        for wanted, group in itertools.groupby(
            sorted(asked.items(), key=lambda pair: pair[1]), key=lambda pair: pair[1]
        ):
            indices = tuple(index for index, _ in group)
            tasks += [
                Task(
                    pipeline=pipeline,
                    configurations=indices,
                    images=chunk,
                    data=data,
                    max_detections=max_detections,
                    seed=seed,
                )
                for chunk in _chunks(wanted)
            ]
    return tasks


def pipelines_of(configuration: Configuration, seed: int) -> tuple[Pipeline, ...]:
    """The pipelines behind the edges of a configuration, one if they are all alike."""
    clouds = {node.name: node for node in configuration.nodes if node.role == "cloud"}
    found: list[Pipeline] = []
    for node in configuration.nodes:
        if node.role != "edge":
            continue
        edge = _anonymous(settings_of(node, seed))
        cloud = None
        if node.cloud is not None and node.forward != "nothing":
            cloud = _anonymous(settings_of(clouds[node.cloud], seed))
        found.append(Pipeline(edge=edge, cloud=cloud))
    return tuple(found) if len(set(found)) > 1 else (found[0],)


def answering(pipeline: Pipeline) -> list[str]:
    """The detectors whose boxes may be an answer: the cloud's where one gets images."""
    edge, cloud = pipeline.edge, pipeline.cloud
    if cloud is None or cloud.detector is None or edge.forward == "results":
        return [edge.detector] if edge.detector else []
    if edge.forward == "uncertain" and edge.detector:
        return [edge.detector, cloud.detector]
    return [cloud.detector]


def answer(task: Task) -> list[dict[str, object]]:
    """Rows of the table ``detections`` for the images of a task.

    Raises:
        DataError: an image cannot be read.
        NodeError: a detector failed.
    """
    dataset = _dataset(task.data.model_dump_json(), task.seed)
    edge = _station(task.pipeline.edge)
    cloud = None if task.pipeline.cloud is None else _station(task.pipeline.cloud)
    rows: list[dict[str, object]] = []
    for image in task.images:
        settled = process(edge, cloud, image, dataset.read(image))
        row = detection_row(settled, task.max_detections)
        rows += [{"configuration": c, **row} for c in task.configurations]
    return rows


def detection_row(settled: Settled, max_detections: int) -> dict[str, object]:
    """An answer as a row of the table ``detections``, but for its configuration."""
    found = best(settled.detections, max_detections)
    return {
        "image": settled.image,
        "answered_by": settled.role,
        "forwarded": settled.is_forwarded,
        "received_bytes": settled.received_bytes,
        "prepared_bytes": settled.prepared_bytes,
        "boxes": as_double(found.boxes).ravel(),
        "scores": as_double(found.scores),
        "labels": [found.names[label] for label in found.labels],
    }


def best(detections: Detections, max_detections: int) -> Detections:
    """The boxes with the highest scores, so many of each class, best first.

    Those are all that COCO's metrics look at.
    """
    order = np.argsort(-detections.scores, kind="stable")
    ranked = detections.labels[order]
    is_kept = np.zeros(len(order), np.bool_)
    for label in np.unique(ranked):
        is_kept[np.flatnonzero(ranked == label)[:max_detections]] = True
    return detections.take(order[is_kept].astype(np.int32))


def _chunks(images: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for begin in range(0, len(images), CHUNK):
        yield tuple(images[begin : begin + CHUNK])


def _anonymous(settings: NodeSettings) -> NodeSettings:
    """The settings without what no answer depends on, so that equal work is equal."""
    return replace(
        settings,
        name=settings.role,
        cloud=None if settings.cloud is None else "cloud",
        cpu_limit=None,
        memory_limit_bytes=None,
        workdir=None,
        port=0,
        threads=1,
        workers=1,
    )


def _station(settings: NodeSettings) -> Station:
    detector = None
    if settings.detector is not None:
        detector = _detector(settings.detector, settings.seed)
    return Station(settings=settings, detector=detector)


@functools.lru_cache(maxsize=4)
def _detector(spec: str, seed: int) -> Detector:
    return load_detector(spec, threads=1, seed=seed)


@functools.lru_cache(maxsize=1)
def _dataset(data: str, seed: int) -> Dataset:
    return dataset_of(DataConfig.model_validate_json(data), seed)
