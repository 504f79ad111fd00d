"""Sizes that annotations state, held against the image files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.images.codecs import decode
from midhaul.vision.judge.accuracy import judge

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.vision.data.dataset import Dataset

TAG = 0x0112
WIDTH, HEIGHT = 64, 40
WHITE = (8, 4, 24, 14)
"""A white box on a dark picture of that size, as a person sees it."""

# What a sensor must have stored for the picture to be seen upright.
BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def save_photo(file: Path, orientation: int, factor: float = 1.0) -> None:
    """The picture, stored turned and perhaps in another size."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    pixels[WHITE[1] : WHITE[3], WHITE[0] : WHITE[2]] = 255
    image = Image.fromarray(pixels)
    image = image.resize((round(WIDTH * factor), round(HEIGHT * factor)))
    back = BACK[orientation]
    if back is not None:
        image = image.transpose(back)
    exif = Image.Exif()
    exif[TAG] = orientation
    image.save(file, "JPEG", quality=95, exif=exif.tobytes())


def stored_box(orientation: int) -> tuple[int, int, int, int]:
    """Where the white box lies in the stored pixels, found by looking at them."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[WHITE[1] : WHITE[3], WHITE[0] : WHITE[2]] = 255
    back = BACK[orientation]
    image = Image.fromarray(pixels)
    down, across = np.nonzero(np.asarray(image.transpose(back) if back else image))
    return (
        int(across.min()),
        int(down.min()),
        int(across.max()) + 1,
        int(down.max()) + 1,
    )


def write_coco(
    root: Path,
    entries: list[tuple[tuple[int, int], tuple[int, int, int, int]]],
) -> None:
    """Annotations of photos ``0.jpg``, ``1.jpg``, …: a stated size and a box each."""
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": size[0], "height": size[1]}
            for i, (size, _) in enumerate(entries)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            }
            for i, (_, box) in enumerate(entries)
        ],
        "categories": [{"id": 1, "name": "sign"}],
    }
    (root / "a.json").write_text(json.dumps(document))


def opened(root: Path, **options: object) -> Dataset:
    """The data set in COCO's format in a folder."""
    return open_dataset("coco", images=root, annotations=root / "a.json", **options)  # type: ignore[arg-type]


def finds_white(dataset: Dataset) -> float:
    """AP of a detector that answers where the pixels shown are white."""
    answers: dict[str, Detections] = {}
    for image in dataset.image_ids:
        pixels = decode(dataset.read(image))
        assert (pixels.shape[1], pixels.shape[0]) == dataset.size(image)
        down, across = np.nonzero(pixels[:, :, 0] > 130)
        box = [across.min(), down.min(), across.max() + 1, down.max() + 1]
        answers[image] = Detections(
            boxes=np.array([box], np.float32),
            scores=np.ones(1, np.float32),
            labels=np.zeros(1, np.int32),
            names=("sign",),
        )
    found = judge(answers, dataset).coco().ap
    assert found is not None
    return found


def said(dataset: Dataset) -> dict[str, int]:
    """What was counted, by the first words of its sentence behind the number."""
    return {tally.what: tally.n for tally in dataset.tallies}


def test_photos_annotated_as_they_are_seen_are_taken_as_they_are(
    tmp_path: Path,
) -> None:
    """Whatever the sensor stored, boxes lie on what people marked, and it is told."""
    for i in range(8):
        save_photo(tmp_path / f"{i}.jpg", i + 1)
    write_coco(tmp_path, [((WIDTH, HEIGHT), WHITE)] * 8)
    dataset = opened(tmp_path)
    assert finds_white(dataset) == pytest.approx(1.0)
    counts = sorted(said(dataset).items())
    # Half a turn and mirrors leave the size as it is: nothing confirms the reading.
    assert [n for _, n in counts] == [7, 3]
    assert "stored turned" in counts[0][0]
    assert "no width and height tells" in counts[1][0]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_photos_annotated_as_they_are_stored_turn_with_their_boxes(
    tmp_path: Path, orientation: int
) -> None:
    """A width and height that only the stored picture has says where boxes are."""
    save_photo(tmp_path / "0.jpg", orientation)
    write_coco(tmp_path, [((HEIGHT, WIDTH), stored_box(orientation))])
    dataset = opened(tmp_path)
    assert dataset.size("0") == (WIDTH, HEIGHT)
    assert dataset.truth["0"].boxes.tolist() == [list(WHITE)]
    assert dataset.truth["0"].areas_px.tolist() == [160]
    assert finds_white(dataset) == pytest.approx(1.0)
    assert any("annotated as they are stored" in what for what in said(dataset))


