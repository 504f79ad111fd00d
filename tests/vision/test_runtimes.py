"""Runtimes that read files: what they answer, and what bad files end in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.tiny_onnx import CARD, write_boxes_model, write_constant_model

from midhaul.errors import ConfigError, DataError
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.detectors.null import NullDetector
from midhaul.vision.detectors.recorded import RecordedDetector, read_recording
from midhaul.vision.images.image import decode

if TYPE_CHECKING:
    from pathlib import Path

BLANK = np.zeros((64, 64, 3), np.uint8)

# name of the provider in coco_detections → file in models
REAL = {
    "fastestdet_352": "onnx:FastestDet.onnx",
    "nanodet-m_320": "onnx:nanodet_m_320.onnx",
    "nanodet-m_416": "onnx:nanodet_m_416.onnx",
    "picodet-s_320": "onnx:picodet_s_320_coco.onnx",
    "picodet-s_416": "onnx:picodet_s_416_coco.onnx",
    "ssd-mobilenet-v1-quant_300": "tflite:ssd_mobilenet_v1_quant.tflite",
    "yolo-fastestv2_352": "onnx:yolo-fastestv2.onnx",
    "yolox-nano_416": "onnx:yolox_nano.onnx",
}


def write_rows(file: Path, **changes: Any) -> Path:
    """A recording of one provider on the images 1 and 2."""
    rows: dict[str, Any] = {
        "image_id": ["1", "1", "2"], "provider": ["a", "a", "b"],
        "label": ["car", "dog", "car"], "score": [0.5, 0.9, 0.4],
        "x1": [1.0, 2.0, 3.0], "y1": [1.0, 2.0, 3.0],
        "x2": [9.0, 90.0, 30.0], "y2": [9.0, 20.0, 30.0],
    }  # fmt: skip
    rows |= changes
    pq.write_table(pa.table({k: v for k, v in rows.items() if v is not None}), file)
    return file


def test_onnx_answers_in_px_of_the_image(tmp_path: Path) -> None:
    """Boxes of the 32 px input are twice as large on a 64 px image, and clipped."""
    found = load_detector(f"onnx:{write_boxes_model(tmp_path)}").detect(BLANK)
    assert [found.names[label] for label in found.labels] == ["car", "person"]
    assert found.boxes.tolist() == [[40, 20, 64, 40], [8, 8, 24, 24]]
    assert found.scores == pytest.approx([0.95, 0.9])


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    """Text, an empty file, a cut model and a folder each end in one error."""
    model = write_boxes_model(tmp_path)
    whole = model.read_bytes()
    for wrong in (b"not a model", b"", whole[: len(whole) // 2]):
        model.write_bytes(wrong)
        with pytest.raises(DataError, match=r"tiny\.onnx"):
            load_detector(f"onnx:{model}")
    model.unlink()
    with pytest.raises(DataError, match="does not exist"):
        load_detector(f"onnx:{model}")
    model.mkdir()
    with pytest.raises(DataError, match="does not exist"):
        load_detector(f"onnx:{model}")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["car", "person"]', '["car"]', "labels has 1 numbers"),
        ("input_width = 32", "input_width = 64", "one input float32"),
        ("file =", 'dtype = "uint8"\nfile =', "one input uint8"),
        ("file =", 'layout = "nhwc"\nfile =', "nhwc"),
        ('"boxes", "labels"', '"boxs", "labels"', "names output boxs"),
        ('decoder = "boxes"', 'decoder = "fastestdet"', "does not fit"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_at_once(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """Loading says so; the first request need not."""
    file = write_boxes_model(tmp_path, CARD.replace(old, new))
    with pytest.raises(DataError, match=words):
        load_detector(f"onnx:{file}")


def test_a_model_with_more_labels_than_its_card_is_refused(tmp_path: Path) -> None:
    """The number of classes in the output is held against the card."""
    file = tmp_path / "tiny.onnx"
    write_constant_model(file, {"out": np.zeros((1, 9, 2, 2), np.float32)})
    card = CARD.replace('decoder = "boxes"', 'decoder = "fastestdet"')
    card = card.replace('outputs = ["boxes", "labels", "scores"]\n', "")
    file.with_suffix(".toml").write_text(card)
    with pytest.raises(DataError, match=r"\(1, 7, any, any\) for 2 labels"):
        load_detector(f"onnx:{file}")


def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path) -> None:
    """Whatever the file holds, there is one error that names it."""
    pytest.importorskip("ai_edge_litert")
    model = tmp_path / "ssd_mobilenet_v1_quant.tflite"
    for wrong in (b"not a model", b""):
        model.write_bytes(wrong)
        with pytest.raises(DataError, match="not a model that LiteRT can load"):
            load_detector(f"tflite:{model}")


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input_width = 320", "one input uint8"),
        ('dtype = "float32"', "one input float32"),
        ('outputs = ["a", "b", "c"]', "names output a"),
    ],
)
def test_a_card_that_does_not_fit_a_tflite_model_is_refused(
    tmp_path: Path, data_dir: Path, line: str, words: str
) -> None:
    """Input and outputs are held against the model."""
    pytest.importorskip("ai_edge_litert")
    values = {
        "name": '"x"', "file": '"x"', "input_width": "300", "input_height": "300",
        "layout": '"nhwc"', "colour": '"rgb"', "dtype": '"uint8"',
        "decoder": '"boxes"', "labels": '"coco91"', "licence": '"x"',
        "source": '"x"', "outputs": '["TFLite_Detection_PostProcess", "", ""]',
    }  # fmt: skip
    key, value = line.split(" = ")
    card = tmp_path / "card.toml"
    card.write_text("\n".join(f"{k} = {v}" for k, v in (values | {key: value}).items()))
    model = data_dir / "models" / "ssd_mobilenet_v1_quant.tflite"
    with pytest.raises(DataError, match=words):
        load_detector(f"tflite:{model}?card={card}")


@pytest.mark.needs_data
@pytest.mark.parametrize("provider", sorted(REAL))
def test_real_models_answer_what_was_recorded(data_dir: Path, provider: str) -> None:
    """Card, preprocessing and decoder give the boxes of the reference."""
    kind, file = REAL[provider].split(":")
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert")
    detector = load_detector(f"{kind}:{data_dir / 'models' / file}")
    assert detector.name == provider
    recording = read_recording(data_dir / "coco_detections/val.parquet", provider)
    for file in sorted((data_dir / "coco_mini/val").iterdir())[:12:3]:
        found = detector.detect(decode(file.read_bytes()))
        truth = recording.answers[str(int(file.stem))]
        strong = truth.take(truth.scores >= 0.1)
        labels = np.array(
            [found.names.index(strong.names[one]) for one in strong.labels]
        )
        distance_px = np.abs(strong.boxes[:, None] - found.boxes[None]).max(axis=2)
        distance = np.abs(strong.scores[:, None] - found.scores[None])
        is_found = (distance_px < 1) & (distance < 0.01)
        is_found &= labels[:, None] == found.labels[None]
        # A score just around a rounding or an overlap just around the limit may differ.
        assert is_found.any(axis=1).mean() >= 0.9


def test_recorded_answers_are_those_of_the_provider(tmp_path: Path) -> None:
    """Best first, with every label of the file; a provider may have found nothing."""
    file = write_rows(tmp_path / "r.parquet")
    detector = load_detector(f"recorded:{file}?provider=a")
    found = detector.detect(np.zeros((50, 100, 3), np.uint8), image_id="1")
    assert detector.names == ("car", "dog")
    assert found.scores == pytest.approx([0.9, 0.5])
    assert found.boxes.tolist() == [[2, 2, 90, 20], [1, 1, 9, 9]]
    assert len(detector.detect(BLANK, image_id="2")) == 0


def test_ids_of_images_may_be_integers(tmp_path: Path) -> None:
    """They are compared as text."""
    file = write_rows(tmp_path / "r.parquet", image_id=[1, 1, 2])
    detector = load_detector(f"recorded:{file}?provider=b")
    assert len(detector.detect(BLANK, image_id="2")) == 1


def test_an_image_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    """An empty answer would look like a miss of the provider."""
    file = write_rows(tmp_path / "r.parquet")
    detector = load_detector(f"recorded:{file}?provider=a")
    with pytest.raises(DataError, match="'3'") as error:
        detector.detect(BLANK, image_id="3")
    assert "1, 2" in error.value.hint


def test_recorded_boxes_of_a_turned_picture_are_refused(tmp_path: Path) -> None:
    """They would be stretched onto a picture on which nobody found them."""
    file = write_rows(tmp_path / "sized.parquet", width=[100] * 3, height=[60] * 3)
    detector = load_detector(f"recorded:{file}?provider=a")
    for shape in ((100, 60, 3), (50, 30, 3), (60, 90, 3)):
        with pytest.raises(DataError, match="recorded on a picture of 100x60 px"):
            detector.detect(np.zeros(shape, np.uint8), image_id="1")


def test_recorded_boxes_follow_a_resize_only_with_sizes(tmp_path: Path) -> None:
    """Without the size recorded, an image that is too small is refused."""
    small = np.zeros((30, 50, 3), np.uint8)
    bare = write_rows(tmp_path / "bare.parquet", x1=[60.0, 61.0, 3.0])
    with pytest.raises(DataError, match="50x30 px shown"):
        load_detector(f"recorded:{bare}?provider=a").detect(small, image_id="1")
    sized = write_rows(tmp_path / "sized.parquet", width=[100] * 3, height=[60] * 3)
    found = load_detector(f"recorded:{sized}?provider=a").detect(small, image_id="1")
    assert found.boxes[0].tolist() == [1, 1, 45, 10]


def test_bad_recordings_are_refused(tmp_path: Path) -> None:
    """Missing file, other file, missing column, wrong type, unknown provider."""
    file = tmp_path / "r.parquet"
    with pytest.raises(DataError, match="cannot be read"):
        load_detector(f"recorded:{file}?provider=a")
    file.write_text("image_id,provider")
    with pytest.raises(DataError, match="cannot be read"):
        load_detector(f"recorded:{file}?provider=a")
    write_rows(file, score=None)
    with pytest.raises(DataError, match="has no score"):
        load_detector(f"recorded:{file}?provider=a")
    write_rows(file, score=["high", "low", "low"])
    with pytest.raises(DataError, match="cannot be read"):
        load_detector(f"recorded:{file}?provider=a")
    write_rows(file, provider=["yolo-n", "yolo-n", "ssd"])
    with pytest.raises(ConfigError) as error:
        load_detector(f"recorded:{file}?provider=yolo-m")
    assert error.value.hint == "did you mean yolo-n?"
    with pytest.raises(ConfigError, match="2 providers; name one"):
        load_detector(f"recorded:{file}")


def test_the_only_provider_needs_no_name(tmp_path: Path) -> None:
    """A file of one provider is clear."""
    file = write_rows(tmp_path / "r.parquet", provider=["a"] * 3)
    assert load_detector(f"recorded:{file}").name == "a"


def test_service_times_follow_their_distribution(tmp_path: Path) -> None:
    """Mean and spread are those asked for, the same for the same seed."""
    recording = read_recording(write_rows(tmp_path / "r.parquet"), "a")

    def times(seed: int, cv: float) -> np.ndarray:
        slept: list[float] = []
        detector = RecordedDetector(
            recording,
            service_s=0.02,
            cv=cv,
            rng=np.random.default_rng(seed),
            sleep=slept.append,
        )
        for _ in range(2000):
            detector.detect(BLANK, image_id="2")
        return np.array(slept)

    drawn = times(0, 0.5)
    assert drawn.mean() == pytest.approx(0.02, rel=0.05)
    assert drawn.std() / drawn.mean() == pytest.approx(0.5, rel=0.1)
    assert np.array_equal(drawn, times(0, 0.5))
    assert not np.array_equal(drawn, times(1, 0.5))
    assert set(times(0, 0.0)) == {0.02}


def test_null_takes_its_time_and_finds_nothing() -> None:
    """Its service time is slept, not computed."""
    slept: list[float] = []
    detector = NullDetector(service_s=1.7, sleep=slept.append)
    assert len(detector.detect(BLANK)) == 0
    assert slept == [1.7]
    assert len(NullDetector(sleep=slept.append).detect(BLANK)) == 0
    assert slept == [1.7]
