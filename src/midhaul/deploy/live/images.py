"""Street scenes as JPEG messages, and a detector that is scored on them.

The knob is the share of a scene's area that is left after a resize. The quality of an
answer is its F1 at an IoU of 0.5 against the scene's known boxes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.model import Detections
from midhaul.vision.codecs import decode, write
from midhaul.vision.detector import load_detector
from midhaul.vision.images import Preprocessing, transform
from midhaul.vision.matching import match
from midhaul.vision.names import map_labels
from midhaul.vision.scenes import HEIGHT, LABELS, WIDTH, make_scene

if TYPE_CHECKING:
    from midhaul.model import GroundTruth
    from midhaul.vision.scenes import Scene, Split

KNOBS = (0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0)
JPEG_QUALITY = 75
_MAX_BOXES = 60
_N_CACHED = 512


class Images:
    """Scenes of a seed, and a detector for them.

    Args:
        detector: its spec.
        seed: of the scenes.
        split: ``calibration`` for those that nothing but QoS curves is measured on.
        threshold: score from which a detection counts; see :func:`best_threshold`.
    """

    def __init__(
        self,
        detector: str,
        *,
        seed: int,
        split: Split = "evaluation",
        threshold: float = 0.2,
    ) -> None:
        self._spec = detector
        self.seed = seed
        self.split: Split = split
        self.threshold = threshold
        self._detector = load_detector(detector, threads=1)
        self._scene = lru_cache(_N_CACHED)(self._draw)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "images"

    @property
    def knobs(self) -> tuple[float, ...]:
        """Shares of the area."""
        return KNOBS

    def message(self, content: int, knob: float) -> bytes:
        """A scene as a JPEG file of a share of its area."""
        pixels = self._scene(content).pixels
        small = transform(pixels, Preprocessing(resize=knob**0.5))
        return write(small, "jpeg", JPEG_QUALITY)

    def answer(self, message: bytes) -> Any:
        """Boxes in px of the whole scene, scores and labels; the best come first."""
        pixels = decode(message)
        found = self._detector.detect(pixels)
        found = map_labels(found, LABELS)[0]
        found = found.take(found.scores >= self.threshold)
        found = found.take(np.argsort(-found.scores)[:_MAX_BOXES].astype(np.int32))
        height, width = pixels.shape[:2]
        found = found.scaled(WIDTH / width, HEIGHT / height)
        return {
            "boxes": found.boxes.round(1).tolist(),
            "scores": found.scores.round(3).tolist(),
            "labels": found.labels.tolist(),
        }

    def score(self, content: int, answer: Any) -> float:
        """F1 at an IoU of 0.5."""
        scores = np.array(answer["scores"], np.float32)
        found = Detections(
            boxes=np.array(answer["boxes"], np.float32).reshape(-1, 4),
            scores=scores,
            labels=np.array(answer["labels"], np.int32),
            names=LABELS,
        )
        truth = self.truth(content)
        return f1(truth_count=len(truth), **_hits(truth, found, self.threshold))

    def fresh(self) -> Images:
        """The same with a detector of its own, loaded now."""
        return Images(
            self._spec, seed=self.seed, split=self.split, threshold=self.threshold
        )

    def truth(self, content: int) -> GroundTruth:
        """The known boxes of a scene."""
        return self._scene(content).truth

    def _draw(self, content: int) -> Scene:
        return make_scene(self.seed, content, self.split)


def f1(*, truth_count: int, n_true: int, n_found: int) -> float:
    """Harmonic mean of precision and recall; 1 where nothing was to be found or is."""
    total = truth_count + n_found
    return 2 * n_true / total if total else 1.0


def _hits(truth: GroundTruth, found: Detections, threshold: float) -> dict[str, int]:
    matches = match([truth], [found])
    counts = matches.scores >= threshold
    n_true = int((matches.is_true[0] & counts).sum())
    return {"n_true": n_true, "n_found": int(counts.sum())}


def best_threshold(images: Images, n: int) -> float:
    """The score from which detections should count, on whole scenes.

    Args:
        images: the scenes to look at; use those of the split ``calibration``.
        n: how many.
    """
    grid = np.round(np.arange(0.1, 0.75, 0.05), 2)
    images.threshold = float(grid[0])
    answers = [images.answer(images.message(i, 1.0)) for i in range(n)]
    means: list[float] = []
    for threshold in grid:
        images.threshold = float(threshold)
        scores = [images.score(i, a) for i, a in enumerate(answers)]
        means.append(float(np.mean(scores)))
    images.threshold = float(grid[int(np.argmax(means))])
    return images.threshold
