"""How fast are answers judged, and how fast do their intervals come?

The judge (matching, F1 and COCO's scores) against pycocotools on the same boxes; the
bootstrap of AP against running the library once per resample; growth over three sizes;
and the floor of the bootstrap, one gather and one running sum of the weights of all
detections.

    python benchmarks/judging.py [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from midhaul.model import Detections, GroundTruth
from midhaul.stats import bootstrap
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.judge.accuracy import Judgement, judge

if TYPE_CHECKING:
    from collections.abc import Callable

N_CLASSES = 80
N_BOXES = 9
N_DETECTIONS = 100
N_RESAMPLES = 1000
SIDE_PX = 640


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    sizes = (40, 80, 160) if parser.parse_args().quick else (161, 483, 1449)
    rng = np.random.default_rng(0)
    judged_s: list[float] = []
    drawn_s: list[float] = []
    for n in sizes:
        dataset, answers = make(n, rng)
        judgement = judge(answers, dataset)
        judged_s.append(clock(lambda d=dataset, a=answers: score(d, a)))
        drawn_s.append(clock(lambda j=judgement: draw(j)))
        print(f"{n} images: judged {judged_s[-1]:.3f} s, drawn {drawn_s[-1]:.3f} s")
    dataset, answers = make(sizes[0], rng)
    judgement = judge(answers, dataset)
    peer_s = clock(lambda: peer(dataset, answers))
    library_s = clock(judgement.coco)
    floor_s = clock(lambda: floor(judgement))
    span = np.log(sizes[-1] / sizes[0])
    growth = [np.log(t[-1] / t[0]) / span for t in (judged_s, drawn_s)]
    figures = (
        ("judge_speedup_over_pycocotools", peer_s / judged_s[0], ">=", 2.0),
        ("bootstrap_speedup_over_library", library_s * 1000 / drawn_s[0], ">=", 50.0),
        ("bootstrap_over_floor", drawn_s[0] / floor_s, "<=", 10.0),
        ("judge_growth_exponent", growth[0], "<=", 1.2),
        ("bootstrap_growth_exponent", growth[1], "<=", 1.2),
    )
    is_short = False
    for name, value, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.2f} - bar {sign}{bar:g} {verdict}")
    return int(is_short)


def make(n: int, rng: np.random.Generator) -> tuple[Dataset, dict[str, Detections]]:
    """A data set of COCO's density, and answers among which most are wrong."""
    names = tuple(f"class {i}" for i in range(N_CLASSES))
    image_ids = tuple(str(i) for i in range(n))
    truth: dict[str, GroundTruth] = {}
    answers: dict[str, Detections] = {}
    shares = 1 / np.arange(1, N_CLASSES + 1)
    shares /= shares.sum()
    for image_id in image_ids:
        boxes = _boxes(N_BOXES, rng)
        labels = rng.choice(N_CLASSES, N_BOXES, p=shares).astype(np.int32)
        truth[image_id] = GroundTruth(
            boxes=boxes,
            labels=labels,
            is_crowd=np.zeros(N_BOXES, np.bool_),
            areas_px=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
            names=names,
        )
        n_wrong = N_DETECTIONS - N_BOXES
        near = boxes + rng.normal(0, 4, boxes.shape).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        wrong = rng.choice(N_CLASSES, n_wrong, p=shares).astype(np.int32)
        scores = np.concatenate([rng.beta(3, 2, N_BOXES), rng.beta(1, 6, n_wrong)])
        answers[image_id] = Detections(
            boxes=np.concatenate([near, _boxes(n_wrong, rng)]),
            scores=scores.astype(np.float32),
            labels=np.concatenate([labels, wrong]),
            names=names,
        )
    dataset = Dataset(
        name="synthetic",
        names=names,
        image_ids=image_ids,
        truth=truth,
        sizes=dict.fromkeys(image_ids, (SIDE_PX, SIDE_PX)),
        source=str.encode,
    )
    return dataset, answers


def score(dataset: Dataset, answers: dict[str, Detections]) -> None:
    """All scores of one configuration."""
    judgement = judge(answers, dataset)
    judgement.coco()
    judgement.per_class()


def draw(judgement: Judgement) -> None:
    """The interval of AP."""
    statistic = judgement.statistic("ap")
    n = len(judgement.image_ids)
    bootstrap(statistic, n, np.random.default_rng(0), n_resamples=N_RESAMPLES)


def floor(judgement: Judgement) -> None:
    """What any bootstrap of a ranking must do: bring the weights into its order."""
    rng = np.random.default_rng(0)
    weights = rng.random((N_RESAMPLES, len(judgement.image_ids)))
    images = judgement.matches.images
    for begin in range(0, len(images), 1000):
        np.cumsum(weights[:, images[begin : begin + 1000]], axis=1)


def peer(dataset: Dataset, answers: dict[str, Detections]) -> None:
    """The scores of pycocotools, from its own kind of input to its summary."""
    truth_rows: list[dict[str, Any]] = []
    answer_rows: list[dict[str, Any]] = []
    for image_id in dataset.image_ids:
        truth, answer = dataset.truth[image_id], answers[image_id]
        for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
            row = _row(image_id, box, label)
            area = row["bbox"][2] * row["bbox"][3]
            row |= {"id": len(truth_rows) + 1, "area": area, "iscrowd": 0}
            truth_rows.append(row)
        answer_rows.extend(
            _row(image_id, box, label) | {"score": score}
            for box, label, score in zip(
                answer.boxes.tolist(),
                answer.labels.tolist(),
                answer.scores.tolist(),
                strict=True,
            )
        )
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = {
            "images": [{"id": int(i)} for i in dataset.image_ids],
            "categories": [{"id": i} for i in range(N_CLASSES)],
            "annotations": truth_rows,
            "info": {},
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(answer_rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()


def clock(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of three goes; other programs do not count."""
    times: list[float] = []
    for _ in range(3):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def _boxes(n: int, rng: np.random.Generator) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (n, 2)))
    corners = rng.random((n, 2)) * (SIDE_PX - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def _row(image_id: str, box: list[float], label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {
        "image_id": int(image_id),
        "category_id": label,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
    }


if __name__ == "__main__":
    sys.exit(main())
