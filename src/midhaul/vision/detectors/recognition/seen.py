"""What the recognition of a head looks at: one model, its answers, and what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.detectors.recognition.answers import Answered
    from midhaul.vision.detectors.recognition.facts import CardNotes, ModelFacts
    from midhaul.vision.detectors.recognition.said import Said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A model that was shown a picture.

    Attributes:
        facts: of the model.
        said: by its file and what lies beside it.
        answers: its outputs.
        width: of its input in px.
        height: of its input in px.
        notes: what is settled.
    """

    facts: ModelFacts
    said: Said
    answers: Sequence[Answered]
    width: int
    height: int
    notes: CardNotes

    @property
    def n_names(self) -> int | None:
        """How many classes are named; None if none are."""
        labels = self.notes.given.get("labels")
        if labels is not None:
            return {"coco80": 80, "coco91": 90}.get(str(labels), len(labels))
        return None if self.said.names is None else len(self.said.names)
