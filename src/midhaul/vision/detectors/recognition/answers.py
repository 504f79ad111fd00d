"""Answers of a model to a picture: what heads are recognised by, beside their shapes.

The picture is a street scene drawn from a fixed seed, so that a model finds something,
and always the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.images.image import Pixels

_STRIDES = (
    (8, 16, 32),
    (8, 16, 32, 64),
    (4, 8, 16, 32),
    (16, 32),
    (8, 16),
    (8,),
    (16,),
)
_SCENE = 3
_TINY = 1e-6
_BEYOND_FRACTION = 2.0
_NEAR_STRIDES = 3.0
_GOES_WITH = 0.8
_WHOLE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """One output of a model for one image.

    Attributes:
        name: of the output.
        array: its numbers, of the first image of a batch.
        is_whole: whether its type is one of whole numbers.
    """

    name: str
    array: np.ndarray
    is_whole: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without leading axes of one."""
        shape = self.array.shape
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        return shape

    @property
    def table(self) -> np.ndarray:
        """The numbers as rows, in single precision."""
        rows = self.array.reshape(-1, self.array.shape[-1] if self.array.ndim else 1)
        return rows.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCells:
    """How many places a network looks at for an input, by the strides of its grids."""

    strides: tuple[int, ...]
    anchors: int


def cells_of(n: int, width: int, height: int) -> GridCells | None:
    """Whose grids have that many places together; None if nobody's."""
    for strides in _STRIDES:
        cells = sum(-(-width // one) * -(-height // one) for one in strides)
        for anchors in (1, 3):
            if n == cells * anchors:
                return GridCells(strides=strides, anchors=anchors)
    return None


def unit_of(boxes: np.ndarray) -> str:
    """``px`` or ``fraction`` by the largest number of boxes; empty if all are zero."""
    largest = float(np.abs(np.nan_to_num(boxes, posinf=0, neginf=0)).max(initial=0))
    if largest <= _TINY:
        return ""
    return "px" if largest > _BEYOND_FRACTION else "fraction"


def scores_of(table: np.ndarray) -> str:
    """``chances`` if all lie in [0, 1], else ``logits``."""
    slack = 0.01  # of half precision and of quantised chances
    return (
        "chances"
        if table.min(initial=0) >= -slack and table.max(initial=0) <= (1 + slack)
        else "logits"
    )


def is_softmax(logits: np.ndarray) -> bool | None:
    """Whether the last class is *nothing*, by what most queries say; None if unclear.

    Most queries see nothing. Of a softmax they prefer its last class; of sigmoids they
    deny every class.
    """
    says_last = float((logits.argmax(axis=1) == logits.shape[1] - 1).mean())
    says_none = float((logits.max(axis=1) < 0).mean())
    if says_last > 1 / 2 and says_none < 1 / 2:
        return True
    return False if says_none > 1 / 2 else None


def centres_follow(
    centres: np.ndarray, strides: Sequence[int], width: int, height: int
) -> str:
    """``px`` or ``fraction`` where centres go with their cells; else empty."""
    corners: list[np.ndarray] = []
    for stride in strides:
        y, x = np.mgrid[: -(-height // stride), : -(-width // stride)]
        at = np.stack([x.reshape(-1), y.reshape(-1)], axis=1) + 0.5
        corners.append(np.concatenate([at * stride, np.full((len(at), 1), stride)], 1))
    cells = np.concatenate(corners)
    if len(cells) != len(centres):
        return ""
    for axis in (0, 1):
        spread = float(np.std(centres[:, axis]) * np.std(cells[:, axis]))
        together = np.cov(centres[:, axis], cells[:, axis])[0, 1]
        if spread == 0 or together / spread < _GOES_WITH:
            return ""
    size = np.array([width, height])
    for unit, scale in (("px", np.ones(2)), ("fraction", size)):
        apart = np.abs(centres * scale - cells[:, :2]).max(axis=1) / cells[:, 2]
        if np.median(apart) < _NEAR_STRIDES:
            return unit
    return ""


def is_whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole and none is negative."""
    near = np.abs(values - np.rint(values)) < _WHOLE
    return bool(near.all() and (values > -_WHOLE).all())


@functools.cache
def picture() -> Pixels:
    """A street scene, drawn once."""
    from midhaul.vision.images.image import decode  # noqa: PLC0415  needs OpenCV
    from midhaul.vision.scenes.scene import encode_scene, make_scene  # noqa: PLC0415

    return decode(encode_scene(make_scene(0, _SCENE, "evaluation")))
