"""ensemble_boxes beside our fusion of boxes: do they agree, and how fast is each?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ensemble_boxes
import numpy as np
from ensemble_boxes.ensemble_boxes_nms import cpu_soft_nms_float

from midhaul.federation.fusion import fuser_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Answers, Recording

IOU = 0.55
LIBRARY: dict[str, Callable[..., Any]] = {
    "nms": ensemble_boxes.nms,
    "soft_nms": ensemble_boxes.soft_nms,
    "nmw": ensemble_boxes.non_maximum_weighted,
    "wbf": ensemble_boxes.weighted_boxes_fusion,
}
SIGMA, FLOOR, METHOD_GAUSSIAN = 0.5, 0.001, 2
SIDE_PX = 2048.0
"""Corners are divided by it, since the library wants them in [0, 1]."""

Figure = tuple[str, float, str, str, float]


def agreement(recording: Recording, n: int) -> list[Figure]:
    """The share of boxes that both give, on images where all detectors found some.

    The library's suppression fails where one found nothing, and its Soft-NMS gives the
    scores as they were; those that it lowered are taken from its inner function.
    """
    counts = np.array([answers.counts for answers in recording.answers])
    part = recording.take(np.flatnonzero((counts > 0).all(axis=0))[:n])
    part = replace(part, answers=tuple(inside(one) for one in part.answers))
    everyone = np.full(len(part), part.everyone, np.int64)
    figures: list[Figure] = []
    print(f"\nagreement with ensemble_boxes on {len(part)} images")
    for name in LIBRARY:
        ours = fuser_named(name, iou=IOU).fuse(part, everyone)
        n_both = n_all = 0
        for i in range(len(part)):
            theirs = (lowered if name == "soft_nms" else library)(name, part, i)
            both = n_same(ours, i, *theirs)
            n_both += both
            n_all += len(theirs[2]) + int(ours.counts[i]) - both
        print(f"{name:10} {n_both} of {n_all} boxes are in both")
        figures.append((f"agreement_{name}", n_both / n_all, "-", ">=", 0.99))
    return figures


def speed(
    recording: Recording, stacked: Fuser, sizes: tuple[int, ...], n_library: int
) -> list[Figure]:
    """Images per second when all detectors are asked."""
    counts = np.array([answers.counts for answers in recording.answers])
    few = recording.take(np.flatnonzero((counts > 0).all(axis=0))[:n_library])
    few = replace(few, answers=tuple(inside(one) for one in few.answers))
    peer = {name: len(few) / clock(lambda k=name: run(k, few)) for name in LIBRARY}
    print("\nimages per CPU second of one thread, all detectors asked")
    print(f"{'':10}{'library':>10}" + "".join(f"{n:>10}" for n in sizes) + "   ratio")
    fusers = {name: fuser_named(name, iou=IOU) for name in LIBRARY}
    figures: list[Figure] = []
    growths: list[float] = []
    for name, fuser in (*fusers.items(), ("stacked", stacked)):
        rates: list[float] = []
        for n in sizes:
            part = recording.take(np.arange(n))
            asked = np.full(n, part.everyone, np.int64)
            fuser.fuse(part, asked)
            seconds = clock(lambda f=fuser, r=part, a=asked: f.fuse(r, a))
            rates.append(n / seconds)
        rival = peer.get(name, peer["wbf"])
        ratio = min(rates) / rival
        shown = "".join(f"{rate:10.0f}" for rate in rates)
        print(f"{name:10}{rival:10.1f}{shown}{ratio:8.1f}")
        figures.append((f"speed_{name}_over_library", ratio, "x", ">=", 10.0))
        growths.append(rates[0] / rates[-1])
    figures.append(("time_per_image_growth", max(growths), "x", "<=", 1.5))
    return figures


def run(name: str, recording: Recording) -> None:
    """The library on every image."""
    for i in range(len(recording)):
        library(name, recording, i)


def library(
    name: str, recording: Recording, item: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the library makes of all answers to an item."""
    where = [answers.of(item) for answers in recording.answers]
    pairs = list(zip(recording.answers, where, strict=True))
    boxes, scores, labels = LIBRARY[name](
        [answers.boxes[at].astype(np.float64) / SIDE_PX for answers, at in pairs],
        [answers.scores[at].astype(np.float64) for answers, at in pairs],
        [answers.labels[at] for answers, at in pairs],
        iou_thr=IOU,
    )
    return boxes * SIDE_PX, scores, labels


def lowered(
    name: str, recording: Recording, item: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The library's Soft-NMS with the scores that it lowered."""
    del name
    where = [answers.of(item) for answers in recording.answers]
    pairs = list(zip(recording.answers, where, strict=True))
    boxes = np.concatenate([one.boxes[at] for one, at in pairs]).astype(np.float64)
    scores = np.concatenate([one.scores[at] for one, at in pairs]).astype(np.float64)
    labels = np.concatenate([one.labels[at] for one, at in pairs])
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for label in np.unique(labels):
        mine = labels == label
        kept = scores[mine]
        order = cpu_soft_nms_float(
            boxes[mine] / SIDE_PX, kept, IOU, SIGMA, FLOOR, METHOD_GAUSSIAN
        )
        kept = kept[kept > FLOOR]
        parts.append((boxes[mine][order], kept, np.full(len(kept), label)))
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return found[0], found[1], found[2]


def inside(answers: Answers) -> Answers:
    """No corner outside of what the library accepts; it would move them."""
    return replace(answers, boxes=np.clip(answers.boxes, 0, SIDE_PX))


def n_same(
    ours: Answers,
    item: int,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
) -> int:
    """How many boxes have a twin, each of them once."""
    at = ours.of(item)
    is_free = np.ones(len(labels), bool)
    n = 0
    for box, score, label in zip(
        ours.boxes[at], ours.scores[at], ours.labels[at], strict=True
    ):
        is_twin = is_free & (labels == label) & (np.abs(scores - score) < 1e-4)  # noqa: PLR2004
        is_twin &= (np.abs(boxes - box) < 0.05).all(axis=1)  # noqa: PLR2004
        if is_twin.any():
            is_free[np.argmax(is_twin)] = False
            n += 1
    return n


def clock(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of three goes; other programs do not count."""
    times: list[float] = []
    for _ in range(3):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)
