"""Kubernetes manifests of a plan: a Deployment per analytic, pre-pull jobs, budgets.

A plan is applied again and again, each time with another answer, and the API refuses
to change some fields of what is there: nearly all of a Pod's spec, a Deployment's
selector, a Job's template. So an analytic is a Deployment whose name and selector come
from the analytic's name alone, and a Job's name ends in a hash of what it does.

Manifests are held against Kubernetes' own schemas before anybody sees them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any, cast

from midhaul.deploy.exports.plan import CLOUD, dns_name, scheme_host_port
from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midhaul.deploy.exports.plan import ExportSite, Plan
    from midhaul.deploy.problem import Analytic

KUBERNETES = ("1.27", "1.31", "1.35")
"""Versions whose schemas are used: the oldest that KubeEdge's pre-pull needs, one whose
support has just ended, and a current one.
"""

PREPULL = ("operations.kubeedge.io/v1alpha1", "ImagePrePullJob")

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_LABEL = re.compile(r"^(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$")
_SHARE = re.compile(r"^(?:0(?:\.\d+)?|1(?:\.0+)?)$")
_TEMPLATE: dict[str, type] = {
    "images": list,
    "nodeNames": list,
    "labelSelector": dict,
    "checkItems": list,
    "failureTolerate": str,
    "concurrency": int,
    "timeoutSeconds": int,
    "imageSecrets": str,
    "retryTimes": int,
}


def validate(manifest: dict[str, Any]) -> None:
    """Check a manifest: schema (unknown keys are errors), names and labels.

    A KubeEdge ``ImagePrePullJob`` has no schema in Kubernetes and is checked by its
    fields and their types. A DataError says where it is not valid.
    """
    kind = f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')}"
    _check_metadata(manifest.get("metadata", {}), kind)
    if (manifest.get("apiVersion"), manifest.get("kind")) == PREPULL:
        _check_prepull(manifest, kind)
        return
    library = require("kubernetes_validate", "deploy")
    for version in KUBERNETES:
        try:
            library.validate(manifest, version, strict=True)
        except library.ValidationError as error:
            place = ".".join(map(str, error.path)) or "its top"
            message = f"{kind}, at {place}: {error.message} (Kubernetes {version})"
            raise DataError(message) from error
        except (KeyError, library.SchemaNotFoundError) as error:
            message = f"{kind}: Kubernetes {version} knows no such object"
            raise DataError(message) from error


def validate_all(manifests: Iterable[dict[str, Any]]) -> None:
    """Check many manifests; of those that differ in texts and numbers only, one.

    The schemas know names, types and what is required, and a schema takes its time.
    """
    seen: set[object] = set()
    for manifest in manifests:
        kind = f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')}"
        _check_metadata(manifest.get("metadata", {}), kind)
        key = manifest.get("apiVersion"), manifest.get("kind"), _shape(manifest)
        if key not in seen:
            validate(manifest)
            seen.add(key)


def _shape(value: object) -> object:
    """What of a value a schema looks at."""
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value).items()
        return tuple((key, _shape(inner)) for key, inner in entries)
    if isinstance(value, list):
        return tuple(map(_shape, cast("list[object]", value)))
    return type(value)


def _check_metadata(metadata: dict[str, Any], kind: str) -> None:
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        message = f"{kind}: expected a DNS label as name, found {name!r}"
        raise DataError(message, "lower-case letters, digits and -, at most 63")
    for key, value in metadata.get("labels", {}).items():
        if not isinstance(value, str) or not _LABEL.match(value):
            message = f"{kind}: expected a label's value for {key}, found {value!r}"
            raise DataError(message)


def _check_prepull(manifest: dict[str, Any], kind: str) -> None:
    """The fields of KubeEdge's v1alpha1 types."""
    spec = manifest.get("spec", {})
    template = spec.get("imagePrePullTemplate")
    if set(spec) != {"imagePrePullTemplate"} or not isinstance(template, dict):
        message = f"{kind}: expected spec to hold imagePrePullTemplate only"
        raise DataError(message)
    for key, value in template.items():
        wanted = _TEMPLATE.get(key)
        if wanted is None or not isinstance(value, wanted) or isinstance(value, bool):
            message = f"{kind}: {key} is unknown or no {wanted}: {value!r}"
            raise DataError(message)
    if not template.get("images"):
        message = f"{kind}: expected at least one image"
        raise DataError(message)
    if ("nodeNames" in template) == ("labelSelector" in template):
        message = f"{kind}: expected either nodeNames or labelSelector"
        raise DataError(message)
    if not _SHARE.match(template.get("failureTolerate", "0.1")):
        message = f"{kind}: expected failureTolerate as a share, 0 to 1"
        raise DataError(message)


PLAN_LABEL = "midhaul/plan"
"""Label of everything that was applied with a plan: the plan's hash."""

PART_LABEL = "app.kubernetes.io/part-of"
"""Label with the site's name, which all its plans have in common."""

PLACE_LABEL = "midhaul/place"

