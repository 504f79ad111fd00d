"""Judging to the last digit: pycocotools on the file's own numbers is the measure."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from midhaul.model import Detections, GroundTruth
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.judge.matching import (
    COCO_IOU,
    JudgeRules,
    as_double,
    corner_and_size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.judge.accuracy import Judgement

NAMES = ("a", "b")
IMAGES = (7, 3, 12)
SEVEN = [0, 1, 2, 3, 4, 5, 8]
N_SETS = 250


@given(st.decimals(-1e5, 1e5, places=3).map(float))
def test_single_precision_stands_for_the_shortest_decimal(value: float) -> None:
    """A number of few digits survives being kept in single precision."""
    single = np.array([value], np.float32)
    found = as_double(single)
    assert found.astype(np.float32) == single
    assert found[0] == float(str(single[0]))


@given(st.floats(width=32, allow_nan=True, allow_infinity=True))
def test_every_single_is_kept(value: float) -> None:
    """Whatever a single number is, it is the same again when it is rounded."""
    single = np.array([value], np.float32)
    np.testing.assert_array_equal(as_double(single).astype(np.float32), single)


@given(
    st.decimals(0, 5000, places=4).map(float), st.decimals(0, 5000, places=4).map(float)
)
def test_widths_are_those_of_the_file(x: float, width: float) -> None:
    """A corner that was made of x and a width gives that width again."""
    box = np.array([[x, 1.5, x + width, 4.0]])
    assert corner_and_size(box).tolist() == [[x, 1.5, width, 2.5]]


def drawn(
    rng: np.random.Generator,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of COCO's formats with ties, crowds and exact thresholds and areas."""
    truths: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image in (7, 3, 12):
        for label in (1, 2):
            for _ in range(int(rng.integers(0, 4))):
                x, y = (float(v) for v in rng.integers(0, 60_000, 2) / 100)
                w, h = (float(v) for v in rng.integers(1, 16, 2) * 10)
                area = float(rng.choice([w * h, w * h / 2, 1024.0, 9216.0]))
                row = {"image_id": image, "category_id": label}
                truths.append(
                    row
                    | {"bbox": [x, y, w, h], "area": area}
                    | {"iscrowd": int(rng.random() < 0.2), "id": len(truths) + 1}
                )
                for _ in range(int(rng.integers(0, 4))):
                    share = float(rng.choice([*np.round(COCO_IOU, 2), 1.0, 0.3]))
                    score = float(rng.choice([0.1, 0.3, 0.5, 0.5000000001, 0.9]))
                    box = [x, y, round(w * share, 4), h]
                    answers.append(row | {"bbox": box, "score": score})
    return truths, answers


