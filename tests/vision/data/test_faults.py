"""Mistakes of data sets: all at once, or left out and counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tests.tiny import SIZE, jpeg

from midhaul.errors import DataError
from midhaul.vision.checking import check_path
from midhaul.vision.data.dataset import Faults
from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.vision.data.dataset import Dataset, DatasetKind


def yolo(folder: Path) -> Path:
    """Three images, two of them with mistakes in their labels."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / "images" / f"{name}.jpg").write_bytes(jpeg(SIZE))
    (folder / "labels" / "a.txt").write_text("7 0.5 0.5 0.1 0.1\nx 0 0 0 0\n")
    (folder / "labels" / "b.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "labels" / "c.txt").write_text("0 50 50 10 10\n")
    (folder / "data.yaml").write_text("path: .\nval: images\nnames: [person, car]\n")
    return folder


def voc(folder: Path) -> Path:
    """Three images, two of them with mistakes in their objects."""
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    box = "<bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
    for name, corners in {"a": ("x", "y"), "b": (5,), "c": (40,)}.items():
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg(SIZE))
        objects = "".join(
            f"<object><name>person</name>{box.format(corner)}</object>"
            for corner in corners
        )
        text = f"<annotation>{objects}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    return folder


def coco(folder: Path, **change: Any) -> Path:
    """Three images, two of them with mistakes in their boxes."""
    (folder / "images").mkdir(parents=True)
    names = ("a.jpg", "b.jpg", "c.jpg")
    for name in names:
        (folder / "images" / name).write_bytes(jpeg(SIZE))
    bad: list[tuple[int, dict[str, Any]]] = [
        (1, {"category_id": 9}),
        (1, {"bbox": [1, 2]}),
        (2, {}),
        (3, {"bbox": [0, 0, -5, 5]}),
    ]
    good = {"category_id": 1, "bbox": [5, 5, 20, 20]}
    document = {
        "images": [
            {"id": k, "file_name": n, "width": SIZE[0], "height": SIZE[1]}
            for k, n in enumerate(names, 1)
        ],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": k, "image_id": image, **good, **row}
            for k, (image, row) in enumerate(bad, 1)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(document | change))
    return folder


MAKERS = {"yolo": yolo, "voc": voc, "coco": coco}


def opened(kind: DatasetKind, folder: Path, faults: Faults | None = None) -> Dataset:
    """Open one of the three."""
    images = folder / "images" if kind == "coco" else folder
    truth = folder / "truth.json" if kind == "coco" else None
    return open_dataset(kind, images=images, annotations=truth, faults=faults)


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco"])
def test_all_mistakes_at_once(kind: DatasetKind, tmp_path: Path) -> None:
    """An error names every mistake with its place, and the way to leave them out."""
    folder = MAKERS[kind](tmp_path / "data")
    with pytest.raises(DataError, match="3 mistakes") as error:
        opened(kind, folder)
    assert len(error.value.message.splitlines()) == 1 + 3
    assert "on_bad_item" in error.value.hint
    checked = check_path(folder)
    assert len(checked.faults) == 3
    assert all(fault.message and fault.hint for fault in checked.faults)


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco"])
def test_images_with_mistakes_are_left_out_and_counted(
    kind: DatasetKind, tmp_path: Path
) -> None:
    """What is skipped is a share of the images, too much of which is not valid."""
    dataset = opened(kind, MAKERS[kind](tmp_path / "data"), Faults("skip"))
    assert len(dataset) == 1
    assert len(dataset.truth[dataset.image_ids[0]]) == 1
    (skipped,) = [one for one in dataset.tallies if "left out" in one.what]
    assert (skipped.n, skipped.of, skipped.is_too_many) == (2, 3, True)


def test_files_that_are_no_images_or_cut_off(tmp_path: Path) -> None:
    """Checking decodes every image; what is broken is named, and can be left out."""
    folder = yolo(tmp_path / "data")
    for name in ("a", "c"):
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    Image.fromarray(noise).save(folder / "images" / "a.jpg")
    whole = (folder / "images" / "a.jpg").read_bytes()
    (folder / "images" / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "images" / "c.jpg").write_bytes(b"no image")
    said = [fault.message for fault in check_path(folder).faults]
    assert len(said) == 2
    assert any("a.jpg" in one for one in said)
    assert any("c.jpg" in one for one in said)


def test_formats_that_nobody_reads_are_told(tmp_path: Path) -> None:
    """GIFs are read; images of formats that are not are counted, and their labels."""
    folder = yolo(tmp_path / "data")
    for name in ("a", "c"):
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    Image.new("RGB", SIZE).save(folder / "images" / "d.gif")
    (folder / "images" / "e.HEIC").write_bytes(b"ftypheic")
    for name in ("d", "e"):
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    dataset = open_dataset("yolo", images=folder)
    assert len(dataset) == 4
    unread, lost = sorted(dataset.tallies, key=lambda one: "label files" in one.what)
    assert (unread.n, unread.of, unread.is_too_many) == (1, 5, True)
    assert "heic" in unread.what
    assert (lost.n, lost.of) == (1, 5)


