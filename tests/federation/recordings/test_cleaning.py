"""Bad answers are mended or left out, and all of it is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from midhaul.errors import DataError
from midhaul.federation.recordings.cleaning import (
    CleaningRules,
    clean_answer,
    clean_recording,
    match_items,
)
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.federation.recordings.vocabulary import Vocabulary
from midhaul.model import Detections, Tags

_NAMES = ("car", "dog")
_WORDS = Vocabulary(_NAMES, {"car": ["auto"]}, ["animal"], {"odd": {"auto": "dog"}})
_SIZE = (100.0, 80.0)
NAN, INF = float("nan"), float("inf")


def _detections(
    rows: list[tuple[str, float, tuple[float, float, float, float]]],
) -> Detections:
    names = tuple(dict.fromkeys(word for word, _, _ in rows))
    return Detections(
        boxes=np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], np.float32),
        labels=np.array([names.index(word) for word, _, _ in rows], np.int32),
        names=names,
    )


def _clean(
    rows: list[tuple[str, float, tuple[float, float, float, float]]],
    provider: str = "A",
    rules: CleaningRules | None = None,
) -> tuple[Detections, dict[tuple[str, str], int]]:
    tally = FindingCounter()
    found = clean_answer(
        _detections(rows),
        _WORDS,
        rules,
        provider=provider,
        item="7",
        tally=tally,
        size_px=_SIZE,
    )
    assert isinstance(found, Detections)
    return found, dict(tally.counts)


_GOOD = (1.0, 2.0, 30.0, 40.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("car", NAN, _GOOD), "score is not finite"),
        (("car", INF, _GOOD), "score is not finite"),
        (("car", 87.5, _GOOD), "score out of range"),
        (("car", -0.5, _GOOD), "score out of range"),
        (("car", 0.5, (1, NAN, 30, 40)), "box is not finite"),
        (("car", 0.5, (1, 2, INF, 40)), "box is not finite"),
        (("car", 0.5, (30, 2, 1, 40)), "box ends before it begins"),
        (("car", 0.5, (1, 2, 1, 40)), "box without area"),
        (("car", 0.5, (200, 2, 300, 40)), "box outside of the image"),
        (("car", 0.5, (-9, -9, 0, 0)), "box outside of the image"),
        (("satchel", 0.5, _GOOD), "unknown label"),
        (("Animals", 0.5, _GOOD), "ignored label"),
        (("Dog", 0.25, _GOOD), "duplicate"),
    ],
)
def test_a_useless_entry_is_left_out(
    row: tuple[str, float, tuple[float, float, float, float]], reason: str
) -> None:
    """Every sort of useless entry goes, is counted once, and takes nobody with it."""
    found, counts = _clean([("dog", 0.5, _GOOD), row])
    assert found.names == _NAMES
    assert found.labels.tolist() == [1]
    assert found.scores.tolist() == [0.5]
    assert found.boxes.tolist() == [list(_GOOD)]
    assert counts == {("A", reason): 1}


def test_what_can_be_mended_stays() -> None:
    """Boxes are clipped, scores a hair above 1 are 1, and both are counted."""
    found, counts = _clean(
        [("Autos", 1.0005, (-5, 2, 30, 90)), ("car", 0.5, (0, 0, 100.5, 80))]
    )
    assert found.labels.tolist() == [0, 0]
    assert found.scores.tolist() == [1.0, 0.5]
    assert found.boxes.tolist() == [[0, 2, 30, 80], [0, 0, 100, 80]]
    assert counts == {
        ("A", "score rounded to the range"): 1,
        ("A", "box clipped to the image"): 1,
    }


def test_percentages_are_never_guessed() -> None:
    """Scores to 100 are out of range unless the caller says what they are."""
    rows = [("car", 87.5, _GOOD), ("dog", 0.5, _GOOD)]
    assert _clean(rows)[1] == {("A", "score out of range"): 1}
    for rules in (
        CleaningRules(scores="percent"),
        CleaningRules(percent_providers=frozenset({"A"})),
    ):
        found, counts = _clean(rows, rules=rules)
        assert found.scores.tolist() == pytest.approx([0.875, 0.005])
        assert counts == {}


def test_a_provider_may_mean_something_else() -> None:
    """Words are looked up among a provider's own before everybody's."""
    rows = [("auto", 0.5, _GOOD)]
    assert _clean(rows)[0].labels.tolist() == [0]
    assert _clean(rows, provider="odd")[0].labels.tolist() == [1]


def test_an_empty_answer_stays_empty() -> None:
    """Nothing found is no oddity, with boxes and without."""
    found, counts = _clean([])
    assert (len(found), counts) == (0, {})
    tally = FindingCounter()
    tags = Tags(scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int32), names=())
    cleaned = clean_answer(tags, _WORDS, provider="A", item="x", tally=tally)
    assert isinstance(cleaned, Tags)
    assert cleaned.names == _NAMES
    assert tally.report().sentences() == ()


def test_tags_of_one_answer() -> None:
    """Of a repeated tag the best score stays, also when two words mean it."""
    tally = FindingCounter()
    tags = Tags(
        scores=np.array([0.25, 0.75, NAN, 0.5], np.float32),
        labels=np.array([0, 1, 1, 2], np.int32),
        names=("Car", "Automobile", "dog"),
    )
    words = Vocabulary(_NAMES, {"car": ["automobile"]})
    found = clean_answer(tags, words, provider="A", item="x", tally=tally)
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == [0.75, 0.5]
    assert dict(tally.counts) == {
        ("A", "score is not finite"): 1,
        ("A", "duplicate"): 1,
    }


def _recording(task: str, answers: Answers, truth: Answers | None = None) -> Recording:
    return Recording(
        task=task,
        items=tuple(f"i{i}" for i in range(len(answers))),
        names=("Car", "auto", "dog", "satchel"),
        providers=("A",),
        prices_usd=np.zeros(1),
        answers=(answers,),
        truth=truth,
        sizes_px=np.array([_SIZE] * len(answers), np.float32),
    )


def _rows(
    items: list[int], labels: list[int], scores: list[float], n: int = 3
) -> Answers:
    return Answers.of_rows(
        np.array(items, np.int64),
        n,
        np.array(labels, np.int32),
        np.array(scores, np.float32),
    )


def test_one_label_for_each_item() -> None:
    """Of several labels the best stays; an item without a usable one is missing."""
    raw = _recording("labels", _rows([0, 0, 1, 1], [0, 2, 3, 3], [0.5, 0.75, 1, 1]))
    tally = FindingCounter()
    found = clean_recording(raw, _WORDS, tally=tally)
    assert found.names == _NAMES
    assert found.answers[0].labels.tolist() == [1]
    assert found.answers[0].is_missing.tolist() == [False, True, True]
    assert dict(tally.counts) == {
        ("A", "unknown label"): 2,
        ("A", "one of several labels"): 1,
        ("A", "no label"): 2,
    }


def test_the_truth_is_cleaned_as_well() -> None:
    """Words of people are mapped and told of; two equal boxes may be two things."""
    boxes = np.array([_GOOD, _GOOD, _GOOD], np.float32)
    truth = Answers.of_rows(
        np.array([0, 0, 1]),
        2,
        np.array([1, 1, 3], np.int32),
        np.ones(3, np.float32),
        boxes,
        is_ignored=np.array([True, False, False]),
    )
    tally = FindingCounter()
    raw = _recording("boxes", Answers.none(2), truth)
    found = clean_recording(raw, _WORDS, tally=tally).truth
    assert found is not None
    assert found.labels.tolist() == [0, 0]
    assert found.is_ignored.tolist() == [True, False]
    assert dict(tally.counts) == {("truth", "unknown label"): 1}
    tags = clean_recording(
        replace(raw, task="tags"), _WORDS, tally=FindingCounter()
    ).truth
    assert tags is not None
    assert tags.labels.tolist() == [0]


def test_a_clean_recording_stays_as_it_is() -> None:
    """Without anything odd, the arrays are the same ones."""
    raw = _recording("tags", _rows([0, 1], [0, 2], [0.5, 1]))
    found = clean_recording(raw, tally=FindingCounter())
    assert found.answers[0].scores is raw.answers[0].scores
    assert found.names == raw.names


@given(
    scores=hnp.arrays(np.float32, 6, elements=st.floats(width=32)),
    boxes=hnp.arrays(np.float32, (6, 4), elements=st.floats(width=32)),
    near=hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 120, width=32)),
    is_near=hnp.arrays(np.bool_, 6),
    labels=hnp.arrays(np.int32, 6, elements=st.integers(0, 3)),
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_clean_after_it(
    scores: np.ndarray,
    boxes: np.ndarray,
    near: np.ndarray,
    is_near: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Any numbers at all: what is left is usable, and every loss is counted."""
    rows = np.where(is_near[:, None], near, boxes).astype(np.float32)
    items = np.array([0, 0, 0, 1, 1, 2])
    answers = Answers.of_rows(items, 3, labels, scores, rows)
    raw = _recording("boxes", answers)
    tally = FindingCounter()
    found = clean_recording(raw, _WORDS, tally=tally).answers[0]
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.array([100, 80, 100, 80])).all()
    report = tally.report()
    assert len(found.labels) + report.n_dropped == 6
    once = clean_recording(
        replace(raw, names=_NAMES, answers=(found,)),
        _WORDS,
        tally=(again := FindingCounter()),
    ).answers[0]
    assert np.array_equal(once.boxes, found.boxes)
    assert again.report().findings == ()

    for item in range(3):  # one answer at a time gives the same
        part = answers.of(item)
        alone = clean_answer(
            Detections(
                boxes=answers.boxes[part],
                scores=answers.scores[part],
                labels=answers.labels[part],
                names=raw.names,
            ),
            _WORDS,
            provider="A",
            item=f"i{item}",
            tally=FindingCounter(),
            size_px=_SIZE,
        )
        assert isinstance(alone, Detections)
        assert np.array_equal(alone.boxes, found.boxes[found.of(item)])
        assert np.array_equal(alone.scores, found.scores[found.of(item)])
        assert np.array_equal(alone.labels, found.labels[found.of(item)])


