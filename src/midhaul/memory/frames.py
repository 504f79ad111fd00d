"""Frames of a camera as samples, without labels: which ones should it upload?

What a detector found on a frame and how light falls on it are the inputs of a sample;
its output, the boxes that are there, is not known at the edge. A selector that looks at
predictions needs one, so :class:`FrameNovelty` says how far a frame is from those that
are known, in strata.

Known frames have a few centres, by k-means (Lloyd 1982; k-means++, Arthur and
Vassilvitskii 2007) of scaled inputs. With d_g the squared distance from the nearest one
within a group g of inputs, and q_g what nine of ten known frames stay below,

    novelty r = max over groups of d_g / q_g

in units of what all but a small share of known frames stay below. Strata end at 1, 2,
4, 8, 16, and a prediction is sure of one. A sampler that gives each stratum the same
room keeps few of the many frames that are known, and more of those that are not.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Bins, Samples
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Float32, Float64, UInt8

    from midhaul.model import Detections

__all__ = ["FrameNovelty", "frame_inputs", "frame_samples"]

N_TILES = 4
"""Rows and columns of tiles that light is looked at in."""
SCORE_LIMITS = (0.05, 0.1, 0.2, 0.4, 0.6)
"""Between them detections are counted by score."""
SIDE_LIMITS = (0.05, 0.1, 0.2, 0.4)
"""Between them detections are weighed by size: the root of their share of the area."""
GROUPS = ("classes", "scores", "sizes", "light", "contrast")
"""Groups of inputs, within each of which frames are compared."""
STRATUM_LIMITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Novelty between strata; below the first a frame is known."""
N_STRATA = len(STRATUM_LIMITS) + 1
CONTESTED_IOU, CONTESTED_SCORE = 0.5, 0.5
"""From which overlap, and which part of its score, another class contests a box."""

_WIDTHS = (len(SCORE_LIMITS) + 3, len(SIDE_LIMITS) + 1, N_TILES**2, N_TILES**2)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MOST_CONTESTING = 50
_LEAST_SCALE = 0.02
"""An input that never changed may change by so much before it counts."""
_MOST = 0.9


def frame_inputs(
    pixels: UInt8[np.ndarray, "h w 3"], found: Detections
) -> Float32[np.ndarray, " d"]:
    """What is looked at of one frame.

    Args:
        pixels: RGB, at least 4 px on a side.
        found: what a detector found on it, low scores included, as they tell of what
            it cannot make out.

    Returns:
        Logarithms of one and more: the sum of scores of each class, the number of
        detections by score, how much of the scores is contested by another class; the
        best score; sums of scores by size; the mean and the deviation of light in four
        times four tiles, from 0 to 1.

    Raises:
        DataError: the image is smaller, or has no three channels of bytes.
    """
    expected = (pixels.ndim, pixels.shape[-1], pixels.dtype) == (3, 3, np.uint8)
    if not expected or min(pixels.shape[:2]) < N_TILES:
        message = (
            f"expected a frame of (h, w, 3) bytes of at least {N_TILES} px, found "
            f"{pixels.shape} of {pixels.dtype}"
        )
        raise DataError(message, "decode it as RGB before it is looked at")
    height, width = pixels.shape[:2]
    scores = np.asarray(found.scores, np.float64)
    classes = np.bincount(found.labels, scores, len(found.names))
    by_score = np.bincount(np.digitize(scores, SCORE_LIMITS), minlength=6)
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    side = np.sqrt(np.maximum(sides.prod(axis=1, dtype=np.float64), 0))
    octave = np.digitize(side / np.sqrt(height * width), SIDE_LIMITS)
    by_size = np.bincount(octave, scores, len(SIDE_LIMITS) + 1)
    amounts = np.log1p([*classes, *by_score, _contested(found)])
    light = _light(pixels)
    parts = (amounts, [scores.max(initial=0.0)], np.log1p(by_size), *light)
    return np.concatenate(parts).astype(np.float32)


