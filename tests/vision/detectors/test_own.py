"""Detectors of your own: Python functions, and what other programs have answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError
from midhaul.vision.detectors.checks import check_detector
from midhaul.vision.detectors.detector import load_detector, short_name

if TYPE_CHECKING:
    from pathlib import Path

CODE = '''
import numpy as np
from midhaul.model import Detections

class Middle:
    """A box in the middle of every image."""

    def __init__(self, label):
        self.name, self.names = "middle", (label,)

    def detect(self, pixels, *, image_id=""):
        h, w = pixels.shape[:2]
        box = [[w / 4, h / 4, 3 * w / 4, 3 * h / 4]]
        ones = np.ones(1, np.float32)
        return Detections(boxes=np.array(box, np.float32), scores=ones,
                          labels=np.zeros(1, np.int32), names=self.names)

def make(label="thing", threads=0):
    assert threads == 2
    return Middle(label)

def broken():
    raise OSError("no weights\\nmore")

def wrong():
    return Middle("")

nothing = 3
'''
IMAGE = np.zeros((50, 100, 3), np.uint8)


def test_a_function_makes_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a module in the working directory or by its file; options are keywords."""
    (tmp_path / "own_middle.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    found = load_detector("python:own_middle:make?label=car", threads=2).detect(IMAGE)
    assert found.names == ("car",)
    assert found.boxes.tolist() == [[25, 12.5, 75, 37.5]]
    spec = f"python:{tmp_path / 'own_middle.py'}:make"
    check_detector(lambda: load_detector(spec, threads=2))
    assert short_name(spec) == "own_middle.py:make"


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("python:own_middle", ConfigError, "a module and a function"),
        ("python:no.such.module:make", ConfigError, "there is no module no.such"),
        ("python:own_middle:nobody", ConfigError, "no function 'nobody'"),
        ("python:own_middle:nothing", ConfigError, "no function 'nothing'"),
        ("python:own_middle:make?size=3", ConfigError, "does not take"),
        ("python:own_middle:broken", DataError, "OSError no weights"),
        ("python:own_middle:wrong", DataError, "is no detector"),
        ("python:missing.py:make", DataError, "does not exist"),
        ("python:bad_syntax:make", DataError, "cannot be imported"),
    ],
)
def test_code_that_does_not_do_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    error: type[Exception],
    words: str,
) -> None:
    """No traceback of a stranger's code, but what it said."""
    (tmp_path / "own_middle.py").write_text(CODE)
    (tmp_path / "bad_syntax.py").write_text("def :")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        load_detector(spec, threads=2)


def results(folder: Path) -> Path:
    """COCO results of two images, one of which has leading zeros elsewhere."""
    file = folder / "predictions.json"
    entries = [
        {"image_id": 139, "category_id": 3, "bbox": [10, 5, 20, 10], "score": 0.5},
        {"image_id": 139, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.75},
        {"image_id": "street", "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.25},
    ]
    file.write_text(json.dumps(entries))
    return file


def test_results_of_coco_are_replayed(tmp_path: Path) -> None:
    """Best first, in corners, by whichever form the id of the image has."""
    detector = load_detector(f"replay:{results(tmp_path)}?names=coco91")
    for image in ("139", "000000000139", "val/000000000139.jpg"):
        found = detector.detect(IMAGE, image_id=image)
        assert [found.names[n] for n in found.labels] == ["person", "car"]
        assert found.boxes.tolist() == [[0, 0, 10, 10], [10, 5, 30, 15]]
    assert len(detector.detect(IMAGE, image_id="images/street.png")) == 1
    assert detector.name == "predictions"


def test_an_image_that_is_not_named_is_no_empty_answer(tmp_path: Path) -> None:
    """Unless that is said."""
    spec = f"replay:{results(tmp_path)}?names=coco91"
    with pytest.raises(DataError, match="no detections of image '7'") as error:
        load_detector(spec).detect(IMAGE, image_id="7")
    assert "missing=empty" in error.value.hint
    empty = load_detector(f"{spec}&missing=empty")
    assert len(empty.detect(IMAGE, image_id="7")) == 0


def test_texts_of_yolo_follow_the_size_of_the_picture(tmp_path: Path) -> None:
    """Their boxes are shares; an empty text is an empty answer."""
    names = tmp_path / "names"
    names.write_text("car\nperson\n")
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "a.txt").write_text("1 0.5 0.5 0.2 0.4 0.9\n0 0.25 0.5 0.1 0.1 0.95\n")
    (folder / "b.txt").write_text("")
    detector = load_detector(f"replay:{folder}?names={names}")
    check_detector(lambda: detector, image_id="a")
    found = detector.detect(IMAGE, image_id="a")
    assert found.boxes[1].tolist() == pytest.approx([40, 15, 60, 35])
    assert [found.names[n] for n in found.labels] == ["car", "person"]
    assert len(detector.detect(IMAGE, image_id="b")) == 0


def test_tables_of_text_are_replayed(tmp_path: Path) -> None:
    """Columns may stand in any order, and others beside them."""
    file = tmp_path / "own.csv"
    file.write_text(
        "label,score,x1,y1,x2,y2,image_id,note\ncar,0.5,1,2,3,4,a,x\n"
        "bus,0.75,0,0,9,9,a,y\n"
    )
    found = load_detector(f"replay:{file}").detect(IMAGE, image_id="a")
    assert found.boxes.tolist() == [[0, 0, 9, 9], [1, 2, 3, 4]]
    assert [found.names[n] for n in found.labels] == ["bus", "car"]
    with pytest.raises(DataError, match="begins outside"):
        load_detector(f"replay:{file}").detect(IMAGE[:1, :1], image_id="a")


@pytest.mark.parametrize(
    ("name", "text", "options", "words"),
    [
        ("a.json", "[]", "", "nothing names them"),
        ("a.json", "{}", "?names=coco80", "no list of COCO"),
        ("a.json", "[{}]", "?names=coco80", "entry 0 is no result"),
        (
            "a.json",
            '[{"image_id": 1, "category_id": 99, "bbox": [1, 1, 1, 1], "score": 1}]',
            "?names=coco80",
            "class 99 has no name",
        ),
        ("a.csv", "label,score\n", "", "should have the columns"),
        ("a.csv", "image_id,label,score,x1,y1,x2,y2\na,b,c,1,2,3,4\n", "", "line 2"),
        ("a.csv", "image_id,label,score,x1,y1,x2,y2\na,b,2,1,2,3,4\n", "", "line 2"),
        ("a.xml", "", "", "expected a .json or .csv"),
        ("d/a.txt", "0 0.5 0.5 1 1\n", "?names=coco80", "class cx cy"),
        ("d/a.md", "", "?names=coco80", "holds no texts"),
        ("a.json", "[]", "?names=coco80&missing=some", "error or empty"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, name: str, text: str, options: str, words: str
) -> None:
    """The place is named."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    target = file.parent if "/" in name else file
    with pytest.raises((DataError, ConfigError), match=words):
        load_detector(f"replay:{target}{options}")
