"""Accuracy half of an experiment: answer every image once, then judge.

Every step is a part of a table that is there as a whole or not at all, numbered by what
it holds, so an experiment that was killed goes on where it stopped.

Worked examples for the report are images with what was detected on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.runs.kept import KeptTables
from midhaul.runs.perform import n_jobs, parallel
from midhaul.testbed.measure.accuracy_metrics import JudgeTask, judge_configuration
from midhaul.testbed.measure.answers import answer, pipelines_of, plan_tasks
from midhaul.testbed.measure.from_config import configuration_row, name_of, rules_of
from midhaul.testbed.measure.tables import (
    CLASSES,
    CONFIGURATIONS,
    DETECTIONS,
    IMAGES,
    SUMMARY,
    image_rows,
    stored_detections,
)
from midhaul.vision.images.image import decode, draw, jpeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Detections, Tally
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.testbed.measure.config import DataConfig, JudgeConfig
    from midhaul.testbed.measure.from_config import Configuration
    from midhaul.vision.data.dataset import Dataset

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
