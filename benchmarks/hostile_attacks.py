"""Attacks on a server, each for itself, until standard input ends.

    python benchmarks/hostile_attacks.py NAME http://127.0.0.1:PORT/infer

The path is the one that pictures are sent to: a node's or a federation's.

It says "ready" before it begins, and at the end, as a JSON object, what became of its
requests. Nothing happens without arguments. The process is a nice one, because
attackers compute elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import resource
import struct
import sys
import zlib
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CHUNK = b"a" * 65_536
NICE = 5
N_IDLE = 5000
SAID_BYTES = 12
"""Of an answer's first line, with the status."""


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds a few bytes."""

    def piece(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", head)
        + piece(b"IDAT", pixels)
        + piece(b"IEND", b"")
    )


def webp(side: int) -> bytes:
    """A black square of lossless WebP in some forty bytes, from its specification."""
    bits = f"{side - 1:014b}"[::-1] * 2 + "0000" + "000"  # size, alpha, version, plain
    bits += "1000" * 5  # five prefix codes of one symbol, 0
    bits += "0" * (-len(bits) % 8 + 8)
    stream = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    data = b"\x2f" + stream
    data += bytes(len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(n: int) -> bytes:
    """A progressive JPEG of 16 million px whose last scan stands there n times."""
    file = io.BytesIO()
    plain = Image.new("RGB", (4000, 4000), (20, 90, 200))
    plain.save(file, "JPEG", progressive=True)
    data = file.getvalue()[:-2]
    last = data[data.rindex(b"\xff\xda") :]
    return data + last * n + b"\xff\xd9"


def heavy() -> bytes:
    """A small picture in a file of 15 MB."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG")
    return file.getvalue() + bytes(15_000_000)


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request, without the blank line."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "host: x", *lines, "")).encode()


def whole(method: str, path: str, body: bytes, kind: str) -> bytes:
    """A request."""
    length = f"content-length: {len(body)}"
    return head(method, path, f"content-type: {kind}", length) + b"\r\n" + body


