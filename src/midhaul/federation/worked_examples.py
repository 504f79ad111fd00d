"""Worked images: what each provider found on one, and what was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import members
from midhaul.model import Detections
from midhaul.vision.drawing import draw, jpeg
from midhaul.vision.images import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from jaxtyping import Float64

    from midhaul.federation.comparison import Outcome
    from midhaul.federation.problem import Answers, Recording
    from midhaul.vision.images import Pixels

_THRESHOLD = 0.3
_BLANK = 40
_PLACES = ("gained most", "typical", "lost most")


def write_examples(
    folder: Path,
    recording: Recording,
    outcome: Outcome,
    baseline: Float64[np.ndarray, " k"],
    read: Callable[[str], bytes | None],
    n_examples: int,
) -> None:
    """Draw a few items: every provider's boxes, and the fused ones.

    The items are chosen by what the policy gained over the baseline: the one with the
    largest gain, a typical one, the one with the largest loss, and then others between.

    Args:
        folder: where to, made when missing.
        recording: the test items, as the providers answered.
        outcome: what a policy did to them.
        baseline: ``(k,)`` item quality of what it is held against.
        read: the encoded picture of an item; None where there is none.
        n_examples: how many items.
    """
    if recording.task != "boxes" or recording.truth is None or not n_examples:
        return
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _spread(outcome.item_quality - baseline, n_examples)
    for number, item in enumerate(chosen, 1):
        pixels = _picture(recording, item, read(recording.items[item]))
        place = _PLACES[number - 1] if number <= len(_PLACES) else "another"
        truth = recording.truth.boxes[recording.truth.of(item)]
        asked = int(outcome.asked[item])
        names = "+".join(recording.providers[p] for p in members(asked))
        for p, provider in enumerate(recording.providers):
            found = _detections(recording.answers[p], item, recording.names)
            is_asked = "asked" if asked >> p & 1 else "not asked"
            picture = draw(pixels, truth, found, _THRESHOLD)
            caption = f"Item {number}-- {place}-- {provider}-- {is_asked}"
            _save(folder, caption, picture)
        fused = _detections(outcome.fused, item, recording.names)
        picture = draw(pixels, truth, fused, _THRESHOLD)
        caption = f"Item {number}-- {place}-- fused of {names or 'nobody'}"
        _save(folder, caption, picture)


def _spread(gains: Float64[np.ndarray, " k"], n: int) -> list[int]:
    """The largest, the middle and the smallest gain, and then others between them."""
    order = np.argsort(-gains, kind="stable")
    last = len(order) - 1
    places = [0, last // 2, last, *(round(last * i / (n + 1)) for i in range(1, n + 1))]
    return list(dict.fromkeys(int(order[place]) for place in places))[:n]


def _detections(answers: Answers, item: int, names: Sequence[str]) -> Detections:
    where = answers.of(item)
    return Detections(
        boxes=answers.boxes[where],
        scores=answers.scores[where],
        labels=answers.labels[where],
        names=tuple(names),
    )


def _picture(recording: Recording, item: int, data: bytes | None) -> Pixels:
    """The item's picture; a dark one where it is not here, or in another frame."""
    size = None
    if recording.sizes_px is not None and not np.isnan(recording.sizes_px[item]).any():
        size = tuple(recording.sizes_px[item].astype(int).tolist())
    if data is not None:
        pixels = decode(data, where=recording.items[item])
        if size in {None, (pixels.shape[1], pixels.shape[0])}:
            return pixels
    width, height = size or (640, 480)
    return np.full((height, width, 3), _BLANK, np.uint8)


def _save(folder: Path, caption: str, picture: Pixels) -> None:
    name = caption.replace(" ", "_").replace("/", "-")
    (folder / f"{name}.jpg").write_bytes(jpeg(picture))
