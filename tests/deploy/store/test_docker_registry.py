"""Images that are made, pushed to a real registry, and pulled from it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store import (
    LayerStore,
    MadeImage,
    Puller,
    PushRecord,
    RegistryClient,
    RegistryRetries,
    RegistryServer,
    make_images,
    parse_reference,
    push_image,
    read_image,
)
from midhaul.errors import NodeError, PrerequisiteError

if TYPE_CHECKING:
    from pathlib import Path

needs_registry = pytest.mark.skipif(
    shutil.which("docker-registry") is None,
    reason="needs docker-registry (apt-get install docker-registry)",
)


def plan(n_bytes: int = 400_000) -> dict[str, ContainerImage]:
    """Two images that share their base."""
    base, one, two = (
        Layer(digest=d, compressed_bytes=n, uncompressed_bytes=2 * n)
        for d, n in (("base", n_bytes), ("one", n_bytes // 2), ("two", n_bytes // 4))
    )
    return {
        "one": ContainerImage(name="one", layers=(base, one)),
        "two": ContainerImage(name="two", layers=(base, two)),
    }


async def push(
    client: RegistryClient, server: RegistryServer, made: dict[str, MadeImage]
) -> list[PushRecord]:
    """Push images to repositories of their own."""
    shared: dict[str, str] = {}
    return [
        await push_image(client, image, f"{server.address}/lab/{name}:1", shared)
        for name, image in made.items()
    ]


@needs_registry
def test_what_is_pushed_is_what_is_pulled(tmp_path: Path) -> None:
    """Layers are pushed once, mounted where they are shared, and pulled once."""
    made = make_images(plan(), tmp_path / "made")
    with (
        RegistryServer(tmp_path / "registry") as server,
        LayerStore(tmp_path / "store") as store,
    ):

        async def run() -> None:
            async with RegistryClient(environ={}) as client:
                one, two = await push(client, server, made)
                assert (one.n_pushed, one.n_mounted, one.n_present) == (3, 0, 0)
                assert (two.n_pushed, two.n_mounted, two.n_present) == (2, 1, 0)
                again = (await push(client, server, made))[0]
                assert (again.n_present, again.pushed_bytes) == (3, 0)
                record = await read_image(client, one.reference)
                assert record.image.layers[0].digest == made["one"].layers[0].digest
                assert record.manifest_digest == made["one"].manifest_digest
                puller = Puller(store, client, rng=np.random.default_rng(0))
                first = await puller.pull(one.reference, name="one")
                second = await puller.pull(two.reference, name="two")
                assert first.pulled_bytes == made["one"].image.compressed_bytes
                assert (second.n_present, len(second.layers)) == (1, 1)

        asyncio.run(run())
        for image in made.values():
            for layer in image.layers:
                found = store.state().layers[layer.digest]
                assert found.uncompressed_bytes == layer.uncompressed_bytes
                assert store.path(layer.digest).read_bytes() == layer.path.read_bytes()


@needs_registry
def test_a_registry_that_is_killed_in_a_pull_is_resumed_after_its_return(
    tmp_path: Path,
) -> None:
    """The same port, the same data, and no byte twice."""
    made = make_images(plan(40_000_000), tmp_path / "made")
    server = RegistryServer(tmp_path / "registry")
    with server, LayerStore(tmp_path / "store") as store:

        async def run() -> None:
            killed = False

            def tell(_: str, __: int) -> None:
                nonlocal killed, came
                came += __
                if not killed and came > 3_000_000:
                    killed = True
                    server.kill()
                    asyncio.get_running_loop().call_later(0.1, server.start)

            came = 0
            async with RegistryClient(environ={}) as client:
                records = await push(client, server, made)
                puller = Puller(
                    store,
                    client,
                    rng=np.random.default_rng(0),
                    rate_bps=800e6,
                    retries=RegistryRetries(n_most=50, first_s=0.05, longest_s=0.2),
                )
                pull = await puller.pull(records[0].reference, progress=tell)
            assert killed
            assert pull.n_retries >= 1
            assert pull.pulled_bytes == made["one"].image.compressed_bytes

        asyncio.run(run())


@needs_registry
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_another_program_reads_and_copies_what_midhaul_pushed(tmp_path: Path) -> None:
    """Digests, layers and sizes are those that skopeo sees; it verifies them, too."""
    made = make_images(plan(), tmp_path / "made")["one"]
    with RegistryServer(tmp_path / "registry") as server:

        async def run() -> str:
            async with RegistryClient(environ={}) as client:
                record = await push_image(client, made, f"{server.address}/a/b:1")
                return record.reference

        reference = f"docker://{asyncio.run(run())}"
        command = ["skopeo", "inspect", "--tls-verify=false", reference]
        found = json.loads(
            subprocess.run(command, check=True, capture_output=True).stdout
        )
        assert found["Digest"] == made.manifest_digest
        assert found["Layers"] == [layer.digest for layer in made.layers]
        target = f"dir:{tmp_path / 'copy'}"
        command = ["skopeo", "copy", "--src-tls-verify=false", reference, target]
        subprocess.run(command, check=True, capture_output=True)
        sizes = {p.name: p.stat().st_size for p in (tmp_path / "copy").iterdir()}
        for layer in made.layers:
            name = layer.digest.removeprefix("sha256:")
            assert sizes[name] == layer.compressed_bytes


@needs_registry
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
@pytest.mark.parametrize(
    ("there", "back", "kind"),
    [
        ((), ("--format=v2s2",), "rootfs.diff.tar.gzip"),
        (
            ("--dest-decompress",),
            ("--format=oci", "--dest-compress-format=zstd"),
            "v1.tar+zstd",
        ),
    ],
)
def test_what_another_program_pushed_is_read_and_pulled(
    tmp_path: Path, there: tuple[str, ...], back: tuple[str, ...], kind: str
) -> None:
    """Docker's manifests with gzip, and the OCI's with zstd."""
    made = make_images(plan(), tmp_path / "made")["one"]
    with (
        RegistryServer(tmp_path / "registry") as server,
        RegistryServer(tmp_path / "other") as other,
        LayerStore(tmp_path / "store") as store,
    ):

        async def run() -> None:
            async with RegistryClient(environ={}) as client:
                source = f"{server.address}/a/b:1"
                target = f"{other.address}/a/c:1"
                await push_image(client, made, source)
                folder = f"dir:{tmp_path / 'copy'}"
                for command in (
                    ["--src-tls-verify=false", *there, f"docker://{source}", folder],
                    ["--dest-tls-verify=false", *back, folder, f"docker://{target}"],
                ):
                    await asyncio.to_thread(
                        subprocess.run, ["skopeo", "copy", "-q", *command], check=True
                    )
                record = await read_image(client, target)
                puller = Puller(store, client, rng=np.random.default_rng(0))
                await puller.pull(target, name="copy")
                assert list(store.state().layers) == [
                    layer.digest for layer in record.image.layers
                ]
                body = (await client.manifest(parse_reference(target))).body
                assert body.count(kind.encode()) == 2

        asyncio.run(run())
        sizes = [layer.uncompressed_bytes for layer in made.layers]
        assert [x.uncompressed_bytes for x in store.state().layers.values()] == sizes


@needs_registry
def test_a_registry_that_cannot_listen_says_why(tmp_path: Path) -> None:
    """The log's last words are in the message, and no process stays."""
    with RegistryServer(tmp_path / "1") as first:
        second = RegistryServer(tmp_path / "2", port=first.port)
        with pytest.raises(NodeError, match="address already in use"):
            second.start()
        assert second.pid is None


@needs_registry
def test_a_registry_can_be_stopped_twice(tmp_path: Path) -> None:
    """And its data is served again when it comes back on its port."""
    server = RegistryServer(tmp_path)
    server.start()
    port = server.port
    server.stop()
    server.stop()
    with server:
        assert server.port == port


def test_a_registry_that_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint is the command that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="docker-registry") as caught:
        RegistryServer(tmp_path).start()
    assert caught.value.hint == "apt-get install docker-registry"


@needs_registry
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip"
)
def test_a_registry_runs_in_a_network_namespace(tmp_path: Path) -> None:
    """Under a command of the caller; it is reached from inside only."""
    name = f"midhaul-{os.getpid()}"
    inside = ("ip", "netns", "exec", name)
    if subprocess.run(["ip", "netns", "add", name], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        with RegistryServer(tmp_path, prefix=inside) as server:
            place = (server.host, server.port)
            ask = f"import socket; socket.create_connection({place})"
            command = [sys.executable, "-c", ask]
            assert subprocess.run([*inside, *command], check=False).returncode == 0
            done = subprocess.run(command, check=False, capture_output=True)
            assert b"refused" in done.stderr
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
