"""Manifests are held against Kubernetes' own schemas before anybody sees them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    Args:
        manifest: a Kubernetes object, or a KubeEdge ``ImagePrePullJob``, which has no
            schema in Kubernetes and is checked by its fields and their types.

    Raises:
        DataError: it is not valid; the message says where.
        PrerequisiteError: the library kubernetes-validate is missing.
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

    Raises:
        DataError: as :func:`validate`.
        PrerequisiteError: as :func:`validate`.
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
