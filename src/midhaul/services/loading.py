"""Loading a node's detector, and having it run once before it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, MidhaulError
from midhaul.vision.detector import load_detector, parse_spec

if TYPE_CHECKING:
    from midhaul.testbed.nodes import NodeSettings
    from midhaul.vision.detector import Detector

_WARM_PX = (480, 640, 3)


def load_and_warm(settings: NodeSettings) -> Detector | None:
    """Load the detector of some settings and run it once.

    Raises:
        MidhaulError: it cannot be loaded, or fails on a plain gray image.
    """
    if settings.detector is None:
        return None
    detector = load_detector(
        settings.detector, threads=settings.threads, seed=settings.seed
    )
    if parse_spec(settings.detector).kind != "recorded":
        try:
            detector.detect(np.full(_WARM_PX, 127, np.uint8))
        except MidhaulError:
            raise
        except Exception as error:
            text = str(error).split("\n")[0]
            message = (
                f"detector {detector.name} fails on a plain gray image of 640x480 px: "
                f"{type(error).__name__}: {text}"
            )
            raise DataError(message) from error
    return detector
