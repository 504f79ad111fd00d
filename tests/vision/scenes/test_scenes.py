"""The built-in scenes: exact, repeatable, and split into sets that never meet."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from midhaul.vision.scenes.backdrop import STREET_FURNITURE, round_sign
from midhaul.vision.scenes.objects import SKETCHES
from midhaul.vision.scenes.scene import (
    HEIGHT,
    LABELS,
    WIDTH,
    Canvas,
    SceneItem,
    _truth,
    encode_scene,
    make_scene,
)
from midhaul.vision.scenes.sketch import Sketch

SERIES = 40


def test_same_arguments_give_the_same_scene() -> None:
    """A scene depends on its arguments only."""
    one, two = make_scene(3, 5), make_scene(3, 5)
    assert np.array_equal(one.pixels, two.pixels)
    assert np.array_equal(one.truth.boxes, two.truth.boxes)
    assert encode_scene(one) == encode_scene(make_scene(3, 5, "evaluation"))


def test_seed_index_and_split_each_change_the_scene() -> None:
    """No two of the series share a scene; training cannot reach an evaluation."""
    digests = {
        hashlib.sha256(make_scene(seed, index, split).pixels.tobytes()).digest()
        for seed in range(2)
        for index in range(3)
        for split in ("evaluation", "calibration", "training")
    }
    assert len(digests) == 18


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**31))
def test_boxes_lie_in_the_image_and_hold_their_area(seed: int, index: int) -> None:
    """Every box is inside the image, at least 5 px a side, and holds its area."""
    scene = make_scene(seed, index)
    assert scene.pixels.shape == (HEIGHT, WIDTH, 3)
    assert scene.pixels.dtype == np.uint8
    boxes, areas = scene.truth.boxes, scene.truth.areas_px
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= WIDTH).all()
    assert (boxes[:, 3] <= HEIGHT).all()
    assert (sides >= 5).all()
    assert (areas <= sides.prod(axis=1)).all()
    assert (areas > 0).all()
    assert not scene.truth.is_crowd.any()


def test_series_has_all_classes_day_and_night_and_sizes_over_a_decade() -> None:
    """Forty scenes already show everything that the set promises."""
    scenes = [make_scene(0, index) for index in range(SERIES)]
    labels = np.concatenate([scene.truth.labels for scene in scenes])
    assert set(labels) == set(range(len(LABELS)))
    assert 0.1 < np.mean([scene.is_night for scene in scenes]) < 0.7
    sides = np.concatenate(
        [
            np.sqrt(np.prod(s.truth.boxes[:, 2:] - s.truth.boxes[:, :2], 1))
            for s in scenes
        ]
    )
    low, high = np.percentile(sides, [5, 95])
    assert high / low > 8
    assert 3 < len(labels) / SERIES < 12


def test_scale_of_things_is_log_uniform() -> None:
    """Persons, whose true height hardly varies, spread evenly over their octaves."""
    heights = [
        box[3] - box[1]
        for index in range(80)
        for scene in [make_scene(1, index)]
        for box, label in zip(scene.truth.boxes, scene.truth.labels, strict=True)
        if LABELS[label] == "person"
    ]
    octave = np.log2(heights)
    counts, _ = np.histogram(octave, bins=3, range=(3.5, 6.5))
    assert counts.min() > 0.4 * counts.max()


def test_jpeg_of_a_scene_is_what_it_says() -> None:
    """The bytes are a whole JPEG of the usual size, close to the pixels."""
    scene = make_scene(0, 0)
    image = Image.open(io.BytesIO(encode_scene(scene)))
    assert image.format == "JPEG"
    assert image.size == (WIDTH, HEIGHT)
    assert np.abs(np.asarray(image, float) - scene.pixels).mean() < 6


def test_other_sizes_keep_the_street() -> None:
    """Width and height can be chosen, and boxes follow."""
    scene = make_scene(0, 2, width=256, height=192)
    assert scene.pixels.shape == (192, 256, 3)
    assert (scene.truth.boxes[:, 2] <= 256).all()


def test_negative_seed_is_refused() -> None:
    """Chance needs a seed that is not negative."""
    with pytest.raises(ValueError, match="non-negative"):
        make_scene(-1, 0)


@pytest.mark.parametrize("name", LABELS)
def test_things_fill_their_sketch(name: str) -> None:
    """A thing reaches the borders of its sketch, so that scale means its size."""
    sketch = SKETCHES[name](np.random.default_rng(0))
    _, cover = sketch.rasterise(60.0)
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    assert np.ptp(rows) > 0.8 * cover.shape[0]
    assert np.ptp(columns) > 0.45 * cover.shape[1]


@pytest.mark.parametrize("draw", [*STREET_FURNITURE, round_sign])
def test_scenery_is_drawn(draw: object) -> None:
    """Everything that is no class can be drawn at a small and at a large scale."""
    assert callable(draw)
    sketch = draw(np.random.default_rng(1))
    for scale in (4.0, 70.0):
        _, cover = sketch.rasterise(scale)
        assert cover.max() == 255


def test_sketch_puts_its_origin_at_the_lower_left() -> None:
    """A box in the lower left quarter fills exactly those pixels."""
    sketch = Sketch(width_m=2.0, height_m=2.0)
    sketch.box(0.0, 0.0, 1.0, 1.0, (10, 20, 30))
    colours, cover = sketch.rasterise(20.0)
    assert cover[25:, :15].min() == 255
    assert cover[:15].max() == 0
    assert tuple(colours[30, 5]) == (10, 20, 30)


def test_ring_is_open_in_the_middle() -> None:
    """One sees through a wheel."""
    sketch = Sketch(width_m=1.0, height_m=1.0)
    sketch.ring(0.5, 0.5, 0.4, 0.1, (1, 2, 3))
    _, cover = sketch.rasterise(60.0)
    assert cover[30, 30] == 0
    assert cover[30, 6] == 255


def test_box_is_the_extent_of_what_is_seen() -> None:
    """A box ends where another thing hides the rest; hidden things have none."""
    owner = np.full((60, 80), -1, np.int16)
    owner[10:30, 10:50] = 0
    owner[10:30, 30:50] = 1
    owner[40:44, 0:20] = 2
    canvas = Canvas(
        pixels=np.zeros((60, 80, 3), np.uint8),
        owner=owner,
        windows=np.zeros((60, 80), np.bool_),
        drawn_px=[800, 400, 80],
        glows=[],
    )
    truth = _truth(canvas, [_item(3), _item(-1), _item(0)])
    assert truth.boxes.tolist() == [[10, 10, 30, 30]]
    assert truth.labels.tolist() == [3]
    assert truth.areas_px.tolist() == [400]
    canvas.drawn_px[0] = 1400
    assert len(_truth(canvas, [_item(3), _item(-1), _item(0)])) == 0


def _item(label: int) -> SceneItem:
    sketch = Sketch(width_m=1.0, height_m=1.0)
    return SceneItem(
        sketch=sketch,
        label=label,
        x_m=0.0,
        px_per_m=10.0,
        lift_m=0.0,
        is_mirrored=False,
    )
