"""Amazon Rekognition's DetectLabels, through boto3.

Boxes are the instances of labels, tags are the labels themselves. Credentials come from
where boto3 finds them outside of any midhaul file: ``AWS_ACCESS_KEY_ID`` and its
siblings, or the role of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import PrerequisiteError, require
from midhaul.federation.providers.answers import LastBody, entries_of, entry, number
from midhaul.federation.providers.base import (
    Failure,
    MalformedAnswerError,
    failure_of_http,
    field_of,
    one_line,
    retry_after_s,
    unreachable,
)
from midhaul.federation.providers.endpoints import checked_endpoint
from midhaul.federation.providers.vendor import (
    ImageLimits,
    VendorProvider,
    VendorSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.federation.providers.answers import AnswerEntries, AnswerEntry
    from midhaul.federation.providers.vendor import Size

LIMITS = ImageLimits(
    formats=("JPEG", "PNG"), max_bytes=5_242_880, min_side_px=80, max_side_px=10_000
)
"""docs.aws.amazon.com/rekognition/latest/dg/limits.html"""

_THROTTLED = (
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "UnknownOperationException",
    "UnrecognizedClientException",
)
_PERCENT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings(VendorSettings):
    """How DetectLabels is asked; ``min_score`` is of labels, not of their instances.

    Attributes:
        region: such as ``eu-central-1``; the environment's where empty.
        max_labels: most labels of an answer.
        has_parents: tags come with the parents that the answer names and does not
            list, with the score of their best child.
    """

    region: str = ""
    max_labels: int = 1000
    has_parents: bool = False


def aws_provider(settings: AwsSettings, *, name: str = "aws") -> VendorProvider:
    """A provider that asks Amazon Rekognition.

    PrerequisiteError without boto3, credentials or a region; ConfigError where the
    endpoint is none that credentials may be sent to.
    """
    client, secrets = _client(settings)
    exceptions = require("botocore.exceptions", "aws")
    bodies = LastBody()

    def keep(response_dict: Any, **_more: Any) -> None:
        bodies.keep(response_dict["body"])

    client.meta.events.register("before-parse.rekognition.DetectLabels", keep)

    def ask(data: bytes, size: Size, wait_s: float) -> AnswerEntries:
        del wait_s  # boto3 knows one time-out for all calls of a client
        try:
            answer = client.detect_labels(
                Image={"Bytes": data},
                MaxLabels=settings.max_labels,
                MinConfidence=settings.min_score * _PERCENT,
            )
        except (AttributeError, KeyError, TypeError):
            # botocore's parser takes for granted that objects are objects
            answer = bodies.read()
        if settings.is_boxes:
            return boxes_of(answer, size)
        return labels_of(answer, has_parents=settings.has_parents)

    return VendorProvider(
        name,
        settings,
        limits=LIMITS,
        ask=ask,
        close=client.close,
        errors=(exceptions.BotoCoreError, exceptions.ClientError),
        failure_of=_failure_of,
        secrets=secrets,
    )


def boxes_of(answer: Any, size: Size) -> AnswerEntries:
    """The instances in an answer; boxes are parts of width and height."""

    def read(pair: tuple[Any, Any]) -> list[AnswerEntry]:
        label, instance = pair
        name = field_of(label, "Name")
        box = field_of(instance, "BoundingBox")
        left, top, width, height = (
            number(field_of(box, side), f"BoundingBox.{side}")
            for side in ("Left", "Top", "Width", "Height")
        )
        corners = (
            left * size.width_px,
            top * size.height_px,
            (left + width) * size.width_px,
            (top + height) * size.height_px,
        )
        confidence = instance.get("Confidence", label.get("Confidence"))
        return [entry(name, _share(confidence), corners)]

    return entries_of(_parts(answer, "Instances"), read)


def labels_of(answer: Any, *, has_parents: bool = False) -> AnswerEntries:
    """The labels of an answer, and of parents that are named and not listed."""
    labels = _labels(answer)
    listed = [label.get("Name") for label in labels if isinstance(label, dict)]

    def read(pair: tuple[Any, Any]) -> list[AnswerEntry]:
        label, parent = pair
        name = field_of(label if parent is None else parent, "Name")
        if parent is not None and name in listed:
            return []
        return [entry(name, _share(field_of(label, "Confidence")))]

    parents = _parts(answer, "Parents") if has_parents else ()
    return entries_of([*((label, None) for label in labels), *parents], read)


def _labels(answer: Any) -> list[Any]:
    labels = field_of(answer, "Labels")
    if not isinstance(labels, list):
        message = "the answer's Labels are no list of labels"
        raise MalformedAnswerError(message)
    return cast("list[Any]", labels)


def _parts(answer: Any, what: str) -> Iterator[tuple[Any, Any]]:
    """Each label of an answer with each of its parts; odd ones come as they are."""
    for label in _labels(answer):
        parts = label.get(what) if isinstance(label, dict) else "no label"
        for part in parts if isinstance(parts, list) else [parts] if parts else []:
            yield label, part


def _share(confidence: Any) -> float:
    return number(confidence, "Confidence") / _PERCENT


def _client(settings: AwsSettings) -> tuple[Any, tuple[str, ...]]:
    """The SDK's client, and the secrets that it holds."""
    boto3 = require("boto3", "aws")
    config = require("botocore.config", "aws").Config(
        connect_timeout=settings.longest_s,
        read_timeout=settings.longest_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=settings.n_threads,
    )
    endpoint = checked_endpoint(settings.endpoint) if settings.endpoint else None
    session = boto3.session.Session(region_name=settings.region or None)
    if not session.region_name:
        message = "Amazon Rekognition needs a region"
        raise PrerequisiteError(message, "export AWS_DEFAULT_REGION=eu-central-1")
    credentials = session.get_credentials()
    if credentials is None:
        message = "no credentials of AWS in the environment"
        hint = "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…"
        raise PrerequisiteError(message, hint)
    frozen = credentials.get_frozen_credentials()
    secrets = (frozen.secret_key, frozen.token or "", frozen.access_key)
    client = session.client("rekognition", endpoint_url=endpoint, config=config)
    return client, secrets


def _failure_of(error: Any) -> Failure:
    """What an exception of botocore means."""
    exceptions = require("botocore.exceptions", "aws")
    if isinstance(error, exceptions.ClientError):
        return _failure_of_answer(error.response)
    never = (
        exceptions.ConnectTimeoutError,
        exceptions.EndpointConnectionError,
        exceptions.ProxyConnectionError,
        exceptions.SSLError,
    )
    if isinstance(error, never):
        return unreachable(error)
    text = one_line(error)
    no_key = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    )
    if isinstance(error, no_key):
        return Failure(status="denied", message=text, is_sent=False)
    if isinstance(error, exceptions.ParamValidationError):
        return Failure(status="refused", message=text, is_sent=False)
    if type(error).__name__ == "ResponseParserError":
        return Failure(status="malformed", message=text)
    is_late = isinstance(error, exceptions.ReadTimeoutError)
    return Failure(status="timeout" if is_late else "unavailable", message=text)


def _failure_of_answer(response: Any) -> Failure:
    said = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    headers = meta.get("HTTPHeaders", {})
    code = int(meta.get("HTTPStatusCode", 0))
    text = f"{said.get('Code', 'error')}: {said.get('Message', '')}"
    if said.get("Code") in _THROTTLED:
        return Failure(
            status="throttled",
            message=one_line(text),
            retry_after_s=retry_after_s(headers),
        )
    if said.get("Code") in _DENIED:  # they come as HTTP 400
        return Failure(status="denied", message=one_line(text))
    return failure_of_http(code, text, headers)
