"""Pulls from a registry that dies, lies, hangs and stutters."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.store.layers import put
from tests.deploy.store.stub import (
    LAYER,
    Stub,
    answers,
    descriptor,
    dies_after,
    digest_of,
    hangs,
    manifest,
    packed,
)

from midhaul.deploy.store.client import ExchangeLimits, RegistryClient
from midhaul.deploy.store.failures import RegistryRetries
from midhaul.deploy.store.puller import Pace, Puller
from midhaul.deploy.store.store import LayerStore
from midhaul.errors import DataError, NodeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.deploy.store.puller import PullRecord

NOISE = [np.random.default_rng(n).bytes(300_000) for n in range(4)]
CONFIG = {"os": "linux", "architecture": "amd64"}
QUICK = ExchangeLimits(connect_s=2, read_s=0.3)
EAGER = RegistryRetries(n_most=3, first_s=0.01, longest_s=0.05)


def stub_with(*contents: bytes) -> Stub:
    """A registry with one image."""
    stub = Stub()
    stub.add_image(contents, "latest")
    return stub


async def pull(
    stub: Stub, folder: Path, *, names: Sequence[str] = ("latest",), **options: Any
) -> tuple[PullRecord, LayerStore]:
    """Pull images of a stub at once; the record of the last, and the closed store."""
    async with stub, RegistryClient(limits=QUICK, environ={}) as client:
        with LayerStore(folder) as store:
            puller = Puller(
                store,
                client,
                rng=np.random.default_rng(0),
                **{"retries": EAGER, **options},
            )
            records = await asyncio.gather(
                *(puller.pull(f"{stub.address}/a/b:{n}", name=n) for n in names)
            )
            return records[-1], store


def pulled(stub: Stub, folder: Path, **options: Any) -> tuple[PullRecord, LayerStore]:
    """As :func:`pull`, in an event loop of its own."""
    return asyncio.run(pull(stub, folder, **options))


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_an_image_is_pulled_whole(tmp_path: Path, n_parallel: int) -> None:
    """Each layer is the registry's, byte for byte, and its unpacked size is counted."""
    stub = stub_with(*NOISE)
    record, store = pulled(stub, tmp_path, n_parallel=n_parallel)
    for content in NOISE:
        assert store.path(digest_of(packed(content))).read_bytes() == packed(content)
    state = store.state()
    assert [x.uncompressed_bytes for x in state.layers.values()] == [300_000] * 4
    assert state.is_whole("latest")
    assert record.pulled_bytes == sum(len(packed(c)) for c in NOISE)
    assert (record.n_retries, record.resumed_bytes, record.n_present) == (0, 0, 0)
    assert record.overhead_bytes > 0
    for layer in record.layers:
        assert layer.begins_s <= layer.ends_s <= layer.unpacks_s <= record.seconds


def test_layers_are_pulled_one_after_another_from_the_base(tmp_path: Path) -> None:
    """With one slot, the next begins when the one before is there."""
    record, _ = pulled(stub_with(*NOISE), tmp_path)
    order = [layer.digest for layer in record.layers]
    assert order == [digest_of(packed(content)) for content in NOISE]
    ends = [layer.ends_s for layer in record.layers]
    assert all(
        x.begins_s >= end for x, end in zip(record.layers[1:], ends, strict=False)
    )


def test_what_is_present_is_not_pulled_again(tmp_path: Path) -> None:
    """Shared layers cross the network once, also when two pulls run at once."""
    stub = Stub()
    stub.add_image([NOISE[0], NOISE[1]], "one")
    stub.add_image([NOISE[0], NOISE[2]], "two")
    record, store = pulled(stub, tmp_path, names=("one", "two"), n_parallel=4)
    assert len(store.state().layers) == 3
    assert stub.asked[f"GET {digest_of(packed(NOISE[0]))}"] == 1
    record, _ = pulled(stub, tmp_path, names=("two",))
    assert (record.pulled_bytes, record.n_present, record.layers) == (0, 2, ())


