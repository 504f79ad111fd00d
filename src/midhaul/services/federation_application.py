"""ASGI application of a federation: what it answers to whom.

Answers are JSON, with the status that goes with each.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from midhaul import __version__, documents
from midhaul.errors import ConfigError, DataError, MidhaulError
from midhaul.federation.serving.online_feedback import truth_of
from midhaul.federation.serving.trained_parts import warm
from midhaul.model import Detections
from midhaul.services.federation_metrics import CONTENT_TYPE
from midhaul.services.http import (
    Disconnected,
    HttpError,
    header,
    read_body,
    write,
    write_json,
)
from midhaul.stats import known
from midhaul.wire.message import IMAGE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.recordings.problem import Answers
    from midhaul.federation.serving import FederatedAnswer, Federation, Knowledge
    from midhaul.federation.serving.config import FederationFile
    from midhaul.model import Tags
    from midhaul.services.federation_metrics import Metrics
    from midhaul.services.http import Receive, Scope, Send

_CODES = {"complete": 200, "partial": 200, "no_budget": 402, "failed": 502, "late": 504}
_CLOSING = 503
_DIGITS = 5
_S_DIGITS = 6


def status_of(answer: FederatedAnswer) -> int:
    """The HTTP status of an answer."""
    return _CLOSING if answer.reason == "closing" else _CODES[answer.status]


def headers_of(answer: FederatedAnswer) -> list[tuple[bytes, bytes]]:
    """``Retry-After``, where somebody knows when to ask again."""
    if answer.retry_after_s <= 0:
        return []
    return [(b"retry-after", str(math.ceil(answer.retry_after_s)).encode())]


def json_of(answer: FederatedAnswer) -> dict[str, Any]:
    """Everything that there is to say about an answer.

    By whom to give feedback, and whether it was an audit, stands there where the
    federation learns.
    """
    learning = {"answer_id": answer.answer_id, "is_audit": answer.is_audit}
    return {
        "item": answer.item,
        "status": answer.status,
        "reason": answer.reason,
        "answer": None if answer.answer is None else entries_of(answer.answer),
        "asked": list(answer.asked),
        "rounds": [list(names) for names in answer.rounds],
        "calls": [
            {
                **asdict(call),
                "wait_s": round(call.wait_s, _S_DIGITS),
                "latency_s": round(call.latency_s, _S_DIGITS),
            }
            for call in answer.calls
        ],
        "cost_usd": answer.cost_usd,
        "latency_s": round(answer.latency_s, _S_DIGITS),
        "is_cached": answer.is_cached,
        "is_shared": answer.is_shared,
        "open_breakers": list(answer.open_breakers),
        "findings": dict(answer.findings),
        "unknown_labels": [list(pair) for pair in answer.unknown_labels],
        "retry_after_s": answer.retry_after_s,
        **(learning if answer.answer_id else {}),
    }


def entries_of(answer: Detections | Tags) -> list[dict[str, Any]]:
    """Labels with their scores, and boxes in px where there are any."""
    names, scores = answer.names, answer.scores.tolist()
    found: list[dict[str, Any]] = [
        {"label": names[label], "score": round(score, _DIGITS)}
        for label, score in zip(answer.labels.tolist(), scores, strict=True)
    ]
    if isinstance(answer, Detections):
        for entry, box in zip(found, answer.boxes.tolist(), strict=True):
            entry["box"] = [round(corner, 2) for corner in box]
    return found


_LOG = logging.getLogger(__name__)
_MAX_ITEM_CHARACTERS = 256
_N_WORDS = 20
_OPTIONS = ("item", "deadline_s", "budget_usd")
_HELP = (
    "a federation knows POST /detect, POST /feedback, GET /health, GET /info and "
    "GET /metrics"
)
_N_ALARMS = 20
_TOLD = {
    "taken": (202, "it will be learned from"),
    "unknown": (404, "no answer of that id waits for feedback, or no longer"),
    "busy": (503, "too many lessons wait to be learned"),
}


class FederationApplication:
    """One federation, to be served by any ASGI server with its lifespan protocol.

    Args:
        config: of the file.
        federation: not entered yet.
        metrics: that observe it.
        on_ready: called when it is open.
        on_failure: called with the error when it cannot be opened; the server should
            end then.
    """

    def __init__(
        self,
        config: FederationFile,
        federation: Federation,
        metrics: Metrics,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[MidhaulError], None] = _LOG.error,
    ) -> None:
        self._config = config
        self._federation = federation
        self._metrics = metrics
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._is_ready = False
        self._n_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the life span of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                await self._route(scope, receive, send)
            except HttpError as error:
                await write_json(send, error.status, {"error": error.text})
            except Disconnected:
                return

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        federation = self._federation
        try:
            await federation.__aenter__()
            await asyncio.to_thread(warm, federation.knowledge, federation.providers)
        except MidhaulError as error:
            self._on_failure(error)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self._is_ready = True
        self._on_ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._is_ready = False
        await federation.close(drain_s=0.0)  # the server has waited already
        await send({"type": "lifespan.shutdown.complete"})

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        match (scope["method"], scope["path"]):
            case ("POST", "/detect"):
                await self._detect(scope, receive, send)
            case ("POST", "/feedback"):
                await self._feedback(scope, receive, send)
            case ("GET", "/health"):
                said = {"name": self._config.name, "ready": self._is_ready}
                await write_json(send, 200 if self._is_ready else 503, said)
            case ("GET", "/info"):
                await write_json(send, 200, self._info())
            case ("GET", "/metrics"):
                await write(send, 200, self._metrics.text(), CONTENT_TYPE)
            case (method, path):
                raise HttpError(404, f"no {method} {path} here; {_HELP}")

    async def _detect(self, scope: Scope, receive: Receive, send: Send) -> None:
        config = self._config
        if self._n_requests >= config.max_requests:
            text = f"{config.name} is overloaded: {self._n_requests} requests wait"
            raise HttpError(503, text)
        self._n_requests += 1
        try:
            options = options_of(scope)
            body = await read_body(
                scope,
                receive,
                max_bytes=config.max_body_bytes,
                timeout_s=config.body_timeout_s,
            )
            if config.is_image and not body:
                raise HttpError(400, "the body should be an image but is empty")
            answer = await self._while_connected(body, options, receive)
        finally:
            self._n_requests -= 1
        await _write_answer(send, answer)

    async def _feedback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take what people say is right about an answer."""
        config, federation = self._config, self._federation
        online = config.policy.online
        if online is None or not federation.lessons.takes_feedback:
            raise HttpError(404, f"{config.name} takes no feedback: policy.online")
        if not self._is_ready:
            raise HttpError(503, f"{config.name} is not ready")
        if self._n_requests >= config.max_requests:
            text = f"{config.name} is overloaded: {self._n_requests} requests wait"
            raise HttpError(503, text)
        self._n_requests += 1
        try:
            body = await read_body(
                scope,
                receive,
                max_bytes=online.max_feedback_bytes,
                timeout_s=config.body_timeout_s,
            )
            try:
                answer_id, truth = await asyncio.to_thread(
                    _feedback_of, body, federation.knowledge
                )
            except DataError as error:
                raise HttpError(400, error.message) from error
        finally:
            self._n_requests -= 1
        told = federation.lessons.tell(answer_id, truth)
        self._metrics.told(told)
        status, text = _TOLD[told]
        if told != "taken":
            raise HttpError(status, text)
        await write_json(send, status, {"answer_id": answer_id, "status": text})

    async def _while_connected(
        self, body: bytes, options: dict[str, Any], receive: Receive
    ) -> FederatedAnswer:
        """The answer, or nothing more is done for a client that went away."""
        answering = asyncio.create_task(self._answer(body, options))
        leaving = asyncio.ensure_future(receive())
        try:
            await asyncio.wait(
                (answering, leaving), return_when=asyncio.FIRST_COMPLETED
            )
            if not answering.done():
                raise Disconnected
            return answering.result()
        finally:
            answering.cancel()
            leaving.cancel()

    async def _answer(self, body: bytes, options: dict[str, Any]) -> FederatedAnswer:
        try:
            return await self._federation.answer(body, **options)
        except (DataError, ConfigError) as error:
            raise HttpError(400, error.message) from error
        except Exception as error:
            _LOG.exception("request failed")
            text = f"{self._config.name}: {type(error).__name__}: {error}"
            raise HttpError(500, text) from error

    def _info(self) -> dict[str, Any]:
        config, federation = self._config, self._federation
        guard, knowledge = federation.guard, federation.knowledge
        report = federation.tally.report()
        prices = dict(
            zip(federation.providers, federation.prices_usd().tolist(), strict=True)
        )
        return {
            "name": config.name,
            "task": knowledge.task,
            "policy": knowledge.policy.name,
            "fuser": knowledge.fuser.name,
            "features": list(knowledge.features.names),
            "names": list(knowledge.vocabulary.names),
            "providers": [
                {
                    "name": caller.name,
                    "price_usd": prices[caller.name],
                    "left_usd": known(guard.left_usd(caller.name)),
                    "breaker": caller.breaker.state,
                    "n_waiting": caller.n_waiting,
                    "timeout_s": caller.settings.timeout_s,
                    "n_at_once": caller.settings.n_at_once,
                    "rate_hz": known(caller.settings.rate_hz),
                }
                for caller in federation.callers
            ],
            "budget": {
                **config.budget.model_dump(),
                "spent_usd": guard.spent_usd,
                "left_usd": known(guard.left_usd()),
            },
            "deadline_s": config.deadline_s,
            "online": self._online(),
            "n_cached": federation.n_cached,
            "n_requests": self._n_requests,
            "findings": [finding.sentence() for finding in report.findings],
            "unknown_labels": [
                {
                    "provider": unknown.provider,
                    "word": unknown.word,
                    "count": unknown.count,
                    "perhaps": list(unknown.suggestions),
                }
                for unknown in report.unknown_labels[:_N_WORDS]
            ],
            "pid": os.getpid(),
            "midhaul": __version__,
        }

    def _online(self) -> dict[str, Any] | None:
        """What was learned since it was trained; None where nobody learns."""
        online, lessons = self._config.policy.online, self._federation.lessons
        if online is None:
            return None
        policy: Any = self._federation.knowledge.policy
        return {
            "n_seen": policy.n_seen,
            "n_audits": policy.n_audits,
            "n_refits": policy.n_refits,
            "is_boosted": policy.is_boosted,
            "asks_among": list(policy.inner.known),
            "suspects": sorted(policy.suspects),
            "n_alarms": len(policy.alarms),
            "alarms": [asdict(alarm) for alarm in policy.alarms[-_N_ALARMS:]],
            "n_waiting": lessons.n_waiting,
            "n_queued": lessons.n_queued,
            "lessons": dict(lessons.counts),
            "file": str(online.file),
        }


