"""The data set value and opening data sets by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from tests.tiny import SIZE, four_images, ground_truth, jpeg

from midhaul.errors import DataError, name_some
from midhaul.model import GroundTruth
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.data.truth import TruthBuilder

if TYPE_CHECKING:
    from pathlib import Path


def many_images(n: int) -> Dataset:
    """A data set of n images without boxes."""
    image_ids = tuple(f"image {i}" for i in range(n))
    empty = ground_truth([])
    return Dataset(
        name="many",
        names=empty.names,
        image_ids=image_ids,
        truth=dict.fromkeys(image_ids, empty),
        sizes=dict.fromkeys(image_ids, SIZE),
        source=lambda i: i.encode(),
    )


def test_dataset_reads() -> None:
    """An image has bytes, a size and boxes; an unknown one is misuse."""
    dataset, _ = four_images()
    assert len(dataset) == 4
    assert dataset.read("a") == jpeg(SIZE)
    assert dataset.size("a") == SIZE
    assert len(dataset.truth["a"]) == 2
    with pytest.raises(KeyError):
        dataset.read("z")


def test_dataset_checks_itself() -> None:
    """Ids are unique, and every image has boxes and a size."""
    dataset, _ = four_images()
    with pytest.raises(ValueError, match="unique"):
        dataset.subset(["a", "a"])
    with pytest.raises(ValueError, match="lacks"):
        Dataset(
            name="n",
            names=dataset.names,
            image_ids=("z",),
            truth=dataset.truth,
            sizes=dataset.sizes,
            source=dataset.source,
        )


def test_subset() -> None:
    """A subset keeps the order asked for, and knows only its own ids."""
    dataset, _ = four_images()
    assert dataset.subset(["d", "a"]).image_ids == ("d", "a")
    with pytest.raises(DataError, match=r"2 images \(x, y\)"):
        dataset.subset(["a", "x", "y"])


def test_sample() -> None:
    """A sample is drawn without replacement and keeps the data set's order."""
    dataset = many_images(50)
    sample = dataset.sample(10, np.random.default_rng(1))
    places = [dataset.image_ids.index(i) for i in sample.image_ids]
    assert len(set(places)) == 10
    assert places == sorted(places)
    assert dataset.sample(90, np.random.default_rng(1)) is dataset
    again = dataset.sample(10, np.random.default_rng(1))
    assert again.image_ids == sample.image_ids


@pytest.mark.parametrize(
    ("n", "fraction", "expected"),
    [(50, 0.3, 15), (2, 0.01, 1), (2, 0.99, 1), (5, 0.0, 0), (5, 1.0, 5), (1, 0.5, 0)],
)
def test_split_sizes(n: int, fraction: float, expected: int) -> None:
    """The parts share no image, miss none, and have the sizes asked for."""
    dataset = many_images(n)
    first, second = dataset.split(fraction, np.random.default_rng(0))
    assert len(first) == expected
    assert sorted(first.image_ids + second.image_ids) == sorted(dataset.image_ids)


def test_split_does_not_depend_on_order() -> None:
    """The same seed splits the same images alike, however they are ordered."""
    dataset = many_images(40)
    turned = dataset.subset(dataset.image_ids[::-1])
    a, b = (d.split(0.5, np.random.default_rng(3))[0] for d in (dataset, turned))
    assert set(a.image_ids) == set(b.image_ids)
    other = dataset.split(0.5, np.random.default_rng(4))[0]
    assert set(other.image_ids) != set(a.image_ids)
    with pytest.raises(ValueError, match="fraction"):
        dataset.split(2, np.random.default_rng(0))


def test_names_in_messages() -> None:
    """A message names the first few of many things."""
    assert name_some("image", ["a"]) == "image a"
    assert name_some("image", [1, 2]) == "2 images (1, 2)"
    assert name_some("image", list("abcdef")) == "6 images (a, b, c, …)"
    assert name_some("box", [1, 2]) == "2 boxes (1, 2)"


