"""What speaks against answers that were judged: names, numbers and images mixed up.

A detector whose classes are called otherwise than the data set's, whose class numbers
are off by one, or whose answers lie one image further is judged as one that finds
nothing. None of these is an error by itself, but each leaves a trace: names that meet
no other, objects found in the right place under the wrong name, objects found on the
image next to theirs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import nearest
from midhaul.model import Tally
from midhaul.vision.data.names import match_names
from midhaul.vision.judge.matching import iou

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jaxtyping import Int

    from midhaul.model import Detections, GroundTruth
    from midhaul.vision.judge.accuracy import Judgement

_MAX_FOREIGN = 0.1
"""AP is a mean over classes: one that the detector cannot name takes its whole share
off, and a tenth is more than the difference of two detectors."""
_MAX_BEYOND = 0.01
"""What no detector can find takes as much off recall."""
_MAX_MIXED = 0.5
"""Whose boxes lie right and are called wrong more often than not is not wrong but
numbered otherwise."""
_MIXED_CLASSES = 2
"""One class that is taken for another may be a mistake of the detector."""
_IOU = 0.5
_NEXT_SHARE = 0.5
_OWN_SHARE = 0.2
_FEWEST_IMAGES = 3
_PLACES = 20


def name_tallies(
    detector: str,
    known: Sequence[str],
    names: Sequence[str],
    shown: Sequence[str],
    *,
    is_complete: bool,
) -> tuple[Tally, ...]:
    """How far the names of a detector's classes are those of a data set.

    ``known`` is the detector's label set, and an empty one is not judged; ``shown`` is
    the part of the data set's that has boxes. ``is_complete`` says that the detector
    could say no more, not that it happened to say no more.
    """
    if not known or not shown:
        return ()
    match = match_names(tuple(known), tuple(names))
    foreign = [n for n in known if n not in match.index]
    missing = [n for n in shown if n in set(match.missing)]
    found: list[Tally] = []
    if match.assumed:
        found.append(
            Tally(
                what=f"class names of {detector} were taken for names of the data set "
                "that are written otherwise",
                n=len(match.assumed),
                of=len(known),
                max_share=1.0,
                advice="Write both alike where they are not the same class.",
                places=tuple(f"{a!r} is {b!r}" for a, b in match.assumed.items()),
            )
        )
    if missing and (is_complete or foreign):
        found.append(
            Tally(
                what=f"classes with boxes are none that {detector} knows, so that it "
                "finds none of them",
                n=len(missing),
                of=len(shown),
                max_share=_MAX_FOREIGN,
                advice="Name the classes alike, in the data set or in the labels of "
                "the model's card, and leave out of the data set what it was "
                f"never taught. It knows {_some(known)}.",
                places=tuple(_with_nearest(n, foreign) for n in missing[:_PLACES]),
            )
        )
    return tuple(found)


def answer_tallies(judgement: Judgement, detector: str) -> tuple[Tally, ...]:
    """What in a detector's answers suggests that something is mixed up."""
    found: list[Tally] = []
    n_foreign = sum(judgement.unknown.values())
    if n_foreign:
        n = n_foreign + sum(len(answer) for answer in judgement.answers)
        ranked = sorted(judgement.unknown.items(), key=lambda pair: -pair[1])
        found.append(
            Tally(
                what=f"detections of {detector} have labels that the data set does not "
                "have and were not judged",
                n=n_foreign,
                of=n,
                max_share=1.0,
                advice="Name the classes alike where the data set has them by another "
                "name.",
                places=tuple(f"{label} ({count})" for label, count in ranked[:_PLACES]),
            )
        )
    return (
        *found,
        *_mixed_labels(judgement, detector),
        *_next_images(judgement, detector),
    )


def limit_tallies(
    truths: Sequence[GroundTruth], max_detections: int, detectors: Mapping[str, int]
) -> tuple[Tally, ...]:
    """Objects that cannot be found, because no more detections count or are given.

    ``max_detections`` are judged per image and class; ``detectors`` says how many boxes
    each gives an image at most.
    """
    counts = [np.bincount(truth.labels[~truth.is_crowd]) for truth in truths]
    n = sum(int(count.sum()) for count in counts)
    beyond = sum(int(np.maximum(count - max_detections, 0).sum()) for count in counts)
    found = [
        Tally(
            what=f"objects are beyond the {max_detections} of a class and an image "
            "for which detections count",
            n=beyond,
            of=n,
            max_share=_MAX_BEYOND,
            advice="Raise judge.max_detections.",
        )
    ]
    for detector, limit in detectors.items():
        beyond = sum(max(int(count.sum()) - limit, 0) for count in counts)
        found.append(
            Tally(
                what=f"objects are beyond the {limit} that {detector} finds on an "
                "image at most",
                n=beyond,
                of=n,
                max_share=_MAX_BEYOND,
                advice="Raise max_detections in the model's card, or add "
                "?max_detections=N to the detector.",
            )
        )
    return tuple(tally for tally in found if tally.n)


