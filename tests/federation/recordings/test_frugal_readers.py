"""The folders of FrugalML and FrugalMCT."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from midhaul.errors import DataError
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.frugal import (
    read_frugalmct,
    read_frugalml,
    read_rewards,
)

if TYPE_CHECKING:
    from pathlib import Path

_META = (
    "Index,MLaaS(API),Cost per 10k images,class number\n0,Google,15,3\n7,Own,0.001,3\n"
)


def _folder(folder: Path, files: dict[str, str], meta: str = _META) -> Path:
    for name, text in {"meta.csv": meta, **files}.items():
        (folder / name).write_text(text)
    return folder


def _lines(*values: object) -> str:
    return "".join(f"{value}\n" for value in values)


def test_one_label_a_line(tmp_path: Path) -> None:
    """Names and truth beside one model hold for all; numbers have one spelling."""
    folder = _folder(
        tmp_path,
        {
            "Model0_ImageName.txt": "a.jpg,\na.jpg,\nb.jpg,\n",
            "Model0_PredictedLabel.txt": _lines(6, 10, 6),
            "Model0_Confidence.txt": _lines(0.5, 0.25, 1),
            "Model7_OriginalPredictedLabel.txt": _lines(6.0, 6.0, 10.0),
            "Model7_TrueLabel.txt": _lines(6, 6, 6),
        },
    )
    found = read_frugalml(folder, tally=FindingCounter())
    assert found.task == "labels"
    assert found.items == ("0:a.jpg", "1:a.jpg", "2:b.jpg")
    assert found.providers == ("Google", "Own")
    assert found.prices_usd.tolist() == pytest.approx([15e-4, 1e-7])
    assert found.names == ("6", "10")
    assert found.answers[0].labels.tolist() == [0, 1, 0]
    assert found.answers[0].scores.tolist() == [0.5, 0.25, 1]
    assert found.answers[1].scores.tolist() == [1, 1, 1]
    assert found.truth is not None
    assert found.truth.labels.tolist() == [0, 0, 0]


def test_models_that_answered_other_items_meet_by_name(tmp_path: Path) -> None:
    """With a list of items for each model, who lacks one is missing there."""
    folder = _folder(
        tmp_path,
        {
            "Model0_ImageName.txt": _lines("a", "b"),
            "Model0_PredictedLabel.txt": _lines("x", "y"),
            "Model0_TrueLabel.txt": _lines("x", "x"),
            "Model7_ImageName.txt": _lines("c", "b"),
            "Model7_PredictedLabel.txt": _lines("z", "x"),
            "Model7_TrueLabel.txt": _lines("z", "x"),
        },
    )
    found = read_frugalml(folder, prices_usd={"Own": 0.5}, tally=FindingCounter())
    assert found.items == ("0:a", "1:b", "2:c")
    assert found.answers[0].is_missing.tolist() == [False, False, True]
    assert found.answers[1].is_missing.tolist() == [True, False, False]
    assert found.prices_usd[1] == 0.5
    assert found.truth is not None
    assert [found.names[i] for i in found.truth.labels] == ["x", "x", "z"]


def test_without_names_and_truth(tmp_path: Path) -> None:
    """Items are numbers then, there is no truth, and a silent model is told of."""
    folder = _folder(tmp_path, {"Model7_PredictedLabel.txt": _lines("x", "y")})
    tally = FindingCounter()
    found = read_frugalml(folder, tally=tally)
    assert found.items == ("0", "1")
    assert found.providers == ("Own",)
    assert found.truth is None
    assert tally.counts == {("Google", "file without a use"): 1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no model of"),
        (
            {
                "Model0_PredictedLabel.txt": _lines(1, 2),
                "Model0_Confidence.txt": _lines(1),
            },
            "has 1 lines where its model answered 2",
        ),
        (
            {
                "Model0_PredictedLabel.txt": _lines(1, 2),
                "Model7_PredictedLabel.txt": _lines(1),
            },
            "Own has 1 answers",
        ),
        (
            {
                "Model0_PredictedLabel.txt": _lines(1),
                "Model0_Confidence.txt": _lines("high"),
            },
            "must hold a number in each line",
        ),
        (
            {
                "Model0_PredictedLabel.txt": _lines(1),
                "Model0_TrueLabel.txt": _lines(1),
                "Model7_PredictedLabel.txt": _lines(1),
                "Model7_TrueLabel.txt": _lines(2),
            },
            "another truth",
        ),
        (
            {
                "Model0_PredictedLabel.txt": _lines(1, 1),
                "Model0_ImageName.txt": _lines("a", "a"),
                "Model7_PredictedLabel.txt": _lines(1, 1),
                "Model7_ImageName.txt": _lines("b", "c"),
            },
            "names items twice",
        ),
        ({"meta.csv": "Index,API,Cost\n0,Google\n"}, "line 2: expected index"),
        ({"meta.csv": "Index,API,Cost\n"}, "lists no model"),
    ],
)
def test_a_broken_folder_of_frugalml_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    """What is missing, too short or contradictory is named."""
    with pytest.raises(DataError, match=message) as caught:
        read_frugalml(_folder(tmp_path, files), tally=FindingCounter())
    assert caught.value.hint


def test_several_labels_in_json(tmp_path: Path) -> None:
    """Label lists, an empty one, one that is not there, and a map of the labels."""
    said = {
        "i1": [{"transcription": "car", "confidence": 0.5, "language": "Latin"}],
        "i2": [],
        "i9": [{"transcription": "dog", "confidence": 0.5}],
    }
    other = {"i1": [{"confidence": 1}, {"transcription": "cat", "confidence": "0.25"}]}
    truth = {"i1": [{"transcription": "cat"}], "i2": [{"transcription": "bus"}]}
    folder = _folder(
        tmp_path,
        {
            "labelmap.json": json.dumps({"dog": 1, "cat": 0}),
            "Model0_PredictedLabel.txt": json.dumps(said),
            "Model7_PredictedLabel.txt": json.dumps(other),
            "Model7_TrueLabel.txt": json.dumps(truth),
        },
    )
    tally = FindingCounter()
    found = read_frugalmct(folder, tally=tally)
    assert found.task == "tags"
    assert found.items == ("i1", "i2")
    assert found.names == ("cat", "dog", "bus", "car")
    assert found.answers[0].counts.tolist() == [1, 0]
    assert found.answers[0].is_missing.tolist() == [False, False]
    assert found.answers[1].is_missing.tolist() == [False, True]
    assert found.answers[1].scores.tolist() == [0.25]
    assert found.truth is not None
    assert found.truth.labels.tolist() == [0, 2]
    assert tally.counts == {
        ("Google", "item not in the truth"): 1,
        ("Own", "unreadable entry"): 1,
    }


def test_rewards_alone(tmp_path: Path) -> None:
    """Where only rewards are told, they can be read, and labels cannot."""
    folder = _folder(
        tmp_path,
        {
            "Model0_ImageName.txt": "a,\nb,\n",
            "Model0_Reward.txt": _lines(0.5, 1),
            "Model7_Reward.txt": _lines(0, 1),
        },
    )
    found = read_rewards(folder)
    assert found.providers == ("Google", "Own")
    assert found.items == ("0:a", "1:b")
    assert found.rewards.tolist() == [[0.5, 1], [0, 1]]
    with pytest.raises(DataError, match="no model of"):
        read_frugalmct(folder, tally=FindingCounter())


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\n2\n", "found no JSON"), ("[]", "expected a JSON object")],
)
def test_a_broken_file_of_frugalmct_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    """Lines and lists are no map from items to labels."""
    folder = _folder(tmp_path, {"Model0_PredictedLabel.txt": text})
    with pytest.raises(DataError, match=message):
        read_frugalmct(folder, tally=FindingCounter())


def test_no_rewards_are_told(tmp_path: Path) -> None:
    """A folder without rewards says so."""
    with pytest.raises(DataError, match="no file of rewards"):
        read_rewards(_folder(tmp_path, {}))
