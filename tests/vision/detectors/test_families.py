"""Families of models: recognised without a card, and read to the right boxes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from tests.support.family_models import (
    FINAL,
    HEIGHT,
    IMAGE,
    NAMES,
    ULTRALYTICS,
    WIDTH,
    FamilyModel,
    final,
    gfl_objects,
    places,
    queries,
    rows,
)
from tests.support.family_table import GRIDS, MODELS, NAMES_TEXT

from midhaul.errors import ConfigError, DataError
from midhaul.vision.data.builtin_data import builtin_dataset
from midhaul.vision.detectors.card import Card, shipped_cards
from midhaul.vision.detectors.checks import check_detector
from midhaul.vision.detectors.detector import load_detector, parse_spec, stated
from midhaul.vision.detectors.onnx import look
from midhaul.vision.detectors.recognition.stating import recognised_at
from midhaul.vision.evaluation import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.vision.detectors.recognition.facts import Recognised

PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
BY_NAME = {model.name: model for model in (*MODELS, *GRIDS)}


def spec_of(model: FamilyModel, folder: Path) -> str:
    """The one line that names a model, with what its file does not say."""
    names = folder / "names"
    folder.mkdir(exist_ok=True)
    names.write_text(NAMES_TEXT, encoding="utf-8")
    file = model.write(folder / model.name)
    return f"onnx:{file}{model.options.replace('NAMES', str(names))}"


def recognised(spec: str) -> Recognised:
    """What is recognised of a model."""
    parsed = parse_spec(spec)
    return recognised_at(parsed.location, parsed.options, kind="onnx", look=look)[1]


@pytest.mark.parametrize("model", [*MODELS, *GRIDS], ids=lambda model: model.name)
def test_a_family_is_recognised_and_read(tmp_path: Path, model: FamilyModel) -> None:
    """Its objects are found where they are, under their names, each once."""
    spec = spec_of(model, tmp_path)
    found = load_detector(spec).detect(PICTURE)
    objects = gfl_objects() if model in GRIDS else FINAL
    assert len(found) == len(objects)
    for place, (x, y, w, h, label, score) in enumerate(objects):
        corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        assert found.boxes[place] == pytest.approx(corners, abs=0.05)
        assert found.scores[place] == pytest.approx(score, abs=1e-3)
        assert found.names[found.labels[place]] == model.labels[int(label)]
    seen = recognised(spec)
    assert seen.family == model.family
    assert seen.found


def test_the_table_has_at_least_fifteen_families_and_twenty_files() -> None:
    """More than names: so many differ in the keys by which they are read."""
    assert len(BY_NAME) == len(MODELS) + len(GRIDS) >= 20
    read_by = {
        (model.family, model.name.split("-")[0], tuple(sorted(model.make())))
        for model in BY_NAME.values()
    }
    assert len(read_by) >= 15


@pytest.mark.parametrize("name", ["yolov8", "detr-hf", "rtdetr-sized", "yolo11-gray"])
def test_recognised_models_keep_the_protocol_of_detectors(
    tmp_path: Path, name: str
) -> None:
    """Any size of image, the same answer twice, the input untouched."""
    spec = spec_of(BY_NAME[name], tmp_path)
    check_detector(lambda: load_detector(spec))


def test_an_image_of_another_shape_is_fitted_as_the_processor_says(
    tmp_path: Path,
) -> None:
    """DETR's shortest edge is scaled to 64 px: boxes are fractions of any shape."""
    detector = load_detector(spec_of(BY_NAME["detr-hf"], tmp_path))
    found = detector.detect(np.zeros((480, 640, 3), np.uint8))
    x, y, w, h, *_ = FINAL[0]
    share = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    expected = share * np.array([640 / WIDTH, 480 / HEIGHT] * 2)
    assert found.boxes[0] == pytest.approx(expected, rel=1e-4)


def plain_dense(
    table: np.ndarray, *, has_objectness: bool, threshold: float, iou: float
) -> list[tuple[float, ...]]:
    """Candidates one by one, then the suppression of OpenCV."""
    begin = 4 + has_objectness
    boxes: list[list[float]] = []
    scores: list[float] = []
    labels: list[int] = []
    for row in table.astype(np.float64):
        for label, chance in enumerate(row[begin:]):
            score = chance * (row[4] if has_objectness else 1.0)
            if score >= threshold:
                x, y, w, h = row[:4]
                boxes.append([x - w / 2, y - h / 2, w, h])
                scores.append(score)
                labels.append(label)
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores, labels, threshold, iou)
    return sorted(
        (-scores[i], labels[i], *boxes[i]) for i in np.asarray(kept).reshape(-1)
    )


