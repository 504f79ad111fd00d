"""The reader of a local Docker engine, against a socket that speaks its API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from midhaul.deploy.store.engine import known_bytes, layer_sizes, read_engine
from midhaul.errors import DataError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "me/app:1"
INSPECT = {
    "Id": "sha256:" + "1" * 64,
    "RepoTags": [NAME],
    "Os": "linux",
    "Architecture": "arm64",
    "Variant": "v8",
    "Size": 1_000_100,
    "RootFS": {
        "Type": "layers",
        "Layers": ["sha256:" + "a" * 64, "sha256:" + "b" * 64],
    },
}
HISTORY = [
    {"Id": "x", "Created": 2, "CreatedBy": "COPY . . # buildkit", "Size": 100},
    {"Id": "<missing>", "Created": 1, "CreatedBy": "/bin/sh -c #(nop)  CMD", "Size": 0},
    {
        "Id": "<missing>",
        "Created": 0,
        "CreatedBy": "ADD file:x in /",
        "Size": 1_000_000,
    },
]
LIST = [{"Id": INSPECT["Id"], "RepoTags": [NAME]}, {"Id": "y", "RepoTags": None},
        {"Id": "z", "RepoTags": ["<none>:<none>"]}]  # fmt: skip


@contextlib.contextmanager
def engine(answers: dict[str, Any]) -> Iterator[Path]:
    """A socket where an engine answers, in a thread of its own."""
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        found = answers.get(request.path)
        if found is None:
            return web.json_response({"message": "No such image"}, status=404)
        if isinstance(found, int):
            return web.Response(status=found)
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(runner.setup())
    folder = Path(tempfile.mkdtemp())
    site = web.UnixSite(runner, str(folder / "s"))
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield folder / "s"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()
        shutil.rmtree(folder)


def answers(**changes: Any) -> dict[str, Any]:
    """What an engine with one image says."""
    return {
        "/images/json": LIST,
        f"/images/{NAME}/json": {**INSPECT, **changes},
        f"/images/{NAME}/history": HISTORY,
    }


def test_layers_have_the_sizes_of_the_history() -> None:
    """From the base upwards, steps without a layer left out."""
    with engine(answers()) as socket:
        found = read_engine(socket=socket)
    assert list(found) == [NAME]
    assert found[NAME].platform == "linux/arm64/v8"
    assert found[NAME].layer_bytes == (1_000_000, 100)
    assert known_bytes(found.values()) == {
        "sha256:" + "a" * 64: 1_000_000,
        "sha256:" + "b" * 64: 100,
    }
    image = found[NAME].image(ratio=2)
    assert image.uncompressed_bytes == 1_000_100
    assert image.compressed_bytes == 500_050


@pytest.mark.parametrize(
    ("history", "n_layers", "expected"),
    [
        ([(5, "ADD x"), (0, "CMD y"), (7, "RUN z")], 2, (5, 7)),
        ([(5, "ADD x"), (0, "WORKDIR /a"), (0, "ENV a=b")], 2, (5, 0)),
        ([(5, "ADD x"), (0, "/bin/sh -c #(nop)  ENV a=b"), (0, "RUN y")], 2, (5, 0)),
        ([(5, "ADD x"), (0, "RUN y"), (0, "RUN z")], 2, ()),
        ([(5, "")], 1, (5,)),
        ([], 1, ()),
        ([], 0, ()),
    ],
)
def test_a_history_is_matched_with_layers_or_not(
    history: list[tuple[int, str]], n_layers: int, expected: tuple[int, ...]
) -> None:
    """Where it cannot be told which layer is empty, no size is made up."""
    assert layer_sizes(history, n_layers) == expected


def test_an_image_whose_sizes_are_not_told_cannot_be_planned_with() -> None:
    """The hint is to read it from its registry."""
    layers = {"Layers": ["sha256:" + c * 64 for c in "abc"]}
    with engine(answers(RootFS=layers)) as socket:
        found = read_engine([NAME], socket=socket)
    assert known_bytes(found.values()) == {}
    with pytest.raises(DataError, match="does not tell the layer sizes"):
        found[NAME].image()


def test_an_image_that_is_not_there_is_named() -> None:
    """The hint is the command that pulls it."""
    with (
        engine(answers()) as socket,
        pytest.raises(DataError, match="no image other:2") as caught,
    ):
        read_engine(["other:2"], socket=socket)
    assert caught.value.hint == "docker pull other:2"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"/images/json": 500}, NodeError),
        ({"/images/json": b"<html>"}, DataError),
        ({"/images/json": {}}, DataError),
        ({"/images/json": ["x"]}, DataError),
        ({**answers(), f"/images/{NAME}/json": []}, DataError),
        (answers(RootFS=None), DataError),
        (answers(Size="large"), DataError),
        ({**answers(), f"/images/{NAME}/history": [{"Size": None}]}, DataError),
    ],
)
def test_what_no_engine_says_is_refused(
    said: dict[str, Any], error: type[Exception]
) -> None:
    """Whatever sits behind the socket, there is no traceback."""
    with engine(said) as socket, pytest.raises(error, match="Docker engine"):
        read_engine(socket=socket)


def test_where_no_engine_is_this_is_said(tmp_path: Path) -> None:
    """With the command that starts one, and the other way to read images."""
    (tmp_path / "file").write_text("x")
    for socket in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(PrerequisiteError, match="no Docker engine") as caught:
            read_engine(socket=socket)
        assert "systemctl start docker" in caught.value.hint


def test_the_engine_of_this_machine_is_read() -> None:
    """Where one runs: layer sizes add up to no more than the image."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "info"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no Docker engine runs here")
    for image in read_engine().values():
        assert sum(image.layer_bytes) <= image.uncompressed_bytes * 1.01 + 10_000
