"""What is exported can be applied: valid for Kubernetes, for sh, and for the bridge."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.rate_map import read_rate_map
from midhaul.deploy.exports import ExportSite, Plan, export_plan
from midhaul.deploy.exports.files import rate_map, tc_script
from midhaul.deploy.exports.kubernetes import (
    deployments,
    kubeedge_prepulls,
    prepull_jobs,
    validate,
)
from midhaul.deploy.exports.plan import dns_name
from midhaul.deploy.placement.base import Placement, Pull
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.deploy.rates.base import Demands, RateAllocation
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def _curve(scale: float) -> QosCurve:
    return QosCurve.of(
        "any",
        np.array([0.5, 0.75, 1.0]),
        np.array([1e5, 2e5, 4e5]) * scale,
        np.array([0.4, 0.4, 0.9]),
    )


def _problem() -> PlacementProblem:
    names = ("Cámara 7", "mic", "meter")
    images = {
        name: ContainerImage(
            name=name,
            layers=(Layer(digest=name, compressed_bytes=5, uncompressed_bytes=9),),
        )
        for name in ("library/redis:7", "vision/yolo")
    }
    analytics = tuple(
        Analytic(
            name=name,
            image="vision/yolo" if index == 0 else "library/redis:7",
            n_cores=0.25 * index,
            memory_bytes=64e6,
            cloud_curve=_curve(1.0),
            gateway_curve=_curve(0.1),
        )
        for index, name in enumerate(names)
    )
    gateways = (
        Gateway(name="gw-1", uplink_bps=1e6),
        Gateway(name="gw-2", uplink_bps=2e6),
    )
    return PlacementProblem(
        analytics=analytics,
        images=images,
        gateways=gateways,
        sites={"meter": ("gw-2",)},
    )


def _pull(gateway: str, image: str, ends_s: float) -> Pull:
    return Pull(
        gateway=gateway,
        image=image,
        digests=(image,),
        compressed_bytes=5,
        begins_s=0.0,
        ends_s=ends_s,
    )


def _answers(
    rates_bps: tuple[float, ...] = (4e5, 1e4, 4e5),
) -> tuple[PlacementProblem, Placement, RateAllocation]:
    pulls = (
        _pull("gw-1", "library/redis:7", 50.0),
        _pull("gw-1", "vision/yolo", 200.0),
    )
    placement = Placement(
        status="optimal", value=1, bound=1, gateway_of={"mic": "gw-1"}, pulls=pulls
    )
    allocation = RateAllocation(
        status="feasible",
        value=1,
        bound=2,
        steps=np.array([1, 0, -1]),
        rates_bps=np.array(rates_bps),
        qualities=np.array([0.9, 0.4, 0.0]),
    )
    return _problem(), placement, allocation


def _plan(rates_bps: tuple[float, ...] = (4e5, 1e4, 4e5)) -> Plan:
    return Plan.of(*_answers(rates_bps))


def _env(deployment: dict[str, Any]) -> dict[str, str]:
    listed = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {one["name"]: one.get("value", "") for one in listed}


def test_analytics_stand_where_the_plan_wants_them() -> None:
    """The gateway's by its host name, the others in the cloud, each with its rate."""
    site = ExportSite(registry="registry.local:5000/")
    camera, mic, meter = found = deployments(_plan(), site)
    pods = [one["spec"]["template"]["spec"] for one in found]
    assert pods[1]["nodeSelector"] == {"kubernetes.io/hostname": "gw-1"}
    assert pods[0]["nodeSelector"] == {"midhaul/role": "cloud"}
    assert mic["metadata"]["name"] == "mic"
    assert camera["metadata"]["annotations"]["midhaul/analytic"] == "Cámara 7"
    container = pods[1]["containers"][0]
    assert container["image"] == "registry.local:5000/library/redis:7"
    resources = container["resources"]
    assert resources["requests"] == {"cpu": "250m", "memory": "64000000"}
    assert resources["limits"] == resources["requests"]
    assert _env(mic)["SENSOR_BROKER"] == "$(HOST_IP):1883"
    assert _env(mic)["UPLOAD_RATE_BPS"] == "10000"
    assert [_env(pod).get("KNOB") for pod in (camera, mic, meter)] == [
        *["1", "0.5"],
        None,
    ]


def test_knobs_follow_the_demands_where_they_are_given() -> None:
    """A step counts within the demands that the rates were allocated for."""
    problem = _problem()
    names = [analytic.name for analytic in problem.analytics]
    demands = Demands.of(names[::-1], [1.0] * 3, [_curve(1.0)] * 3)
    allocation = RateAllocation(
        status="feasible",
        value=1,
        bound=2,
        steps=np.array([-1, 0, 1]),
        rates_bps=np.array([0.0, 1e5, 4e5]),
        qualities=np.zeros(3),
    )
    placement = Placement(status="optimal", value=0, bound=0, gateway_of={})
    plan = Plan.of(problem, placement, allocation, demands)
    assert plan.knobs == {"mic": 0.5, "Cámara 7": 1.0}
    assert plan.uploads_of("gw-2") == {}


