"""The detectors that ship with midhaul: whole, honest about their training, ordered."""

from __future__ import annotations

import json
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from midhaul.vision.data.builtin_data import builtin_dataset
from midhaul.vision.detectors.builtin import builtin_cards, builtin_names
from midhaul.vision.detectors.detector import load_detector
from midhaul.vision.images.image import decode
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.scenes.scene import LABELS

NAMES = ("street-n", "street-s", "street-m", "street-l", "street-x")
LIMIT_BYTES = 1_500_000
WEIGHTS = Path(str(resources.files("midhaul.vision"))) / "weights"


def _record(name: str) -> dict[str, Any]:
    return json.loads((WEIGHTS / f"{name}.json").read_text())


def test_five_ship() -> None:
    """Five detectors come with weights, card and record."""
    assert set(builtin_names()) == set(NAMES)
    assert {card.name for card in builtin_cards()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_is_small_and_matches_its_record(name: str) -> None:
    """The weights are at most 1.5 MB and are those that the record speaks of."""
    size = (WEIGHTS / f"{name}.onnx").stat().st_size
    assert size <= LIMIT_BYTES
    assert _record(name)["file_bytes"] == size


@pytest.mark.parametrize("name", NAMES)
def test_training_and_evaluation_used_different_scenes(name: str) -> None:
    """The record names the splits, and they are not the same."""
    record = _record(name)
    assert record["training"]["scenes"]["split"] == "training"
    assert record["evaluation"]["scenes"]["split"] == "evaluation"


def test_larger_detectors_cost_more_and_find_more() -> None:
    """Cost and recorded accuracy rise from the smallest to the largest."""
    records = [_record(name) for name in NAMES]
    for small, large in pairwise(records):
        assert small["gmac"] < large["gmac"]
        ours, theirs = (
            record["evaluation"]["by_preprocessing"]["as received"]["ap50"]
            for record in (small, large)
        )
        assert ours < theirs


@pytest.mark.parametrize("name", NAMES)
def test_recorded_curves_fall(name: str) -> None:
    """Less quality and less size never help, up to the noise of 400 scenes."""
    by = _record(name)["evaluation"]["by_preprocessing"]
    qualities = [by[f"JPEG {q}"]["ap50"] for q in (95, 75, 50, 25, 10)]
    sizes = [by["as received"]["ap50"]]
    sizes += [by[f"resize {percent} %"]["ap50"] for percent in (75, 50, 25)]
    for curve in (qualities, sizes):
        assert all(more > less - 0.005 for more, less in pairwise(curve))
        assert curve[0] > curve[-1] + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_detector_finds_things_on_unseen_scenes(name: str) -> None:
    """A dozen scenes give roughly what the record promises of hundreds."""
    dataset = builtin_dataset(12, seed=9)
    detector = load_detector(f"builtin:{name}")
    assert detector.names == LABELS
    answers = {
        image_id: detector.detect(decode(dataset.read(image_id)))
        for image_id in dataset.image_ids
    }
    promised = _record(name)["evaluation"]["by_preprocessing"]["as received"]["ap50"]
    assert judge(answers, dataset).coco().ap50 > promised - 0.25