def test_boxes_a_little_over_the_edge(tmp_path: Path) -> None:
    """Shares that augmentation carried over the edge are clipped; px are refused."""
    folder = yolo(tmp_path / "data")
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 1.003 1.0\n")
    (folder / "labels" / "c.txt").write_text("0 1.01 0.5 0.2 1.2\n")
    dataset = open_dataset("yolo", images=folder)
    np.testing.assert_allclose(dataset.truth["a"].boxes, [[0, 0, 100, 80]])
    np.testing.assert_allclose(dataset.truth["c"].boxes, [[91, 0, 100, 80]])
    assert sum(one.n for one in dataset.tallies if "clipped" in one.what) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("val: images\nnames: [person]", 3),
        ("path: ..\nval: ../images\nnames: {0: person}", 3),
        ("train: [images]\nval:\nnames: [person]", 3),
        ("val: some.txt\nnames: [person]", 1),
        ("names: [person]", 3),
    ],
)
def test_a_yaml_of_ultralytics(tmp_path: Path, text: str, found: int) -> None:
    """What every user of Ultralytics has is enough to open the data set."""
    folder = yolo(tmp_path / "data")
    for name in ("a", "c"):
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "some.txt").write_text("./images/b.jpg\n")
    (folder / "data.yaml").write_text(text)
    dataset = open_dataset("yolo", images=folder / "data.yaml")
    assert (len(dataset), dataset.names) == (found, ("person",))


def test_a_yaml_that_leads_nowhere(tmp_path: Path) -> None:
    """A data.yaml whose images are not there says which and where it looked."""
    folder = yolo(tmp_path / "data")
    (folder / "data.yaml").write_text("val: /nowhere/images/val\nnames: [a]")
    with pytest.raises(DataError, match="nowhere") as error:
        open_dataset("yolo", images=folder / "data.yaml")
    assert "data.images" in error.value.hint


@pytest.mark.parametrize(
    "name", ["images/b.jpg", "images\\b.jpg", "/home/me/export/images/b.jpg", "x/b.jpg"]
)
def test_file_names_of_other_tools(tmp_path: Path, name: str) -> None:
    """A name that repeats the folder, or is of another machine, is found by its end."""
    image = {"id": 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}
    folder = coco(tmp_path / "data", images=[image], annotations=[box])
    dataset = opened("coco", folder)
    assert dataset.read("1") == jpeg(SIZE)
    (told,) = dataset.tallies
    assert "by their ends" in told.what


def test_two_names_for_one_file(tmp_path: Path) -> None:
    """Names whose ends lead to one file are a mistake, not two images."""
    images = [
        {"id": k, "file_name": f"{k}/b.jpg", "width": SIZE[0], "height": SIZE[1]}
        for k in (1, 2)
    ]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}
    folder = coco(tmp_path / "data", images=images, annotations=[box])
    with pytest.raises(DataError, match=r"2/b\.jpg is"):
        opened("coco", folder)


def voc_with(folder: Path, corners: str, *, extra: str = "") -> Path:
    """One image with one object of the corners given."""
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages" / "a.jpg").write_bytes(jpeg(SIZE))
    values = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True))
    box = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    text = (
        f"<annotation><size><width>100.0</width><height>80.0</height></size><object>"
        f"<name>car</name>{extra}<bndbox>{box}</bndbox></object></annotation>"
    )
    (folder / "Annotations" / "a.xml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("corners", "origin", "box", "text"),
    [
        ("1 1 100 80", 1, [0, 0, 100, 80], None),
        ("0 0 100 80", 0, [0, 0, 100, 80], None),
        ("0 5 50 40", 1, [0, 4, 50, 40], "seem to count from 0"),
        ("1 1 100 80", 0, [1, 1, 100, 80], "seem to count from 1"),
        ("5 5 50 40", 1, [4, 4, 50, 40], "none lies at the left"),
        ("5 5 50 40", 0, [5, 5, 50, 40], None),
    ],
)
def test_where_voc_counts_from(
    tmp_path: Path, corners: str, origin: Any, box: list[int], text: str | None
) -> None:
    """The origin is a key, and what the corners suggest is told."""
    folder = voc_with(tmp_path / "data", corners)
    dataset = open_dataset("voc", images=folder, voc_origin=origin)
    assert dataset.truth["a"].boxes.tolist() == [box]
    told = [one for one in dataset.tallies if "clipped" not in one.what]
    assert [text in one.what for one in told] == ([True] if text else [])  # type: ignore[operator]
    if text and "seem" in text:
        assert told[0].is_too_many
        assert "voc_origin" in told[0].advice


@pytest.mark.parametrize(
    ("word", "is_difficult"),
    [("1", True), ("true", True), ("Yes", True), ("0", False), ("False", False)],
)
def test_words_for_difficult(tmp_path: Path, word: str, *, is_difficult: bool) -> None:
    """Tools write the flag in many ways."""
    extra = f"<difficult>{word}</difficult>"
    folder = voc_with(tmp_path / "data", "5 5 50 40", extra=extra)
    dataset = open_dataset("voc", images=folder)
    assert dataset.truth["a"].is_crowd.tolist() == [is_difficult]


def test_a_flag_that_is_none(tmp_path: Path) -> None:
    """A word that is neither yes nor no is a mistake."""
    extra = "<difficult>perhaps</difficult>"
    folder = voc_with(tmp_path / "data", "5 5 50 40", extra=extra)
    with pytest.raises(DataError, match="difficult must be"):
        open_dataset("voc", images=folder)
