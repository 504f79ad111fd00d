"""What makes answers look mixed up: names, numbers of classes, ids of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny import detections, four_images, ground_truth

from midhaul.model import Detections
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.data.names import match_names
from midhaul.vision.judge.accuracy import judge
from midhaul.vision.judge.doubts import answer_tallies, limit_tallies, name_tallies

CLASSES = ("person", "bicycle", "car", "truck")


def street(n: int = 8) -> tuple[Dataset, dict[str, Detections]]:
    """Images whose three objects wander, and a detector that finds them all."""
    truth, answers = {}, {}
    for i in range(n):
        boxes = [
            (
                label,
                (
                    60.0 * k + 5 * i,
                    80.0 * (i % 4),
                    60.0 * k + 5 * i + 30,
                    80.0 * (i % 4) + 40,
                ),
            )
            for k, label in enumerate(CLASSES[:3])
        ]
        truth[str(i)] = ground_truth([(a, b, False) for a, b in boxes], CLASSES)
        answers[str(i)] = detections([(a, b, 0.9) for a, b in boxes], CLASSES)
    ids = tuple(truth)
    sizes = dict.fromkeys(ids, (400, 400))
    dataset = Dataset(
        name="street",
        names=CLASSES,
        image_ids=ids,
        truth=truth,
        sizes=sizes,
        source=lambda _: b"",
    )
    return dataset, answers


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("person", "Person "),
        ("traffic light", "traffic_light"),
        ("traffic light", "Traffic-Light"),
        ("tv", "tvmonitor"),
        ("TV Monitor", "tv"),
        ("aeroplane", "airplane"),
        ("Motor-Bike", "motorcycle"),
        ("sofa", "couch"),
        ("pottedplant", "potted plant"),
        ("diningtable", "dining table"),
        ("cars", "car"),
        ("people", "person"),
        ("café", "cafe"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    """A class goes by another spelling or a usual synonym, either way, and is told."""
    for known, wanted in ((one, other), (other, one)):
        match = match_names((known, "zebra"), ("giraffe", wanted))
        assert match.index == {known: 1}
        assert match.assumed == {known: wanted}
        assert match.missing == ("giraffe",)


def test_names_that_are_not_the_same() -> None:
    """A class has its own name first, and none that could stand for two."""
    match = match_names(("Sofa", "couch", "SOFA"), ("couch", "chair"))
    assert match.index == {"couch": 0}
    assert match_names(("PERSON",), ("Person", "person")).index == {}
    assert match_names(("---",), ("***",)).index == {}
    assert match_names(("bus", "car"), ("truck", "cat")).index == {}


def test_classes_that_no_name_meets() -> None:
    """A detector that cannot name a class of the data set is told what to do."""
    known, names = ("person", "automobil", "dog"), ("person", "automobile")
    (missing,) = name_tallies("d", known, names, names, is_complete=True)
    assert (missing.n, missing.of, missing.is_too_many) == (1, 2, True)
    assert missing.places == ("'automobile' (is it 'automobil'?)",)
    assert "labels" in missing.advice
    assert name_tallies("d", known, names, ("person",), is_complete=True) == ()
    assert name_tallies("null", (), names, names, is_complete=True) == ()


def test_few_of_many_classes_may_be_unknown() -> None:
    """One class of twenty that a detector was never taught is told and borne."""
    names = tuple(f"class {chr(97 + i)}" for i in range(20))
    (missing,) = name_tallies("d", names[1:], names, names, is_complete=True)
    assert (missing.n, missing.of, missing.is_too_many) == (1, 20, False)


def test_what_a_recording_did_not_say() -> None:
    """Classes that a recording never names count only beside foreign ones."""
    names = ("person", "car")
    assert name_tallies("r", ("person",), names, names, is_complete=False) == ()
    (missing,) = name_tallies(
        "r", ("person", "vehicle"), names, names, is_complete=False
    )
    assert missing.is_too_many


def test_plain_answers_raise_no_doubt() -> None:
    """A detector that is right, and one with ordinary mistakes, are not suspected."""
    assert answer_tallies(judge(street()[1], street()[0]), "d") == ()
    dataset, answers = four_images()
    assert answer_tallies(judge(answers, dataset), "d") == ()


def test_foreign_labels_are_counted() -> None:
    """Detections of classes that the data set lacks are told, most frequent first."""
    dataset, answers = street()
    names = (*CLASSES, "dog", "kite")
    for i in answers:
        boxes = np.concatenate([answers[i].boxes, answers[i].boxes])
        answers[i] = Detections(
            boxes=boxes,
            scores=np.full(6, 0.9, np.float32),
            labels=np.array([0, 1, 2, 5, 5, 4], np.int32),
            names=names,
        )
    (foreign,) = answer_tallies(judge(answers, dataset), "d")
    assert (foreign.n, foreign.of, foreign.is_too_many) == (24, 48, False)
    assert foreign.places == ("kite (16)", "dog (8)")


@pytest.mark.parametrize(
    ("turned", "text"),
    [([1, 2, 3, 0], "always +1"), ([3, 0, 1, 2], None), ([2, 0, 1, 3], None)],
)
def test_numbers_of_classes_mixed_up(turned: list[int], text: str | None) -> None:
    """Objects found under another class's name show that numbers do not fit."""
    dataset, answers = street()
    table = np.array(turned, np.int32)
    answers = {i: replace(a, labels=table[a.labels]) for i, a in answers.items()}
    (mixed,) = answer_tallies(judge(answers, dataset), "d")
    assert (mixed.n, mixed.of, mixed.is_too_many) == (24, 24, True)
    assert mixed.places[0] == f"person is called {CLASSES[turned[0]]} (8 of 8)"
    assert (text or "") in mixed.what
    assert "first_label" in mixed.advice


@pytest.mark.parametrize(("step", "text"), [(1, "before"), (-1, "behind")])
def test_ids_of_images_shifted(step: int, text: str) -> None:
    """Objects found on the image next to theirs show that ids are shifted by one."""
    dataset, answers = street()
    n = len(dataset)
    shifted = {str(i): answers[str((i + step) % n)] for i in range(n)}
    (moved,) = [
        one
        for one in answer_tallies(judge(shifted, dataset), "d")
        if "on the image" in one.what
    ]
    assert text in moved.what
    assert (moved.n, moved.of, moved.is_too_many) == (3 * (n - 1), 3 * n, True)


def test_more_objects_than_detections_that_count() -> None:
    """Objects beyond what is judged of a class, or given by a detector, are told."""
    boxes = [("car", (4.0 * k, 0.0, 4.0 * k + 3, 9.0), False) for k in range(30)]
    boxes += [("person", (4.0 * k, 20.0, 4.0 * k + 3, 29.0), False) for k in range(10)]
    truths = [ground_truth(boxes, CLASSES), ground_truth([], CLASSES)]
    assert limit_tallies(truths, 100, {"d": 100}) == ()
    judged, given = limit_tallies(truths, 25, {"d": 30, "e": 40})
    assert (judged.n, judged.of, judged.is_too_many) == (5, 40, True)
    assert "judge.max_detections" in judged.advice
    assert (given.n, given.of, given.is_too_many) == (10, 40, True)
    assert "?max_detections=N" in given.advice