@pytest.mark.parametrize("has_objectness", [False, True])
def test_dense_heads_agree_with_opencv(tmp_path: Path, has_objectness: bool) -> None:  # noqa: FBT001
    """A table of crowded boxes: the same ones stay as of OpenCV's suppression."""
    rng = np.random.default_rng(5)
    table = places(3, anchors=3 if has_objectness else 1, objectness=has_objectness)
    table[:, :2] += rng.uniform(-3, 3, table[:, :2].shape)
    table[:, 2:4] = rng.uniform(14, 18, table[:, 2:4].shape)
    table[:, 4:] = rng.uniform(0, 1, table[:, 4:].shape) ** 3
    table[:, :2] = table[:, :2].clip(9, [WIDTH - 9, HEIGHT - 9])
    model = FamilyModel(
        name="random",
        family="yolo",
        metadata=ULTRALYTICS,
        make=lambda: {"output0": table[None] if has_objectness else table.T[None]},
    )
    spec = f"onnx:{model.write(tmp_path)}?score_threshold=0.2&nms_iou=0.55"
    found = load_detector(f"{spec}&max_detections=1000").detect(PICTURE)
    expected = plain_dense(
        table, has_objectness=has_objectness, threshold=0.2, iou=0.55
    )
    assert 20 < len(expected) < np.count_nonzero(table[:, 4:] > 0.2)
    numbers = [NAMES.index(found.names[label]) for label in found.labels]
    got = sorted(
        (-score, label, box[0], box[1], box[2] - box[0], box[3] - box[1])
        for score, label, box in zip(
            found.scores.tolist(), numbers, found.boxes.tolist(), strict=True
        )
    )
    assert np.array(got) == pytest.approx(np.array(expected), abs=1e-3)


def test_queries_of_a_softmax_answer_their_best_class_alone(tmp_path: Path) -> None:
    """Scores are those of a plain softmax over all classes and nothing."""
    rng = np.random.default_rng(2)
    boxes, _ = queries(20, 4, scores="softmax")
    logits = rng.normal(0, 2, (1, 20, 4)).astype(np.float32)
    logits[..., -1] += 2
    base = BY_NAME["detr-hf"]
    model = dataclasses.replace(
        base, make=lambda: {"logits": logits, "pred_boxes": boxes}
    )
    spec = f"{spec_of(model, tmp_path)}?score_threshold=0"
    found = load_detector(spec).detect(PICTURE)
    chances = [
        [np.exp(one) / sum(np.exp(other) for other in row) for one in row]
        for row in logits[0].astype(np.float64)
    ]
    expected = sorted((max(row[:-1]) for row in chances), reverse=True)
    assert found.scores == pytest.approx(expected, abs=1e-5)


def test_queries_are_never_suppressed(tmp_path: Path) -> None:
    """Not even where their number is that of the cells of a grid, as 30 is here."""
    boxes, logits = queries(30, 4, scores="softmax")
    for beside in (BY_NAME["detr-hf"].beside, {}):
        model = dataclasses.replace(
            BY_NAME["detr-hf"],
            inputs=IMAGE,
            beside=beside,
            options="?labels=NAMES",
            make=lambda: {"logits": logits, "pred_boxes": boxes},
        )
        folder = tmp_path / str(len(beside))
        folder.mkdir()
        card = recognised(spec_of(model, folder)).card
        assert (card.scores, card.nms_iou) == ("softmax", 1)


BARE = FamilyModel(
    name="bare", family="", make=lambda: {"out": rows("image x1 y1 x2 y2 label score")}
)