_KEPT_S = 600  # a finished job is kept that long, for its log
_LEAST_PULL_S = 300
_SLACK = 3  # times of a planned pull after which it is given up
_HASH_CHARACTERS = 10
_HOST_IP = "status.hostIP"
_LOOPBACK = ("127.", "localhost", "::1")
_EGRESS = "kubernetes.io/egress-bandwidth"
_LEAST_EGRESS_BPS = 1000  # what CNI's plugin takes
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def deployments(plan: Plan, site: ExportSite) -> list[dict[str, Any]]:
    """A Deployment for each analytic, on its gateway or in the cloud."""
    found = [_deployment(plan, site, analytic) for analytic in plan.analytics]
    validate_all(found)
    return found


def disruption_budgets(plan: Plan, site: ExportSite) -> list[dict[str, Any]]:
    """A PodDisruptionBudget for each place, where the site asks for one."""
    if site.max_unavailable is None:
        return []
    places = dict.fromkeys(plan.where(analytic) for analytic in plan.analytics)
    found: list[dict[str, Any]] = [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(f"analytics-on-{place}", site, "budget"),
            "spec": {
                "maxUnavailable": site.max_unavailable,
                "selector": {
                    "matchLabels": {
                        PART_LABEL: dns_name(site.name),
                        PLACE_LABEL: dns_name(place),
                    }
                },
            },
        }
        for place in places
    ]
    validate_all(found)
    return found


def prepull_jobs(plan: Plan, site: ExportSite) -> list[list[dict[str, Any]]]:
    """A Job for each gateway that is to pull something, in waves (see ``Plan.waves``).

    The kubelet pulls the images of a Pod's containers one after another, in the order
    of the plan. Each container ends at once; an image without ``true`` fails to start,
    which does no harm, since it is there then.
    """
    waves = _empty_waves(plan)
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
        pod = _pod_spec(site, gateway, containers)
        wave = plan.waves()[gateway]
        job: dict[str, Any] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(f"prepull-{gateway}", site, "prepull"),
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": timeout_s,
                "ttlSecondsAfterFinished": _KEPT_S,
                "template": {
                    "metadata": {
                        "labels": _labels("prepull", f"prepull-{gateway}", site)
                    },
                    "spec": {**pod, "restartPolicy": "Never"},
                },
            },
        }
        job["metadata"]["labels"]["midhaul/wave"] = f"{wave}"
        waves[wave - 1].append(_named_by_content(job))
    validate_all(job for wave in waves for job in wave)
    return waves


def kubeedge_prepulls(plan: Plan, site: ExportSite) -> list[list[dict[str, Any]]]:
    """A KubeEdge ``ImagePrePullJob`` for each gateway that pulls, in the same waves."""
    waves = _empty_waves(plan)
    for gateway, (images, timeout_s) in _pulls(plan, site).items():
        name = dns_name(f"prepull-{gateway}")
        template: dict[str, Any] = {
            "images": images,
            "nodeNames": [gateway],
            "checkItems": ["disk"],
            "failureTolerate": "0.1",
            "concurrency": 1,
            "timeoutSeconds": timeout_s,
            "retryTimes": 1,
        }
        if site.secrets:  # it takes one
            template["imageSecrets"] = f"{site.namespace}/{next(iter(site.secrets))}"
        job = _named_by_content(
            {
                "apiVersion": PREPULL[0],
                "kind": PREPULL[1],
                "metadata": {"name": name, "labels": _labels("prepull", name, site)},
                "spec": {"imagePrePullTemplate": template},
            }
        )
        validate(job)
        waves[plan.waves()[gateway] - 1].append(job)
    return waves