def _feedback_of(body: bytes, knowledge: Knowledge) -> tuple[str, Answers]:
    """Id of the answer and what is right about it; DataError if it is no feedback."""
    try:
        said = documents.parse_json(body)
    except ValueError as error:
        message = f"feedback should be JSON: {error}"
        raise DataError(message) from error
    if not isinstance(said, dict) or set(said) != {"answer_id", "truth"}:  # pyright: ignore[reportUnknownArgumentType]
        message = "feedback should be an object with answer_id and truth, and no more"
        raise DataError(message)
    told: dict[str, Any] = said
    if not isinstance(told["answer_id"], str):
        message = "answer_id should be a text"
        raise DataError(message)
    truth = truth_of(told["truth"], knowledge.task, knowledge.vocabulary)
    return told["answer_id"], truth


def options_of(scope: Scope) -> dict[str, Any]:
    """Item, deadline and budget of a request: in its query, or in its headers.

    HttpError if one is unknown or cannot be read.
    """
    try:
        query = parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(scope["query_string"]),
            max_num_fields=len(_OPTIONS),
            errors="strict",
        )
    except ValueError as error:
        raise HttpError(400, f"the query cannot be read: {error}") from error
    said = dict(query)
    if unknown := sorted(set(said) - set(_OPTIONS)):
        known = ", ".join(_OPTIONS)
        raise HttpError(400, f"unknown option {unknown[0]!r}; there are {known}")
    said.setdefault("item", unquote(header(scope, IMAGE_HEADER.encode())))
    for name in _OPTIONS[1:]:
        said.setdefault(
            name, header(scope, f"x-midhaul-{name}".replace("_", "-").encode())
        )
    options: dict[str, Any] = {"item": _item(said["item"])}
    for name in _OPTIONS[1:]:
        if said[name]:
            options[name] = _number(name, said[name])
    return options


def _item(text: str) -> str:
    if len(text) > _MAX_ITEM_CHARACTERS or not text.isprintable():
        what = f"an item is a text of at most {_MAX_ITEM_CHARACTERS} characters"
        raise HttpError(400, f"{what} that can be printed")
    return text


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (name == "deadline_s" and value == 0):
        raise HttpError(400, f"{name} should be a positive number, found {text[:50]!r}")
    return value


async def _write_answer(send: Send, answer: FederatedAnswer) -> None:
    body = json.dumps(json_of(answer)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers_of(answer),
    ]
    await send(
        {"type": "http.response.start", "status": status_of(answer), "headers": headers}
    )
    await send({"type": "http.response.body", "body": body})
