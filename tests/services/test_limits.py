"""What clients may cost a server: heads, time, bytes in flight, and a token."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest
from tests.services.stations import Quarter, jpeg, running, served
from tests.services.test_application import ask, raw
from tests.support.raw_http import request

from midhaul.errors import ConfigError
from midhaul.services.http import ServerLimits, token_for, write
from midhaul.services.server import server_of
from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from midhaul.services.http import Receive, Scope, Send
    from midhaul.vision.detectors.detector import Detector

NODE = NodeSettings(name="edge1")


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A bare connection."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 0), 60) as one:
        yield one


def said(one: socket.socket) -> str:
    """What the server says until it closes, or until a first answer is whole."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := one.recv(1 << 16):
            data += chunk
            if b"\r\n\r\n" in data:
                break
    return data.decode(errors="replace")


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def send(one: socket.socket, data: bytes) -> None:
    """Send, although the server may have closed already."""
    with contextlib.suppress(ConnectionError):
        one.sendall(data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /health HTTP/1.1\r\nx: " + b"a" * 100_000, 431),
        (b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 100_000, 414),
        (b"a" * 10_000, 400),
        (
            b"POST /infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            b"1\r\nx\r\n0\r\n" + b"x: y\r\n" * 20_000,
            431,
        ),
    ],
)
def test_heads_have_a_bound_and_others_are_served(data: bytes, status: int) -> None:
    """Too long is refused with its status, and the next client gets an answer."""
    with served(NODE, Quarter()) as url, connected(url) as one:
        send(one, data)
        assert said(one).startswith(f"HTTP/1.1 {status} ")
        assert ask(url, [("a", jpeg())]).is_ok


@pytest.mark.parametrize("data", [b"", b"GET /health HTTP/1.1\r\n", b"\r\n"])
def test_heads_must_arrive_in_time(data: bytes) -> None:
    """Whoever connects and says nothing, or half, is sent away."""
    node = NodeSettings(name="edge1", head_timeout_s=0.1)
    with served(node, Quarter()) as url, connected(url) as one:
        one.sendall(data)
        assert said(one).startswith("HTTP/1.1 408 ")


def test_connections_are_kept_and_pipelined_as_before() -> None:
    """Limits are of each request, not of a connection that has many."""
    node = NodeSettings(name="edge1", max_head_bytes=1024)
    question = b"GET /health HTTP/1.1\r\nhost: a\r\nx: %s\r\n\r\n" % (b"a" * 800)
    with served(node, Quarter()) as url, connected(url) as one:
        for _ in range(5):
            one.sendall(question)
            assert said(one).startswith("HTTP/1.1 200 ")
        assert ask(url, [("a", jpeg(640, 480))] * 3).is_ok


def test_bodies_together_have_a_bound_and_the_largest_gives_way() -> None:
    """Many slow bodies do not keep a small one out, and their memory comes back."""
    node = NodeSettings(name="edge1", max_flight_bytes=1_000_000)
    head = b"POST /infer HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\n"
    head += b"content-length: 900000\r\n\r\n"
    with served(node, Quarter()) as url, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(url)) for _ in range(4)]
        for number, one in enumerate(slow):
            send(one, head + b"x" * (300_000 + 50_000 * number))
        (first, *_), _, _ = select.select(slow, [], [], 60)
        assert said(first).startswith("HTTP/1.1 503 ")
        for _ in range(20):
            assert ask(url, [("a", jpeg())]).is_ok


def test_pipelined_requests_are_answered_in_order_but_not_without_end() -> None:
    """A few may wait for an earlier answer; who asks on and on is sent away."""
    node, detector = NodeSettings(name="edge1", head_timeout_s=0.5), Quarter()
    holding = request("POST", "/infer", jpeg(), "x-midhaul-image: hold")
    with served(node, detector) as url, contextlib.ExitStack() as stack:
        few, many = (stack.enter_context(connected(url)) for _ in "ab")
        few.sendall(holding + request("GET", "/nowhere") * 200)
        assert detector.entered.wait(60)
        with contextlib.suppress(ConnectionError):
            many.sendall(holding + request("GET", "/nowhere") * 50_000)
            while many.recv(1 << 16):
                pass
        detector.release.set()
        data = b""
        while data.count(b"HTTP/1.1 ") < 201:
            piece = few.recv(1 << 16)
            assert piece, data
            data += piece
        codes = [one[:3] for one in data.split(b"HTTP/1.1 ")[1:]]
        assert codes == [b"200", *[b"404"] * 200]


