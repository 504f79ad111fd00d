"""The front to all layouts, and COCO's results behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.errors import DataError
from midhaul.federation.recordings.cleaning import CleaningRules
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.source import (
    RecordingSource,
    draw_items,
    open_recording,
)

if TYPE_CHECKING:
    from pathlib import Path

_COCO = {
    "images": [
        {"id": 7, "file_name": "7.jpg", "width": 100, "height": 80},
        {"id": 9, "file_name": "9.jpg", "width": 60, "height": 50},
    ],
    "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 18, "bbox": [1, 2, 10, 20]},
        {"id": 2, "image_id": 9, "category_id": 18, "bbox": [5, 5, 9, 9], "iscrowd": 1},
    ],
}


def _result(image: int, category: int, *box: float, score: float = 0.5) -> object:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def _coco(folder: Path, **providers: object) -> RecordingSource:
    (folder / "truth.json").write_text(json.dumps(_COCO))
    for name, results in providers.items():
        (folder / f"{name}.json").write_text(json.dumps(results))
    return RecordingSource(
        kind="coco", file=folder, truth=folder / "truth.json", price_usd=0.5
    )


def _tags(file: Path, rows: list[tuple[str, str, str, float]]) -> RecordingSource:
    names = ("item", "provider", "label", "score")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), file)
    return RecordingSource(kind="parquet", file=file, task="tags", price_usd=1)


def test_results_of_coco(tmp_path: Path) -> None:
    """Ids are whole numbers in the files and texts here; boxes become corners."""
    source = _coco(
        tmp_path,
        B=[_result(9, 18, 1, 2, 10, 20), _result(7, 3, 90, 70, 30, 30, score=1.0)],
        A=[_result(5, 18, 1, 1, 1, 1), _result(9, 4, 1, 1, 1, 1), {"image_id": 9}, "x"],
    )
    tally = FindingCounter()
    found = open_recording(replace(source, prices_usd={"B": 2.0}), tally)
    assert found.items == ("7", "9")
    assert found.names == ("car", "dog")
    assert found.providers == ("A", "B")
    assert found.prices_usd.tolist() == [0.5, 2.0]
    assert found.answers[1].boxes.tolist() == [[90, 70, 100, 80], [1, 2, 11, 22]]
    assert found.truth is not None
    assert found.truth.is_ignored.tolist() == [False, True]
    assert tally.counts == {
        ("A", "item not in the truth"): 1,
        ("A", "unknown category id"): 1,
        ("A", "unreadable entry"): 2,
        ("A", "item answered with nothing"): 1,
        ("B", "box clipped to the image"): 1,
    }


def test_parquet_judged_by_cocos_annotations(tmp_path: Path) -> None:
    """Boxes in Parquet meet COCO's annotations by the text of the image's number."""
    columns = {
        "image_id": pa.array([9, 7]),
        "provider": ["A", "A"],
        "label": ["Dogs", "spaceship"],
        "score": [50.0, 25.0],
        "x1": [1.0, 0.0],
        "y1": [1.0, 0.0],
        "x2": [9.0, 8.0],
        "y2": [9.0, 8.0],
    }
    source = _coco(tmp_path)
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = replace(
        source,
        kind="parquet",
        file=tmp_path / "a.parquet",
        vocabulary="coco80",
        names=("car", "dog"),
        rules=CleaningRules(scores="percent"),
    )
    tally = FindingCounter()
    found = open_recording(source, tally)
    assert found.names == ("car", "dog")
    assert found.answers[0].labels.tolist() == [1]
    assert found.answers[0].scores.tolist() == [0.5]
    assert tally.report().unknown_labels[0].word == "spaceship"
    as_tags = open_recording(replace(source, task="tags", rules=CleaningRules()))
    assert as_tags.truth is not None
    assert as_tags.truth.counts.tolist() == [0, 1]


def test_providers_and_their_prices(tmp_path: Path) -> None:
    """Only who is asked for needs a price, and comes in the order that was asked."""
    rows = [("x", name, "car", 0.5) for name in ("A", "B", "C")]
    source = replace(_tags(tmp_path / "a.parquet", rows), price_usd=None)
    chosen = replace(source, providers=("C", "A"), prices_usd={"A": 1.0, "C": 2.0})
    found = open_recording(chosen)
    assert found.providers == ("C", "A")
    assert found.prices_usd.tolist() == [2.0, 1.0]
    with pytest.raises(DataError, match="B have no price"):
        open_recording(replace(chosen, providers=("B",)))
    with pytest.raises(DataError, match="no provider D"):
        open_recording(replace(chosen, providers=("D",)))


def test_items_that_not_everybody_answered(tmp_path: Path) -> None:
    """They stay and are missing, or go, or nothing is read: the caller's choice."""
    rows = [
        ("x", "A", "car", 0.5),
        ("y", "A", "car", 0.5),
        ("x", "B", "car", 0.5),
    ]
    source = replace(_tags(tmp_path / "a.parquet", rows), task="labels")
    tally = FindingCounter()
    kept = open_recording(source, tally)
    assert kept.answers[1].is_missing.tolist() == [False, True]
    assert tally.counts == {("B", "item without an answer"): 1}
    both = open_recording(replace(source, mismatch="intersection"), tally)
    assert both.items == ("x",)
    assert tally.counts["items", "item not answered by everybody"] == 1
    with pytest.raises(DataError, match="B lacks 1 of 2 items: y"):
        open_recording(replace(source, mismatch="error"))


