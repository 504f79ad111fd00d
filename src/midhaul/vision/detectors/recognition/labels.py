"""Labels of a model's classes: named by its file, or usual for their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.vision.detectors.recognition.seen import Seen

_COCO, _COCO_NUMBERS = 80, 90


def note_labels(seen: Seen, n_classes: int | None) -> None:
    """Settle labels and the number of the first one, or ask for them.

    ``n_classes`` is how many classes the outputs have; None where they have numbers of
    classes instead. DataError if a file names another number of classes.
    """
    notes, names = seen.notes, seen.said.names
    if "labels" in notes.given:
        if n_classes == _COCO_NUMBERS + 1 and notes.given["labels"] == "coco91":
            notes.find("91 classes, from 0 on", first_label=1)
        return
    if names is not None:
        has_blank = not names[0]
        if has_blank and (n_classes is None or n_classes == len(names) - 1):
            names = names[1:]  # a background that no output has
        if n_classes is not None and n_classes != len(names):
            message = (
                f"{seen.facts.file} has {n_classes} classes, but "
                f"{seen.said.names_from} names {len(names)}"
            )
            raise DataError(message, "correct it, or write labels into a card")
        notes.find(seen.said.names_from, labels=list(names))
        return
    if n_classes == _COCO:
        notes.assume("80 classes are mostly COCO's", labels="coco80")
    elif n_classes in (_COCO_NUMBERS, _COCO_NUMBERS + 1):
        first = n_classes - _COCO_NUMBERS
        why = f"{n_classes} classes are mostly COCO's numbers"
        notes.assume(why, labels="coco91", first_label=first)
    elif n_classes is None:
        notes.ask("labels", "names of its classes, in the order of their numbers")
    else:
        what = f"names of its {n_classes} classes, in the order of their numbers"
        notes.ask("labels", what)
