"""Plans that are applied over each other: rolled out, pruned, and never refused."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from tests.deploy.exports.api import Cluster, RefusedError, manifests_in
from tests.deploy.store.stub import Stub

from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.exports import (
    ExportSite,
    Plan,
    Toleration,
    export_plan,
    peer_tallies,
)
from midhaul.deploy.placement.base import Placement, Pull
from midhaul.deploy.plan.config import PlanConfig
from midhaul.deploy.plan.experiment import plan
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.deploy.rates.base import RateAllocation
from midhaul.errors import DataError
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

WORD = "w0rd-of-the-registry"
DIGEST, INDEX = f"sha256:{'d' * 64}", f"sha256:{'1' * 64}"


def problem(names: tuple[str, ...] = ("a", "b", "c"), **more: Any) -> PlacementProblem:
    """Some analytics of one image, which a registry told, and two gateways."""
    layer = Layer(digest="x", compressed_bytes=50_000_000, uncompressed_bytes=9)
    image = ContainerImage(
        name="ghcr.io/x/app:1",
        layers=(layer,),
        manifest_digest=DIGEST,
        index_digest=INDEX,
    )
    return PlacementProblem(
        **{
            "analytics": tuple(Analytic(name=n, image=image.name) for n in names),
            "images": {image.name: image},
            "gateways": tuple(
                Gateway(name=name, uplink_bps=1e6, downlink_bps=40e6)
                for name in ("gw.one", "gw.two")
            ),
            **more,
        }
    )


def placed(gateway_of: dict[str, str], *pulls: str, ends_s: float = 100.0) -> Placement:
    """A placement, and pulls of the image to some gateways."""
    return Placement(
        status="feasible",
        value=0,
        bound=0,
        gateway_of=gateway_of,
        pulls=tuple(
            Pull(
                gateway=gateway,
                image="ghcr.io/x/app:1",
                digests=("x",),
                compressed_bytes=50_000_000,
                begins_s=0.0,
                ends_s=ends_s,
            )
            for gateway in pulls
        ),
    )


def rates(*rates_bps: float) -> RateAllocation:
    """An allocation."""
    n = len(rates_bps)
    return RateAllocation(
        status="feasible",
        value=0,
        bound=0,
        steps=np.full(n, -1),
        rates_bps=np.array(rates_bps),
        qualities=np.zeros(n),
    )


def by_name(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The manifests of a kind by their names."""
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of all Pods that manifests lead to."""
    return [m["spec"]["template"]["spec"] for m in manifests if "template" in m["spec"]]


def test_a_changed_plan_rolls_over_and_is_never_refused(tmp_path: Path) -> None:
    """What changes is changed, what stays is left alone, what is gone is pruned."""
    cluster, site = Cluster(), ExportSite(max_unavailable=1, name="harbour")
    one, two = tmp_path / "one", tmp_path / "two"
    where = {"a": "gw.one", "b": "gw.two"}
    export_plan(
        one, problem(), placed(where, "gw.one"), rates(1e5, 2e5, 3e5), site=site
    )
    first = manifests_in(one)
    assert len(cluster.apply(first)["created"]) == len(first)
    assert len(cluster.apply(manifests_in(one))["unchanged"]) == len(first)
    where = {"a": "gw.two", "b": "gw.two"}
    export_plan(
        two,
        problem(("a", "b")),
        placed(where, "gw.one", "gw.two", ends_s=500.0),
        rates(1e5, 2e5),
        site=site,
    )
    second = manifests_in(two)
    before = by_name(first, "Deployment")
    cluster.apply(second)
    after = by_name(second, "Deployment")
    assert before["a"]["spec"]["template"] != after["a"]["spec"]["template"]
    assert before["b"]["spec"]["template"] == after["b"]["spec"]["template"]
    digest = after["a"]["metadata"]["labels"]["midhaul/plan"]
    line = f"-l 'app.kubernetes.io/part-of=harbour,midhaul/plan!={digest}'"
    assert line in (two / "README.txt").read_text(encoding="utf-8")
    cluster.delete(
        {"Deployment", "PodDisruptionBudget"},
        lambda labels: (
            labels.get("app.kubernetes.io/part-of") == "harbour"
            and labels.get("midhaul/plan") != digest
        ),
    )
    left = {key[2] for key in cluster.objects if key[0] == "Deployment"}
    assert left == {"a", "b"}
    kinds = {key[0] for key in cluster.objects}
    assert "PodDisruptionBudget" in kinds


def test_the_api_refuses_what_it_would_have_refused() -> None:
    """Bare Pods with the same names cannot move; this is what the rules are for."""
    cluster = Cluster()
    pod = {
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"image": "x:1"}], "nodeSelector": {"h": "one"}},
    }
    cluster.apply([pod])
    changed = {**pod, "spec": {**pod["spec"], "containers": [{"image": "x:2"}]}}
    assert cluster.apply([changed])["changed"] == ["a"]
    moved = {**pod, "spec": {**pod["spec"], "nodeSelector": {"h": "two"}}}
    with pytest.raises(RefusedError, match="immutable"):
        cluster.apply([moved])


def test_equal_plans_have_equal_files(tmp_path: Path) -> None:
    """Nothing of the moment is in them, so that their differences are the plan's."""
    for name in ("one", "two"):
        export_plan(tmp_path / name, problem(), placed({"a": "gw.one"}, "gw.one"))
    diff = ["diff", "-r", str(tmp_path / "one"), str(tmp_path / "two")]
    assert subprocess.run(diff, capture_output=True, check=False).returncode == 0


