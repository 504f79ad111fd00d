"""Accuracy half of an experiment: answer every image once, then judge.

Every step is a part of a table that is there as a whole or not at all, numbered by what
it holds, so an experiment that was killed goes on where it stopped.

Worked examples for the report are images with what was detected on them.

Accuracy depends on the image, the detectors, the preprocessing and the rule of
forwarding, not on time. So it is computed once per such *pipeline*, in this machine's
processes, by the very functions that the nodes run. That is only honest as long as the
nodes answer the same (*agreement*), so the first answer of running nodes to every image
in a cell is compared with the judged one.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from midhaul.model import Verdict
from midhaul.runs.kept import KeptTables
from midhaul.runs.perform import n_jobs, parallel
from midhaul.testbed.measure.accuracy_metrics import JudgeTask, judge_configuration
from midhaul.testbed.measure.config import DataConfig
from midhaul.testbed.measure.from_config import (
    configuration_row,
    dataset_of,
    name_of,
    rules_of,
    settings_of,
)
from midhaul.testbed.measure.tables import (
    CLASSES,
    CONFIGURATIONS,
    DETECTIONS,
    IMAGES,
    SUMMARY,
    image_rows,
    stored_detections,
)
from midhaul.testbed.nodes.pipeline import Station, process
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import decode, draw, jpeg
from midhaul.vision.judge.matching import as_double

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Detections, Tally
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.testbed.load.records import Reply, RequestRecord
    from midhaul.testbed.measure.config import JudgeConfig
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


N_IMAGES = 3
"""Images shown, each under every chosen configuration."""


def write_examples(
    folder: Path,
    dataset: Dataset,
    answers: Mapping[str, Mapping[str, Detections]],
    threshold: float,
) -> None:
    """Write a few images under a few configurations, as small JPEG files.

    The images are those with the most boxes, so that there is something to see; human
    boxes are white, detections amber with their label and score. What scores below the
    threshold is not drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busiest = sorted(dataset.image_ids, key=lambda i: -len(dataset.truth[i]))
    for number, image in enumerate(busiest[:N_IMAGES], 1):
        pixels = decode(dataset.read(image), where=image)
        for name, found in answers.items():
            if image in found:
                drawn = draw(
                    pixels, dataset.truth[image].boxes, found[image], threshold
                )
                caption = f"Image {number}-- {name}".replace(" ", "_").replace("/", "-")
                (folder / f"{caption}.jpg").write_bytes(jpeg(drawn))


_LABELS = "labels.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparisonFrame:
    """What is compared, and on what."""

    configurations: pa.Table
    images: pa.Table
    names: tuple[str, ...]

    @classmethod
    def stored(cls, run: Run) -> ComparisonFrame:
        """The frame that a run was given."""
        return cls(
            configurations=run.read(CONFIGURATIONS),
            images=run.read(IMAGES),
            names=label_set(run),
        )


def write_frame(
    run: Run, configurations: Sequence[Configuration], dataset: Dataset, seed: int
) -> ComparisonFrame:
    """Write what is compared, and on what: configurations, images, ground truth.

    What a run has already is written again, the same.
    """
    rows = [configuration_row(configuration) for configuration in configurations]
    frame = ComparisonFrame(
        configurations=CONFIGURATIONS.from_rows(rows),
        images=IMAGES.from_rows(image_rows(dataset, seed)),
        names=dataset.names,
    )
    run.write(CONFIGURATIONS, frame.configurations, part=0)
    run.write(IMAGES, frame.images, part=0)
    run.file(_LABELS).write_text(json.dumps(dataset.names), encoding="utf-8")
    run.tally(*dataset.tallies)
    return frame


def label_set(run: Run) -> tuple[str, ...]:
    """The label set of the data set of a run."""
    return tuple(json.loads(run.file(_LABELS).read_text(encoding="utf-8")))


