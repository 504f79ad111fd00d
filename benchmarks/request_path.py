"""What does a request cost outside inference, against the thesis's way and the floor?

One 640x480 JPEG over loopback, three ways in one run, interleaved. Each decodes the
image and turns it into the float32 input of a detector, and infers nothing:

- ``midhaul``: a node as it is, with a detector that only converts;
- ``thesis``: our own re-creation of the system that midhaul succeeds: Flask, base64 in
  JSON in JSON, a new connection per request, two re-encodes through the disk (quality
  100, then 75, both optimised);
- ``floor``: the same work behind the least HTTP server there is, on its event loop,
  and a node's environment variables.

    python benchmarks/request_path.py [--quick] [--data DIR]

DIR holds JPEG files to send instead. Needs flask and requests.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import cv2
import flask
import numpy as np
import requests
import simplejpeg
import uvicorn
import uvloop
from PIL import Image
from werkzeug.serving import make_server

from midhaul.model import Detections
from midhaul.services.http import read_body, write
from midhaul.services.node import Application
from midhaul.services.server import server_of
from midhaul.stats import bootstrap, quantile_statistic
from midhaul.testbed.nodes.launcher import environment
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from midhaul.services.http import Receive, Scope, Send
    from midhaul.vision.images.image import Pixels

WAYS = ("midhaul", "thesis", "floor")
TIMES_LESS = 4.0
TIMES_FLOOR = 1.5
N_WARM = 20
TIMEOUT_S = 60.0
HTTP_OK = 200


class Converter:
    """A detector that makes its input and stops there."""

    name = "converter"
    names = ()

    def __init__(self) -> None:
        self._input = np.empty((1, 3, 0, 0), np.float32)

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """Channels first, scaled to 0..1, in an array that is kept."""
        del image_id
        h, w = pixels.shape[:2]
        if self._input.shape[2:] != (h, w):
            self._input = np.empty((1, 3, h, w), np.float32)
        for channel in range(3):
            np.multiply(pixels[:, :, channel], 1 / 255, out=self._input[0, channel])
        return Detections.empty(())


def main() -> int:
    """Measure the three ways, print figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 requests a way")
    parser.add_argument("--data", type=Path, help="folder of JPEG files to send")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, socket.socket(fileno=options.fd))
        return 0
    images = read(options.data) if options.data else [textured()]
    sizes = [len(image) for image in images]
    print(f"{len(images)} images of {min(sizes)} to {max(sizes)} bytes")
    with tempfile.TemporaryDirectory() as folder:
        servers = {way: start(way, Path(folder)) for way in WAYS}
        try:
            urls = {way: url for way, (_, url) in servers.items()}
            times = uvloop.run(measure(urls, images, 200 if options.quick else 500))
        finally:
            for process, _ in servers.values():
                process.terminate()
            for process, _ in servers.values():
                process.wait()
    return report(times)


