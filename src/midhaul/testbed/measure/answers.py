"""Answers without nodes: what every configuration says about every image.

Accuracy depends on the image, the detectors, the preprocessing and the rule of
forwarding, not on time. So it is computed once per such *pipeline*, in this machine's
processes, by the very functions that the nodes run; the running nodes are then only
held against it.

*Agreement*: the running nodes are held against the answers that were judged.

Accuracy is computed without nodes. That is only honest as long as the nodes answer the
same, so the first answer to every image in a cell is compared with the judged one.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from midhaul.model import Verdict
from midhaul.testbed.measure.config import DataConfig
from midhaul.testbed.measure.from_config import dataset_of, settings_of
from midhaul.testbed.nodes.pipeline import Station, process
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.judge.matching import as_double

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midhaul.model import Detections
    from midhaul.testbed.load.records import Reply, RequestRecord
    from midhaul.testbed.measure.from_config import Configuration
    from midhaul.testbed.nodes.pipeline import Settled
    from midhaul.testbed.nodes.settings import NodeSettings
    from midhaul.vision.data.dataset import Dataset
    from midhaul.vision.detectors.detector import Detector
    from midhaul.wire import Answer

CHUNK = 40
"""Images in a task: small enough that a killed run loses little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """All that an answer depends on, beside the image."""

    edge: NodeSettings
    cloud: NodeSettings | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTask:
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
) -> list[AnswerTask]:
    """The work that answers every configuration on every image, none of it twice.

    Where a testbed has edges that differ, they share the images out in turns, as the
    load does.
    """
    askers: dict[Pipeline, dict[int, list[str]]] = {}
    for configuration in configurations:
        pipelines = pipelines_of(configuration, seed)
        for place, image in enumerate(images):
            pipeline = pipelines[place % len(pipelines)]
            askers.setdefault(pipeline, {}).setdefault(configuration.index, []).append(
                image
            )
    tasks: list[AnswerTask] = []
    for pipeline, asked in askers.items():
        for wanted, group in itertools.groupby(
            sorted(asked.items(), key=lambda pair: pair[1]), key=lambda pair: pair[1]
        ):
            indices = tuple(index for index, _ in group)
            tasks += [
                AnswerTask(
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


def answer(task: AnswerTask) -> list[dict[str, object]]:
    """Rows of the table ``detections`` for the images of a task.

    DataError if an image cannot be read; NodeError if a detector failed.
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


SURE = 0.1
"""Boxes that score less may come and go with the rounding of a thread's sums."""

TOLERANCE_PX = 2.0
"""How far the corners of the same box may lie apart."""


class Agreement:
    """Collects what nodes answered in a cell, and compares it when the cell is over.

    It has the judged answer by image; images that are not in it are not compared.
    """

    def __init__(self, judged: Mapping[str, Detections], max_detections: int) -> None:
        self._judged = judged
        self._max_detections = max_detections
        self._answered: dict[str, Detections] = {}

    def add(self, record: RequestRecord, reply: Reply) -> None:
        """Keep the first answer to each image; cheap, for it runs beside the load."""
        if not record.is_ok:
            return
        answer = cast("Answer", reply)  # nodes are asked over HTTP
        for image, found in zip(record.images, answer.detections, strict=True):
            if image in self._judged and image not in self._answered:
                self._answered[image] = found

    def verdict(self) -> Verdict:
        """Whether the nodes answered what was judged."""
        different = [
            image
            for image, found in self._answered.items()
            if not are_same(best(found, self._max_detections), self._judged[image])
        ]
        if not different:
            return Verdict()
        reason = (
            f"The nodes were to answer what was judged, but differ on {len(different)} "
            f"of {len(self._answered)} images, {different[0]} first."
        )
        advice = (
            "Check that nodes and workload see the same detector files; if they do, "
            "please report it."
        )
        return Verdict(reasons=(reason,), advice=(advice,))


def are_same(a: Detections, b: Detections) -> bool:
    """Whether two answers have the same sure boxes, by label and corners."""
    return _are_within(a, b) and _are_within(b, a)


def _are_within(a: Detections, b: Detections) -> bool:
    """Whether every sure box of ``a`` is in ``b``."""
    sure = np.flatnonzero(a.scores >= SURE)
    if not len(sure):
        return True
    if not len(b):
        return False
    names_b = np.array(b.names, object)[b.labels]
    names_a = np.array(a.names, object)[a.labels[sure]]
    apart = np.abs(a.boxes[sure][:, None, :] - b.boxes[None, :, :]).max(axis=2)
    is_near = apart <= TOLERANCE_PX
    is_there = is_near & (names_a[:, None] == names_b[None, :])
    return bool(is_there.any(axis=1).all())
