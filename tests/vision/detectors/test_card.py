"""Model cards: strict, and found beside the model, by name, or by file name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.tiny_onnx import CARD

from midhaul.errors import DataError
from midhaul.vision.detectors.card import (
    COCO80,
    Card,
    coco91,
    find_card,
    parse_card,
    read_card,
    shipped_cards,
)

if TYPE_CHECKING:
    from pathlib import Path


def card_with(folder: Path, changes: str, *, without: str = "") -> Path:
    """The tiny card with other lines."""
    lines = [line for line in CARD.splitlines() if not line.startswith(without or "§")]
    file = folder / "tiny.toml"
    file.write_text("\n".join([*lines, changes]), encoding="utf-8")
    return file


def test_a_card_is_read_with_its_defaults(tmp_path: Path) -> None:
    """What a card leaves out has a default."""
    card = read_card(card_with(tmp_path, ""))
    assert card.names == ("car", "person")
    assert card.score_threshold == 0.005
    assert (card.layout, card.fit, card.dtype) == ("nchw", "stretch", "float32")


def test_notes_are_free(tmp_path: Path) -> None:
    """The tables measured and training hold whatever their author writes."""
    card = read_card(card_with(tmp_path, "[training]\nday = 2024-05-01\nimages = 9"))
    assert card.training == {"day": "2024-05-01", "images": 9}


@pytest.mark.parametrize(
    ("changes", "without", "words"),
    [
        ("colr = 3", "", ["unknown key colr", "did you mean colour?"]),
        ("", "colour", ["key colour is missing"]),
        ("dtype = 'float'", "", ["dtype", "'float'"]),
        ("pad_value = '3'", "", ["pad_value", "'3'"]),
        ("pad_value = 300", "", ["pad_value", "300"]),
        ("mean = [1.0, 2.0]", "", ["mean"]),
        ("input_width = 32.5", "input_width", ["input_width", "32.5"]),
        ("std = [1.0, 0.0, 1.0]", "std", ["std must not hold 0"]),
        ("fit = 'as-is'", "", ["input_width and input_height must be 0"]),
        ("labels = ['a', 'a']", "labels", ["none of them twice"]),
        ("labels = []", "labels", ["labels must hold names"]),
        ("decoder = 'gfl'", "decoder", ["decoder gfl needs strides"]),
        ("decoder = 'yolov99'", "decoder", ["decoder", "yolov99"]),
        ("outputs = ['boxes']", "outputs", ["needs outputs"]),
        (
            "decoder = 'yolo-fastestv2'\nstrides = [16]\nanchors = [[1.0]]",
            "decoder",
            ["anchors needs one list"],
        ),
        ("x = = 3", "", ["not valid TOML"]),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, changes: str, without: str, words: list[str]
) -> None:
    """Each mistake names the file and the key."""
    file = card_with(tmp_path, changes, without=without)
    with pytest.raises(DataError) as error:
        read_card(file)
    assert all(word in error.value.message for word in [*words, str(file)])


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """Nobody corrects a card key by key."""
    with pytest.raises(DataError) as error:
        read_card(card_with(tmp_path, "colr = 3\npad_value = 300"))
    assert "colr" in error.value.message
    assert "pad_value" in error.value.message


def test_the_card_named_goes_before_the_one_beside(tmp_path: Path) -> None:
    """Named, beside the model, shipped: in this order."""
    model = tmp_path / "FastestDet.onnx"
    assert find_card(model).name == "fastestdet_352"
    card_with(tmp_path, "").rename(tmp_path / "FastestDet.toml")
    assert find_card(model).name == "tiny"
    other = card_with(tmp_path, "name = 'other'", without="name")
    assert find_card(model, str(other)).name == "other"


def test_a_model_without_a_card_is_told_where_to_put_one(tmp_path: Path) -> None:
    """The hint names the file to write and the models that need none."""
    with pytest.raises(DataError, match=r"strange\.toml is not beside it") as error:
        find_card(tmp_path / "strange.onnx")
    assert "yolox_nano.onnx" in error.value.hint
    with pytest.raises(DataError, match="cannot be read"):
        find_card(tmp_path / "strange.onnx", str(tmp_path / "nowhere.toml"))


def test_eight_cards_ship_and_say_their_licence() -> None:
    """Each card has a source and a licence, even if that is unknown."""
    cards = shipped_cards()
    assert len({card.file for card in cards}) == len(cards) == 8
    assert all(isinstance(card, Card) and card.licence for card in cards)
    assert all(card.source.startswith("https://") for card in cards)
    assert all(card.names == COCO80 for card in cards)


def test_the_numbers_of_coco_have_holes() -> None:
    """80 names on 90 numbers; the last one is a toothbrush both times."""
    assert tuple(name for name in coco91() if name) == COCO80
    assert coco91()[0] == "person"
    assert (coco91()[11], coco91()[12], coco91()[89]) == ("", "stop sign", "toothbrush")


def test_labels_may_have_holes() -> None:
    """An empty name stands for a number that is not in use."""
    values = {
        "name": "a", "file": "a.onnx", "input_width": 8, "input_height": 8,
        "colour": "rgb", "decoder": "boxes", "outputs": ["b", "l", "s"],
        "labels": ["x", "", "y"], "licence": "MIT", "source": "here",
    }  # fmt: skip
    assert parse_card(values, where="a test").names == ("x", "y")
