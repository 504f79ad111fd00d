"""The readers on real recordings of commercial APIs and detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.source import RecordingSource, open_recording

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_data


def _correct(source: RecordingSource) -> dict[str, float]:
    found = open_recording(source)
    assert found.truth is not None
    truth = found.truth.labels
    return {
        name: float((answers.labels == truth).mean())
        for name, answers in zip(found.providers, found.answers, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ferplus", {"Google": 0.677, "Microsoft": 0.814}),
        ("waimai", {"Baidu": 0.890}),
        ("audiomnist", {"Google": 0.885, "Microsoft": 0.986}),
        ("digit", {"Microsoft": 0.827, "IBM": 0.747}),
    ],
)
def test_apis_are_as_good_as_their_authors_say(
    data_dir: Path, name: str, expected: dict[str, float]
) -> None:
    """Accuracies of single providers are those that were published with the data."""
    file = data_dir / "mlaas" / f"{name}.parquet"
    found = _correct(RecordingSource(kind="parquet", file=file, task="labels"))
    for provider, accuracy in expected.items():
        assert found[provider] == pytest.approx(accuracy, abs=6e-4)


def test_tags_of_pascal(data_dir: Path) -> None:
    """All words are VOC's; providers repeat themselves, which is counted."""
    folder = data_dir / "mlaas"
    tally = FindingCounter()
    found = open_recording(
        RecordingSource(
            kind="parquet",
            file=folder / "pascal_tags.parquet",
            truth=folder / "pascal_truth.parquet",
            task="tags",
            vocabulary="voc20",
        ),
        tally,
    )
    report = tally.report()
    assert report.unknown_labels == ()
    assert report.count(provider="truth") == 0
    assert report.count(reason="duplicate") == report.n_dropped > 0
    for answers in found.answers:
        pairs = answers.items * len(found.names) + answers.labels
        assert len(np.unique(pairs)) == len(pairs)


def test_boxes_of_voc(data_dir: Path) -> None:
    """Boxes end up on their images, and what is lost is a handful that are inverted."""
    folder = data_dir / "voc2007_boxes"
    tally = FindingCounter()
    found = open_recording(
        RecordingSource(
            kind="parquet",
            file=folder / "predictions.parquet",
            truth=folder / "truth.parquet",
            vocabulary="voc20",
            price_usd=0.001,
        ),
        tally,
    )
    assert found.sizes_px is not None
    assert found.truth is not None
    assert found.truth.is_ignored.any()
    report = tally.report()
    assert report.n_dropped == report.count(reason="box ends before it begins") < 100
    for answers in found.answers:
        limits = np.tile(found.sizes_px, 2)[answers.items]
        assert (answers.boxes <= limits).all()
        assert (answers.boxes >= 0).all()


def test_detectors_judged_by_coco(data_dir: Path) -> None:
    """Parquet with whole numbers as ids meets COCO's annotations, every image of it."""
    tally = FindingCounter()
    source = RecordingSource(
        kind="parquet",
        file=data_dir / "coco_detections" / "val.parquet",
        truth=data_dir / "coco_mini" / "instances_val.json",
        vocabulary="coco80",
        price_usd=0.001,
        mismatch="error",
    )
    found = open_recording(source, tally)
    assert len(found) == 161
    assert found.n_providers == 24
    assert found.truth is not None
    assert len(found.truth.labels) == 1430
    assert {finding.reason for finding in tally.report().findings} == {
        "box without area"
    }
