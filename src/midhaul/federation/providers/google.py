"""Google Cloud Vision's object localisation and label detection, through its SDK.

Credentials come from ``GOOGLE_API_KEY``, or from what
``GOOGLE_APPLICATION_CREDENTIALS`` points to. Vision speaks gRPC and REST; both are
official transports.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from midhaul.errors import PrerequisiteError, require
from midhaul.federation.providers.answers import LastBody, entries_of, entry
from midhaul.federation.providers.base import (
    Failure,
    MalformedAnswerError,
    failure_of_http,
    field_of,
    one_line,
    unreachable,
)
from midhaul.federation.providers.endpoints import checked_endpoint
from midhaul.federation.providers.vendor import (
    ImageLimits,
    VendorProvider,
    VendorSettings,
)

if TYPE_CHECKING:
    from midhaul.federation.providers.answers import AnswerEntries, AnswerEntry
    from midhaul.federation.providers.vendor import Size

LIMITS = ImageLimits(
    formats=("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"),
    max_bytes=7_500_000,
    max_pixels=75_000_000,
)
"""cloud.google.com/vision/quotas: a request has 10 MB, and base64 adds a third."""

_DEFAULT_ENDPOINT = "https://vision.googleapis.com"
_N_CORNERS = 4
_NO_CHANNEL = (
    "failed to connect to all addresses",
    "DNS resolution failed",
    "Handshake",
    "handshake",
)
"""How gRPC begins to say that there is no connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSettings(VendorSettings):
    """How Vision is asked; an endpoint is such as ``https://eu-vision.googleapis.com``.

    Attributes:
        transport: of the SDK.
        max_results: most entries of an answer.
    """

    transport: Literal["grpc", "rest"] = "grpc"
    max_results: int = 100


def google_provider(
    settings: GoogleSettings, *, name: str = "google"
) -> VendorProvider:
    """A provider that asks Google Cloud Vision.

    PrerequisiteError without the SDK or credentials; ConfigError where the endpoint is
    none that credentials may be sent to.
    """
    require("google.cloud.vision_v1", "google")
    key = os.environ.get("GOOGLE_API_KEY", "").strip()
    client = _client(settings, key)
    bodies = LastBody()
    if settings.transport == "rest":
        _tell_bodies(client, bodies)

    def ask(data: bytes, size: Size, wait_s: float) -> AnswerEntries:
        try:
            answer = _annotated(client, settings, data, wait_s)
            objects = answer.localized_object_annotations
            labels = answer.label_annotations
        except require("google.protobuf.json_format", "google").Error:
            # protobuf's parser reads all of an answer or nothing
            objects = labels = _entries_in(
                bodies.read(),
                "localizedObjectAnnotations"
                if settings.is_boxes
                else "labelAnnotations",
            )
        found = boxes_of(objects, size) if settings.is_boxes else labels_of(labels)
        return found.above(settings.min_score)

    return VendorProvider(
        name,
        settings,
        limits=LIMITS,
        ask=ask,
        close=client.transport.close,
        errors=(
            require("google.api_core.exceptions", "google").GoogleAPIError,
            require("google.auth.exceptions", "google").GoogleAuthError,
            require("requests.exceptions", "google").RequestException,
            require("google.protobuf.json_format", "google").Error,
        ),
        failure_of=_failure_of,
        secrets=(key,),
    )


def _annotated(
    client: Any, settings: GoogleSettings, data: bytes, wait_s: float
) -> Any:
    """The only answer of a batch of one image; its error is raised."""
    sdk = require("google.cloud.vision_v1", "google")
    kinds = sdk.Feature.Type
    is_boxes = settings.task == "boxes"
    feature = sdk.Feature(
        type_=kinds.OBJECT_LOCALIZATION if is_boxes else kinds.LABEL_DETECTION,
        max_results=settings.max_results,
    )
    request = sdk.AnnotateImageRequest(
        image=sdk.Image(content=data), features=[feature]
    )
    answers = client.batch_annotate_images(
        requests=[request], retry=None, timeout=wait_s
    ).responses
    if len(answers) != 1:
        message = f"{len(answers)} answers to one image"
        raise MalformedAnswerError(message)
    (answer,) = answers
    if answer.error.code:
        api = require("google.api_core.exceptions", "google")
        raise api.from_grpc_status(answer.error.code, answer.error.message)
    return answer


def _tell_bodies(client: Any, bodies: LastBody) -> None:
    """Let the body of each answer over REST be kept, as requests knows it."""

    def keep(response: Any, **_more: Any) -> None:
        bodies.keep(response.content)

    session = getattr(client.transport, "_session", None)
    if session is not None:
        session.hooks["response"].append(keep)


def _entries_in(body: Any, key: str) -> list[Any]:
    """The entries of the only answer of a batch as in JSON, or MalformedAnswerError."""
    answers = field_of(body, "responses")
    entries = field_of(answers, 0, key)
    if not isinstance(entries, list) or len(answers) != 1 or answers[0].get("error"):
        message = f"no answer to one image with {key}"
        raise MalformedAnswerError(message)
    return cast("list[Any]", entries)