def _mixed_labels(judgement: Judgement, detector: str) -> Iterator[Tally]:
    """Objects that were found, in classes that go by another class's name."""
    pairs: Counter[tuple[int, int]] = Counter()
    for truth, answer in zip(judgement.truths, judgement.answers, strict=True):
        truths, boxes = _found(truth, answer)
        pairs.update(
            zip(
                truth.labels[truths].tolist(),
                answer.labels[boxes].tolist(),
                strict=True,
            )
        )
    called: dict[int, Counter[int]] = {}
    for (label, other), n in pairs.items():
        called.setdefault(label, Counter())[other] += n
    mixed: list[tuple[int, int, int, int]] = []
    for label, others in sorted(called.items()):
        ((other, n),) = others.most_common(1)
        if other != label and n > others.total() * _MAX_MIXED:
            mixed.append((label, other, n, others.total()))
    if len(mixed) < _MIXED_CLASSES:
        return
    names = judgement.names
    steps = {other - label for label, other, _, _ in mixed}
    shift = f", always {min(steps):+d} in the list of names" if len(steps) == 1 else ""
    yield Tally(
        what=f"objects that {detector} found are of classes that go by another "
        f"class's name in its answers{shift}",
        n=sum(n for _, _, n, _ in mixed),
        of=pairs.total(),
        max_share=_MAX_MIXED,
        advice="Compare the order of the labels in the model's card (labels, "
        "first_label) and the numbers of the classes in the data set: one of them "
        "counts otherwise.",
        places=tuple(
            f"{names[label]} is called {names[other]} ({n} of {total})"
            for label, other, n, total in mixed[:_PLACES]
        ),
    )


def _next_images(judgement: Judgement, detector: str) -> Iterator[Tally]:
    """Objects that were found on the image before or behind their own."""
    order = _in_order(judgement.image_ids)
    if len(order) < _FEWEST_IMAGES:
        return
    truths = [judgement.truths[i] for i in order]
    answers = [judgement.answers[i] for i in order]
    n_boxes = sum(int(np.count_nonzero(~truth.is_crowd)) for truth in truths)
    own = _n_found(truths, answers)
    if not n_boxes or own > n_boxes * _OWN_SHARE:
        return
    for where, shown, said in (
        ("before", truths[1:], answers[:-1]),
        ("behind", truths[:-1], answers[1:]),
    ):
        n = _n_found(shown, said)
        if n > n_boxes * _NEXT_SHARE:
            yield Tally(
                what=f"objects were found by {detector} on the image {where} theirs",
                n=n,
                of=n_boxes,
                max_share=0.0,
                advice="Compare the ids of the images in the data set and in the "
                "recorded answers: they are shifted by one.",
            )


def _n_found(truths: Sequence[GroundTruth], answers: Sequence[Detections]) -> int:
    pairs = zip(truths, answers, strict=True)
    return sum(len(_found(truth, answer)[0]) for truth, answer in pairs)


def _found(
    truth: GroundTruth, answer: Detections
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """The objects that a box of any class covers, and the surest such box of each."""
    objects = np.flatnonzero(~truth.is_crowd)
    if not len(objects) or not len(answer):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    overlaps = iou(truth.boxes[objects], answer.boxes, np.zeros(len(answer), np.bool_))
    reached = overlaps >= _IOU
    surest = np.where(reached, answer.scores[None, :], -1.0).argmax(axis=1)
    is_found = reached.any(axis=1)
    return objects[is_found], surest[is_found]


def _in_order(image_ids: Sequence[str]) -> list[int]:
    """The images by their ids: as numbers where all are, else as text."""
    places = range(len(image_ids))
    if all(i.isdecimal() for i in image_ids):
        return sorted(places, key=lambda place: int(image_ids[place]))
    return sorted(places, key=lambda place: image_ids[place])


def _with_nearest(name: str, others: Sequence[str]) -> str:
    near = nearest(name, others)
    return f"{name!r} (is it {near!r}?)" if near else repr(name)


def _some(names: Sequence[str]) -> str:
    more = ", …" if len(names) > len(names[:8]) else ""
    return ", ".join(names[:8]) + more
