"""The reader of COCO's format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.tiny import SIZE, jpeg

from midhaul.errors import DataError
from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.vision.data.dataset import Dataset

Document = dict[str, Any]


def document() -> Document:
    """Two images, two categories with ids far apart, three boxes."""
    width, height = SIZE
    sides = {"width": width, "height": height}
    return {
        "images": [
            {"id": 7, "file_name": "seven.jpg", **sides},
            {"id": 3, "file_name": "sub/three.jpg", **sides},
        ],
        "categories": [{"id": 90, "name": "bus"}, {"id": 4, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 30, 40.5]},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 4,
                "bbox": [0, 0, 100, 80],
                "area": 17.5,
                "iscrowd": 1,
            },
            {"id": 5, "image_id": 7, "category_id": 4, "bbox": [5, 5, 5, 5]},
        ],
    }


def write(folder: Path, content: object) -> Dataset:
    """Write a data set and open it."""
    (folder / "images" / "sub").mkdir(parents=True)
    for name in ("seven.jpg", "sub/three.jpg"):
        (folder / "images" / name).write_bytes(jpeg(SIZE))
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "truth.json").write_text(text)
    images, annotations = folder / "images", folder / "truth.json"
    return open_dataset("coco", images=images, annotations=annotations)


def test_reads(tmp_path: Path) -> None:
    """Images, names by category id, corners, areas and crowds are as in the file."""
    dataset = write(tmp_path, document())
    assert dataset.name == "truth"
    assert dataset.names == ("person", "bus")
    assert dataset.image_ids == ("7", "3")
    assert dataset.size("3") == SIZE
    assert dataset.read("3") == jpeg(SIZE)
    truth = dataset.truth["7"]
    np.testing.assert_array_equal(truth.boxes[0], [1, 2, 31, 42.5])
    np.testing.assert_array_equal(truth.labels, [1, 0, 0])
    np.testing.assert_array_equal(truth.is_crowd, [False, True, False])
    np.testing.assert_array_equal(truth.areas_px, [30 * 40.5, 17.5, 25])
    assert len(dataset.truth["3"]) == 0
    (bare,) = dataset.tallies
    assert (bare.n, bare.of, bare.is_too_many) == (1, 2, False)


def put(*path: str | int, value: object) -> Callable[[Document], None]:
    """A change of one value of the document."""

    def change(target: Any) -> None:
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Document], None]:
    """The removal of one value of the document."""

    def change(target: Any) -> None:
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


NAN = float("nan")
BAD: list[tuple[Callable[[Document], None], str]] = [
    (drop("annotations"), "not in COCO's format: no list annotations"),
    (put("images", value={}), "no list images"),
    (put("images", 0, value=4), r"images\[0\] must be an object"),
    (drop("images", 1, "file_name"), r"images\[1\] lacks the key 'file_name'"),
    (put("images", 1, "file_name", value=4), "file_name must be text"),
    (put("images", 1, "file_name", value="../../etc/passwd"), "leads out of"),
    (put("images", 1, "file_name", value="gone.jpg"), "image gone.jpg of 2 not found"),
    (put("images", 1, "id", value=7), "image id 7 is there twice"),
    (put("images", 1, "id", value=None), "id must be a whole number"),
    (put("images", 1, "width", value=0), "width must be a number of px"),
    (put("images", 1, "width", value=NAN), "width must be a number of px"),
    (put("images", 1, "height", value="80"), "height must hold numbers"),
    (put("annotations", 1, "iscrowd", value="0"), "iscrowd must be 0 or 1"),
    (put("annotations", 1, "iscrowd", value=[]), "iscrowd must be 0 or 1"),
    (put("images", value=[]), "image id 7 is not among the images"),
    (put("categories", 1, "id", value=90), "category id 90 is there twice"),
    (put("categories", 1, "name", value="bus"), "category name bus used more than"),
    (put("categories", value=[]), "no categories"),
    (put("annotations", value=[]), "holds no boxes"),
    (put("annotations", 1, "id", value=1), r"annotations\[1\]: annotation id 1"),
    (put("annotations", 2, "image_id", value=8), "image id 8 is not among the images"),
    (put("annotations", 2, "category_id", value=5), "category id 5 is not in categ"),
    (put("annotations", 2, "bbox", value=[1, 2, 3]), r"must be \[x, y, width, height"),
    (put("annotations", 2, "bbox", value=[1, 2, 3, "4"]), "must hold numbers"),
    (put("annotations", 2, "bbox", value=[1, 2, 3, -4]), "end before it begins"),
    (put("annotations", 2, "bbox", value=[NAN, 2, 3, 4]), "finite"),
    (put("annotations", 2, "bbox", value=[500, 2, 3, 4]), "outside of its image"),
    (put("annotations", 2, "area", value=-1), "area"),
]


@pytest.mark.parametrize(("change", "text"), BAD, ids=[t for _, t in BAD])
def test_bad(tmp_path: Path, change: Callable[[Document], None], text: str) -> None:
    """Whatever is wrong is named with its file and place, and how to mend it."""
    content = document()
    change(content)
    with pytest.raises(DataError, match=text) as error:
        write(tmp_path, content)
    assert error.value.hint
    place = "images" if "gone.jpg" in text or "leads" in text else "truth.json"
    assert place in error.value.message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "found a JSON list"),
        ('{"images": [', "expected JSON"),
        ("\x89PNG", "expected JSON"),
        ("{}", "no list images, annotations, categories"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories"),
    ],
)
def test_not_coco(tmp_path: Path, content: str, text: str) -> None:
    """A file that is something else is named."""
    with pytest.raises(DataError, match=text):
        write(tmp_path, content)


def test_no_images(tmp_path: Path) -> None:
    """A file without images cannot be judged by."""
    content = document() | {"images": [], "annotations": []}
    with pytest.raises(DataError, match="no images"):
        write(tmp_path, content)


def test_missing_files(tmp_path: Path) -> None:
    """A missing folder, a missing file and an unreadable image are told apart."""
    write(tmp_path, document())
    truth = tmp_path / "truth.json"
    with pytest.raises(DataError, match="nothing is there") as error:
        open_dataset("coco", images=tmp_path / "gone", annotations=truth)
    assert "data.images" in error.value.hint
    with pytest.raises(DataError, match="found a file"):
        open_dataset("coco", images=truth, annotations=truth)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        open_dataset("coco", images=tmp_path, annotations=tmp_path / "gone.json")


def test_missing_images_are_counted(tmp_path: Path) -> None:
    """The message counts the missing images and names the first three."""
    content = document()
    content["images"] += [
        {"id": 100 + i, "file_name": f"{i}.jpg", "width": 4, "height": 4}
        for i in range(5)
    ]
    with pytest.raises(DataError, match=r"5 images \(0.jpg, 1.jpg, 2.jpg, …\) of 7"):
        write(tmp_path, content)


def test_image_lost_later(tmp_path: Path) -> None:
    """An image that vanishes after opening is named when it is read."""
    dataset = write(tmp_path, document())
    (tmp_path / "images" / "seven.jpg").unlink()
    with pytest.raises(DataError, match=r"seven\.jpg cannot be read"):
        dataset.read("7")


@pytest.mark.needs_data
def test_real(data_dir: Path) -> None:
    """The real subset of COCO is read whole, with nothing to mend."""
    folder = data_dir / "coco_mini"
    dataset = open_dataset(
        "coco", images=folder / "val", annotations=folder / "instances_val.json"
    )
    assert (len(dataset), len(dataset.names)) == (161, 80)
    assert dataset.names[0] == "person"
    assert sum(len(t) for t in dataset.truth.values()) == 1430
    assert not any(one.is_too_many for one in dataset.tallies)
    assert dataset.read(dataset.image_ids[0])[:2] == b"\xff\xd8"
