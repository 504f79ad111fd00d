"""What a cluster's API does with manifests: it stores them, or refuses a change.

The rules are those of Kubernetes for the fields that exports write (pkg/apis/core/
validation, ValidatePodUpdate: of a Pod's spec only images, activeDeadlineSeconds and
additional tolerations change; pkg/apis/apps/validation, ValidateDeploymentUpdate: the
selector does not; pkg/apis/batch/validation, ValidateJobSpecUpdate: completions,
selector and template do not; policy/v1 lets a budget change).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Key = tuple[str, str, str]


class RefusedError(Exception):
    """The API says ``field is immutable``."""


class Cluster:
    """The objects of a cluster, by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}

    def apply(self, manifests: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
        """Store manifests as ``kubectl apply`` does; names by what became of them."""
        done: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
        for manifest in manifests:
            meta = manifest["metadata"]
            key = manifest["kind"], meta.get("namespace", "default"), meta["name"]
            old = self.objects.get(key)
            if old is None:
                done["created"].append(meta["name"])
            elif old == manifest:
                done["unchanged"].append(meta["name"])
            else:
                _check(old, manifest)
                done["changed"].append(meta["name"])
            self.objects[key] = copy.deepcopy(manifest)
        return done

    def delete(
        self, kinds: set[str], is_meant: Callable[[dict[str, str]], bool]
    ) -> None:
        """Delete objects of some kinds by their labels."""
        for key, found in list(self.objects.items()):
            if key[0] in kinds and is_meant(found["metadata"].get("labels", {})):
                del self.objects[key]


def manifests_in(folder: Path) -> list[dict[str, Any]]:
    """Every Kubernetes object in the files of a folder."""
    return [
        one
        for file in sorted(folder.glob("*.yaml"))
        for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if one["kind"] != "Kustomization"
    ]


def _check(old: dict[str, Any], new: dict[str, Any]) -> None:
    frozen: Callable[[dict[str, Any]], object] = {
        "Pod": _pod,
        "Deployment": lambda one: one["spec"]["selector"],
        "Job": _job,
    }.get(new["kind"], lambda _: None)
    if frozen(old) != frozen(new):
        message = f"{new['kind']} {new['metadata']['name']}: field is immutable"
        raise RefusedError(message)


def _pod(manifest: dict[str, Any]) -> object:
    spec = copy.deepcopy(manifest["spec"])
    for name in ("tolerations", "activeDeadlineSeconds"):
        spec.pop(name, None)
    for container in spec["containers"]:
        container.pop("image")
    return spec


def _job(manifest: dict[str, Any]) -> object:
    spec = manifest["spec"]
    names = (
        "template",
        "selector",
        "completions",
        "completionMode",
        "podFailurePolicy",
    )
    return {name: spec.get(name) for name in names}