def test_a_body_that_nobody_reads_does_not_come_for_ever() -> None:
    """Behind its answer a little is thrown away, then the connection is closed."""
    head = b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n"
    with served(NODE, Quarter()) as url, connected(url) as one:
        one.sendall(head)
        assert said(one).startswith("HTTP/1.1 404 ")
        with pytest.raises(ConnectionError):
            one.sendall(bytes(100_000_000))
    node = NodeSettings(name="edge1", head_timeout_s=0.1)
    with served(node, Quarter()) as url, connected(url) as one:
        one.sendall(head)
        assert said(one).startswith("HTTP/1.1 404 ")
        assert one.recv(1) == b""  # it sends nothing more, and is not waited for


def test_who_has_said_nothing_for_longest_makes_room() -> None:
    """Beyond the connections that may be open; those at work are let be."""
    node, detector = NodeSettings(name="edge1", max_connections=4), Quarter()
    with served(node, detector) as url, contextlib.ExitStack() as stack:
        working, kept, *silent = (
            stack.enter_context(connected(url)) for _ in range(4)
        )  # fmt: skip
        working.sendall(request("POST", "/infer", jpeg(), "x-midhaul-image: hold"))
        assert detector.entered.wait(60)
        kept.sendall(request("GET", "/health"))
        assert said(kept).startswith("HTTP/1.1 200 ")
        for one in silent:
            one.sendall(b"G")  # before the first byte it is the kernel's
        for one in silent:
            new = stack.enter_context(connected(url))
            new.sendall(request("GET", "/health"))
            assert said(new).startswith("HTTP/1.1 200 ")
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
        kept.sendall(request("GET", "/health"))
        assert said(kept).startswith("HTTP/1.1 200 ")
        detector.release.set()
        assert said(working).startswith("HTTP/1.1 200 ")


@pytest.mark.skipif(
    not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="this system hands them on at once"
)
def test_who_has_said_nothing_takes_no_place() -> None:
    """More silent connections than may be open are the kernel's, not the server's."""
    node = NodeSettings(name="edge1", max_connections=2)
    with served(node, Quarter()) as url, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(url)) for _ in range(8)]
        for _ in range(4):
            assert ask(url, [("a", jpeg())]).is_ok
        silent[0].sendall(request("GET", "/health"))
        assert said(silent[0]).startswith("HTTP/1.1 200 ")
        ended, _, _ = select.select(silent[1:], [], [], 0)
        assert ended == []


def test_who_asks_on_and_on_gives_way_to_others() -> None:
    """The connection is heard no more; it ends in time, or when its place is wanted."""
    node = NodeSettings(name="edge1", head_timeout_s=600.0, max_connections=2)
    with served(node, Quarter()) as url, contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(connected(url)) for _ in "ab")
        for one in (first, second):
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                one.sendall(request("GET", "/nowhere") * 1_000_000)
        assert ask(url, [("a", jpeg())]).is_ok
        first.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while first.recv(1 << 16):
                pass


def test_who_takes_no_answer_is_left() -> None:
    """The connection of a client that does not read is closed in time."""

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await write(send, 200, bytes(50_000_000), b"text/plain")

    server = server_of(long, ServerLimits(answer_timeout_s=0.1))
    with running(server) as url, connected(url) as one:
        one.sendall(request("GET", "/"))
        until(lambda: len(server.server_state.connections) == 1)
        until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("n", [30, 4])
