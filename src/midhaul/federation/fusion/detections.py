"""Fusing the detections of one image: fuse.

Labels are matched by name, see :func:`midhaul.vision.data.names.match_names`; a label
that only one answer has stays one of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.fusion.boxes import BoxFuser
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.model import Detections
from midhaul.vision.adapters import as_detections
from midhaul.vision.data.names import match_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.adapters import DetectionsLike, Names


def fuse(
    answers: Sequence[DetectionsLike | None],
    method: str = "wbf",
    *,
    iou: float = 0.55,
    names: Names | None = None,
) -> Detections:
    """One answer of several detectors' answers to the same image.

    Args:
        answers: of each detector; None where one gave none, which is not the same as
            no box: a mean over detectors leaves it out.
        method: ``nms``, ``soft_nms``, ``soft_nms_linear``, ``wbf`` or ``nmw``, with
            ``/consensus`` or ``/unanimous`` behind it where objects are voted on.
        iou: overlap of boxes that mean the same object.
        names: of answers of other libraries, the label of each class number.

    Returns:
        The fused boxes, best score first, with the labels of all answers.

    Raises:
        ConfigError: there is no such way to fuse boxes.
        DataError: there is no answer at all, or one cannot be read.
    """
    fuser = fuser_named(method, iou=iou)
    if not isinstance(fuser, BoxFuser):
        message = f"fusion {method!r} does not fit boxes"
        raise ConfigError(message, "use nms, soft_nms, soft_nms_linear, wbf or nmw")
    given = [None if one is None else as_detections(one, names) for one in answers]
    if all(one is None for one in given):
        message = "expected at least one answer to fuse, found none"
        raise DataError(message, "an answer without boxes is one: Detections.empty")
    label_set = _label_set([one for one in given if one is not None])
    recording = Recording(
        task="boxes",
        items=("image",),
        names=label_set,
        providers=tuple(f"{place}" for place in range(len(given))),
        prices_usd=np.zeros(len(given)),
        answers=tuple(_answers(one, label_set) for one in given),
    )
    fused = fuser.fuse(recording, np.array([recording.everyone], np.int64))
    return Detections(
        boxes=fused.boxes, scores=fused.scores, labels=fused.labels, names=label_set
    )


def _label_set(given: Sequence[Detections]) -> tuple[str, ...]:
    """The labels of the first answer, then those of others that none stands for."""
    found = given[0].names
    for one in given[1:]:
        index = match_names(one.names, found).index
        found = (*found, *(name for name in one.names if name not in index))
    return found


def _answers(one: Detections | None, label_set: tuple[str, ...]) -> Answers:
    if one is None:
        return Answers.none(1)
    index = match_names(one.names, label_set).index
    table = np.array([index[name] for name in one.names], np.int32)
    return Answers.of_rows(
        np.zeros(len(one), np.int64),
        1,
        table[one.labels] if len(one) else one.labels,
        one.scores,
        one.boxes,
    )