def test_images_are_pulled_in_the_order_of_the_plan() -> None:
    """By a Job and by KubeEdge, with time to spare."""
    ((job,),) = prepull_jobs(_plan(), ExportSite())
    ((edge,),) = kubeedge_prepulls(_plan(), ExportSite())
    containers = job["spec"]["template"]["spec"]["containers"]
    images = ["library/redis:7", "vision/yolo"]
    assert [one["image"] for one in containers] == images
    assert job["spec"]["activeDeadlineSeconds"] == 600
    template = edge["spec"]["imagePrePullTemplate"]
    assert (template["images"], template["nodeNames"]) == (images, ["gw-1"])


def test_a_whole_folder_can_be_applied(tmp_path: Path) -> None:
    """YAML without anchors, scripts that sh can read, files that the bridge takes."""
    files = export_plan(tmp_path, *_answers())
    names = [file.relative_to(tmp_path).as_posix() for file in files]
    assert names[:5] == [
        "README.txt",
        "kustomization.yaml",
        "deployments.yaml",
        "prepull-jobs.yaml",
        "kubeedge-prepull.yaml",
    ]
    for file in files[2:5]:
        text = file.read_text(encoding="utf-8")
        assert "&id" not in text
        for manifest in yaml.safe_load_all(text):
            validate(manifest)
    for gateway, topics in (("gw-1", {"Cámara 7", "mic"}), ("gw-2", {"meter"})):
        inside = tmp_path / gateway
        subprocess.run(["sh", "-n", str(inside / "shape.sh")], check=True)
        config = read_bridge(inside / "bridge.toml")
        rates = read_rate_map(inside / "rates.json").rates_bps
        assert set(rates) == {f"iot/{name}/#" for name in topics}
        assert config.rates == str(inside.resolve() / "rates.json")
    assert "1 of 3 analytics" in files[0].read_text(encoding="utf-8")


def test_ports_and_marks_tell_packets_apart() -> None:
    """Ports where the site knows them all, else marks; a zero rate has no class."""
    marks = tc_script(_plan(), ExportSite(device="wwan0"), "gw-1")
    assert "handle 2 fw" in marks
    ports = tc_script(
        _plan(),
        ExportSite(ports={"Cámara 7": 5001, "mic": 5002}, device="wwan0"),
        "gw-1",
    )
    assert "dport 5002" in ports
    assert "dev wwan0" in ports
    none = tc_script(_plan((0.0, 0.0, 0.0)), ExportSite(), "gw-1")
    assert none.count("class add") == 3  # the uplink, the rest, and the floor


def test_what_cannot_be_applied_is_refused_in_words(tmp_path: Path) -> None:
    """Nothing is written then."""
    with pytest.raises(DataError, match="HOST:PORT"):
        export_plan(tmp_path, *_answers(), site=ExportSite(cloud_broker="cloud"))
    with pytest.raises(DataError, match="bit/s together"):
        export_plan(tmp_path, *_answers((8e5, 8e5, 0.0)))
    with pytest.raises(DataError, match="topic per analytic"):
        rate_map(_plan(), ExportSite(topic="iot/#"), "gw-1")
    assert list(tmp_path.iterdir()) == []
    problem = _problem()
    wrong = PlacementProblem(
        analytics=(Analytic(name="a", image="No Such:Image"),),
        images={"No Such:Image": problem.images["vision/yolo"]},
        gateways=problem.gateways,
    )
    with pytest.raises(DataError, match="name of a container image"):
        Plan.of(
            wrong, Placement(status="optimal", value=0, bound=0, gateway_of={}), None
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Pot"}, "knows no such object"),
        ({"metadata": {"name": "Not_DNS"}}, "DNS label"),
        ({"spec": {"containers": []}, "extra": 1}, "extra"),
        (
            {"spec": {"containers": [{"name": "a", "imagePullPolicy": 5}]}},
            "spec.containers.0.imagePullPolicy",
        ),
    ],
)
def test_a_wrong_manifest_is_named(change: dict[str, Any], said: str) -> None:
    """The message says which object and where in it."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": "b"}]},
    }
    validate(manifest)
    with pytest.raises(DataError, match=said):
        validate({**manifest, **change})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"images": []}, "at least one image"),
        ({"images": ["a"]}, "either nodeNames or labelSelector"),
        ({"images": ["a"], "nodes": ["b"]}, "nodes is unknown"),
        (
            {"images": ["a"], "nodeNames": ["b"], "failureTolerate": "2"},
            "failureTolerate",
        ),
    ],
)
def test_a_wrong_prepull_job_is_named(template: dict[str, Any], said: str) -> None:
    """KubeEdge's fields, types and either-or."""
    manifest = {
        "apiVersion": "operations.kubeedge.io/v1alpha1",
        "kind": "ImagePrePullJob",
        "metadata": {"name": "a"},
        "spec": {"imagePrePullTemplate": template},
    }
    with pytest.raises(DataError, match=said):
        validate(manifest)


@given(st.lists(st.text(min_size=1, max_size=90), min_size=2, max_size=5, unique=True))
def test_names_are_valid_and_stay_different(texts: list[str]) -> None:
    """Whatever an analytic is called."""
    names = [dns_name(text) for text in texts]
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", n) for n in names)
    assert len(set(names)) == len(names)


def test_a_rate_map_of_a_plan_is_json(tmp_path: Path) -> None:
    """With the uplink as its cap."""
    file = tmp_path / "rates.json"
    rate_map(_plan(), ExportSite(), "gw-2").write(file)
    assert json.loads(file.read_text(encoding="utf-8")) == {
        "uplink_bps": 2e6,
        "rates_bps": {"iot/meter/#": 4e5},
    }