def expected(
    truths: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    images: Sequence[int] = IMAGES,
    names: Sequence[str] = NAMES,
) -> np.ndarray:
    """The twelve numbers of pycocotools."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in images],
        "categories": [{"id": k, "name": n} for k, n in enumerate(names, 1)],
        "annotations": truths,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes([dict(row) for row in answers]), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return np.where(run.stats == -1, np.nan, run.stats)


def read(
    truths: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    kind: type = np.float64,
    images: Sequence[int] = IMAGES,
    names: tuple[str, ...] = NAMES,
) -> tuple[Dataset, dict[str, Detections]]:
    """The same rows as readers give them: by corners."""

    def corners(rows: list[dict[str, Any]]) -> np.ndarray:
        boxes = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).astype(
            kind
        )

    def of(rows: list[dict[str, Any]], key: str, dtype: Any) -> np.ndarray:
        return np.array([row[key] for row in rows], dtype)

    truth: dict[str, GroundTruth] = {}
    answer: dict[str, Detections] = {}
    for image in images:
        mine = [row for row in truths if row["image_id"] == image]
        truth[str(image)] = GroundTruth(
            boxes=corners(mine),
            labels=of(mine, "category_id", np.int32) - 1,
            is_crowd=of(mine, "iscrowd", np.bool_),
            areas_px=of(mine, "area", kind),
            names=names,
        )
        said = [row for row in answers if row["image_id"] == image]
        answer[str(image)] = Detections(
            boxes=corners(said),
            scores=of(said, "score", np.float64),
            labels=of(said, "category_id", np.int32) - 1,
            names=names,
        )
    dataset = Dataset(
        name="drawn",
        names=names,
        image_ids=tuple(truth),
        truth=truth,
        sizes=dict.fromkeys(truth, (700, 700)),
        source=lambda _: b"",
    )
    return dataset, answer


def seven(judgement: Judgement) -> list[float]:
    """The numbers of pycocotools that midhaul states, as :data:`SEVEN` counts them."""
    coco = judgement.coco()
    areas = (coco.ap_small, coco.ap_medium, coco.ap_large)
    return [coco.ap, coco.ap50, coco.ap75, *areas, coco.ar100]


def test_equal_to_pycocotools() -> None:
    """Sets made to be awkward give pycocotools' numbers, both ways."""
    rng = np.random.default_rng(11)
    n_judged = 0
    while n_judged < N_SETS:
        truths, answers = drawn(rng)
        if not truths or not answers:
            continue
        n_judged += 1
        wanted = expected(truths, answers)
        dataset, found = read(truths, answers)
        judgement = judge(found, dataset)
        np.testing.assert_allclose(seven(judgement), wanted[SEVEN], atol=1e-9)
        ones = np.ones((1, len(dataset)))
        own = [judgement.statistic(m)(ones)[0] for m in ("ap", "ap50", "ap75")]
        np.testing.assert_allclose(own, wanted[:3], atol=1e-9)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_equal_on_pycocotools_own_example(data_dir: Path, kind: type) -> None:
    """The answers that pycocotools itself ships as its example.

    They are ``results/instances_val2014_fakebbox100_results.json`` of its repository,
    for the 46 of its 99 images whose annotations are in ``coco_mini``.
    """
    with (Path(__file__).parent / "cocoapi_fakebbox100.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    images = sorted({int(row["image_id"]) for row in rows})
    parts = [
        json.loads((data_dir / "coco_mini" / f"instances_{name}.json").read_text())
        for name in ("train", "val")
    ]
    classes = sorted((row["id"], row["name"]) for row in parts[0]["categories"])
    names = tuple(name for _, name in classes)
    number = {key: k for k, (key, _) in enumerate(classes, 1)}
    truths: list[dict[str, Any]] = [
        {**row, "id": 0, "category_id": number[row["category_id"]]}
        for part in parts
        for row in part["annotations"]
        if row["image_id"] in images
    ]
    for at, row in enumerate(truths, 1):
        row["id"] = at
    answers: list[dict[str, Any]] = [
        {
            "image_id": int(row["image_id"]),
            "category_id": number[row["category_id"]],
            "bbox": [row[key] for key in ("x", "y", "width", "height")],
            "score": row["score"],
        }
        for row in rows
    ]
    wanted = expected(truths, answers, images, names)
    dataset, found = read(truths, answers, kind, images, names)
    assert (len(images), len(answers)) == (46, 358)
    got = seven(judge(found, dataset))
    np.testing.assert_allclose(got, wanted[SEVEN], atol=1e-6)


def test_an_exact_threshold_survives_single_precision() -> None:
    """Boxes that come in single precision are judged as the decimals they stand for."""
    for x in (100.1, 512.7, 250.35, 431.27):
        row = {"image_id": 7, "category_id": 1}
        truths = [
            row | {"bbox": [x, x, 100.0, 100.0], "area": 1e4, "iscrowd": 0, "id": 1}
        ]
        answers = [row | {"bbox": [x, x, 75.0, 100.0], "score": 0.9}]
        dataset, found = read(truths, answers, np.float32)
        assert judge(found, dataset).coco().ap75 == pytest.approx(1)
        assert judge(found, dataset).coco().ap == pytest.approx(0.6)


def test_rules_change_what_is_judged() -> None:
    """Thresholds, areas and the number of detections are the user's to choose."""
    row = {"image_id": 7, "category_id": 1}
    boxes = [[100.0 * k, 0.0, 20.0, 20.0] for k in range(6)]
    truths = [
        row | {"bbox": b, "area": 400.0, "iscrowd": 0, "id": k}
        for k, b in enumerate(boxes, 1)
    ]
    answers = [
        row | {"bbox": [b[0], 0.0, 20.0, 12.0], "score": 0.9 - k / 100}
        for k, b in enumerate(boxes)
    ]
    dataset, found = read(truths, answers)
    few = judge(found, dataset, JudgeRules(max_detections=3))
    assert few.coco().ar100 == pytest.approx(3 / 6 * 3 / 10)
    assert few.averages(0.0).recall == pytest.approx(0.5)
    strict = judge(found, dataset, JudgeRules(iou=(0.6,), match_iou=0.7))
    assert strict.coco().ap == pytest.approx(1)
    assert strict.statistic("ap")(np.ones((1, 3)))[0] == pytest.approx(1)
    assert strict.averages(0.0).recall == 0
    assert strict.coco().ap50 == pytest.approx(1)
    assert strict.coco().ap75 == 0
    wide = judge(found, dataset, JudgeRules(area_limits_px=(100.0, 400.0)))
    assert np.isnan(wide.coco().ap_small)
    assert wide.coco().ap_medium == wide.coco().ap_large == pytest.approx(0.3)