def test_memory_of_bodies_is_handed_back(tmp_path: Path, n: int) -> None:
    """A flood of bodies leaves nothing behind, whatever the allocator would keep.

    Neither do a few: that they are less than a flood keeps nothing of them.
    """
    body = b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"
    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(NodeSettings(name="edge1", detector="null"), {})
        process = psutil.Process(node.pid)
        before = process.memory_info().rss
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(connected(node.url)) for _ in range(n)]
            for one in opened:
                send(one, body)
            for _ in range(45):
                for one in opened:  # in turn, so that they lie between each other
                    send(one, bytes(100_000))
            most = before + n * 3_300_000
            until(lambda: process.memory_info().rss > most)
        until(lambda: process.memory_info().rss < before + 12_000_000)


def test_many_short_fields_count_more_than_their_text() -> None:
    """Each costs a call on the event loop, also behind a body."""
    fields = b"x: y\r\n" * 2000
    begin = b"POST /infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    with served(NODE, Quarter()) as url:
        for data in (begin + fields, begin + b"\r\n1\r\na\r\n0\r\n" + fields):
            with connected(url) as one:
                send(one, data)
                assert said(one).startswith("HTTP/1.1 431 ")


def test_settings_are_short() -> None:
    """They are parsed on the event loop, so a long text is not even read."""
    with served(NODE, Quarter()) as url:
        status, words = raw(url, "PUT", "/settings", b"[" * 70_000)
        assert status == 413
        assert "at most 65536 bytes" in words


def test_a_token_is_asked_for() -> None:
    """Without it there is no answer but for the health; the client sends it."""
    with served(NODE, Quarter(), token="secret") as url:  # noqa: S106
        assert raw(url, "GET", "/info")[0] == 401
        assert raw(url, "GET", "/info", Authorization="Bearer other")[0] == 401
        assert raw(url, "GET", "/info", Authorization="Bearer secret")[0] == 200
        assert raw(url, "GET", "/health")[0] == 200
        assert ask(url, [("a", jpeg())]).status == "http-401"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MIDHAUL_TOKEN", "secret")
            assert ask(url, [("a", jpeg())]).is_ok


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_elsewhere_than_on_loopback_a_token_is_a_must(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that others can reach does not start without one."""
    monkeypatch.delenv("MIDHAUL_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="no token"):
        token_for(host)
    monkeypatch.setenv("MIDHAUL_TOKEN", "secret")
    assert token_for(host) == "secret"
    monkeypatch.delenv("MIDHAUL_TOKEN")
    assert token_for("127.0.0.1") == token_for("::1") == token_for("localhost") == ""


def test_a_model_that_loads_slowly_holds_nobody_up() -> None:
    """Requests are answered meanwhile, and a second change is told to wait."""
    begun, go_on = threading.Event(), threading.Event()

    def load(settings: NodeSettings) -> Detector:
        if settings.detector == "slow":
            begun.set()
            go_on.wait(60)
        return Quarter()

    with served(NODE, None, load=load) as url:
        changing = threading.Thread(
            target=raw, args=(url, "PUT", "/settings", b'{"detector": "slow"}')
        )
        changing.start()
        try:
            assert begun.wait(60)
            assert ask(url, [("a", jpeg())]).is_ok
            code, text = raw(url, "PUT", "/settings", b'{"forward": "nothing"}')
            assert (code, "still loading" in text) == (409, True)
        finally:
            go_on.set()
            changing.join()


def test_a_node_that_loads_a_model_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """SIGTERM does not wait for the model."""
    has_ended = threading.Event()

    async def change(url: str) -> None:
        async with Client() as client:
            # Again where the question below was there first, which is a change as well.
            while not has_ended.is_set():
                with contextlib.suppress(Exception):
                    settings = {"detector": "null?load_s=600"}
                    await client.configure(url, settings, timeout_s=60)

    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(NodeSettings(name="edge1", detector="null"), {})
        asking = threading.Thread(target=lambda: asyncio.run(change(node.url)))
        asking.start()
        while ask_info(node.url) != "loading":
            time.sleep(0.01)
        psutil.Process(node.pid).terminate()
        psutil.Process(node.pid).wait(60)
        has_ended.set()
        asking.join()


def ask_info(url: str) -> str:
    """Whether a node is loading a detector: a second change is told so."""
    code, _ = raw(url, "PUT", "/settings", b"{}")
    return "loading" if code == 409 else "idle"