def _contested(found: Detections) -> float:
    """The sum of scores of boxes that a box of another class contests."""
    n = min(len(found), _MOST_CONTESTING)
    best = np.argsort(-found.scores, kind="stable")[:n]
    boxes, scores = found.boxes[best].astype(np.float64), found.scores[best]
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = np.maximum(area[:, None] + area - shared, 1e-9)
    labels = found.labels[best]
    is_other = labels[:, None] != labels
    is_close = scores[None] >= CONTESTED_SCORE * scores[:, None]
    is_contested = (is_other & is_close & (shared >= CONTESTED_IOU * union)).any(axis=1)
    return float(scores[is_contested].sum())


def _light(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of light in tiles; what is left over at the edges is cut."""
    height, width = (side // N_TILES * N_TILES for side in pixels.shape[:2])
    light = pixels[:height, :width].astype(np.float32) @ (_LUMA / 255)
    shape = (N_TILES, height // N_TILES, N_TILES, width // N_TILES)
    tiles = light.reshape(shape)
    return tiles.mean(axis=(1, 3)).ravel(), tiles.std(axis=(1, 3)).ravel()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FrameNovelty(Shown):
    """A model of how far a frame is from known ones, which is learnt without labels.

    It is a predictor as any other: :meth:`predict` and :meth:`trained`. Its bins are
    strata of novelty, the first is what is known.

    Attributes:
        middle: ``(d,)`` mean of each input.
        scale: ``(d,)`` by which it is divided.
        centres: ``(k, d)`` of known frames, scaled.
        usual: ``(5,)`` squared distance within each group of inputs (:data:`GROUPS`)
            that nine of ten known frames stay below.
        reach: how many times that is as far as known frames go.
        odd_share: what share of known frames goes farther.
    """

    middle: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]
    centres: Float64[np.ndarray, "k d"]
    usual: Float64[np.ndarray, " 5"]
    reach: float
    odd_share: float

    @classmethod
    def fitted(
        cls,
        x: Float32[np.ndarray, "n d"],
        rng: np.random.Generator,
        *,
        n_centres: int = 4,
        odd_share: float = 0.05,
    ) -> Self:
        """Learn what is known.

        Args:
            x: inputs of known frames, see :func:`frame_inputs`. They are to be others
                than those that the detector was trained on, of which it is surer.
            rng: which half of them centres are made of, and where k-means begins; the
                other half says how far they go.
            n_centres: how many centres they have.
            odd_share: what share of them is to be beyond the reach.

        Returns:
            The model.

        Raises:
            ConfigError: no centre, or a share that is none.
            DataError: too few frames for so many centres, or inputs that are none of a
                frame.
        """
        if n_centres < 1 or not 0 < odd_share < 1:
            message = (
                f"expected a centre or more and a share between 0 and 1, found "
                f"{n_centres} and {odd_share}"
            )
            raise ConfigError(message)
        n_least = 2 * max(n_centres, 2)
        if len(x) < n_least or x.shape[1] <= sum(_WIDTHS):
            message = (
                f"expected at least {n_least} frames of more than {sum(_WIDTHS)} "
                f"inputs, found {x.shape}"
            )
            raise DataError(message, "make inputs by frame_inputs, of more frames")
        rows = x.astype(np.float64)[rng.permutation(len(x))]
        middle = rows.mean(axis=0)
        scale = np.maximum(rows.std(axis=0), _LEAST_SCALE)
        z = (rows - middle) / scale
        half = len(z) // 2
        centres = _centres(z[:half], n_centres, rng)
        away = _distances(z[half:], centres)
        usual = np.maximum(np.quantile(away, _MOST, axis=0), 1e-9)
        novelty = (away / usual).max(axis=1)
        return cls(
            middle=middle,
            scale=scale,
            centres=centres,
            usual=usual,
            reach=max(float(np.quantile(novelty, 1 - odd_share)), 1e-9),
            odd_share=odd_share,
        )

    @property
    def bins(self) -> Bins:
        """Strata as bins of outputs; the output of a frame is not known."""
        return Bins.of_classes(N_STRATA)

    def novelty(self, x: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """How far each frame is from known ones; 1 is as far as these go.

        Raises:
            DataError: frames have other inputs, as those of another detector have.
        """
        if x.shape[1] != len(self.middle):
            message = f"expected {len(self.middle)} inputs, found {x.shape[1]}"
            raise DataError(message, "ask the detector that this was learnt with")
        z = (x.astype(np.float64) - self.middle) / self.scale
        away = _distances(z, self.centres)
        return (away / self.usual).max(axis=1) / self.reach

    def predict(self, x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """In which stratum of novelty each frame is.

        Raises:
            DataError: as of :meth:`novelty`.
        """
        stratum = np.digitize(self.novelty(x), STRATUM_LIMITS)
        return np.eye(N_STRATA, dtype=np.float32)[stratum]

    def trained(self, samples: Samples, rng: np.random.Generator) -> Self:
        """The same of other frames; outputs are not looked at, weights are.

        Raises:
            DataError: as of :meth:`fitted`.
        """
        x = samples.x
        if len(x) and np.ptp(samples.weight) > 0:
            share = samples.weight / samples.weight.sum()
            x = x[rng.choice(len(x), len(x), p=share)]
        return type(self).fitted(
            x, rng, n_centres=len(self.centres), odd_share=self.odd_share
        )

    def _display(self) -> Display:
        n, d = len(self.centres), len(self.middle)
        return Display(
            text=f"novelty of frames by {counted(d, 'input')} from "
            f"{counted(n, 'centre')} of known ones, in {N_STRATA} strata"
        )


def _widths(n_inputs: int) -> tuple[int, ...]:
    """How many inputs each group has; what is left belongs to classes."""
    return (n_inputs - sum(_WIDTHS), *_WIDTHS)


def _centres(z: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.cluster.vq import kmeans2  # noqa: PLC0415  slow to import

    begin = z[rng.integers(len(z), size=1)]
    for _ in range(n - 1):  # k-means++; SciPy's has no generator before 1.15
        away = np.square(z[:, None] - begin).sum(axis=2).min(axis=1) + 1e-12
        begin = np.append(begin, z[rng.choice(len(z), 1, p=away / away.sum())], axis=0)
    with warnings.catch_warnings():  # of a centre that lost its frames; it stays
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = kmeans2(z, begin, minit="matrix")
    return centres


def _distances(
    z: Float64[np.ndarray, "n d"], centres: Float64[np.ndarray, "k d"]
) -> Float64[np.ndarray, "n 5"]:
    """Squared ones within each group, from the centre that is nearest over all."""
    widths = _widths(z.shape[1])
    begins = np.cumsum((0, *widths[:-1]))
    away = np.square(z[:, None] - centres)
    means = np.add.reduceat(away, begins, axis=2) / np.array(widths)
    return means[np.arange(len(z)), means.sum(axis=2).argmin(axis=1)]


def frame_samples(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    found: Sequence[Detections],
    novelty: FrameNovelty,
    *,
    time_s: Float64[np.ndarray, " n"] | None = None,
    group: np.ndarray | None = None,
    version: int = 0,
) -> Samples:
    """Frames as samples that a memory can be offered; their outputs are not known.

    Args:
        frames: their pixels, RGB; they are looked at one by one and not kept.
        found: what a detector found on each.
        novelty: how far frames are from known ones, learnt with the same detector.
        time_s: when each was taken; one a second by default.
        group: what each was taken in, a drive or a camera; each its own by default.
        version: of the detector.

    Returns:
        A sample for each frame.

    Raises:
        DataError: there are no frames, or not as many as detections, or the detector
            has other classes than the one that novelty was learnt with.
    """
    rows: list[np.ndarray] = []
    for pixels, one in itertools.zip_longest(frames, found):
        if pixels is None or one is None:
            message = (
                f"frame {len(rows)}: expected frames and detections, as many of both, "
                f"found no {'frame' if pixels is None else 'detections'}"
            )
            raise DataError(message, "an empty answer is Detections.empty")
        rows.append(frame_inputs(pixels, one))
    if not rows:
        message = "expected a frame or more, found none"
        raise DataError(message, "offer frames when there are some")
    x = np.stack(rows)
    return Samples.of(
        x,
        prediction=novelty.predict(x),
        time_s=time_s,
        group=group,
        model_version=version,
    )