@pytest.mark.parametrize("orientation", [1, 6])
def test_resized_photos_are_refused_unless_rescaling_is_asked_for(
    tmp_path: Path, orientation: int
) -> None:
    """All are counted, the first are named; the key mends it and is counted too."""
    for i in range(5):
        save_photo(tmp_path / f"{i}.jpg", orientation, 0.5)
    write_coco(tmp_path, [((WIDTH, HEIGHT), WHITE)] * 5)
    with pytest.raises(DataError, match=r"5 of 5 images have another size") as error:
        opened(tmp_path)
    assert "0.jpg has 32×20 px, " in error.value.message
    assert "a.json: images[0] says 64×40" in error.value.message
    assert "2.jpg" in error.value.message
    assert "4.jpg" not in error.value.message
    assert "on_size_mismatch" in str(error.value.hint)
    dataset = opened(tmp_path, on_size_mismatch="rescale")
    assert dataset.truth["0"].boxes.tolist() == [[4, 2, 12, 7]]
    assert dataset.truth["0"].areas_px.tolist() == [40]
    assert any("rescaled" in what and n == 5 for what, n in said(dataset).items())
    assert finds_white(dataset) >= 0.8  # the border of a resized box is blurred


def test_resized_and_stored_annotated_photos_turn_and_rescale(tmp_path: Path) -> None:
    """Both at once."""
    save_photo(tmp_path / "0.jpg", 8, 0.5)
    write_coco(tmp_path, [((HEIGHT, WIDTH), stored_box(8))])
    dataset = opened(tmp_path, on_size_mismatch="rescale")
    assert dataset.truth["0"].boxes.tolist() == [[4, 2, 12, 7]]


def test_images_of_another_shape_are_never_rescaled(tmp_path: Path) -> None:
    """A crop, or a turn whose EXIF was lost, is told apart from a resize."""
    sizes = [(WIDTH, HEIGHT), (HEIGHT, WIDTH), (WIDTH, HEIGHT - 6), (128, 80)]
    for i in range(4):
        save_photo(tmp_path / f"{i}.jpg", 1)
    write_coco(tmp_path, [(size, (8, 4, 24, 14)) for size in sizes])
    with pytest.raises(DataError, match="3 of 4 images") as error:
        opened(tmp_path)
    assert "1 of the same shape (" in error.value.message
    assert "2 of another shape (" in error.value.message
    with pytest.raises(DataError, match="2 of 4 images") as error:
        opened(tmp_path, on_size_mismatch="rescale")
    assert "EXIF orientation was lost" in str(error.value.hint)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_head_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    """Cut or damaged in its first bytes, whatever Pillow makes of that."""
    write_coco(tmp_path, [((WIDTH, HEIGHT), WHITE)])
    file = tmp_path / "0.jpg"
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, kind)
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    for length in range(2, 60, 3):
        for data in (
            whole[:length],
            whole[:length] + rng.bytes(9) + whole[length + 9 :],
        ):
            file.write_bytes(data)
            try:
                opened(tmp_path)
            except DataError as error:
                told = error.message
            else:
                continue
            assert "0.jpg" in told


def test_a_data_set_that_fits_is_not_touched(tmp_path: Path) -> None:
    """No tally, and the boxes of the file to the last digit."""
    save_photo(tmp_path / "0.jpg", 1)
    write_coco(tmp_path, [((WIDTH, HEIGHT), WHITE)])
    dataset = opened(tmp_path)
    assert dataset.tallies == ()
    assert dataset.truth["0"].boxes.tolist() == [list(WHITE)]


def test_yolo_labels_are_shares_of_what_is_seen(tmp_path: Path) -> None:
    """As its tools have it; that nothing confirms it is counted."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    x1, y1, x2, y2 = WHITE
    line = (
        f"0 {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
        f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}\n"
    )
    for i in range(8):
        save_photo(tmp_path / "images" / f"{i}.jpg", i + 1)
        (tmp_path / "labels" / f"{i}.txt").write_text(line)
    dataset = open_dataset("yolo", images=tmp_path, names=["sign"])
    assert finds_white(dataset) == pytest.approx(1.0)
    assert sorted(said(dataset).values()) == [7, 7]


@pytest.mark.parametrize("is_stored", [False, True])
def test_the_size_in_an_xml_file_says_which_picture_was_drawn_on(
    tmp_path: Path,
    is_stored: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Pascal VOC with both readings of a portrait photo, and sizes written as 64.0."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    for orientation in (5, 6, 7, 8):
        save_photo(tmp_path / "JPEGImages" / f"{orientation}.jpg", orientation)
        size = (HEIGHT, WIDTH) if is_stored else (WIDTH, HEIGHT)
        box = stored_box(orientation) if is_stored else WHITE
        corners = (box[0] + 1, box[1] + 1, box[2], box[3])  # counted from 1
        names = ("xmin", "ymin", "xmax", "ymax")
        places = "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, corners, strict=True))
        (tmp_path / "Annotations" / f"{orientation}.xml").write_text(
            f"<annotation><size><width>{size[0]}.0</width><height>{size[1]}.0</height>"
            f"</size><object><name>sign</name><bndbox>{places}</bndbox></object>"
            f"</annotation>"
        )
    dataset = open_dataset("voc", images=tmp_path)
    assert finds_white(dataset) == pytest.approx(1.0)
    assert set(dataset.sizes.values()) == {(WIDTH, HEIGHT)}