def _message(kind: str, one: Any) -> Any:
    """An entry as the SDK's message, which it is already where all could be read."""
    message_class = getattr(require("google.cloud.vision_v1", "google"), kind)
    if isinstance(one, message_class):
        return one
    if not isinstance(one, dict):
        message = f"an entry is no {kind}: {one!r:.50}"
        raise MalformedAnswerError(message)
    try:
        return message_class.from_json(json.dumps(one), ignore_unknown_fields=True)
    except require("google.protobuf.json_format", "google").Error as error:
        raise MalformedAnswerError(one_line(error)) from error


def boxes_of(annotations: Any, size: Size) -> AnswerEntries:
    """Localised objects; their corners are parts of width and height.

    A coordinate of 0 is left out on the wire and reads as 0.
    """

    def read(value: Any) -> list[AnswerEntry]:
        one = _message("LocalizedObjectAnnotation", value)
        corners = [
            (float(v.x), float(v.y)) for v in one.bounding_poly.normalized_vertices
        ]
        if len(corners) != _N_CORNERS:
            message = f"{one.name!r} has {len(corners)} corners, not 4"
            raise MalformedAnswerError(message)
        xs = [x * size.width_px for x, _ in corners]
        ys = [y * size.height_px for _, y in corners]
        return [entry(one.name, one.score, (min(xs), min(ys), max(xs), max(ys)))]

    return entries_of(annotations, read)


def labels_of(annotations: Any) -> AnswerEntries:
    """Labels of an image."""

    def read(value: Any) -> list[AnswerEntry]:
        one = _message("EntityAnnotation", value)
        return [entry(one.description, one.score)]

    return entries_of(annotations, read)


def _client(settings: GoogleSettings, key: str) -> Any:
    """The SDK's client for an address, a transport and credentials."""
    services = require("google.cloud.vision_v1.services.image_annotator", "google")
    endpoint = urlsplit(checked_endpoint(settings.endpoint or _DEFAULT_ENDPOINT))
    credentials = _credentials(key)
    if settings.transport == "rest":
        transports = require(f"{services.__name__}.transports.rest", "google")
        transport = transports.ImageAnnotatorRestTransport(
            host=endpoint.netloc, url_scheme=endpoint.scheme, credentials=credentials
        )
        return services.ImageAnnotatorClient(transport=transport)
    transports = require(f"{services.__name__}.transports.grpc", "google")
    if endpoint.scheme == "http":  # this machine: no TLS
        channel = require("grpc", "google").insecure_channel(endpoint.netloc)
        transport = transports.ImageAnnotatorGrpcTransport(channel=channel)
    else:
        transport = transports.ImageAnnotatorGrpcTransport(
            host=endpoint.netloc, credentials=credentials
        )
    return services.ImageAnnotatorClient(transport=transport)


def _credentials(key: str) -> Any:
    if key:
        return require("google.auth.api_key", "google").Credentials(key)
    auth = require("google.auth", "google")
    try:
        return auth.default()[0]
    except auth.exceptions.DefaultCredentialsError as error:
        message = "no credentials of Google Cloud in the environment"
        hint = "export GOOGLE_API_KEY=… or GOOGLE_APPLICATION_CREDENTIALS=FILE"
        raise PrerequisiteError(message, hint) from error


def _failure_of(error: Any) -> Failure:
    """What an exception of the SDK means."""
    api = require("google.api_core.exceptions", "google")
    requests = require("requests.exceptions", "google")
    text = one_line(error)
    odd = (
        require("google.protobuf.json_format", "google").Error,
        requests.JSONDecodeError,
    )
    if isinstance(error, odd):
        return Failure(status="malformed", message=text)
    if _has_no_connection(error):
        return unreachable(text)
    if isinstance(error, require("google.auth.exceptions", "google").GoogleAuthError):
        return Failure(status="denied", message=text, is_sent=False)
    if isinstance(error, (api.DeadlineExceeded, requests.Timeout)):
        return Failure(status="timeout", message=text)
    if isinstance(error, api.GoogleAPICallError) and error.code is not None:
        headers = dict(getattr(error.response, "headers", None) or {})
        failure = failure_of_http(int(error.code), text, headers)
        wait_s = failure.retry_after_s or _retry_info_s(error.details)
        return replace(failure, retry_after_s=wait_s)
    return Failure(status="unavailable", message=text)


def _has_no_connection(error: Any) -> bool:
    """Whether an exception is about a connection that never came about.

    Over REST it is wrapped in others; over gRPC the text alone tells it from an answer
    of the far end with the same status.
    """
    requests = require("requests.exceptions", "google")
    auth = require("google.auth.exceptions", "google")
    pool = require("urllib3.exceptions", "google")
    api = require("google.api_core.exceptions", "google")
    never = (
        requests.ConnectTimeout,
        requests.ProxyError,
        requests.SSLError,
        auth.TransportError,
        pool.NewConnectionError,
        pool.ConnectTimeoutError,
    )
    found: Any = error
    while found is not None and not isinstance(found, never):
        inner = found.args[0] if getattr(found, "args", ()) else None
        reason = getattr(found, "reason", None)
        found = next((e for e in (reason, inner) if isinstance(e, Exception)), None)
    is_grpc = isinstance(error, api.ServiceUnavailable) and error.errors
    return found is not None or (
        bool(is_grpc) and any(text in str(error) for text in _NO_CHANNEL)
    )


def _retry_info_s(details: Any) -> float:
    """Seconds to wait, as errors over gRPC say it; 0 where they do not."""
    for detail in details or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return max(0.0, float(delay.seconds) + float(delay.nanos) / 1e9)
    return 0.0