def kustomization(site: ExportSite, files: Sequence[str]) -> dict[str, Any]:
    """The list of files that ``kubectl apply -k`` reads."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": site.namespace,
        "resources": list(files),
    }


def plan_hash(manifests: Sequence[dict[str, Any]]) -> str:
    """What tells one plan's manifests from another's; equal plans have equal ones."""
    text = json.dumps(list(manifests), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


def mark(manifests: Sequence[dict[str, Any]], plan_hash: str) -> None:
    """Label manifests with the plan that they are of.

    The label is not in the templates of Pods: a Pod that a new plan leaves as it is
    goes on running.
    """
    for manifest in manifests:
        manifest["metadata"]["labels"][PLAN_LABEL] = plan_hash


def to_yaml(manifests: Sequence[dict[str, Any]]) -> str:
    """Manifests as one stream of YAML documents."""
    yaml = require("yaml", "deploy")
    return yaml.safe_dump_all(
        manifests, sort_keys=False, explicit_start=True, allow_unicode=True
    )


def _deployment(plan: Plan, site: ExportSite, analytic: Analytic) -> dict[str, Any]:
    place = plan.where(analytic)
    name = dns_name(analytic.name)
    container = {
        "name": "analytic",
        "image": plan.image_at(analytic.image, place, site),
        "imagePullPolicy": "IfNotPresent",
        "env": _env(plan, site, analytic),
        "resources": _resources(analytic.n_cores, analytic.memory_bytes),
        "securityContext": _security(),
    }
    notes = {"midhaul/analytic": analytic.name, "midhaul/place": place}
    rate_bps = plan.rates_bps.get(analytic.name, 0.0)
    shaped: dict[str, str] = {}
    if site.with_bandwidth and place != CLOUD and rate_bps > 0:
        shaped[_EGRESS] = f"{max(_LEAST_EGRESS_BPS, int(rate_bps))}"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            **_metadata(analytic.name, site, "analytic"),
            "annotations": dict(notes),
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            # Old before new: a gateway that the plan fills has no room for both.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _labels("analytic", name)},
            "template": {
                "metadata": {
                    "labels": {
                        **_labels("analytic", name, site),
                        PLACE_LABEL: dns_name(place),
                    },
                    "annotations": {**notes, **shaped},
                },
                "spec": {**_pod_spec(site, place, [container])},
            },
        },
    }


def _env(plan: Plan, site: ExportSite, analytic: Analytic) -> list[dict[str, Any]]:
    place = plan.where(analytic)
    near = site.cloud_broker if place == CLOUD else site.gateway_broker
    env = {
        "ANALYTIC": analytic.name,
        "DEVICE": place,
        "SENSOR_BROKER": _seen_from_pod(near),
        "RESULT_BROKER": _seen_from_pod(near),
    }
    if place == CLOUD and site.has_tls:
        env["BROKER_HAS_TLS"] = "true"
    if analytic.name in plan.rates_bps:
        env["UPLOAD_RATE_BPS"] = f"{int(plan.rates_bps[analytic.name])}"
    if analytic.name in plan.knobs:
        env["KNOB"] = f"{plan.knobs[analytic.name]:g}"
    return [
        {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": _HOST_IP}}},
        *({"name": name, "value": value} for name, value in env.items()),
    ]


def _pod_spec(
    site: ExportSite, place: str, containers: list[dict[str, Any]]
) -> dict[str, Any]:
    is_cloud = place == CLOUD
    selector = (
        {site.cloud_label: site.cloud_value} if is_cloud else {site.node_label: place}
    )
    spec: dict[str, Any] = {"nodeSelector": selector}
    if not is_cloud:
        spec["tolerations"] = _tolerations(site)
    if site.secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in site.secrets]
    return {
        **spec,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": site.user_id != 0,
            "runAsUser": site.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
    }


def _tolerations(site: ExportSite) -> list[dict[str, str]]:
    """The site's, and those that let a gateway without its uplink go on."""
    found: list[dict[str, str]] = [
        {"key": key, "operator": "Exists", "effect": "NoExecute"} for key in _AWAY
    ]
    for one in site.tolerations:
        parts = {"key": one.key, "value": one.value, "effect": one.effect}
        known = {name: text for name, text in parts.items() if text}
        operator = "Equal" if one.value else "Exists"
        found.append({"operator": operator, **known})
    return found


def _security() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _seen_from_pod(broker: str) -> str:
    """A broker's address inside a Pod, where the node's loopback is another."""
    _, host, port = scheme_host_port(broker)
    if host.startswith(_LOOPBACK):
        return f"$(HOST_IP):{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _metadata(name: str, site: ExportSite, component: str) -> dict[str, Any]:
    name = dns_name(name)
    return {
        "name": name,
        "namespace": site.namespace,
        "labels": _labels(component, name, site),
    }


def _labels(
    component: str, name: str, site: ExportSite | None = None
) -> dict[str, str]:
    """Labels that never change for one name, which selectors are; with the site's."""
    found = {
        "app.kubernetes.io/name": dns_name(name),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "midhaul",
    }
    return found if site is None else {**found, PART_LABEL: dns_name(site.name)}


def _named_by_content(job: dict[str, Any]) -> dict[str, Any]:
    """The same with a name of its own: a job that is there cannot be changed."""
    metadata = job["metadata"]
    name = dns_name(f"{metadata['name']}-{plan_hash([job['spec']])}")
    return {**job, "metadata": {**metadata, "name": name}}


def _resources(n_cores: float, memory_bytes: float) -> dict[str, Any]:
    """Requests equal to limits, so that a node is never promised twice."""
    amounts: dict[str, str] = {}
    if n_cores > 0:
        amounts["cpu"] = f"{math.ceil(1000 * n_cores)}m"
    if memory_bytes > 0:
        amounts["memory"] = f"{math.ceil(memory_bytes)}"
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def _empty_waves(plan: Plan) -> list[list[dict[str, Any]]]:
    return [[] for _ in range(max(plan.waves().values(), default=0))]


def _pulls(plan: Plan, site: ExportSite) -> dict[str, tuple[list[str], int]]:
    """By gateway: images in the order of their pulls, and when to give up."""
    found: dict[str, tuple[list[str], int]] = {}
    for pull in plan.placement.pulls:
        images, timeout_s = found.get(pull.gateway, ([], _LEAST_PULL_S))
        is_timed = math.isfinite(pull.ends_s)
        needs_s = math.ceil(_SLACK * pull.ends_s) if is_timed else 0
        name = plan.image_at(pull.image, pull.gateway, site)
        found[pull.gateway] = ([*images, name], max(timeout_s, needs_s))
    return found