def answer_all(
    run: Run,
    configurations: Sequence[Configuration],
    images: Sequence[str],
    data: DataConfig,
    *,
    max_detections: int,
    seed: int,
    jobs: int,
    progress: Progress,
) -> pa.Table:
    """Fill the table ``detections``, a part per task, and return it whole.

    Parts that are there stay. MidhaulError if a detector or an image cannot be loaded,
    or a detector fails.
    """
    tasks = plan_tasks(configurations, images, data, max_detections, seed)
    answered = KeptTables(run, DETECTIONS)
    done = answered.parts(DETECTIONS)
    open_tasks = [number for number in range(len(tasks)) if number not in done]
    n_images = sum(len(tasks[number].images) for number in open_tasks)
    with progress.task("answering images", n_images) as bar:
        results = parallel(
            answer, [tasks[number] for number in open_tasks], jobs=n_jobs(jobs)
        )
        for place, rows in results:
            number = open_tasks[place]
            answered.write(DETECTIONS, rows, part=number)
            bar.advance(len(tasks[number].images))
    return answered.read(DETECTIONS)


def judge_all(
    run: Run,
    frame: ComparisonFrame,
    detections: pa.Table,
    judge: JudgeConfig,
    *,
    seed: int,
    jobs: int,
    progress: Progress,
) -> list[dict[str, object]]:
    """Fill the accuracy part of ``summary`` and ``classes``, a part a configuration.

    It returns the rows of ``summary``.
    """
    tasks = judge_tasks(frame, detections, judge, seed)
    rows: list[dict[str, object]] = []
    found: list[Tally] = []
    with progress.task("judging answers", len(tasks)) as bar:
        for place, judged in parallel(judge_configuration, tasks, jobs=n_jobs(jobs)):
            number = tasks[place].configuration
            run.write(CLASSES, judged.classes, part=number)
            run.write(SUMMARY, judged.summary, part=number)
            rows += judged.summary
            found += judged.tallies
            bar.advance()
    run.tally(*_summed(found))
    return rows


def judge_tasks(
    frame: ComparisonFrame, detections: pa.Table, judge: JudgeConfig, seed: int
) -> list[JudgeTask]:
    """What it takes to judge each configuration that has its answers."""
    owners = detections["configuration"].to_numpy()
    configurations: list[dict[str, Any]] = frame.configurations.to_pylist()
    return [
        JudgeTask(
            configuration=row["configuration"],
            name=row["name"],
            detector=row["detector"],
            detections=detections.filter(pa.array(owners == row["configuration"])),
            images=frame.images,
            names=frame.names,
            threshold=judge.threshold,
            rules=rules_of(judge),
            n_resamples=judge.n_resamples,
            seed=seed,
        )
        for row in configurations
        if np.any(owners == row["configuration"])
    ]


def known_answers(
    detections: pa.Table, configurations: Sequence[Configuration], seed: int
) -> dict[int, dict[str, Detections]]:
    """The judged answers of every configuration, by image.

    A configuration whose edges differ is left out: which of them answers an image is
    up to the load.
    """
    owners = detections["configuration"].to_numpy()
    return {
        c.index: stored_detections(detections.filter(pa.array(owners == c.index)))
        for c in configurations
        if len(pipelines_of(c, seed)) == 1
    }


def picture(
    run: Run,
    configurations: Sequence[Configuration],
    dataset: Dataset,
    detections: pa.Table,
    threshold: float,
) -> None:
    """Leave worked examples for the report: the first and the last configuration."""
    shown = configurations[:: max(1, len(configurations) - 1)]
    owners = detections["configuration"].to_numpy()
    answers = {
        name_of(c): stored_detections(detections.filter(pa.array(owners == c.index)))
        for c in shown
    }
    write_examples(run.file("examples"), dataset, answers, threshold)


def _summed(tallies: Sequence[Tally]) -> list[Tally]:
    """Tallies of several configurations that count the same things, as one."""
    summed: dict[str, Tally] = {}
    for tally in tallies:
        if (before := summed.get(tally.what)) is not None:
            n, of = before.n + tally.n, before.of + tally.of
            tally = replace(before, n=n, of=of)  # noqa: PLW2901
        summed[tally.what] = tally
    return list(summed.values())
