"""Images and detectors for tests of nodes, and a node served from a thread."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from midhaul.model import Detections
from midhaul.services.http import ServerLimits
from midhaul.services.node import Application
from midhaul.services.server import PacedServer, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midhaul.testbed.nodes.settings import NodeSettings
    from midhaul.vision.detectors.detector import Detector
    from midhaul.vision.images.image import Pixels


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A small noisy JPEG."""
    rng = np.random.default_rng(width)
    pixels = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


class Quarter:
    """Finds the right lower quarter; crashes on ``crash``, is held up by ``hold``.

    Attributes:
        seen: ids of the images it was shown.
        release: an image called ``hold`` waits for this.
        entered: set as soon as such an image is there.
    """

    name = "quarter"
    names = ("quarter",)

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.release = threading.Event()
        self.entered = threading.Event()

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """One box."""
        self.seen.append(image_id)
        if image_id == "crash":
            message = "out of\nluck"
            raise RuntimeError(message)
        if image_id == "hold":
            self.entered.set()
            self.release.wait(30)
        h, w = pixels.shape[:2]
        return Detections(
            boxes=np.array([[w / 2, h / 2, w, h]], np.float32),
            scores=np.array([0.9], np.float32),
            labels=np.zeros(1, np.int32),
            names=self.names,
        )


@contextlib.contextmanager
def served(
    settings: NodeSettings,
    detector: Detector | None,
    cloud_url: str | None = None,
    *,
    load: Callable[[NodeSettings], Detector | None] | None = None,
    token: str = "",
) -> Iterator[str]:
    """The URL of a node that this process serves with a detector of its own."""
    load = load or (lambda _settings: detector)
    app = Application(settings, cloud_url=cloud_url, load=load)
    with running(server_of(app, ServerLimits.of(settings), token)) as url:
        yield url


@contextlib.contextmanager
def running(server: PacedServer) -> Iterator[str]:
    """The URL of a server in a thread of this process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.is_listening:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
