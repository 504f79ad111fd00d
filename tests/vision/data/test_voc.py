"""The reader of Pascal VOC's format."""

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

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>
<ymax>{box[3]}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"""


def annotation(*objects: str, size: tuple[int, int] = SIZE) -> str:
    """The text of an XML file."""
    sides = f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth>"
    return f"<annotation><size>{sides}</size>{''.join(objects)}</annotation>"


def item(
    name: str, box: tuple[object, object, object, object], difficult: int = 0
) -> str:
    """The text of one object."""
    return OBJECT.format(name=name, box=box, difficult=difficult)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with their files, one image without."""
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part).mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg(SIZE))
    files = tmp_path / "Annotations"
    person, dog = item("person", (1, 1, 100, 80)), item("dog", (11, 21, 30.5, 40), 1)
    (files / "a.xml").write_text(annotation(person, dog))
    (files / "b.xml").write_text(annotation(size=(0, 0)))
    return tmp_path


def read(folder: Path) -> Dataset:
    """Open the folder."""
    return open_dataset("voc", images=folder)


def test_reads(folder: Path) -> None:
    """Corners count from 0 and exclude the last pixel; difficult is not judged."""
    dataset = read(folder)
    assert dataset.image_ids == ("a", "b")
    assert dataset.names == ("dog", "person")
    assert dataset.size("b") == SIZE
    truth = dataset.truth["a"]
    np.testing.assert_array_equal(truth.boxes, [[0, 0, 100, 80], [10, 20, 30.5, 40]])
    np.testing.assert_array_equal(truth.labels, [1, 0])
    np.testing.assert_array_equal(truth.is_crowd, [False, True])
    assert dataset.read("b") == jpeg(SIZE)


def test_selected(folder: Path) -> None:
    """A list chooses images; the flag that lists per class carry is not read."""
    select = folder / "val.txt"
    select.write_text("b  1\na -1\n")
    dataset = open_dataset("voc", images=folder, select=select, names=["person", "dog"])
    assert dataset.image_ids == ("b", "a")
    assert dataset.names == ("person", "dog")
    select.write_text("a\nc\n")
    with pytest.raises(DataError, match="no XML file for image c"):
        open_dataset("voc", images=folder, select=select)


def test_names_given(folder: Path) -> None:
    """Names can come from a file, and an object of another name is an error."""
    names = folder / "names.txt"
    names.write_text("dog\nperson\ncat\n")
    assert open_dataset("voc", images=folder, names=names).names[2] == "cat"
    names.write_text("dog\n")
    with pytest.raises(DataError, match=r"a.xml, object 1: .* found 'person'"):
        open_dataset("voc", images=folder, names=str(names))


BOX = (1, 1, 10, 10)
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (annotation(item("person", BOX))[:-9], "expected XML"),
        ("", "expected XML"),
        ("<labels/>", "expected <annotation>"),
        (BOMB + annotation(), "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + annotation(), "document type"),
        (annotation(item("", BOX)), "object 1: expected a known name"),
        (annotation(item("person", (1, 1, "", 9))), "xmax must be a number, found ''"),
        (annotation(item("person", (1, 1, "wide", 9))), "found 'wide'"),
        (annotation(item("person", (20, 1, 9, 9))), "end before it begins"),
        (annotation(item("person", (1, 1, "nan", 9))), "finite"),
        (annotation(item("person", (500, 1, 600, 9))), "outside of its image"),
        (annotation(item("person", BOX), size=(64, 48)), "says 64×48"),
    ],
)
def test_bad_file(folder: Path, text: str, message: str) -> None:
    """A bad file is named with what is wrong in it."""
    (folder / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read(folder)
    assert "b.xml" in error.value.message
    assert error.value.hint


def test_utf16_entities(folder: Path) -> None:
    """A document type is refused in any encoding."""
    text = '<?xml version="1.0" encoding="utf-16"?>' + BOMB + annotation()
    (folder / "Annotations" / "b.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="document type"):
        read(folder)


def test_missing(folder: Path) -> None:
    """Missing images, folders and boxes are told apart."""
    (folder / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match="image a of 2 not found"):
        read(folder)
    (folder / "Annotations" / "a.xml").unlink()
    with pytest.raises(DataError, match="no boxes in 1 XML files"):
        open_dataset("voc", images=folder, names=["person"])
    (folder / "Annotations" / "b.xml").unlink()
    with pytest.raises(DataError, match="no XML file found"):
        read(folder)
    with pytest.raises(DataError, match="folder of XML files"):
        open_dataset("voc", images=folder / "JPEGImages", annotations=folder / "gone")


def test_no_object_at_all(folder: Path) -> None:
    """Files without any object give a message about boxes."""
    (folder / "Annotations" / "a.xml").write_text(annotation())
    with pytest.raises(DataError, match="no boxes in 2 XML files"):
        read(folder)
