"""Container images for gateways of several platforms, from registries and files."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from tests.deploy.store.stub import (
    INDEX,
    MANIFEST,
    Stub,
    answers,
    descriptor,
    digest_of,
    manifest,
    packed,
)

from midhaul.deploy.plan import tables
from midhaul.deploy.plan.config import PlanConfig
from midhaul.deploy.plan.experiment import plan
from midhaul.errors import DataError, MidhaulError
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = {"amd64": b"x86 base " * 900, "arm64": b"arm base " * 300}
TOP = {"amd64": b"x86 top" * 50, "arm64": b"arm top" * 20}


def stocked() -> Stub:
    """A registry: one image for two platforms, one for amd64 only."""
    stub = Stub(has_ranges=True)
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": stub.add_image([BASE[arch], TOP[arch]], architecture=arch),
            "size": 1,
            "platform": {"os": "linux", "architecture": arch},
        }
        for arch in ("amd64", "arm64")
    ]
    stub.add_manifest({"mediaType": INDEX, "manifests": entries}, "both")
    stub.add_image([BASE["amd64"]], "x86")
    return stub


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """Serve a stub beside a program that is not asynchronous."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(stub.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield stub
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(stub.__aexit__())
        loop.close()


def config_of(stub: Stub, tags: dict[str, str], **more: Any) -> PlanConfig:
    """A plan for an arm and an x86 gateway; ``tags`` by the site of an analytic."""
    return PlanConfig.model_validate(
        {
            "kind": "deploy.plan",
            "with_prices": False,
            "planners": ["joint", "mincut+exact"],
            "curves": {
                "c": {"source": "seed:yolo-cloud"},
                "g": {"source": "seed:yolo-gateway"},
            },
            "images": {"kind": "registry"},
            "gateways": [
                {"name": "arm", "platform": "aarch64", "uplink_bps": 5e4},
                {"name": "x86", "platform": "x86_64", "uplink_bps": 5e4},
            ],
            "analytics": [
                {
                    "name": f"on-{site}",
                    "image": f"{stub.address}/a/b:{tag}",
                    "cloud_curve": "c",
                    "gateway_curve": "g",
                    **({"sites": [site]} if site != "any" else {}),
                }
                for site, tag in tags.items()
            ],
            **more,
        },
        strict=False,
    )


def planned(config: PlanConfig, folder: Path) -> Run:
    """Run a plan."""
    run = Run.create(folder, "deploy.plan", config)
    plan(config, run, SilentProgress())
    run.finish("done")
    return run


def test_each_gateway_has_the_layers_of_its_platform(tmp_path: Path) -> None:
    """An arm64 and an amd64 gateway in one plan; disks and pulls are their own."""
    with serving(stocked()) as stub:
        run = planned(config_of(stub, {"arm": "both", "x86": "both"}), tmp_path)
    for number in (0, 1):
        rows = [r for r in run.read(tables.LAYERS).to_pylist()
                if r["configuration"] == number]  # fmt: skip
        found = {
            gateway: {r["digest"] for r in rows if r["gateway"] == gateway}
            for gateway in ("arm", "x86")
        }
        for gateway, arch in (("arm", "arm64"), ("x86", "amd64")):
            assert found[gateway] == {
                digest_of(packed(content[arch])) for content in (BASE, TOP)
            }
        used = {
            r["gateway"]: r["used"]
            for r in run.read(tables.USES).to_pylist()
            if r["configuration"] == number and r["resource"] == "disk_bytes"
        }
        assert used == {
            "arm": len(BASE["arm64"]) + len(TOP["arm64"]),
            "x86": len(BASE["amd64"]) + len(TOP["amd64"]),
        }
    assert run.manifest.verdict is not None
    assert run.manifest.verdict.remarks == ()  # all sizes are exact


def test_a_plan_of_two_platforms_is_made_again_from_its_table(tmp_path: Path) -> None:
    """Its file has the layers of both, and gives the same plan without a registry."""
    with serving(stocked()) as stub:
        config = config_of(stub, {"arm": "both", "x86": "both"})
        first = planned(config, tmp_path)
    file = first.dir / "files" / "images.parquet"
    assert set(pq.read_table(file)["platform"].to_pylist()) == {
        "linux/amd64",
        "linux/arm64",
    }
    again = config_of(
        stub,
        {"arm": "both", "x86": "both"},
        images={"kind": "file", "file": str(file)},
    )
    second = planned(again, tmp_path)
    for table in (tables.LAYERS, tables.PULLS, tables.DECISIONS):
        assert second.read(table).equals(first.read(table))