def test_a_report_tells_everything() -> None:
    """Findings come by provider with examples, unknown words with what was meant."""
    tally = FindingCounter()
    rows = [("sports car", 0.5, _GOOD), ("satchel", 0.5, _GOOD), ("satchel", 2, _GOOD)]
    for item in ("7", "8"):
        clean_answer(
            _detections(rows),
            _WORDS,
            provider="B",
            item=item,
            tally=tally,
            size_px=None,
        )
    tally.add("A", "duplicate", 5, ["1", "2", "3", "4"])
    report = tally.report()
    assert report.sentences() == (
        "A: 5 × duplicate, dropped (1, 2, 3, …)",
        "B: 6 × unknown label, dropped (sports car, satchel, …)",
        "B: 4 × unknown label 'satchel'",
        "B: 2 × unknown label 'sports car', perhaps car",
    )
    assert report.count() == 11
    assert report.count(provider="B") == 6
    assert report.count(reason="duplicate") == 5
    assert report.n_dropped == 11


def test_a_tally_does_not_grow_without_end() -> None:
    """A service that runs for long keeps a bounded number of strange words."""
    tally = FindingCounter(max_words=3)
    for i in range(9):
        tally.add_unknown("A", {f"w{i}": 1}, {f"w{i}": ()})
    report = tally.report()
    assert len(report.unknown_labels) == 3
    assert report.count(reason="unknown label") == 9


def test_items_are_matched_by_what_is_missing() -> None:
    """Who did not answer is told, and with an error nothing goes on."""
    answers = replace(
        _rows([0, 1], [0, 0], [0.5, 0.5]), is_missing=np.array([False, False, True])
    )
    raw = _recording("tags", answers, _rows([0, 1, 2], [0, 0, 0], [1, 1, 1]))
    tally = FindingCounter()
    assert match_items(raw, tally=tally) is raw
    assert dict(tally.counts) == {("A", "item without an answer"): 1}
    assert match_items(raw, "intersection", tally=tally).items == ("i0", "i1")
    with pytest.raises(DataError, match="A lacks 1 of 3 items: i2"):
        match_items(raw, "error", tally=tally)
    whole = raw.take(np.array([0, 1]))
    assert match_items(whole, "error", tally=FindingCounter()) is whole
