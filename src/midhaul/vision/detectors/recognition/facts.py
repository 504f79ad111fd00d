"""Facts of a model's file: its inputs, outputs and metadata, and notes taken of them.

What is *found* stands in the file or beside it, or follows from its shapes and from its
answer to a picture. What is *assumed* is how models of the family are usually fed. What
can be neither is *asked* for, by the key of the card that says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from midhaul.vision.detectors.card import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFact:
    """An input or an output of a model.

    Attributes:
        name: its name.
        dtype: as numpy calls it; empty for what no card can name.
        shape: its axes; None for one of any size.
        scale: of a quantised tensor, real = scale · (number − zero point); 0 if none.
        zero_point: see ``scale``.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def text(self) -> str:
        """Name, type and shape in words."""
        axes = ", ".join("any" if one is None else str(one) for one in self.shape)
        return f"{self.name} {self.dtype or 'of another type'} ({axes})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What can be known of a model before it is fed.

    Attributes:
        file: its file.
        kind: the runtime that reads it.
        inputs: in the model's order.
        outputs: in the model's order.
        metadata: texts that the file holds, by name.
        run: answers inputs by name with all outputs, not quantised.
    """

    file: Path
    kind: str
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    metadata: Mapping[str, str]
    run: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A card and where it comes from.

    Attributes:
        card: how to feed the model and how to read its answer.
        family: what the model is called by the form of its answer; empty where the
            card was written by hand.
        found: what stands in the file or follows from it, in words.
        assumed: what is only usual, in words.
    """

    card: Card
    family: str = ""
    found: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What was assumed, to stand beside every verdict on the model."""
        if not self.assumed:
            return ()
        return (
            Tally(
                what=f"statements on how {self.card.name} is fed and read are in "
                "none of its files, but usual for its family",
                n=len(self.assumed),
                of=len(self.assumed) + len(self.found),
                max_share=1.0,
                advice="Look whether boxes lie right: midhaul models inspect FILE "
                "draws a picture. What a card states is not assumed.",
                places=self.assumed,
            ),
        )


@dataclass(slots=True, kw_only=True)
class CardNotes:
    """Keys of a card as they are found, assumed or asked for.

    Attributes:
        given: what the user states; it goes before everything.
        values: keys of the card that are settled.
        found: what is certain, in words.
        assumed: what is usual, in words.
        asked: what the user has to state, by key.
    """

    given: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    found: list[str] = field(default_factory=list[str])
    assumed: list[str] = field(default_factory=list[str])
    asked: dict[str, str] = field(default_factory=dict[str, str])

    def find(self, why: str, **values: Any) -> None:
        """Settle keys by what is certain; a later word on a key does not count."""
        self._settle(self.found, why, values)

    def assume(self, why: str, **values: Any) -> None:
        """Settle keys by what is usual."""
        self._settle(self.assumed, why, values)

    def ask(self, key: str, why: str) -> None:
        """Leave a key to the user, unless it is settled."""
        if key not in self.given and key not in self.values:
            self.asked.setdefault(key, why)

    def _settle(self, notes: list[str], why: str, values: Mapping[str, Any]) -> None:
        new = {k: v for k, v in values.items() if k not in self.values}
        new = {k: v for k, v in new.items() if k not in self.given}
        self.values |= new
        for key in new:
            self.asked.pop(key, None)
        said = [f"{key} = {shown(value)}" for key, value in new.items()]
        if said:
            notes.append(f"{', '.join(said)} ({why})")


_MOST_SHOWN = 4


def shown(value: object) -> str:
    """A value of a card in words, a long list by its length."""
    if isinstance(value, list | tuple):
        items = [shown(one) for one in cast("list[Any]", value)]
        if len(items) > 2 * _MOST_SHOWN:
            return f"{len(items)} of them, {', '.join(items[:_MOST_SHOWN])}, …"
        return f"[{', '.join(items)}]"
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value)
        return ", ".join(f"{key}: {one}" for key, one in pairs.items())
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
