"""Armol's text files of boxes, read and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.recordings.made import assert_same_answers, recordings

from midhaul.errors import DataError
from midhaul.federation.recordings.armol import parse_line, read_armol, write_armol
from midhaul.federation.recordings.findings import FindingCounter

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Recording


def _tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("car-2-0.93-10-20-30-40", ("car", 2, (0.93, 10, 20, 30, 40))),
        ("two-wheeler-3-0.5-1-2-3-4", ("two-wheeler", 3, (0.5, 1, 2, 3, 4))),
        ("moo-cow-19-1e-05-1-2-3-4", ("moo-cow", 19, (1e-05, 1, 2, 3, 4))),
        ("car-2-0.5--3--1-30-40", ("car", 2, (0.5, -3, -1, 30, 40))),
        ("car-2-1-0.5-1.25-3e1--4", ("car", 2, (1, 0.5, 1.25, 30, -4))),
        ("dining table-1-5-6-7-8", ("dining table", None, (1, 5, 6, 7, 8))),
        ("teddy-bear-1--5-6-7-8", ("teddy-bear", None, (1, -5, 6, 7, 8))),
        ("car-1e-05-10-20-30-40", ("car", None, (1e-05, 10, 20, 30, 40))),
        ("car", None),
        ("car-2-0.5-1-2", None),
        ("car-2-high-1-2-3-4", None),
        ("", None),
    ],
)
def test_a_line_is_read_from_its_end(
    line: str, expected: tuple[str, int | None, tuple[float, ...]] | None
) -> None:
    """Hyphens in labels, minus signs and exponents do not break a line apart."""
    assert parse_line(line) == expected


@given(
    label=st.from_regex(r"[a-z]+(-[a-z]+)?( [a-z]+)?", fullmatch=True),
    number=st.integers(0, 79),
    score=st.floats(0, 1),
    box=st.lists(st.integers(-999, 9999), min_size=4, max_size=4),
)
def test_any_line_is_read_as_it_was_meant(
    label: str, number: int, score: float, box: list[int]
) -> None:
    """Whatever the numbers, a line gives back what it was written with."""
    corners = "-".join(map(str, box))
    found = parse_line(f"{label}-{number}-{score!r}-{corners}")
    assert found == (label, number, (score, *box))


def test_a_folder_of_armol(tmp_path: Path) -> None:
    """A missing file found nothing, and the list that lists itself has no image."""
    rank = ["000000000139.jpg", "000000000285.jpg", "test_rank.json"]
    folder = _tree(
        tmp_path,
        {
            "test_rank.json": json.dumps(rank),
            "test/aws/0.txt": "automobile-2-0.5-1-2-30-40\n\nrubbish\n",
            "test/aws/9.txt": "car-2-0.5-1-2-30-40\n",
            "test/azure/1.txt": "moo-cow-19-0.25--1-2-30-40",
            "test/ground-truth/0.txt": "car-0.3-1-2-30-40\ncow-19-1-5-6-7-8",
        },
    )
    tally = FindingCounter()
    found = read_armol(folder, price_usd=0.001, tally=tally)
    assert found.items == ("000000000139", "000000000285")
    assert found.providers == ("aws", "azure")
    assert [found.names[i] for i in found.answers[0].labels] == ["car"]
    assert [found.names[i] for i in found.answers[1].labels] == ["cow"]
    assert found.answers[1].counts.tolist() == [0, 1]
    assert not found.answers[0].is_missing.any()
    assert found.truth is not None
    assert found.truth.scores.tolist() == [1, 1]
    assert found.truth.boxes[1].tolist() == [5, 6, 7, 8]
    assert tally.counts == {
        ("aws", "unreadable entry"): 1,
        ("aws", "file without an item"): 1,
        ("images", "file without a use"): 1,
    }


def test_words_instead_of_classes(tmp_path: Path) -> None:
    """On demand a box is what the provider called it, which Armol's classes hide."""
    folder = _tree(tmp_path, {"train/aws/4.txt": "satchel-28-0.5-1-2-30-40"})
    of_class = read_armol(folder, split="train", price_usd=0, tally=FindingCounter())
    assert [of_class.names[i] for i in of_class.answers[0].labels] == ["suitcase"]
    of_word = read_armol(
        folder, split="train", labels="word", price_usd=0, tally=FindingCounter()
    )
    assert [of_word.names[i] for i in of_word.answers[0].labels] == ["satchel"]
    assert of_word.items == ("4",)
    assert of_word.truth is None


@given(recording=recordings("boxes", words=("car", "two-wheeler", "dining table", "x")))
@settings(max_examples=40, deadline=None)
def test_boxes_survive_armols_layout(recording: Recording) -> None:
    """Boxes in whole px come back as they were, and so do scores of six digits."""
    rounded = replace(
        recording,
        answers=tuple(
            replace(one, scores=np.round(one.scores, 3)) for one in recording.answers
        ),
    )
    with TemporaryDirectory() as folder:
        write_armol(rounded, Path(folder))
        found = read_armol(
            Path(folder), labels="word", price_usd=0, tally=FindingCounter()
        )
    assert len(found.items) == len(rounded.items)
    for before, after in zip(rounded.answers, found.answers, strict=True):
        names = np.array(found.names)
        assert [names[i] for i in after.labels] == [
            rounded.names[i] for i in before.labels
        ]
        same = replace(
            after,
            labels=before.labels,
            is_missing=before.is_missing,
            is_ignored=before.is_ignored,
        )
        assert_same_answers(same, before)


def test_what_armols_layout_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Tags, and labels that end like numbers, have no line of Armol's."""
    folder = _tree(tmp_path, {"test/aws/0.txt": "car-2-0.5-1-2-30-40"})
    boxes = read_armol(folder, price_usd=0, tally=FindingCounter())
    with pytest.raises(DataError, match="hold boxes, not tags"):
        write_armol(replace(boxes, task="tags"), tmp_path / "out")
    odd = replace(boxes, names=("boeing-747", *boxes.names[1:]))
    with pytest.raises(DataError, match="boeing-747"):
        write_armol(odd, tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x.txt": ""}, "nothing is there"),
        ({"test/ground_truth/0.txt": ""}, "no folder of a provider"),
        ({"test/aws/0.txt": "", "test_rank.json": "{"}, "found no JSON"),
        ({"test/aws/0.txt": "", "test_rank.json": "[1]"}, "no list of names"),
        ({"test/aws/0.txt": "", "test_rank.json": '["a.jpg", "a.png"]'}, "twice"),
    ],
)
def test_a_broken_folder_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    """What is missing or wrong is named."""
    with pytest.raises(DataError, match=message) as caught:
        read_armol(_tree(tmp_path, files), price_usd=0, tally=FindingCounter())
    assert caught.value.hint