def test_a_registry_that_dies_in_a_layer_is_asked_for_the_rest(tmp_path: Path) -> None:
    """No byte comes twice."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, dies_after(100_000), dies_after(50_000)])
    record, store = pulled(stub, tmp_path)
    size = len(packed(NOISE[0]))
    assert record.pulled_bytes == size
    assert record.n_retries == 2
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in stub.ranges]
    assert starts == [100_000, 150_000]
    assert len(store.state().layers) == 1


def test_a_registry_that_ignores_ranges_sends_the_whole_again(tmp_path: Path) -> None:
    """The bytes that came twice are counted twice."""
    stub = stub_with(NOISE[0])
    body = packed(NOISE[0])
    stub.faults.extend([None, dies_after(100_000), answers(200, body)])
    record, _ = pulled(stub, tmp_path)
    assert record.pulled_bytes == len(body) + 100_000


def test_a_registry_that_answers_another_range_is_not_believed(tmp_path: Path) -> None:
    """A rest from elsewhere would make a wrong layer."""
    stub = stub_with(NOISE[0])
    body = packed(NOISE[0])
    wrong = answers(206, body, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")
    stub.faults.extend([None, dies_after(100_000), wrong])
    _, store = pulled(stub, tmp_path)
    assert len(store.state().layers) == 1


def test_a_range_that_is_refused_begins_anew(tmp_path: Path) -> None:
    """416 is no reason to give up."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, dies_after(100_000), answers(416)])
    record, store = pulled(stub, tmp_path)
    assert record.n_retries == 2
    assert len(store.state().layers) == 1


def test_a_pull_goes_on_where_an_earlier_one_was_given_up(tmp_path: Path) -> None:
    """Also in another process: the partial file is all it needs."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, dies_after(100_000), *[answers(503)] * 9])
    with pytest.raises(NodeError, match="answered 503"):
        pulled(stub, tmp_path)
    stub.faults.clear()
    record, _ = pulled(stub, tmp_path)
    assert record.resumed_bytes == 100_000
    assert record.pulled_bytes == len(packed(NOISE[0])) - 100_000


def test_a_registry_that_is_down_is_given_up(tmp_path: Path) -> None:
    """After as many failures in a row as are allowed."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, *[answers(500)] * 20])
    with pytest.raises(NodeError, match="answered 500"):
        pulled(stub, tmp_path)
    assert stub.asked[f"GET {digest_of(packed(NOISE[0]))}"] == EAGER.n_most + 1


def test_failures_with_progress_between_them_do_not_add_up(tmp_path: Path) -> None:
    """A bad link that brings something each time is no reason to give up."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, *[dies_after(20_000)] * 10])
    record, _ = pulled(stub, tmp_path)
    assert record.n_retries == 10


def test_a_registry_whose_layer_is_too_short_is_given_up(tmp_path: Path) -> None:
    """Bytes that come again and again are no progress."""
    stub = stub_with(NOISE[0])
    short = packed(NOISE[0])[:1_000]
    for _ in range(20):
        stub.faults.extend([answers(200, short), answers(416)])
    stub.faults.appendleft(None)
    with pytest.raises(NodeError, match=f"layer {digest_of(packed(NOISE[0]))}"):
        pulled(stub, tmp_path)
    assert stub.asked[f"GET {digest_of(packed(NOISE[0]))}"] == EAGER.n_most + 1


def test_what_is_small_is_asked_for_again_as_well(tmp_path: Path) -> None:
    """Manifest and configuration, as often as a layer."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([answers(503)] * EAGER.n_most)
    record, _ = pulled(stub, tmp_path)
    assert len(record.layers) == 1
    stub.faults.extend([answers(503)] * 20)
    with pytest.raises(NodeError, match="answered 503"):
        pulled(stub, tmp_path)


def test_a_registry_that_falls_silent_is_asked_again(tmp_path: Path) -> None:
    """Silence in mid-layer is a broken connection."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, hangs(10_000)])
    record, _ = pulled(stub, tmp_path)
    assert record.n_retries == 1
    assert record.pulled_bytes == len(packed(NOISE[0]))


def test_bytes_that_do_not_match_the_digest_are_refused(tmp_path: Path) -> None:
    """Layer, expected and found digest are named, and nothing of it stays."""
    stub = stub_with(NOISE[0])
    good = packed(NOISE[0])
    bad = bytes([good[0] ^ 1]) + good[1:]
    stub.faults.extend([None, answers(200, bad)])
    with pytest.raises(DataError, match="expected digest") as caught:
        pulled(stub, tmp_path)
    assert f"layer {digest_of(good)} of" in caught.value.message
    assert f"found {digest_of(bad)}" in caught.value.message
    assert "refused and deleted" in caught.value.hint
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size] == []
    _, store = pulled(stub, tmp_path)
    assert len(store.state().layers) == 1


def test_a_partial_file_that_was_changed_is_refused_once(tmp_path: Path) -> None:
    """The next pull begins from nothing, and succeeds."""
    stub = stub_with(NOISE[0])
    with LayerStore(tmp_path) as store:
        store.partial(digest_of(packed(NOISE[0]))).write_bytes(b"x" * 1_000)
    with pytest.raises(DataError, match="expected digest"):
        pulled(stub, tmp_path)
    record, _ = pulled(stub, tmp_path)
    assert record.resumed_bytes == 0


def test_a_partial_file_that_is_too_long_is_thrown_away(tmp_path: Path) -> None:
    """It cannot be the begin of the layer."""
    stub = stub_with(NOISE[0])
    with LayerStore(tmp_path) as store:
        store.partial(digest_of(packed(NOISE[0]))).write_bytes(bytes(400_000))
    record, _ = pulled(stub, tmp_path)
    assert record.resumed_bytes == 0


def test_a_partial_file_that_is_complete_needs_no_request(tmp_path: Path) -> None:
    """A store that was killed between the last byte and the commit lost nothing."""
    stub = stub_with(NOISE[0])
    body = packed(NOISE[0])
    with LayerStore(tmp_path) as store:
        store.partial(digest_of(body)).write_bytes(body)
    record, _ = pulled(stub, tmp_path)
    assert (record.pulled_bytes, record.resumed_bytes) == (0, len(body))
    assert f"GET {digest_of(body)}" not in stub.asked


def test_more_bytes_than_a_layer_has_are_not_read(tmp_path: Path) -> None:
    """A registry cannot fill the disk."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, answers(200, bytes(5_000_000))])
    with pytest.raises(DataError, match="bytes, found more"):
        pulled(stub, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size] == []