def test_builtin_scenes() -> None:
    """Built-in scenes are drawn when asked for, with boxes that fit their images."""
    dataset = open_dataset("builtin", n_images=3, seed=5)
    image_id = dataset.image_ids[2]
    data = dataset.read(image_id)
    assert data == open_dataset("builtin", n_images=3, seed=5).read(image_id)
    other = open_dataset("builtin", n_images=3, seed=5, split="calibration")
    assert not set(other.image_ids) & set(dataset.image_ids)
    assert other.read(other.image_ids[2]) != data
    truth = dataset.truth[image_id]
    assert isinstance(truth, GroundTruth)
    assert truth.names == dataset.names
    assert list(dataset.truth) == list(dataset.image_ids)
    assert len(dataset.truth) == 3


def test_builtin_size(tmp_path: Path) -> None:
    """A scene's file has the size that the data set states."""
    dataset = open_dataset("builtin", n_images=1)
    path = tmp_path / "scene.jpg"
    path.write_bytes(dataset.read(dataset.image_ids[0]))
    with Image.open(path) as image:
        assert image.size == dataset.size(dataset.image_ids[0])


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (3, -1)])
def test_builtin_bad(n: int, seed: int) -> None:
    """There is no empty set of scenes."""
    with pytest.raises(DataError, match="at least one scene"):
        open_dataset("builtin", n_images=n, seed=seed)


def test_open_needs_paths(tmp_path: Path) -> None:
    """The message names the key that is missing."""
    with pytest.raises(DataError, match="images") as error:
        open_dataset("coco")
    assert "data.images" in error.value.hint
    with pytest.raises(DataError, match="JSON") as error:
        open_dataset("coco", images=tmp_path)
    assert "data.annotations" in error.value.hint


def add_box(builder: TruthBuilder, box: tuple[float, float, float, float]) -> None:
    """Add a box to an image of 100×80 px."""
    builder.add("a", box, label=0, size=SIZE, where="file, box 1")


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((0, 0, float("nan"), 5), "finite"),
        ((0, 0, float("inf"), 5), "finite"),
        ((10, 10, 5, 20), "end before it begins"),
        ((10, 10, 20, 5), "end before it begins"),
        ((101, 0, 120, 10), "outside of its image, 100×80 px"),
        ((-20, 0, -1, 10), "outside"),
        ((0, 81, 10, 90), "outside"),
    ],
)
def test_impossible_boxes(box: tuple[float, float, float, float], text: str) -> None:
    """A box that cannot be on the image stops the reading, with its place."""
    with pytest.raises(DataError, match=text) as error:
        add_box(TruthBuilder(("person",)), box)
    assert "file, box 1" in error.value.message
    assert error.value.hint


def test_untidy_boxes() -> None:
    """A box that reaches outside is clipped, one without extent left out, both told."""
    builder = TruthBuilder(("person",))
    add_box(builder, (-0.5, 0, 10, 10))
    add_box(builder, (90, 70, 130, 90))
    add_box(builder, (5, 5, 5, 20))
    truth = builder.build(["a", "b"])
    np.testing.assert_array_equal(truth["a"].boxes, [[0, 0, 10, 10], [90, 70, 100, 80]])
    np.testing.assert_array_equal(truth["a"].areas_px, [100, 100])
    assert len(truth["b"]) == 0
    clipped, rounded, flat = builder.tallies
    assert (clipped.n, clipped.of, clipped.is_too_many) == (1, 3, True)
    assert (rounded.n, rounded.of, rounded.is_too_many) == (1, 3, False)
    assert (flat.n, flat.of, flat.is_too_many) == (1, 3, True)
    assert all(one.places == ("file, box 1",) and one.advice for one in builder.tallies)


def test_bad_area() -> None:
    """An area is a number that is not negative."""
    builder = TruthBuilder(("person",))
    with pytest.raises(DataError, match="area"):
        builder.add(
            "a", (0, 0, 5, 5), label=0, size=SIZE, where="file", area_px=float("nan")
        )
