"""What a node answers over HTTP, with detectors of the tests' own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.services.stations import Quarter, jpeg, served

from midhaul.services.node import Application, load_and_warm
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.vision.images.image import Preprocessing
from midhaul.wire import Client, Item
from midhaul.wire.message import FRAMES, IMAGE_HEADER, pack

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any

    from midhaul.vision import Detector
    from midhaul.wire import Answer

STAGES = ("queue_ns", "decode_ns", "preprocess_ns", "encode_ns", "inference_ns")
CLOUD = NodeSettings(name="cloud", role="cloud")
SMALL = Preprocessing(resize=0.5, encode="jpeg:75")


def ask(url: str, images: Sequence[tuple[str, bytes]], timeout_s: float = 20) -> Answer:
    """One request with a client of its own."""

    async def go() -> Answer:
        async with Client() as client:
            return await client.infer(url, images, timeout_s=timeout_s)

    return asyncio.run(go())


def raw(
    url: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, str]:
    """Status and text of any HTTP request."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, names)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_an_edge_and_its_cloud_answer_together() -> None:
    """The answer has the cloud's boxes in received px, all durations and all bytes."""
    edge = NodeSettings(
        name="edge1", cloud="cloud", forward="image", preprocessing=SMALL
    )
    images = [("a", jpeg()), ("b", jpeg(128, 96))]
    with (
        served(CLOUD, Quarter()) as cloud_url,
        served(edge, None, cloud_url) as edge_url,
    ):
        answer = ask(edge_url, images)
    assert answer.status == "ok"
    first, second = answer.detections
    np.testing.assert_allclose(first.boxes, [[32, 24, 64, 48]])
    np.testing.assert_allclose(second.boxes, [[64, 48, 128, 96]])
    meta = answer.meta
    assert all(isinstance(meta[name], int) for name in STAGES)
    assert meta["answered_by"] == "cloud"
    assert meta["forward_ns"] >= meta["cloud_inference_ns"] + meta["backhaul_ns"]
    assert meta["node_ns"] >= meta["forward_ns"] + meta["decode_ns"]
    prepared = sum(entry["prepared_bytes"] for entry in meta["images"])
    assert 0 < prepared < meta["backhaul_up_bytes"] < answer.sent_bytes
    assert [entry["received_bytes"] for entry in meta["images"]] == [
        len(data) for _, data in images
    ]
    assert all(entry["forwarded"] for entry in meta["images"])


