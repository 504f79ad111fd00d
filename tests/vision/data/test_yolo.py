"""The reader of YOLO label folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.tiny import SIZE, jpeg

from midhaul.errors import DataError
from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.vision.data.dataset import Dataset

NAMES = "person\ncar\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in two folders, two label files, and names."""
    for part in ("images/val", "labels/val"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("a.jpg", "b.png", "val/c.JPG"):
        (tmp_path / "images" / name).write_bytes(jpeg(SIZE))
    (tmp_path / "labels" / "a.txt").write_text(
        "1 0.5 0.5 0.2 0.5\n\n0 0.1 0.1 0.2 0.2\n"
    )
    (tmp_path / "labels" / "val" / "c.txt").write_text("0 0.95 0.5 0.2 0.5\n")
    (tmp_path / "classes.txt").write_text(NAMES)
    return tmp_path


def read(folder: Path) -> Dataset:
    """Open the folder."""
    return open_dataset("yolo", images=folder)


def test_reads(folder: Path) -> None:
    """Shares become px; an image without a label file has no boxes, and is told."""
    dataset = read(folder)
    assert dataset.image_ids == ("a", "b", "val/c")
    assert dataset.names == ("person", "car")
    assert dataset.size("b") == SIZE
    truth = dataset.truth["a"]
    np.testing.assert_allclose(
        truth.boxes, [[40, 20, 60, 60], [0, 0, 20, 16]], atol=1e-5
    )
    np.testing.assert_array_equal(truth.labels, [1, 0])
    np.testing.assert_allclose(dataset.truth["val/c"].boxes, [[85, 20, 100, 60]])
    assert len(dataset.truth["b"]) == 0
    clipped, bare = dataset.tallies
    assert "clipped" in clipped.what
    assert (clipped.n, clipped.of) == (1, 3)
    assert "no label file" in bare.what
    assert (bare.n, bare.of) == (1, 3)


def test_folders_given(folder: Path) -> None:
    """Folders and names can be given one by one."""
    dataset = open_dataset(
        "yolo",
        images=folder / "images" / "val",
        annotations=str(folder / "labels" / "val"),
        names=["a", "b"],
    )
    assert dataset.image_ids == ("c",)
    assert dataset.names == ("a", "b")
    beside = open_dataset("yolo", images=folder / "images" / "val")
    assert len(beside.truth["c"]) == 1


def test_labels_beside_photos(folder: Path) -> None:
    """Labels are looked for beside a folder of another name, too."""
    (folder / "images").rename(folder / "photos")
    assert len(open_dataset("yolo", images=folder / "photos").truth["a"]) == 2


def test_selected(folder: Path) -> None:
    """A list may name images by id, by file or by path, and sets the order."""
    select = folder / "val.txt"
    select.write_text("./images/val/c.JPG\nb\n\na.jpg\n")
    dataset = open_dataset("yolo", images=folder, select=select)
    assert dataset.image_ids == ("val/c", "b", "a")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("a\na.jpg\n", "twice"),
        ("\n", "names no image"),
        ("a\nz.jpg\n", "image z.jpg of 2 not found"),
    ],
)
def test_bad_selection(folder: Path, lines: str, text: str) -> None:
    """A list names images that are there, each once."""
    (folder / "val.txt").write_text(lines)
    with pytest.raises(DataError, match=text):
        open_dataset("yolo", images=folder, select=folder / "val.txt")


@pytest.mark.parametrize(
    "text",
    [
        "path: .\nnames: [person, car]\n",
        "names:\n  - person\n  - car\n",
        "names:\n  0: person\n  1: car\n",
    ],
)
def test_names_in_yaml(folder: Path, text: str) -> None:
    """Names are read from a YAML file in each of its forms."""
    pytest.importorskip("yaml")
    (folder / "data.yaml").write_text(text)
    assert read(folder).names == ("person", "car")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, a]\n", "more than once"),
        ("names: {0: a, 2: b}\n", "without a gap"),
        ("nc: 3\n", "no list under the key names"),
        ("- 1\n", "no list under the key names"),
        ("names: [", "expected YAML"),
        ("names: []\n", "at least one name"),
    ],
)
def test_bad_yaml(folder: Path, text: str, message: str) -> None:
    """A YAML file without usable names is named."""
    pytest.importorskip("yaml")
    (folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read(folder)
    assert "data.yaml" in error.value.message


def test_names_from_file(folder: Path) -> None:
    """A file of names can be given, and must be text."""
    names = folder / "other.names"
    names.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert open_dataset("yolo", images=folder, names=names).names == ("cat", "dog")
    names.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        open_dataset("yolo", images=folder, names=str(names))


def test_no_names(folder: Path) -> None:
    """Without names there is a message that says where they were looked for."""
    (folder / "classes.txt").unlink()
    with pytest.raises(DataError, match="no names for the classes") as error:
        read(folder)
    assert "data.names" in error.value.hint


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 0.5 0.5 0.1", "found 4 fields"),
        ("0 0.5 0.5 0.1 0.1 0.9", "found 6 fields"),
        ("x 0.5 0.5 0.1 0.1", "class number and four shares"),
        ("2 0.5 0.5 0.1 0.1", "class 2 is not one of the 2 names"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0 50 40 10 10", r"shares of the image in \[0, 1\], found 50"),
        ("0 nan 0.5 0.1 0.1", "found nan"),
        ("0 0.5 0.5 -0.1 0.1", "found -0.1"),
    ],
)
def test_bad_line(folder: Path, line: str, text: str) -> None:
    """A bad line is named with its file and number."""
    (folder / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=text) as error:
        read(folder)
    assert "a.txt, line 2" in error.value.message


def test_no_labels(folder: Path) -> None:
    """Label files that fit no image are not taken for a set without objects."""
    with pytest.raises(DataError, match="no label file") as error:
        open_dataset("yolo", images=folder, annotations=folder / "images", names=["a"])
    assert "data.annotations" in error.value.hint
    with pytest.raises(DataError, match="folder of label files"):
        open_dataset("yolo", images=folder, annotations=folder / "gone")


def test_bad_images(folder: Path) -> None:
    """An empty folder, two files of one name and a file that is no image are named."""
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no image found"):
        open_dataset("yolo", images=folder / "empty")
    (folder / "images" / "a.png").write_bytes(jpeg(SIZE))
    with pytest.raises(DataError, match=r"image a is there twice: a.jpg and a.png"):
        read(folder)
    (folder / "images" / "a.png").unlink()
    (folder / "images" / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"expected an image in .*b\.png"):
        read(folder)


def test_the_folder_of_a_data_yaml_is_enough(folder: Path) -> None:
    """Where parts lie beside each other, the file says which one is meant."""
    root = folder / "export"
    (root / "train").mkdir(parents=True)
    for kind in ("images", "labels"):
        (folder / kind).rename(root / "train" / kind)
        (root / "valid" / kind).mkdir(parents=True)
    (root / "valid" / "images" / "z.jpg").write_bytes(jpeg(SIZE))
    (root / "valid" / "labels" / "z.txt").write_text("1 0.5 0.5 0.2 0.5\n")
    text = "names: [person, car]\ntrain: ../train/images\nval: ../valid/images\n"
    (root / "data.yaml").write_text(text)
    dataset = read(root)
    assert dataset.image_ids == ("z",)
    assert dataset.names == ("person", "car")