def named(model: FamilyModel, **changes: Any) -> FamilyModel:
    """The bare model with other fields."""
    return dataclasses.replace(model, **changes)


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (BARE, ["labels"]),
        (
            named(BARE, make=lambda: {"out": np.zeros((0, 7), np.float32)}),
            ["columns", "labels"],
        ),
        (
            named(BARE, inputs={"images": ("float32", (1, 3, None, None))}),
            ["input_width", "input_height"],
        ),
        (
            named(BARE, inputs=IMAGE | {"angle": ("float32", (1,))}),
            ["other_inputs"],
        ),
        (
            named(BARE, make=lambda: final("boxes", "labels", "scores")),
            ["box_order", "labels", "colour", "mean", "std", "fit"],
        ),
        (
            named(BARE, make=lambda: final("a", "b", "c", count="d", whole=False)),
            ["labels", "box_order"],
        ),
        (
            named(BARE, inputs={"images": ("int8", (1, 3, HEIGHT, WIDTH))}),
            ["labels", "mean", "std"],
        ),
        (
            named(BARE, make=lambda: {"out": places(3).T[None]}),
            ["labels"],
        ),
    ],
    ids=lambda value: "" if isinstance(value, FamilyModel) else "-".join(value),
)
def test_what_nothing_says_is_asked_for_by_its_key(
    tmp_path: Path, model: FamilyModel, keys: list[str]
) -> None:
    """The error names every key of the card that is missing, and where to write it."""
    with pytest.raises(DataError) as error:
        load_detector(spec_of(model, tmp_path))
    assert [key for key in keys if f"{key} (" not in error.value.message] == []
    assert "bare.toml" in error.value.hint


def test_a_partial_card_goes_before_what_is_found(tmp_path: Path) -> None:
    """One line beside the model is enough; what it says is not assumed."""
    file = BARE.write(tmp_path)
    file.with_suffix(".toml").write_text('labels = ["a", "b", "c"]\ncolour = "bgr"\n')
    detector = load_detector(f"onnx:{file}")
    assert detector.names == ("a", "b", "c")
    seen = recognised(f"onnx:{file}")
    assert seen.card.colour == "bgr"
    assert not any("colour" in one for one in (*seen.found, *seen.assumed))
    file.with_suffix(".toml").write_text('labels = ["a", "b", "c"]\ncolor = "bgr"\n')
    with pytest.raises(DataError, match="unknown key color"):
        load_detector(f"onnx:{file}")


def test_options_of_a_spec_go_before_the_card(tmp_path: Path) -> None:
    """They are checked like a card; a number that is none is a mistake of the spec."""
    spec = spec_of(BY_NAME["yolov8"], tmp_path)
    assert recognised(f"{spec}?mean=1,2,3&std=2").card.mean == (1, 2, 3)
    assert recognised(f"{spec}?nms_iou=0.3").card.nms_iou == 0.3
    with pytest.raises(ConfigError, match="option mean"):
        load_detector(f"{spec}?mean=grey")
    with pytest.raises(DataError, match="colour"):
        load_detector(f"{spec}?colour=pink")


def test_assumptions_stand_beside_the_verdict(tmp_path: Path) -> None:
    """A run says what of a model's card is only usual; a card by hand says nothing."""
    spec = spec_of(BY_NAME["yolov5"], tmp_path)
    judged = evaluate(spec, builtin_dataset(1))
    (tally,) = stated(spec).tallies
    assert tally in judged.tallies
    assert "COCO" in tally.sentence
    assert not tally.is_too_many
    assert stated("builtin:street-n").tallies == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"out": np.zeros((1, 7, 11, 13), np.float32)}, "does not know"),
        (lambda: {"out": np.zeros((1, 1000), np.float32)}, "does not know"),
        (lambda: {"out": places(5).T[None]}, "names 3"),
    ],
)
def test_answers_of_no_family_are_refused(
    tmp_path: Path, make: Any, words: str
) -> None:
    """The error shows the outputs, or the two numbers of classes that differ."""
    model = named(BARE, make=make, metadata=ULTRALYTICS)
    with pytest.raises(DataError, match=words):
        load_detector(spec_of(model, tmp_path))


@pytest.mark.parametrize("task", ["classify", "obb"])
def test_a_model_for_another_task_is_refused(tmp_path: Path, task: str) -> None:
    """Its metadata say what it is for."""
    model = named(BARE, metadata=ULTRALYTICS | {"task": task})
    with pytest.raises(DataError, match=f"a model to {task}"):
        load_detector(spec_of(model, tmp_path))


