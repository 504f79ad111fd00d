"""Providers on this machine and behind HTTP, against real detectors and servers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.services.stations import Quarter, jpeg, served
from tests.support.fake_vendors import Vendor, serve

from midhaul.errors import ConfigError, DataError, PrerequisiteError
from midhaul.federation.providers.base import was_unsent
from midhaul.federation.providers.catalogue import ProviderSpec, make_provider
from midhaul.federation.providers.checks import check_provider
from midhaul.federation.providers.http import HttpProvider, HttpSettings
from midhaul.federation.providers.local import LocalProvider
from midhaul.model import Detections
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire.message import pack_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from midhaul.federation.providers.base import Provider
    from midhaul.model import Prediction
    from midhaul.vision.images.image import Pixels

ITEMS = [("a", jpeg()), ("b", jpeg())]
NODE = NodeSettings(name="edge1")


def ask(provider: Provider, data: bytes, timeout_s: float = 20.0) -> Prediction:
    """One call."""

    async def once() -> Prediction:
        async with provider:
            return await provider.predict(data, item="photo", timeout_s=timeout_s)

    return asyncio.run(once())


class Together:
    """A detector that goes on when so many threads are inside, and counts them."""

    name = "together"
    names = ("thing",)

    def __init__(self, n_threads: int) -> None:
        self.n_inside = self.most_inside = 0
        self._all_here = threading.Barrier(n_threads, timeout=30)
        self._lock = threading.Lock()

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """Nothing."""
        del pixels, image_id
        with self._lock:
            self.n_inside += 1
            self.most_inside = max(self.most_inside, self.n_inside)
        self._all_here.wait()
        with self._lock:
            self.n_inside -= 1
        return Detections.empty(self.names)


def test_a_local_detector_passes_the_suite() -> None:
    """The built-in one, by its spec."""
    spec = ProviderSpec(spec="local:builtin:street-n")
    found = asyncio.run(
        check_provider(lambda: make_provider(spec), ITEMS, size_px=(64, 48))
    )
    assert {one.provider for one in found} == {"street-n"}


def test_a_local_detector_is_asked_by_one_thread_unless_told() -> None:
    """And by as many as were allowed."""

    async def many(provider: Provider) -> list[Prediction]:
        async with provider:
            calls = [
                provider.predict(jpeg(), item=str(i), timeout_s=20) for i in range(6)
            ]
            return await asyncio.gather(*calls)

    for n_threads in (1, 3):
        detector = Together(n_threads)
        found = asyncio.run(many(LocalProvider(detector, n_threads=n_threads)))
        assert all(one.is_ok for one in found)
        assert detector.most_inside == n_threads
        assert detector.n_inside == 0


def test_a_call_that_never_began_was_not_sent() -> None:
    """So nobody pays for it; a call that began and was too slow is a time-out."""

    async def two(detector: Quarter) -> list[str]:
        async with LocalProvider(detector) as provider:
            first = asyncio.create_task(
                provider.predict(jpeg(), item="hold", timeout_s=1.0)
            )
            await asyncio.to_thread(detector.entered.wait, 30)
            second = await provider.predict(jpeg(), item="b", timeout_s=0.05)
            return [(await first).status, second.status]

    detector = Quarter()
    try:
        assert asyncio.run(two(detector)) == ["timeout", "not_sent"]
    finally:
        detector.release.set()
    assert detector.seen == ["hold"]


def test_what_is_no_image_is_refused_and_a_crash_is_a_value() -> None:
    """The detector of the tests crashes on an item called so."""
    assert ask(LocalProvider(Quarter()), b"no image").status == "refused"

    async def crash() -> Prediction:
        async with LocalProvider(Quarter()) as provider:
            return await provider.predict(jpeg(), item="crash", timeout_s=5)

    found = asyncio.run(crash())
    assert (found.status, found.message) == ("unavailable", "out of")


def test_a_cancelled_call_leaves_the_provider_usable() -> None:
    """Deadlines of a service cancel calls."""

    async def cancel(detector: Quarter) -> Prediction:
        async with LocalProvider(detector) as provider:
            call = asyncio.create_task(
                provider.predict(jpeg(), item="hold", timeout_s=20)
            )
            await asyncio.to_thread(detector.entered.wait, 30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            detector.release.set()
            return await provider.predict(jpeg(), item="b", timeout_s=20)

    assert asyncio.run(cancel(Quarter())).is_ok


def test_a_node_of_midhaul_passes_the_suite() -> None:
    """Over HTTP, with the boxes of its detector."""
    with served(NODE, Quarter()) as url:
        spec = ProviderSpec(spec=url, name="node")
        found = asyncio.run(
            check_provider(lambda: make_provider(spec), ITEMS, size_px=(64, 48))
        )
    answer = found[0].answer
    assert isinstance(answer, Detections)
    np.testing.assert_allclose(answer.boxes, [[32, 24, 64, 48]])
    assert answer.names == ("quarter",)
    assert found[0].latency_s > 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("throttled", "throttled"),
        ("refused", "refused"),
        ("error", "unavailable"),
        ("html", "malformed"),
        ("truncated", "malformed"),
        ("nothing", "malformed"),
        ("reset", "unavailable"),
        ("slow", "timeout"),
    ],
)
def test_faults_behind_http_are_values(fault: str, status: str) -> None:
    """The same words as for all other providers."""
    with serve(Vendor(answer={"error": "busy"}, fault=fault)) as served_by:
        provider = HttpProvider(HttpSettings(url=served_by.url), name="node")
        found = ask(provider, jpeg(), 0.3 if fault == "slow" else 20)
    assert found.status == status, found.message
    assert found.retry_after_s == (7.0 if fault == "throttled" else 0.0)
    assert found.message


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("401", "denied"),
        ("403", "denied"),
        ("404", "denied"),
        ("405", "denied"),
        ("307", "denied"),
        ("413", "refused"),
        ("503", "unavailable"),
        ("408", "timeout"),
    ],
)
def test_who_asks_is_told_apart_from_what_is_asked(fault: str, status: str) -> None:
    """Credentials and addresses are wrong for all images, others for this one."""
    with serve(Vendor(answer={}, fault=fault)) as served_by:
        found = ask(HttpProvider(HttpSettings(url=served_by.url), name="n"), jpeg())
    assert (found.status, found.has_reached) == (status, True), found.message


@contextlib.contextmanager
def full_line() -> Iterator[str]:
    """The address of a server whose line is full: nobody else gets a connection."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