def test_images_are_named_by_digest_where_it_is_known(tmp_path: Path) -> None:
    """By its platform's on a gateway, by the index in the cloud; else by tag."""
    files = export_plan(tmp_path, problem(), placed({"a": "gw.one"}, "gw.one"))
    found = by_name(manifests_in(tmp_path), "Deployment")
    images = {
        name: pods([one])[0]["containers"][0]["image"] for name, one in found.items()
    }
    assert images["a"] == f"ghcr.io/x/app:1@{DIGEST}"
    assert images["b"] == f"ghcr.io/x/app:1@{INDEX}"
    texts = [
        file.read_text(encoding="utf-8") for file in files if file.suffix == ".yaml"
    ]
    assert all(f"app:1@{DIGEST}" in text for text in texts if "app:1" in text)
    assert "named by tag" not in files[0].read_text(encoding="utf-8")
    loose = export_plan(
        tmp_path / "loose",
        problem(),
        placed({"a": "gw.one"}),
        site=ExportSite(with_digests=False),
    )
    assert "2 image(s) are named by tag" in loose[0].read_text(encoding="utf-8")


def test_secrets_and_taints_are_in_every_pod(tmp_path: Path) -> None:
    """Analytics and pulls alike; a registry that wanted a password has its Secret."""
    site = ExportSite(
        private_registries=("ghcr.io",),
        tolerations=(Toleration(key="edge", value="yes", effect="NoSchedule"),),
    )
    files = export_plan(
        tmp_path, problem(), placed({"a": "gw.one"}, "gw.one"), site=site
    )
    manifests = manifests_in(tmp_path)
    (secret,) = site.secrets
    wanted = [{"name": secret}]
    assert all(pod["imagePullSecrets"] == wanted for pod in pods(manifests))
    (edge,) = by_name(manifests, "ImagePrePullJob").values()
    template = edge["spec"]["imagePrePullTemplate"]
    assert template["imageSecrets"] == f"default/{secret}"
    text = files[0].read_text(encoding="utf-8")
    assert f"create secret docker-registry {secret}" in text
    assert "--docker-server=ghcr.io" in text
    at_gateway = [p for p in pods(manifests) if "midhaul/role" not in p["nodeSelector"]]
    taint = {"key": "edge", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    assert len(at_gateway) == 2
    assert all(taint in pod["tolerations"] for pod in at_gateway)
    keys = {one.get("key") for one in at_gateway[0]["tolerations"]}
    assert "node.kubernetes.io/unreachable" in keys


@pytest.mark.parametrize(
    ("site", "has_tls"),
    [
        (ExportSite(cloud_broker="broker.example.org:8883"), True),
        (ExportSite(cloud_broker="broker.example.org:1883"), False),
        (ExportSite(cloud_broker="mqtts://broker.example.org:1883"), True),
        (ExportSite(cloud_broker="mqtt://broker.example.org:8883"), False),
        (ExportSite(cloud_broker="[2001:db8::1]:8883"), True),
        (ExportSite(cloud_broker="b:8883", cloud_broker_has_tls=False), False),
        (ExportSite(cloud_broker="b:99", cloud_broker_has_tls=True), True),
    ],
)
def test_the_bridge_asks_by_tls_where_the_broker_wants_it(
    tmp_path: Path, site: ExportSite, *, has_tls: bool
) -> None:
    """By its port, by its scheme, or as the site says; Pods in the cloud know, too."""
    export_plan(tmp_path, problem(), placed({}), site=site)
    remote = read_bridge(tmp_path / _inside(tmp_path) / "bridge.toml").remote
    assert remote.has_tls is has_tls
    assert remote.host in {"broker.example.org", "2001:db8::1", "b"}
    (first, *_) = pods(manifests_in(tmp_path))
    env = {one["name"]: one.get("value") for one in first["containers"][0]["env"]}
    assert env.get("BROKER_HAS_TLS") == ("true" if has_tls else None)


def _inside(folder: Path) -> str:
    return next(file.parent.name for file in folder.glob("*/bridge.toml"))


@pytest.mark.parametrize("broker", ["ftp://b:1883", "b:x", "a b:1", "b", ":1", "b/c:1"])
def test_a_broker_that_is_none_is_refused(tmp_path: Path, broker: str) -> None:
    """Before anything is written."""
    with pytest.raises(DataError, match="HOST:PORT"):
        export_plan(
            tmp_path, problem(), placed({}), site=ExportSite(cloud_broker=broker)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_reads_the_folder(tmp_path: Path) -> None:
    """What it builds is what the files say."""
    site = ExportSite(max_unavailable=2, namespace="edge")
    export_plan(tmp_path, problem(), placed({"a": "gw.one"}, "gw.one"), site=site)
    argv = ["kubectl", "kustomize", str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = list(yaml.safe_load_all(said))
    kinds = ("Deployment", "PodDisruptionBudget")
    written = [m for m in manifests_in(tmp_path) if m["kind"] in kinds]
    order = lambda m: (m["kind"], m["metadata"]["name"])  # noqa: E731
    assert sorted(found, key=order) == sorted(written, key=order)


def test_the_kustomization_lists_what_is_there(tmp_path: Path) -> None:
    """Deployments and budgets; pulls are applied before them, by themselves."""
    export_plan(tmp_path, problem(), placed({}), site=ExportSite(max_unavailable=0))
    listed = yaml.safe_load((tmp_path / "kustomization.yaml").read_text("utf-8"))
    assert listed["resources"] == ["deployments.yaml", "disruption-budgets.yaml"]
    assert all((tmp_path / name).is_file() for name in listed["resources"])


def test_pulls_of_peers_are_in_the_export(tmp_path: Path) -> None:
    """The second gateway begins when the first has ended, and looks at its peers."""
    shared = problem(backhaul_bps=4e6, has_peer_pulls=True, slot_s=300.0)
    both = placed({"a": "gw.one", "b": "gw.two"}, "gw.one", "gw.two")
    files = export_plan(tmp_path, shared, both)
    names = {file.relative_to(tmp_path).as_posix() for file in files}
    assert {"prepull-jobs-2.yaml", "kubeedge-prepull-2.yaml"} <= names
    hosts = sorted(tmp_path.glob("*/certs.d/ghcr.io/hosts.toml"))
    assert len(hosts) == 2
    assert 'host."http://127.0.0.1:30020"' in hosts[0].read_text(encoding="utf-8")
    waves = {
        pod["nodeSelector"]["kubernetes.io/hostname"]: one["metadata"]["labels"]
        for one in by_name(manifests_in(tmp_path), "Job").values()
        for pod in pods([one])
    }
    assert {name: labels["midhaul/wave"] for name, labels in waves.items()} == {
        "gw.one": "1",
        "gw.two": "2",
    }
    text = files[0].read_text(encoding="utf-8")
    assert "midhaul/wave=2. It ends 110 s after the begin" in text
    found = Plan.of(shared, both)
    assert [tally.n for tally in peer_tallies(found, ExportSite())] == [0, 0]
    alone = problem(has_peer_pulls=False)
    export_plan(tmp_path / "alone", alone, both)
    assert not list((tmp_path / "alone").rglob("hosts.toml"))
    assert not (tmp_path / "alone" / "prepull-jobs-2.yaml").exists()


def test_pulls_of_peers_that_no_export_brings_are_counted() -> None:
    """Without a mirror, or where waiting for the peer takes longer than the slot."""
    both = placed({"a": "gw.one", "b": "gw.two"}, "gw.one", "gw.two")
    shared = problem(backhaul_bps=4e6, has_peer_pulls=True, slot_s=105.0)
    lost, late = peer_tallies(Plan.of(shared, both), ExportSite(peer_mirror=""))
    assert (lost.n, lost.of, lost.is_too_many) == (1, 2, True)
    assert (late.n, late.is_too_many) == (1, True)
    # A layer that a gateway has already is a peer's, too.
    there = problem(
        has_peer_pulls=True,
        gateways=(
            Gateway(name="gw.one", uplink_bps=1e6, layers=frozenset({"x"})),
            Gateway(name="gw.two", uplink_bps=1e6),
        ),
    )
    one = placed({"b": "gw.two"}, "gw.two")
    lost, late = peer_tallies(Plan.of(there, one), ExportSite(peer_mirror=""))
    assert (lost.n, late.n) == (1, 0)


def test_what_an_analytic_may_send_is_told_to_the_network(tmp_path: Path) -> None:
    """In bit/s, on gateways only, where the site asks for it."""
    site = ExportSite(with_bandwidth=True)
    export_plan(
        tmp_path, problem(), placed({"a": "gw.one"}), rates(2e5, 1e5, 0.0), site=site
    )
    found = by_name(manifests_in(tmp_path), "Deployment")
    notes = {
        name: one["spec"]["template"]["metadata"]["annotations"]
        for name, one in found.items()
    }
    assert notes["a"]["kubernetes.io/egress-bandwidth"] == "200000"
    assert "kubernetes.io/egress-bandwidth" not in notes["b"]


def test_a_plan_of_a_private_registry_exports_what_it_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest that was planned with, and a Secret for the password it took."""
    stub = Stub(user="me", password=WORD, is_basic=True)
    digest = stub.add_image([b"layer" * 99], "1")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(stub.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        tail = stub.address.replace(".", "_").replace(":", "_")
        monkeypatch.setenv(f"MIDHAUL_REGISTRY_USER_{tail}", "me")
        monkeypatch.setenv(f"MIDHAUL_REGISTRY_PASSWORD_{tail}", WORD)
        config = PlanConfig.model_validate(
            {
                "kind": "deploy.plan",
                "with_prices": False,
                "planners": ["mincut+exact"],
                "images": {"kind": "registry"},
                "curves": {
                    "c": {"source": "seed:yolo-cloud"},
                    "g": {"source": "seed:yolo-gateway"},
                },
                "analytics": [
                    {
                        "name": "a",
                        "image": f"{stub.address}/a/b:1",
                        "cloud_curve": "c",
                        "gateway_curve": "g",
                    }
                ],
                "site": {"max_unavailable": 1, "tolerations": [{"key": "edge"}]},
            },
            strict=False,
        )
        run = Run.create(tmp_path, "deploy.plan", config)
        plan(config, run, SilentProgress())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(stub.__aexit__())
        loop.close()
    manifests = manifests_in(run.dir / "files" / "export")
    for pod in pods(manifests):
        image = pod["containers"][0]["image"]
        assert image == f"{stub.address}/a/b:1@{digest}"
        assert len(pod["imagePullSecrets"]) == 1
    files = (run.dir / "files" / "export").rglob("*")
    assert not any(WORD in file.read_text() for file in files if file.is_file())