def test_results_travel_to_the_cloud() -> None:
    """An edge that forwards only results keeps its own answer."""
    edge = NodeSettings(name="edge1", cloud="cloud", forward="results", detector="null")
    there = Quarter()
    with served(CLOUD, there) as cloud_url, served(edge, Quarter(), cloud_url) as url:
        answer = ask(url, [("a", jpeg())])
    assert answer.status == "ok"
    assert answer.meta["answered_by"] == "edge1"
    assert answer.meta["cloud_inference_ns"] == 0
    assert there.seen == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"no image", {}, 422),
        (jpeg()[:700], {IMAGE_HEADER: "x"}, 422),
        (b"no frames", {"content-type": FRAMES}, 400),
        (pack({"images": [{"image": "a"}]}), {"content-type": FRAMES}, 400),
        (b"x" * 100_001, {}, 413),
    ],
)
def test_bad_requests_end_in_one_line(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    """Each kind of bad request has its status and one line of text."""
    settings = NodeSettings(name="edge1", max_body_bytes=100_000)
    with served(settings, Quarter()) as url:
        names = {key.replace("-", "_"): value for key, value in headers.items()}
        found, text = raw(url, "POST", "/infer", body, **names)
        assert found == status
        assert len(text.strip().splitlines()) == 1
        assert ask(url, [("a", jpeg())]).is_ok


def test_a_crash_of_the_detector_is_told_and_survived() -> None:
    """A detector's exception is a 500 with its text; the node lives on."""
    with served(NodeSettings(name="edge1"), Quarter()) as url:
        answer = ask(url, [("crash", jpeg())])
        assert answer.status == "http-500"
        assert answer.error is not None
        assert "edge1" in answer.error
        assert "out of" in answer.error
        assert ask(url, [("a", jpeg())]).is_ok


def test_a_cloud_that_is_gone_is_named() -> None:
    """An edge whose cloud does not answer says 502 and which cloud."""
    edge = NodeSettings(name="edge1", cloud="cloud", forward="image")
    with served(edge, None, "http://127.0.0.1:9") as url:
        answer = ask(url, [("a", jpeg())])
    assert answer.status == "http-502"
    assert answer.error is not None
    assert "edge1" in answer.error
    assert "cloud" in answer.error


def test_a_damaged_image_stays_the_senders_fault_behind_an_edge() -> None:
    """A 422 of the cloud comes through the edge as a 422."""
    edge = NodeSettings(name="edge1", cloud="cloud", forward="image")
    with served(CLOUD, Quarter()) as cloud_url, served(edge, None, cloud_url) as url:
        assert ask(url, [("a", jpeg()[:-200])]).status == "http-422"


def test_the_event_loop_is_free_while_a_detector_works() -> None:
    """Health is answered, and a second request waits in the queue, meanwhile."""

    async def go(url: str) -> Answer:
        async with Client() as client:
            first = asyncio.create_task(
                client.infer(url, [("hold", jpeg())], timeout_s=20)
            )
            await asyncio.to_thread(detector.entered.wait, 20)
            code, said = await client.get(url, "health", timeout_s=5)
            assert (code, said["ready"]) == (200, True)
            second = asyncio.create_task(
                client.infer(url, [("a", jpeg())], timeout_s=20)
            )
            await asyncio.sleep(0.05)
            detector.release.set()
            assert (await first).is_ok
            return await second

    detector = Quarter()
    with served(NodeSettings(name="edge1"), detector) as url:
        second = asyncio.run(go(url))
    assert second.meta["queue_ns"] > second.meta["inference_ns"]


def test_a_request_given_up_is_not_worked_on() -> None:
    """Who disconnects while waiting in the queue costs the node nothing more."""

    async def go(url: str) -> None:
        async with Client() as client:
            first = asyncio.create_task(
                client.infer(url, [("hold", jpeg())], timeout_s=20)
            )
            await asyncio.to_thread(detector.entered.wait, 20)
            late = await client.infer(url, [("late", jpeg())], timeout_s=0.1)
            assert late.status == "timeout"
            await asyncio.sleep(0.1)
            detector.release.set()
            assert (await first).is_ok
            assert (await client.infer(url, [("a", jpeg())], timeout_s=20)).is_ok

    detector = Quarter()
    with served(NodeSettings(name="edge1"), detector) as url:
        asyncio.run(go(url))
    assert detector.seen == ["hold", "a"]


def test_settings_change_between_requests() -> None:
    """What is put to /settings holds for the next request, and is told back."""

    async def go(url: str) -> None:
        async with Client() as client:
            said = await client.configure(
                url, {"preprocessing": {"resize": 0.5}}, timeout_s=20
            )
            assert said["settings"]["preprocessing"]["resize"] == 0.5
            answer = await client.infer(url, [("a", jpeg())], timeout_s=20)
            assert answer.meta["images"][0]["prepared_bytes"] < len(jpeg())

    with served(NodeSettings(name="edge1"), Quarter()) as url:
        asyncio.run(go(url))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"threads": 2}', b'{"forward": "x"}'])
def test_settings_that_do_not_fit_change_nothing(body: bytes) -> None:
    """A refused change leaves the node as it was."""
    with served(NodeSettings(name="edge1"), Quarter()) as url:
        before = raw(url, "GET", "/info")
        status, text = raw(url, "PUT", "/settings", body)
        assert status == 400
        assert json.loads(text)["error"]
        assert raw(url, "GET", "/info") == before


def test_an_unknown_place_says_what_there_is() -> None:
    """A wrong path is a 404 that lists the right ones."""
    with served(NodeSettings(name="edge1"), Quarter()) as url:
        status, text = raw(url, "GET", "/")
    assert status == 404
    assert "/infer" in text


def test_items_and_raw_bodies_are_the_same_to_a_node() -> None:
    """A framed single image gives the answer of the bare one."""

    async def go(url: str) -> tuple[Answer, Answer]:
        item = Item(image="a", data=jpeg())
        framed = [item, Item(image="b", data=jpeg())]
        async with Client() as client:
            return (
                await client.send(url, [item], timeout_s=20),
                await client.send(url, framed, timeout_s=20),
            )

    with served(NodeSettings(name="edge1"), Quarter()) as url:
        one, two = asyncio.run(go(url))
    np.testing.assert_array_equal(one.detections[0].boxes, two.detections[0].boxes)


def test_of_two_changes_at_the_same_moment_one_is_told_to_wait() -> None:
    """The second does not stand in line behind a model that takes its time."""
    may_end = threading.Event()

    def load(settings: NodeSettings) -> Detector | None:
        may_end.wait(60)
        return load_and_warm(replace(settings, detector="null"))

    async def put(application: Application) -> int:
        said: list[int] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b'{"detector": "slow"}'}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said.append(message["status"])
                may_end.set()

        scope = {"type": "http", "method": "PUT", "path": "/settings", "headers": []}
        await application(scope, receive, send)
        return said[0]

    async def both() -> list[int]:
        application = Application(NodeSettings(name="edge1"), load=load)
        return await asyncio.gather(put(application), put(application))

    assert sorted(asyncio.run(both())) == [200, 409]