@contextlib.contextmanager
def no_tls() -> Iterator[str]:
    """A server that ends every connection once TLS begins."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.recv(1)
                    connection.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def test_nothing_reaches_whom_no_connection_reaches() -> None:
    """A port, a name, TLS, a route: whatever fails before the request is sent."""
    with full_line() as full, no_tls() as plain:
        for url in ("http://127.0.0.1:9", "http://nobody.invalid", plain, full):
            settings = HttpSettings(url=url, is_trusted=True)
            timeout_s = 0.3 if url == full else 20.0
            found = ask(HttpProvider(settings, name="n"), jpeg(), timeout_s)
            assert (found.status, found.is_sent) == ("unreachable", False), url
            assert found.message


def test_a_lost_connection_may_have_been_worked_on() -> None:
    """The request was sent before the connection was lost, or the time over."""
    for fault, status in (("reset", "unavailable"), ("slow", "timeout")):
        with serve(Vendor(answer={}, fault=fault)) as served_by:
            provider = HttpProvider(HttpSettings(url=served_by.url), name="n")
            found = ask(provider, jpeg(), 0.4 if fault == "slow" else 20.0)
        assert (found.status, found.has_reached) == (status, True), found.message


def test_a_call_that_is_broken_off_says_whether_it_was_sent() -> None:
    """The exception has a note where nobody has heard of it."""

    async def leave(url: str, seen: Sequence[object]) -> bool:
        async with HttpProvider(HttpSettings(url=url), name="n") as provider:
            call = asyncio.create_task(
                provider.predict(jpeg(), item="photo", timeout_s=60)
            )
            for _ in range(3000):
                await asyncio.sleep(0.01)
                if seen:
                    break
            call.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            return was_unsent(caught.value)

    with full_line() as full:
        assert asyncio.run(leave(full, ["at once"]))
    with serve(Vendor(answer={}, fault="slow")) as served_by:
        assert not asyncio.run(leave(served_by.url, served_by.seen))


def test_large_images_are_not_sent_and_large_answers_not_read() -> None:
    """Both limits are the settings'."""
    with serve(Vendor(answer={"x": "y" * 5000})) as served_by:
        small = HttpSettings(url=served_by.url, max_image_bytes=100)
        assert ask(HttpProvider(small, name="node"), jpeg()).status == "refused"
        assert served_by.seen == []
        brief = HttpSettings(url=served_by.url, max_answer_bytes=1000)
        found = ask(HttpProvider(brief, name="node"), jpeg())
    assert (found.status, found.message) == (
        "malformed",
        "an answer of more than 1000 B",
    )