def test_items_of_another_truth(tmp_path: Path) -> None:
    """Answers about other images than the truth's are counted, or are an error."""
    source = _coco(tmp_path, A=[_result(7, 3, 1, 2, 3, 4), _result(8, 3, 1, 2, 3, 4)])
    tally = FindingCounter()
    assert len(open_recording(source, tally)) == 2
    assert tally.counts == {
        ("A", "item not in the truth"): 1,
        ("A", "item answered with nothing"): 1,
        ("everybody", "item without an answer"): 1,
    }
    assert open_recording(replace(source, mismatch="intersection")).items == ("7",)
    with pytest.raises(DataError, match=r"1 answers in .* without truth"):
        open_recording(replace(source, mismatch="error"))
    nothing = _coco(tmp_path, A=[_result(8, 3, 1, 2, 3, 4)])
    with pytest.raises(DataError, match="about 8; the truth has 7, 9"):
        open_recording(replace(nothing, mismatch="intersection"))


def test_some_items_by_hash(tmp_path: Path) -> None:
    """More items hold fewer, order is kept, and another seed draws others."""
    rows = [(f"{i:02d}", "A", "car", 0.5) for i in range(40)]
    source = _tags(tmp_path / "a.parquet", rows)
    five = open_recording(replace(source, n_items=5)).items
    nine = open_recording(replace(source, n_items=9)).items
    assert len(five) == 5
    assert set(five) < set(nine)
    assert list(nine) == sorted(nine)
    assert set(open_recording(replace(source, n_items=9, seed=1)).items) != set(nine)
    whole = open_recording(source)
    assert draw_items(whole, 99) is whole


def test_a_label_set_without_a_table(tmp_path: Path) -> None:
    """Names alone bridge spelling and plurals, and everything else is unknown."""
    rows = [("x", "A", "Wine_Glasses", 0.5), ("x", "A", "goblet", 0.5)]
    source = replace(_tags(tmp_path / "a.parquet", rows), names=("wine glass", "cup"))
    tally = FindingCounter()
    found = open_recording(source, tally)
    assert found.names == ("wine glass", "cup")
    assert found.answers[0].labels.tolist() == [0]
    assert tally.counts == {("A", "unknown label"): 1}


@pytest.mark.parametrize(
    ("results", "message"),
    [(None, "no results file"), ({"images": []}, "expected a list of results")],
)
def test_broken_results_are_refused(
    tmp_path: Path, results: object, message: str
) -> None:
    """A folder without results, and a truth in their place, are named."""
    source = _coco(tmp_path) if results is None else _coco(tmp_path, A=results)
    with pytest.raises(DataError, match=message):
        open_recording(source)
    with pytest.raises(DataError, match="without annotations"):
        open_recording(replace(source, truth=None))


def test_the_other_layouts_open_as_well(tmp_path: Path) -> None:
    """Armol's, FrugalML's and FrugalMCT's folders come through the same front."""
    armol = tmp_path / "test" / "aws"
    armol.mkdir(parents=True)
    (armol / "0.txt").write_text("car-2-0.5-1-2-30-40")
    found = open_recording(
        RecordingSource(kind="armol", file=tmp_path, price_usd=1, vocabulary="voc20")
    )
    assert found.names[found.answers[0].labels[0]] == "car"
    (tmp_path / "meta.csv").write_text("Index,API,Cost\n1,Google,10\n")
    (tmp_path / "Model1_PredictedLabel.txt").write_text("3\n")
    assert open_recording(RecordingSource(kind="frugalml", file=tmp_path)).names == (
        "3",
    )
    said = {"a": [{"transcription": "car", "confidence": 1}]}
    (tmp_path / "Model1_PredictedLabel.txt").write_text(json.dumps(said))
    assert open_recording(RecordingSource(kind="frugalmct", file=tmp_path)).items == (
        "a",
    )
