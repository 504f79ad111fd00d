"""Google's client over gRPC, against a real gRPC server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.cloud import vision_v1 as vision
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image
from tests.support.fake_vendors import GOOGLE_OBJECTS

from midhaul.federation.providers.checks import check_provider
from midhaul.federation.providers.google import GoogleSettings, google_provider
from midhaul.model import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from midhaul.federation.providers.vendor import VendorProvider
    from midhaul.model import Prediction


def image() -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.new("RGB", (200, 100)).save(file, "PNG")
    return file.getvalue()


@contextlib.contextmanager
def served(answer: Callable[[Any, Any], Any]) -> Generator[str]:
    """The address of a server of one method."""
    method = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=vision.BatchAnnotateImagesRequest.deserialize,
        response_serializer=vision.BatchAnnotateImagesResponse.serialize,
    )
    handler = grpc.method_handlers_generic_handler(
        "google.cloud.vision.v1.ImageAnnotator", {"BatchAnnotateImages": method}
    )
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def provider_of(url: str) -> VendorProvider:
    """A client of that server."""
    return google_provider(GoogleSettings(endpoint=url, transport="grpc"))


def ask(url: str, timeout_s: float = 20.0) -> Prediction:
    """One call."""

    async def once() -> Prediction:
        async with provider_of(url) as provider:
            return await provider.predict(image(), item="photo", timeout_s=timeout_s)

    return asyncio.run(once())


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaVERYSECRET")


def recorded(request: Any, context: Any) -> Any:
    """The recorded boxes, for a request that asks for them."""
    (one,) = request.requests
    assert one.features[0].type_ == vision.Feature.Type.OBJECT_LOCALIZATION
    assert one.image.content == image()
    assert context.time_remaining() is not None
    return vision.BatchAnnotateImagesResponse.from_json(
        json.dumps(GOOGLE_OBJECTS), ignore_unknown_fields=True
    )


def test_boxes_come_over_grpc_as_well() -> None:
    """The same answer, the same boxes; and the suite passes."""
    with served(recorded) as url:
        found = ask(url)
        assert isinstance(found.answer, Detections), found.message
        np.testing.assert_allclose(found.answer.boxes[0], [50, 50, 150, 75], atol=1e-3)
        asyncio.run(
            check_provider(
                lambda: provider_of(url), [("a", image())], size_px=(200, 100)
            )
        )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, "unavailable"),
        (grpc.StatusCode.INTERNAL, "unavailable"),
        (grpc.StatusCode.INVALID_ARGUMENT, "refused"),
        (grpc.StatusCode.PERMISSION_DENIED, "denied"),
        (grpc.StatusCode.UNAUTHENTICATED, "denied"),
        (grpc.StatusCode.NOT_FOUND, "denied"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
    ],
)
def test_codes_of_grpc_have_the_words_of_http(code: Any, status: str) -> None:
    """And nothing is asked twice."""
    n_asked = 0

    def fail(_request: Any, context: Any) -> None:
        nonlocal n_asked
        n_asked += 1
        context.abort(code, "said the server")

    with served(fail) as url:
        found = ask(url)
    assert (found.status, n_asked) == (status, 1), found.message
    assert "said the server" in found.message


def test_a_throttled_call_says_when_to_come_back() -> None:
    """In the details of the status, as gRPC has no Retry-After."""

    def throttle(_request: Any, context: Any) -> None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(2500)
        status = status_pb2.Status(code=8, message="quota")
        status.details.add().Pack(info)
        context.abort_with_status(rpc_status.to_status(status))

    with served(throttle) as url:
        found = ask(url)
    assert (found.status, found.retry_after_s) == ("throttled", 2.5)


def test_slow_answers_and_absent_servers_are_values() -> None:
    """A time-out, and nobody there."""

    def late(_request: Any, _context: Any) -> Any:
        time.sleep(0.6)
        return vision.BatchAnnotateImagesResponse()

    with served(late) as url:
        assert ask(url, 0.2).status == "timeout"
    found = ask("http://127.0.0.1:9")
    assert (found.status, found.is_sent) == ("unreachable", False), found.message