def test_answers_beyond_the_image_are_cut_and_bad_scores_left_out() -> None:
    """A foreign node may say anything; what can be read of it is kept."""
    far = Detections(
        boxes=np.array([[-5, 3, 900, 30]], np.float32),
        scores=np.array([0.5], np.float32),
        labels=np.zeros(1, np.int32),
        names=("car",),
    )
    cases = (([0.5], "ok"), ([1.5], "malformed"), ([0.5, 1.5], "ok"))
    for scores, expected in cases:
        n = len(scores)
        answer = Detections(
            boxes=np.tile(far.boxes, (n, 1)),
            scores=np.array(scores, np.float32),
            labels=np.zeros(n, np.int32),
            names=far.names,
        )
        with serve(Vendor(answer={}, raw=pack_answer({}, [{}], [answer]))) as served_by:
            settings = HttpSettings(url=served_by.url)
            found = ask(HttpProvider(settings, name="node"), jpeg())
        assert found.status == expected
        assert found.n_dropped == (n - 1 if expected == "ok" else 0)
        if isinstance(found.answer, Detections):
            np.testing.assert_allclose(found.answer.boxes, [[0, 3, 64, 30]])


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [(0, np.nan, "corner"), (3, np.inf, "corner"), (4, np.nan, "score"),
     (5, 1, "label 1"), (5, -1, "label -1"), (5, np.nan, "label nan")],
)  # fmt: skip
def test_a_box_that_cannot_be_costs_itself(column: int, value: float, why: str) -> None:
    """A number that is none, or a label that the node does not name."""
    good = Detections(
        boxes=np.array([[5, 3, 9, 30]] * 2, np.float32),
        scores=np.array([0.5, 0.5], np.float32),
        labels=np.zeros(2, np.int32),
        names=("car",),
    )
    raw = bytearray(pack_answer({}, [{}], [good]))
    struct.pack_into("<f", raw, len(raw) - 24 + 4 * column, value)
    with serve(Vendor(answer={}, raw=bytes(raw))) as served_by:
        settings = HttpSettings(url=served_by.url)
        found = ask(HttpProvider(settings, name="node"), jpeg())
    assert found.status == "ok", found.message
    assert found.n_dropped == 1
    assert why in found.message
    assert isinstance(found.answer, Detections)
    np.testing.assert_allclose(found.answer.boxes, [[5, 3, 9, 30]])


def test_plain_http_to_another_machine_must_be_meant() -> None:
    """Images travel in clear there."""
    with pytest.raises(ConfigError, match="https"):
        make_provider(ProviderSpec(spec="http://10.1.2.3:8000"))
    trusted = ProviderSpec(spec="http://10.1.2.3:8000/", is_trusted=True)
    assert make_provider(trusted).name == "10.1.2.3:8000"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("amazon:detect_labels", "unknown kind of provider 'amazon'"),
        ("asw:detect_labels", "unknown kind"),
        ("aws:detect_faces", "no feature 'detect_faces'"),
        ("recorded:file.parquet", "written otherwise"),
        ("recorded:file.parquet?provider=a&taks=tags", "unknown option 'taks'"),
        ("local:builtins:street-n", "unknown kind of detector"),
    ],
)
def test_specs_that_say_nothing_are_refused(spec: str, complaint: str) -> None:
    """With what would have been right."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_provider(ProviderSpec(spec=spec))
    assert caught.value.hint


def test_limits_of_a_spec_are_checked() -> None:
    """No provider answers zero calls at once."""
    with pytest.raises(ConfigError, match="at least 1"):
        make_provider(ProviderSpec(spec="local:null", n_at_once=0))


def test_a_recorded_provider_has_a_spec(tmp_path: Path) -> None:
    """Its file is Parquet, as the readers read it."""
    file = tmp_path / "answers.parquet"
    table = {
        "item": ["photo", "other"],
        "provider": ["alpha", "alpha"],
        "label": ["car", "dog"],
        "score": [0.5, 0.25],
        "price_usd": [0.001, 0.001],
    }
    pq.write_table(pa.table(table), file)
    spec = ProviderSpec(spec=f"recorded:{file}?provider=alpha&task=tags", name="mine")
    found = ask(make_provider(spec), b"")
    assert found.provider == "mine"
    assert found.answer is not None
    assert found.answer.names[found.answer.labels[0]] == "car"
    with pytest.raises(DataError):
        make_provider(ProviderSpec(spec="recorded:/no/file.parquet?provider=alpha"))


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("aws:detect_labels", "boto3", "aws"),
        ("azure:objects", "azure.ai.vision.imageanalysis", "azure"),
        ("google:label_detection", "google.cloud.vision_v1", "google"),
    ],
)
def test_a_missing_sdk_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, spec: str, module: str, extra: str
) -> None:
    """The hint is the command."""
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> object:
        if name == module:
            raise ModuleNotFoundError(name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(PrerequisiteError) as caught:
        make_provider(ProviderSpec(spec=spec))
    assert caught.value.hint == f"pip install 'midhaul[{extra}]'"