def test_a_layer_that_is_missing_is_named(tmp_path: Path) -> None:
    """And not asked for again; what was pulled before it stays."""
    stub = stub_with(NOISE[0], NOISE[1])
    missing = digest_of(packed(NOISE[1]))
    content = stub.blobs.pop(missing)
    with pytest.raises(DataError, match=f"lists layer {missing}"):
        pulled(stub, tmp_path)
    assert stub.asked[f"GET {missing}"] == 1
    stub.blobs[missing] = content
    record, _ = pulled(stub, tmp_path)
    assert record.pulled_bytes == len(content)


def test_a_foreign_layer_that_is_missing_is_said_to_be_foreign(tmp_path: Path) -> None:
    """The hint is where it can be had."""
    stub = Stub()
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layer = {"mediaType": kind, "digest": digest_of(b"?"), "size": 9,
             "urls": ["https://elsewhere/x"]}  # fmt: skip
    stub.add_manifest(manifest(stub, [layer], CONFIG), "latest")
    with pytest.raises(DataError, match="does not have") as caught:
        pulled(stub, tmp_path)
    assert "https://elsewhere/x" in caught.value.hint


def test_a_page_instead_of_a_layer_is_refused(tmp_path: Path) -> None:
    """A captive portal answers 200 to everything."""
    stub = stub_with(NOISE[0])
    page = b"<html>Welcome to our hotel" + b" " * (len(packed(NOISE[0])) - 26)
    stub.faults.extend([None, answers(200, page, Content_Type="text/html")])
    with pytest.raises(DataError, match="expected digest"):
        pulled(stub, tmp_path)


def test_every_compression_is_counted(tmp_path: Path) -> None:
    """Gzip of several members, zstd, plain tar, nothing, and a layer listed twice."""
    stub = Stub()
    kind = LAYER.removesuffix("+gzip")
    zstd = pa.compress(b"z" * 70_000, codec="zstd", asbytes=True)
    layers = [
        descriptor(stub, packed(b"a" * 50_000) + packed(b"b" * 10_000)),
        descriptor(stub, zstd, f"{kind}+zstd"),
        descriptor(stub, b"c" * 3_000, kind),
        descriptor(stub, b""),
    ]
    content = manifest(stub, [*layers, layers[0]], CONFIG)
    stub.add_manifest(content, "latest")
    record, store = pulled(stub, tmp_path)
    sizes = [store.state().layers[x["digest"]].uncompressed_bytes for x in layers]
    assert sizes == [60_000, 70_000, 3_000, 0]
    assert len(record.layers) == 4


@pytest.mark.parametrize(
    "content", [b"no gzip", packed(NOISE[0])[:-9], packed(b"x" * 99)[:-3] + b"abc"]
)
def test_a_layer_that_does_not_unpack_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    """Its digest is right, and its content is not what its type says."""
    stub = Stub()
    layer = descriptor(stub, content)
    stub.add_manifest(manifest(stub, [layer], CONFIG), "latest")
    with pytest.raises(DataError, match=f"layer {layer['digest']} of .*expected gzip"):
        pulled(stub, tmp_path)
    with LayerStore(tmp_path) as store:
        assert store.state().layers == {}
        assert store.partial_bytes() == 0