def test_a_gateway_whose_platform_an_image_has_not_is_ruled_out(tmp_path: Path) -> None:
    """The image goes elsewhere, and the verdict counts it."""
    with serving(stocked()) as stub:
        run = planned(config_of(stub, {"any": "x86"}), tmp_path)
    places = {r["place"] for r in run.read(tables.DECISIONS).to_pylist()}
    assert places == {"x86"}
    assert run.manifest.verdict is not None
    (remark,) = run.manifest.verdict.remarks
    assert "ruled out" in remark
    assert "linux/arm64" in remark


def test_all_images_that_are_wrong_are_told_at_once(tmp_path: Path) -> None:
    """One is not there, one not for the platform; the good one does not matter."""
    with serving(stocked()) as stub:
        tags = {"arm": "x86", "x86": "none", "any": "both"}
        config = config_of(stub, tags)
        run = Run.create(tmp_path, "deploy.plan", config)
        with pytest.raises(MidhaulError, match="2 of 4 container images") as caught:
            plan(config, run, SilentProgress())
    assert "b:x86 for linux/arm64" in caught.value.message
    assert "b:none for linux/amd64" in caught.value.message


def test_what_was_read_before_a_failure_is_not_asked_for_again(tmp_path: Path) -> None:
    """A run that is resumed goes on with the image that failed."""
    with serving(stocked()) as stub:
        config = config_of(stub, {"arm": "both", "x86": "x86"})
        run = Run.create(tmp_path, "deploy.plan", config)
        stub.slow_downs.extend([None, None, answers(429, Retry_After="9999")])
        with pytest.raises(MidhaulError, match="come again in 9999 s"):
            plan(config, run, SilentProgress())
        assert (stub.asked["GET both"], stub.asked["GET x86"]) == (1, 1)
        run.finish("failed")
        again = Run.resume(run.dir)
        plan(config, again, SilentProgress())
        assert (stub.asked["GET both"], stub.asked["GET x86"]) == (1, 2)
    assert again.count("decisions") == 4


def test_an_index_without_platforms_is_looked_into(tmp_path: Path) -> None:
    """One image is taken with a note; of several the configurations tell which."""
    stub = stocked()
    one = stub.add_image([TOP["amd64"]])
    other = stub.add_image([TOP["arm64"]], architecture="arm64")
    signature = stub.add_manifest(
        manifest(stub, [descriptor(stub, b"signed", "text/plain")], {})
    )
    entries = [{"mediaType": MANIFEST, "digest": d, "size": 1} for d in (one, other)]
    attached = {"mediaType": MANIFEST, "digest": signature, "size": 1}
    stub.add_manifest({"mediaType": INDEX, "manifests": entries[:1]}, "single")
    stub.add_manifest({"mediaType": INDEX, "manifests": [attached, *entries]}, "two")
    with serving(stub):
        run = planned(config_of(stub, {"x86": "single", "arm": "two"}), tmp_path)
        with pytest.raises(DataError, match="is for linux/amd64 only"):
            planned(config_of(stub, {"arm": "single"}), tmp_path)
    rows = run.read(tables.LAYERS).to_pylist()
    assert {r["gateway"]: r["digest"] for r in rows} == {
        "x86": digest_of(packed(TOP["amd64"])),
        "arm": digest_of(packed(TOP["arm64"])),
    }
    assert len(run.manifest.notes) == 2
    assert all("names no platform" in note for note in run.manifest.notes)


def test_estimated_sizes_are_counted_into_the_verdict(tmp_path: Path) -> None:
    """Layer by layer, with their share of the bytes, and a column of the table."""
    stub = stocked()
    stub.has_ranges = False
    noise = random.Random(0).randbytes(40_000)
    stub.add_image([TOP["amd64"], noise], "large")
    with serving(stub):
        run = planned(config_of(stub, {"x86": "large"}), tmp_path)
    assert run.manifest.verdict is not None
    (remark,) = run.manifest.verdict.remarks
    assert remark.startswith("1 of 2 layers, 0.1 of 0.1 MB, have est")
    flags = {
        r["digest"]: r["is_estimated"] for r in run.read(tables.LAYERS).to_pylist()
    }
    assert flags == {
        digest_of(packed(noise)): True,
        digest_of(packed(TOP["amd64"])): False,
    }