async def measure(
    urls: dict[str, str], images: Sequence[bytes], n: int
) -> dict[str, np.ndarray]:
    """Seconds of every request, way by way; request i of all ways is one image."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    async with Client() as client, aiohttp.ClientSession() as session:
        ways: dict[str, Callable[[bytes], Awaitable[None]]] = {
            "midhaul": lambda image: ask_midhaul(client, urls["midhaul"], image),
            "thesis": lambda image: ask_thesis(urls["thesis"], image),
            "floor": lambda image: ask_floor(session, urls["floor"], image),
        }
        for i in range(n + N_WARM):
            for way, ask in ways.items():
                begin = time.perf_counter()
                await ask(images[i % len(images)])
                if i >= N_WARM:
                    times[way].append(time.perf_counter() - begin)
    return {way: np.array(seconds) for way, seconds in times.items()}


async def ask_midhaul(client: Client, url: str, image: bytes) -> None:
    """As the workload asks."""
    answer = await client.infer(url, [("image", image)], timeout_s=TIMEOUT_S)
    if not answer.is_ok:
        raise RuntimeError(answer.error)


async def ask_thesis(url: str, image: bytes) -> None:
    """Base64 in JSON in JSON; ``requests`` opens a connection for each request."""
    inner = json.dumps({"id": "image", "image": base64.b64encode(image).decode()})
    body = json.dumps([inner])
    response = requests.post(url, json=body, timeout=TIMEOUT_S)  # noqa: ASYNC210
    json.loads(response.json())


async def ask_floor(session: aiohttp.ClientSession, url: str, image: bytes) -> None:
    """The bare body over a kept connection."""
    async with session.post(url, data=image) as response:
        await response.read()


def serve(way: str, listening: socket.socket) -> None:
    """Be the server of one way, until killed."""
    cv2.setNumThreads(1)
    if way == "midhaul":
        node = Application(NodeSettings(name="edge"), load=lambda _: Converter())
        server_of(node).run(sockets=[listening])
    elif way == "thesis":
        make_server("127.0.0.1", 0, thesis(), fd=listening.fileno()).serve_forever()
    else:
        config = uvicorn.Config(
            floor(), log_level="warning", access_log=False, lifespan="off",
            loop="uvloop", http="httptools", ws="none",
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


def thesis() -> flask.Flask:
    """The request path of the thesis, without its data base."""
    app = flask.Flask("thesis")
    detector = Converter()

    @app.post("/")
    def infer() -> flask.Response:
        (inner,) = json.loads(flask.request.get_json())
        said = json.loads(inner)
        image = Image.open(io.BytesIO(base64.b64decode(said["image"])))
        with tempfile.TemporaryDirectory() as folder:
            for quality in (100, 75):
                file = Path(folder) / f"{quality}.jpg"
                image.save(file, optimize=True, quality=quality)
                image = Image.open(file)
            pixels = np.asarray(image.convert("RGB"))
        detector.detect(pixels)
        return flask.jsonify(json.dumps({"boxes": []}))

    return app


def floor() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Decode and convert behind bare ASGI, on the event loop itself."""
    detector = Converter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, max_bytes=1 << 30, timeout_s=TIMEOUT_S)
        detector.detect(simplejpeg.decode_jpeg(body, "RGB"))
        await write(send, HTTP_OK, b"{}", b"application/json")

    return app


def start(way: str, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server in a process of its own, answering already."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        command = [sys.executable, __file__, "--serve", way]
        process = subprocess.Popen(
            [*command, "--fd", str(listening.fileno())],
            pass_fds=(listening.fileno(),),
            env=None if way == "thesis" else environment(NodeSettings(name="edge")),
            stderr=(folder / f"{way}.log").open("wb"),
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    return process, url


def textured() -> bytes:
    """A 640x480 JPEG with detail at every scale, 100 to 175 kB."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((480, 640, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        shape = (480 // scale + 1, 640 // scale + 1, 3)
        noise = rng.normal(0, 3 * scale**0.5, shape).astype(np.float32)
        pixels += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    image = Image.fromarray((pixels + 127).clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=94, subsampling=0)
    return file.getvalue()


def read(folder: Path) -> list[bytes]:
    """Up to 50 JPEG files of a folder."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg"})
    if not found:
        sys.exit(f"no JPEG files in {folder}")
    return [file.read_bytes() for file in found[:50]]


def report(times: dict[str, np.ndarray]) -> int:
    """Medians with intervals, and their ratios against the bars."""
    rng = np.random.default_rng(0)
    medians = {way: quantile_statistic(t, q=0.5) for way, t in times.items()}
    for way, seconds in times.items():
        found = bootstrap(medians[way], len(seconds), rng)
        print(
            f"{way}: median {found.value * 1e3:.2f} ms (95 % {found.low * 1e3:.2f} to "
            f"{found.high * 1e3:.2f}), least {seconds.min() * 1e3:.2f} ms"
        )
    is_fine = True
    for above, below, sign, bar in (
        ("thesis", "midhaul", ">=", TIMES_LESS),
        ("midhaul", "floor", "<=", TIMES_FLOOR),
    ):
        found = bootstrap(
            lambda w, a=above, b=below: medians[a](w) / medians[b](w),
            len(times[above]),
            rng,
        )
        is_met = found.value >= bar if sign == ">=" else found.value <= bar
        is_fine &= is_met
        name = f"{above}_over_{below}"
        print(f"{name}: 95 % {found.low:.2f} to {found.high:.2f}")
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {found.value:.3f} 1 bar {sign}{bar:g} {verdict}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