class Attacker:
    """Opens connections and counts what becomes of them."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname or "", place.port or 0
        self.path = place.path
        self.became: Counter[str] = Counter()

    async def once(self, pieces: AsyncIterator[bytes], wait_s: float = 20.0) -> None:
        """One connection: send until there is an answer, or the end."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            self.became[type(error).__name__] += 1
            return
        answer = asyncio.create_task(reader.read(SAID_BYTES))
        try:
            async for piece in pieces:
                if answer.done():
                    break
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(wait_s):
                said = await answer
            self.became[said.decode("latin-1")[9:] or "closed"] += 1
        except (OSError, TimeoutError) as error:
            self.became[type(error).__name__] += 1
        finally:
            if not answer.cancel():
                answer.exception()  # it was looked at
            writer.close()

    async def deafly(self, piece: bytes) -> None:
        """One connection that asks for ever and reads little or nothing."""
        _, writer = await asyncio.open_connection(self.host, self.port, limit=1024)
        self.became["opened"] += 1
        try:
            while True:
                writer.write(piece)
                await writer.drain()
        except OSError as error:
            self.became[type(error).__name__] += 1
        finally:
            writer.close()

    async def talk(self, piece: bytes, begin: bytes = b"") -> None:
        """One connection that sends for ever and reads everything."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(begin)

        async def read() -> None:
            while data := await reader.read(len(CHUNK)):
                self.became["answers"] += data.count(b"HTTP/1.1 ")

        reading = asyncio.create_task(read())
        try:
            while not reading.done():
                writer.write(piece)
                await writer.drain()
            self.became["closed"] += 1
        except OSError as error:
            self.became[type(error).__name__] += 1
        finally:
            reading.cancel()
            writer.close()

    async def again(self, n: int, talk: Callable[[], Awaitable[None]]) -> None:
        """Several connections of a kind, each one opened again when it ends."""

        async def repeat() -> None:
            while True:
                with contextlib.suppress(OSError):
                    await talk()
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            for _ in range(n):
                group.create_task(repeat())

    async def many(
        self, n: int, make: Callable[[], AsyncIterator[bytes]], pause_s: float
    ) -> None:
        """Several connections at once, each one opened again and again."""

        async def repeat(begin_s: float) -> None:
            await asyncio.sleep(begin_s)
            while True:
                await self.once(make())
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for i in range(n):
                group.create_task(repeat(pause_s * i / n))


async def at_once(data: bytes) -> AsyncIterator[bytes]:
    """All in one."""
    yield data


async def slowly(
    begin: bytes, piece: bytes, pause_s: float, n: int = 1 << 40
) -> AsyncIterator[bytes]:
    """A beginning, and then pieces for ever, or n of them."""
    yield begin
    for _ in range(n):
        yield piece
        await asyncio.sleep(pause_s)


def pictures(make: Callable[[], bytes]) -> Callable[[Attacker], Awaitable[None]]:
    """Four connections that send a picture, five times a second each."""

    def work(attacker: Attacker) -> Awaitable[None]:
        data = whole("POST", attacker.path, make(), "image/x")
        return attacker.many(4, lambda: at_once(data), 0.2)

    return work


def settings(*bodies: bytes) -> Callable[[Attacker], Awaitable[None]]:
    """Two connections that change settings, one body after the other."""

    async def work(attacker: Attacker) -> None:
        turn = iter(range(1 << 40))

        def make() -> AsyncIterator[bytes]:
            body = bodies[next(turn) % len(bodies)]
            return at_once(whole("PUT", "/settings", body, "application/json"))

        await attacker.many(2, make, 0.2)

    return work


def heads(attacker: Attacker) -> Awaitable[None]:
    """One connection whose header never ends, as fast as it is taken."""
    begin = head("POST", attacker.path) + b"x-long: "
    return attacker.many(1, lambda: slowly(begin, CHUNK, 0), 0.1)


def trailers(attacker: Attacker) -> Awaitable[None]:
    """The same behind a body in chunks."""
    begin = head("POST", attacker.path, "transfer-encoding: chunked")
    begin += b"\r\n1\r\na\r\n0\r\n"
    return attacker.many(1, lambda: slowly(begin, b"x: y\r\n" * 5000, 0), 0.1)


def slow_heads(attacker: Attacker) -> Awaitable[None]:
    """Three hundred connections that send a byte of a head each second."""
    begin = head("POST", attacker.path) + b"x-slow: "
    return attacker.many(300, lambda: slowly(begin, b"a", 1.0), 1.0)


def large_bodies(attacker: Attacker) -> Awaitable[None]:
    """Twenty-four bodies of 60 MB, together a GB and more, a quarter MB at a time."""
    n_bytes = 60_000_000
    begin = head("POST", attacker.path, f"content-length: {n_bytes}") + b"\r\n"
    n = n_bytes // len(CHUNK) // 4
    return attacker.many(24, lambda: slowly(begin, CHUNK * 4, 0.1, n), 0.1)


def unread_bodies(attacker: Attacker) -> Awaitable[None]:
    """Twenty-four endless bodies to a path that reads none."""
    begin = head("POST", "/health", f"content-length: {1 << 40}") + b"\r\n"
    return attacker.again(24, lambda: attacker.talk(CHUNK, begin))


def pipelined(attacker: Attacker) -> Awaitable[None]:
    """Four connections that ask without end before they have an answer."""
    piece = (head("GET", "/health") + b"\r\n") * 2000
    return attacker.again(4, lambda: attacker.talk(piece))


def deaf(attacker: Attacker) -> Awaitable[None]:
    """A hundred that ask without end and read no answer."""
    piece = (head("GET", "/info") + b"\r\n") * 2000
    return attacker.again(100, lambda: attacker.deafly(piece))


def idle(attacker: Attacker) -> Awaitable[None]:
    """Thousands of connections that say nothing."""
    return attacker.many(N_IDLE, lambda: slowly(b"", b"", 1.0), 2.0)


def short_deadlines(attacker: Attacker) -> Awaitable[None]:
    """Eight clients whose time is over before anybody can answer."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 48)).save(picture, "JPEG")
    turn = iter(range(1 << 40))

    def make() -> AsyncIterator[bytes]:
        number = next(turn)
        path = f"{attacker.path}?deadline_s={0.0015 * (1 + number % 4)}"
        body = picture.getvalue() + str(number).encode()
        return at_once(whole("POST", path, body, "image/jpeg"))

    return attacker.many(8, make, 0.1)


DEEP = 100_000
SLOW = json.dumps({"detector": "null?load_s=20"}).encode()
BOMBS = (
    b"[" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    json.dumps({f"key{i}": i for i in range(8000)}).encode(),
    b'{"forward_below": ' + b"9" * 1_000_000 + b"}",
    b'{"detector": "' + b"x" * 1_000_000 + b'"}',
    b'{"preprocessing": ' + b"[" * 200 + b"]" * 200 + b"}",
)
OF_ALL: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "png_1x100000000": pictures(lambda: png(1, 100_000_000)),
    "webp_9999x9999": pictures(lambda: webp(9999)),
    "jpeg_3000_scans": pictures(lambda: scans(3000)),
    "heavy_pictures": pictures(heavy),
    "endless_header": heads,
    "endless_trailers": trailers,
    "slow_heads": slow_heads,
    "large_slow_bodies": large_bodies,
    "unread_bodies": unread_bodies,
    "pipelined": pipelined,
    "deaf_clients": deaf,
    "idle_connections": idle,
}
OF_NODES = {"json_bombs": settings(*BOMBS), "slow_model": settings(SLOW)}
OF_FEDERATIONS = {
    "short_deadlines": short_deadlines,
    "long_pictures": pictures(lambda: scans(50)),
}
"""What a node's worker decodes is its work, so long pictures are no attack there."""
ATTACKS = {**OF_ALL, **OF_NODES, **OF_FEDERATIONS}


async def attack(name: str, url: str) -> None:
    """Attack until standard input ends, and print what came of it."""
    attacker = Attacker(url)
    begin = ATTACKS[name]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("ready", flush=True)
    os.nice(NICE)
    work = asyncio.ensure_future(begin(attacker))
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    print(json.dumps(attacker.became), flush=True)


if __name__ == "__main__" and len(sys.argv) > 1:
    asyncio.run(attack(sys.argv[1], sys.argv[2]))