@pytest.mark.parametrize(
    ("metadata", "beside"),
    [
        ({"names": "{'a': 'b'}"}, {}),
        ({"names": "{0: 'a', 99999999999: 'b'}"}, {}),
        ({"imgsz": "['x', 3]"}, {}),
        ({}, {"config.json": {"id2label": ["a"]}}),
        ({}, {"config.json": {"id2label": {"x": "a"}}}),
    ],
)
def test_metadata_that_make_no_sense_are_an_error(
    tmp_path: Path, metadata: dict[str, str], beside: dict[str, Any]
) -> None:
    """Whatever stands there, the error names the model."""
    model = named(BARE, metadata=metadata, beside=beside)
    with pytest.raises(DataError, match=r"bare\.onnx"):
        load_detector(spec_of(model, tmp_path))


def test_json_that_is_none_is_named(tmp_path: Path) -> None:
    """A damaged file beside the model is not passed over."""
    file = BARE.write(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"expected JSON in .*config\.json"):
        load_detector(f"onnx:{file}")


def test_lists_of_labels_beside_a_model_are_read(tmp_path: Path) -> None:
    """As exporters and examples put them there, and Ultralytics its metadata."""
    file = BARE.write(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    assert load_detector(f"onnx:{file}").names == ("a", "b", "c")
    (tmp_path / "metadata.yaml").write_text("names: {0: x, 1: y, 2: z}\nstride: 32\n")
    assert load_detector(f"onnx:{file}").names == ("x", "y", "z")


# What decides on boxes; the rest is for the reader.
DECIDING = [
    one.name
    for one in dataclasses.fields(Card)
    if one.name not in ("name", "file", "licence", "source", "outputs", "measured")
]


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("FastestDet.onnx", ""),
        ("nanodet_m_320.onnx", ""),
        ("nanodet_m_416.onnx", ""),
        ("picodet_s_320_coco.onnx", ""),
        ("picodet_s_416_coco.onnx", ""),
        ("yolox_nano.onnx", ""),
        ("ssd_mobilenet_v1_quant.tflite", "?labels=coco91"),
    ],
)
def test_real_models_without_their_cards_are_read_as_with_them(
    data_dir: Path, tmp_path: Path, file: str, options: str
) -> None:
    """Every key that decides on boxes is that of the card, so their AP is as well."""
    kind = file.rpartition(".")[2]
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert")
    card = next(one for one in shipped_cards() if one.file == file)
    bare = tmp_path / f"bare.{kind}"
    shutil.copyfile(data_dir / "models" / file, bare)
    detector: Any = load_detector(f"{kind}:{bare}{options}")
    made = detector._card
    assert {key: getattr(made, key) for key in DECIDING} == {
        key: getattr(card, key) for key in DECIDING
    }
    outputs = card.outputs or made.outputs
    assert made.outputs[: len(outputs)] == outputs


@pytest.mark.needs_data
def test_what_is_appended_to_a_tflite_model_is_read(
    data_dir: Path, tmp_path: Path
) -> None:
    """TensorFlow Lite's metadata are files in an archive behind the model."""
    pytest.importorskip("ai_edge_litert")
    file = tmp_path / "bare.tflite"
    shutil.copyfile(data_dir / "models/ssd_mobilenet_v1_quant.tflite", file)
    names = ["???", *(f"thing {i}" for i in range(1, 91))]
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labelmap.txt", "\n".join(names))
    assert load_detector(f"tflite:{file}").names == tuple(names[1:])
    shutil.copyfile(data_dir / "models/ssd_mobilenet_v1_quant.tflite", file)
    said = {"names": {str(i): f"kind {i}" for i in range(90)}, "task": "detect"}
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("metadata.json", json.dumps(said))
    assert load_detector(f"tflite:{file}").names[:2] == ("kind 0", "kind 1")


@pytest.mark.needs_data
def test_anchors_of_a_network_stand_in_no_file(data_dir: Path, tmp_path: Path) -> None:
    """They are asked for by name; with them it is read as with its card."""
    bare = tmp_path / "bare.onnx"
    shutil.copyfile(data_dir / "models/yolo-fastestv2.onnx", bare)
    with pytest.raises(DataError, match=r"anchors \("):
        load_detector(f"onnx:{bare}")
    card = next(one for one in shipped_cards() if one.file == "yolo-fastestv2.onnx")
    anchors = [list(one) for one in card.anchors]
    bare.with_suffix(".toml").write_text(f"anchors = {anchors}\n")
    made: Any = load_detector(f"onnx:{bare}")
    assert made._card.nms_iou == card.nms_iou
    assert made._card.decoder == card.decoder
