"""The detector that answers nothing: what remains is what midhaul itself costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from midhaul.model import Detections
from midhaul.vision.detectors.detector import Stated, read_float

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.vision.images.image import Pixels


class NullDetector:
    """Waits for a fixed time, if any, and finds nothing.

    ``service_s`` is the time that an answer takes; the CPU is free meanwhile.
    """

    name = "null"
    names: tuple[str, ...] = ()

    def __init__(
        self, *, service_s: float = 0.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._service_s = service_s
        self._sleep = sleep
        self._nothing = Detections.empty(())

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:  # noqa: ARG002
        """Find nothing; see :class:`midhaul.vision.detectors.detector.Detector`."""
        if self._service_s > 0:
            self._sleep(self._service_s)
        return self._nothing


def stated(location: str, options: Mapping[str, str]) -> Stated:
    """No label at all."""
    del location, options
    return Stated(names=())


def load(
    location: str, options: Mapping[str, str], *, threads: int, seed: int
) -> NullDetector:
    """The null detector; ``service_s`` is how long it takes, ``load_s`` loading it.

    ConfigError if one is not a time.
    """
    del location, threads, seed
    time.sleep(read_float(options, "load_s", 0.0))
    return NullDetector(service_s=read_float(options, "service_s", 0.0))
