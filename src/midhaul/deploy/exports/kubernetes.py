"""Kubernetes manifests of a plan: a Pod per analytic, a pre-pull job per gateway."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midhaul.deploy.exports.plan import CLOUD, dns_name
from midhaul.deploy.exports.validation import PREPULL, validate
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.exports.plan import Plan, Site
    from midhaul.deploy.problem import Analytic

_KEPT_S = 600  # a finished job is kept that long, for its log
_LEAST_PULL_S = 300
_SLACK = 3  # times of a planned pull after which it is given up
_HOST_IP = "status.hostIP"
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def pods(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """A Pod for each analytic, on its gateway or in the cloud.

    Raises:
        DataError: a manifest would not be valid.
        PrerequisiteError: the library kubernetes-validate is missing.
    """
    found = [_pod(plan, site, analytic) for analytic in plan.analytics]
    for manifest in found:
        validate(manifest)
    return found


def prepull_jobs(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """A Job for each gateway that is to pull something.

    The kubelet pulls the images of a Pod's containers one after another, in the order
    of the plan. Each container ends at once; an image without ``true`` fails to start,
    which does no harm, since it is there then.

    Raises:
        DataError: a manifest would not be valid.
        PrerequisiteError: the library kubernetes-validate is missing.
    """
    found: list[dict[str, Any]] = []
    for gateway, (images, timeout_s) in _pulls(plan, site).items():
        containers = [
            {
                "name": f"pull-{index}",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["true"],
                "resources": _resources(0.01, 16e6),
                "securityContext": _security(),
            }
            for index, image in enumerate(images)
        ]
        pod = _pod_spec(site, site.node_label, gateway, containers)
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(f"prepull-{gateway}", site, "prepull"),
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": timeout_s,
                "ttlSecondsAfterFinished": _KEPT_S,
                "template": {
                    "metadata": {"labels": _labels("prepull", f"prepull-{gateway}")},
                    "spec": {**pod, "restartPolicy": "Never"},
                },
            },
        }
        validate(job)
        found.append(job)
    return found


def kubeedge_prepulls(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """A KubeEdge ``ImagePrePullJob`` for each gateway that is to pull something.

    Raises:
        DataError: a manifest would not be valid.
    """
    found: list[dict[str, Any]] = []
    for gateway, (images, timeout_s) in _pulls(plan, site).items():
        name = dns_name(f"prepull-{gateway}")
        job = {
            "apiVersion": PREPULL[0],
            "kind": PREPULL[1],
            "metadata": {"name": name, "labels": _labels("prepull", name)},
            "spec": {
                "imagePrePullTemplate": {
                    "images": images,
                    "nodeNames": [gateway],
                    "checkItems": ["disk"],
                    "failureTolerate": "0.1",
                    "concurrency": 1,
                    "timeoutSeconds": timeout_s,
                    "retryTimes": 1,
                }
            },
        }
        validate(job)
        found.append(job)
    return found


def to_yaml(manifests: Sequence[dict[str, Any]]) -> str:
    """Manifests as one stream of YAML documents."""
    yaml = require("yaml", "deploy")
    return yaml.safe_dump_all(
        manifests, sort_keys=False, explicit_start=True, allow_unicode=True
    )


def _pod(plan: Plan, site: Site, analytic: Analytic) -> dict[str, Any]:
    place = plan.where(analytic)
    is_cloud = place == CLOUD
    near = _seen_from_pod(site.cloud_broker if is_cloud else site.gateway_broker)
    env = {
        "ANALYTIC": analytic.name,
        "DEVICE": place,
        "SENSOR_BROKER": near,
        "RESULT_BROKER": near,
    }
    if analytic.name in plan.rates_bps:
        env["UPLOAD_RATE_BPS"] = f"{int(plan.rates_bps[analytic.name])}"
    if analytic.name in plan.knobs:
        env["KNOB"] = f"{plan.knobs[analytic.name]:g}"
    container = {
        "name": "analytic",
        "image": f"{site.registry}{analytic.image}",
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": _HOST_IP}}},
            *({"name": name, "value": value} for name, value in env.items()),
        ],
        "resources": _resources(analytic.n_cores, analytic.memory_bytes),
        "securityContext": _security(),
    }
    label = site.cloud_label if is_cloud else site.node_label
    value = site.cloud_value if is_cloud else place
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **_metadata(analytic.name, site, "analytic"),
            "annotations": {"midhaul/analytic": analytic.name, "midhaul/place": place},
        },
        "spec": {
            **_pod_spec(site, label, value, [container]),
            "restartPolicy": "Always",
        },
    }


def _pod_spec(
    site: Site, label: str, value: str, containers: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "nodeSelector": {label: value},
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": site.user_id != 0,
            "runAsUser": site.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
    }


def _security() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _seen_from_pod(broker: str) -> str:
    """A broker's address inside a Pod, where the node's loopback is another."""
    if broker.startswith(_LOOPBACK):
        return f"$(HOST_IP):{broker.rpartition(':')[2]}"
    return broker


def _metadata(name: str, site: Site, component: str) -> dict[str, Any]:
    name = dns_name(name)
    return {
        "name": name,
        "namespace": site.namespace,
        "labels": _labels(component, name),
    }


def _labels(component: str, name: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": dns_name(name),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "midhaul",
    }


def _resources(n_cores: float, memory_bytes: float) -> dict[str, Any]:
    """Requests equal to limits, so that a node is never promised twice."""
    amounts: dict[str, str] = {}
    if n_cores > 0:
        amounts["cpu"] = f"{math.ceil(1000 * n_cores)}m"
    if memory_bytes > 0:
        amounts["memory"] = f"{math.ceil(memory_bytes)}"
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def _pulls(plan: Plan, site: Site) -> dict[str, tuple[list[str], int]]:
    """By gateway: images in the order of their pulls, and when to give up."""
    found: dict[str, tuple[list[str], int]] = {}
    for pull in plan.placement.pulls:
        images, timeout_s = found.get(pull.gateway, ([], _LEAST_PULL_S))
        is_timed = math.isfinite(pull.ends_s)
        needs_s = math.ceil(_SLACK * pull.ends_s) if is_timed else 0
        name = f"{site.registry}{pull.image}"
        found[pull.gateway] = ([*images, name], max(timeout_s, needs_s))
    return found
