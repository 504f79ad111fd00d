"""Boxes and scores in the precision of the file that they came from.

COCO's evaluation reads ``x, y, width, height`` as double precision and compares an IoU
with a threshold that it may equal exactly, so the last digit of a corner can decide
whether a box was found. Two things would lose it:

- a number kept in single precision; it stands for every number that rounds to it, and
  is taken for the shortest decimal among them, which is what a file had written;
- a width that became a second corner; ``(x + width) - x`` differs from ``width``, and
  the width is taken for the shortest decimal that gives the same corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

_SINGLE_DIGITS = 9
"""Decimal digits that tell any two numbers of single precision apart."""
_SIZE_DECIMALS = 10
"""Decimals of a px that a width is searched in."""


def as_double(values: Float[np.ndarray, ...]) -> Float64[np.ndarray, ...]:
    """Numbers in double precision; of single ones the shortest decimals they stand for.

    Args:
        values: of any shape.
    """
    if values.dtype != np.float32:
        return values.astype(np.float64, copy=False)
    double = values.astype(np.float64)
    flat, single = double.ravel(), values.ravel()
    open_ = np.flatnonzero(np.isfinite(flat) & (flat != 0))
    powers = np.floor(np.log10(np.abs(flat[open_]))).astype(np.int64)
    for digits in range(1, _SINGLE_DIGITS + 1):
        decimals = digits - 1 - powers
        up = 10.0 ** np.maximum(decimals, 0)
        down = 10.0 ** np.maximum(-decimals, 0)
        short = np.rint(flat[open_] / down * up) / up * down
        with np.errstate(over="ignore"):  # the largest ones round beyond the range
            fits = short.astype(np.float32) == single[open_]
        flat[open_[fits]] = short[fits]
        open_, powers = open_[~fits], powers[~fits]
        if not len(open_):
            break
    return flat.reshape(values.shape)


def corner_and_size(boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """x, y, width and height of boxes given by two corners.

    Args:
        boxes: ``(n, 4)`` x1, y1, x2, y2.
    """
    corners = as_double(boxes)
    begin, end = corners[:, :2], corners[:, 2:]
    size = end - begin
    is_open = np.isfinite(size)
    for decimals in range(_SIZE_DECIMALS + 1):
        if not is_open.any():
            break
        short = np.round(size, decimals)
        fits = is_open & (begin + short == end)
        size = np.where(fits, short, size)
        is_open &= ~fits
    return np.concatenate([begin, size], axis=1)