def test_a_pull_that_is_cancelled_keeps_what_it_has(tmp_path: Path) -> None:
    """The progress tells what came; the next pull goes on there."""
    stub = stub_with(NOISE[0])
    stub.faults.extend([None, hangs(120_000)])
    told: list[tuple[str, int]] = []

    async def run() -> None:
        async with stub, RegistryClient(environ={}) as client:
            with LayerStore(tmp_path) as store:
                puller = Puller(store, client, rng=np.random.default_rng(0))
                is_enough = asyncio.Event()

                def tell(digest: str, n_bytes: int) -> None:
                    told.append((digest, n_bytes))
                    if sum(n for _, n in told) == 120_000:
                        is_enough.set()

                task = asyncio.create_task(puller.pull(stub.reference, progress=tell))
                await is_enough.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert store.state().held == frozenset()

    asyncio.run(run())
    assert {digest for digest, _ in told} == {digest_of(packed(NOISE[0]))}
    record, _ = pulled(stub, tmp_path)
    assert record.resumed_bytes == 120_000


def test_a_layer_is_safe_from_deletion_while_its_image_is_pulled(
    tmp_path: Path,
) -> None:
    """An eviction at the wrong moment is refused, not harmful."""
    stub = stub_with(NOISE[0], NOISE[1])
    base = packed(NOISE[0])

    async def run() -> None:
        async with stub, RegistryClient(environ={}) as client:
            with LayerStore(tmp_path) as store:
                put(store, base)

                def evict(digest: str, _: int) -> None:
                    with pytest.raises(StoreError, match="a pull in progress"):
                        store.delete(digest_of(base))
                    told.append(digest)

                puller = Puller(store, client, rng=np.random.default_rng(0))
                await puller.pull(stub.reference, progress=evict)

    told: list[str] = []
    asyncio.run(run())
    assert told


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_is_said(
    tmp_path: Path,
) -> None:
    """The hint says what to do, and what is kept."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=1m"]
    done = subprocess.run([*command, "tmpfs", str(disk)], check=False)
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    stub = stub_with(NOISE[0], NOISE[1])
    try:
        (disk / "other").write_bytes(bytes(600_000))
        with pytest.raises(StoreError, match="No space left") as caught:
            pulled(stub, disk)
        assert "delete layers" in caught.value.hint
        (disk / "other").unlink()
        record, store = pulled(stub, disk)
        assert store.state().is_whole("latest")
        assert record.pulled_bytes < store.state().compressed_bytes
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@given(
    pieces=st.lists(st.integers(1, 10**6), min_size=1, max_size=20),
    rate_bps=st.floats(1e3, 1e9),
)
@settings(deadline=None)
def test_a_pace_gives_each_byte_its_time(pieces: list[int], rate_bps: float) -> None:
    """All waits together are the time that the rate needs."""
    waited = _waited(pieces, rate_bps)
    assert waited == pytest.approx(8 * sum(pieces) / rate_bps)


def _waited(pieces: list[int], rate_bps: float) -> float:
    """How long a pace holds back a reader, on a clock that only the waits move."""
    now = 0.0
    pace = Pace(rate_bps, clock=lambda: now)

    async def sleep(duration_s: float) -> None:
        nonlocal now
        now += duration_s

    async def run() -> None:
        for piece in pieces:
            await pace.wait(piece, sleep=sleep)

    asyncio.run(run())
    return now


def test_a_pace_without_a_limit_holds_nothing_back() -> None:
    """Infinite is the default."""
    assert _waited([10**9] * 3, math.inf) == 0


@pytest.mark.parametrize("rate_bps", [0.0, -1.0, math.nan])
def test_a_pace_of_nothing_is_refused(rate_bps: float) -> None:
    """A pull at no rate would never end."""
    with pytest.raises(DataError, match="expected a rate above 0"):
        Pace(rate_bps)


def test_a_capped_pull_takes_its_time(tmp_path: Path) -> None:
    """Not faster than its rate, whatever the link could do."""
    rate_bps = 8 * 600_000 / 0.5
    record, _ = pulled(stub_with(NOISE[0], NOISE[1]), tmp_path, rate_bps=rate_bps)
    assert record.seconds >= 0.95 * 8 * record.pulled_bytes / rate_bps


def test_waits_between_attempts_grow_and_are_bounded() -> None:
    """Half of a wait is chance, so that many gateways do not ask at once."""
    retries = RegistryRetries(first_s=1.0, longest_s=8.0)
    rng = np.random.default_rng(0)
    for n, full in ((1, 1.0), (2, 2.0), (4, 8.0), (5, 8.0), (10_000, 8.0)):
        waits = [retries.wait_s(n, rng) for _ in range(50)]
        assert full / 2 <= min(waits) < max(waits) <= full
