"""LabelMe, CreateML, CVAT and tables of boxes: the same two objects in each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from midhaul.errors import DataError
from midhaul.vision.checking import check_path
from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.vision.data.dataset import Dataset, DatasetKind

BOXES = {"a": [("car", 2, 4, 12, 10)], "sub/b": [("dog", 0, 0, 20, 16)]}


def labelme(folder: Path, *, shape: str = "rectangle") -> Path:
    """A JSON file for each image, in a folder of its own."""
    target = folder / "labels"
    target.mkdir()
    for name, boxes in BOXES.items():
        stem = name.rsplit("/", 1)[-1]
        shapes = [
            {"label": label, "points": [[x1, y1], [x2, y2]], "shape_type": shape}
            for label, x1, y1, x2, y2 in boxes
        ]
        document = {"imagePath": f"..\\{stem}.jpg", "shapes": shapes}
        document |= {"imageWidth": 20, "imageHeight": 16}
        (target / f"{stem}.json").write_text(json.dumps(document))
    return target


def createml(folder: Path) -> Path:
    """One list, boxes by their centres."""
    entries = [
        {
            "image": f"{name}.png",
            "annotations": [
                {
                    "label": label,
                    "coordinates": {
                        "x": (x1 + x2) / 2,
                        "y": (y1 + y2) / 2,
                        "width": x2 - x1,
                        "height": y2 - y1,
                    },
                }
                for label, x1, y1, x2, y2 in boxes
            ],
        }
        for name, boxes in BOXES.items()
    ]
    file = folder / "createml.json"
    file.write_text(json.dumps(entries))
    return file


def cvat(folder: Path, *, mark: str = "box") -> Path:
    """CVAT for images 1.1."""
    images = ""
    for number, (name, boxes) in enumerate(BOXES.items()):
        images += f'<image id="{number}" name="{name}.png" width="20" height="16">'
        for label, x1, y1, x2, y2 in boxes:
            points = f"{x1},{y1};{x2},{y1};{x2},{y2}"
            images += (
                f'<{mark} label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" '
                f'points="{points}"/>'
            )
        images += "</image>"
    file = folder / "annotations.xml"
    file.write_text(f"<annotations><meta/>{images}</annotations>")
    return file


def table(folder: Path) -> Path:
    """A row for each box; images without their suffix."""
    rows = [(name, *box) for name, boxes in BOXES.items() for box in boxes]
    keys = ("image", "label", "x1", "y1", "x2", "y2")
    columns = dict(zip(keys, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "boxes.parquet")
    return folder / "boxes.parquet"


MAKERS = {"labelme": labelme, "createml": createml, "cvat": cvat, "table": table}


def opened(folder: Path, kind: DatasetKind, annotations: Path, **how: Any) -> Dataset:
    """The two images with what is said of them."""
    images = folder / "images"
    (images / "sub").mkdir(parents=True, exist_ok=True)
    for name in BOXES:
        Image.new("RGB", (20, 16)).save(images / f"{name}.png")
    return open_dataset(kind, images=images, annotations=annotations, **how)


@pytest.mark.parametrize("kind", MAKERS)
def test_each_format_gives_the_same_boxes(tmp_path: Path, kind: Any) -> None:
    """Labels that occur, sorted; boxes in px; images found by what they are called."""
    found = opened(tmp_path, kind, MAKERS[kind](tmp_path))
    assert found.names == ("car", "dog")
    assert set(found.image_ids) == {"a", "sub/b"}
    for image, ((label, *corners),) in BOXES.items():
        truth = found.truth[image]
        assert truth.boxes.tolist() == [corners]
        assert truth.names[truth.labels[0]] == label
    loose = [t for t in found.tallies if "base name" in t.what]
    assert bool(loose) == (kind == "labelme")


def test_outlines_become_boxes_and_points_are_counted(tmp_path: Path) -> None:
    """The first is no mistake; too many of the second make a run not valid."""
    found = opened(tmp_path, "cvat", cvat(tmp_path, mark="polygon"))
    assert found.truth["a"].boxes.tolist() == [[2, 4, 12, 10]]
    (tally,) = [t for t in found.tallies if "outlines" in t.what]
    assert (tally.n, tally.is_too_many) == (2, False)
    with pytest.raises(DataError, match="no boxes for the images"):
        opened(tmp_path, "labelme", labelme(tmp_path, shape="line"))


def test_images_that_nobody_names_are_counted(tmp_path: Path) -> None:
    """Those that are named and not there are a mistake."""
    file = createml(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text())[:1]))
    found = opened(tmp_path, "createml", file)
    (tally,) = [t for t in found.tallies if "no annotation" in t.what]
    assert (tally.n, tally.of) == (1, 2)
    file.write_text(file.read_text().replace("a.png", "z.png"))
    with pytest.raises(DataError, match=r"z\.png of 1 not found"):
        opened(tmp_path, "createml", file)


def test_sizes_that_are_stated_are_held_against_the_files(tmp_path: Path) -> None:
    """Boxes follow where it was asked for."""
    file = cvat(tmp_path)
    text = file.read_text().replace('width="20" height="16"', 'width="40" height="32"')
    file.write_text(text)
    with pytest.raises(DataError, match="40×32"):
        opened(tmp_path, "cvat", file)
    found = opened(tmp_path, "cvat", file, on_size_mismatch="rescale")
    assert found.truth["a"].boxes.tolist() == [[1, 2, 6, 5]]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("createml", "{}", "no list of images"),
        ("createml", '[{"annotations": [{}]}]', "entry 0 is not as CreateML"),
        ("cvat", "<annotation/>", "expected <annotations>"),
        ("cvat", '<annotations><image name="a.png"/></annotations>', "as CVAT"),
        ("table", "no table", "expected a table of boxes"),
    ],
)
def test_files_of_another_kind_are_refused(
    tmp_path: Path, kind: Any, text: str, words: str
) -> None:
    """The place is named."""
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(DataError, match=words):
        opened(tmp_path, kind, file)


def test_labels_outside_of_the_names_are_a_mistake(tmp_path: Path) -> None:
    """Names may be given, in their order."""
    file = table(tmp_path)
    assert opened(tmp_path, "table", file, names=["dog", "car"]).names == ("dog", "car")
    with pytest.raises(DataError, match="'dog' is not one of"):
        opened(tmp_path, "table", file, names=["car"])
    with pytest.raises(DataError, match="needs its file"):
        open_dataset("cvat", images=tmp_path / "images")


@pytest.mark.parametrize("kind", MAKERS)
def test_each_format_can_be_checked(tmp_path: Path, kind: Any) -> None:
    """A good set is clean; a label file that is cut short is a fault."""
    target = MAKERS[kind](tmp_path)
    opened(tmp_path, kind, target)
    images = tmp_path / "images"
    assert check_path(target, kind=kind, images=images).faults == ()
    file = min(target.iterdir()) if target.is_dir() else target
    file.write_bytes(file.read_bytes()[:40])
    assert check_path(target, kind=kind, images=images).faults
