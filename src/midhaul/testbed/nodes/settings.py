"""Settings of a node: what it is, and what it does with an image."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, Gt, Le

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.vision.images.limits import DecodingLimits
from midhaul.wire.limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.vision.images.image import Preprocessing

Role = Literal["edge", "cloud"]
Forward = Literal["nothing", "results", "image", "image+results", "uncertain"]

FORWARDS: tuple[Forward, ...] = (
    "nothing",
    "results",
    "image",
    "image+results",
    "uncertain",
)
"""What an edge may forward to its cloud."""

VARIABLE = ("detector", "preprocessing", "forward", "forward_below")
"""Settings that a running node takes over from ``PUT /settings``."""


_SERVER = ServerLimits()


def _as_received() -> Preprocessing:
    from midhaul.vision.images.image import Preprocessing  # noqa: PLC0415 - needs an extra

    return Preprocessing()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """One node of the testbed.

    Attributes:
        name: unique in its topology.
        role: an edge is asked by the workload, a cloud by its edges.
        cloud: name of the cloud to which an edge forwards; None for none.
        detector: spec of the detector it runs; None where it runs none.
        preprocessing: what it does to an image before anything else.
        forward: what an edge sends on to its cloud. That is ``nothing``, its
            ``results``, the prepared ``image``, ``image+results``, or the image only
            where it is ``uncertain``.
        forward_below: with forward = uncertain: an image goes on when its best score is
            below this.
        threads: threads of the detector. Every numerical library has as many.
        workers: requests worked on at once.
        cpu_limit: CPU cores it may use, e.g. 0.5. None is no limit.
        memory_limit_bytes: memory it may use. None is no limit.
        monitor_period_s: period of the usage monitor. Each has a row.
        workdir: folder for its log and working directory; None for a temporary one.
        port: TCP port; 0 for a free one.
        seed: for detectors that draw numbers.
        max_body_bytes: largest request it accepts.
        max_head_bytes: longest head of a request that it accepts.
        max_url_bytes: longest URL.
        head_timeout_s: how long the head of a request may take.
        max_flight_bytes: bodies of all requests together.
        max_connections: open at once.
        answer_timeout_s: how long a client may take nothing of its answer.
        max_pixels: images of more px, by their head, are refused before they are
            decoded.
        max_scans: JPEGs of more scans are refused.
        max_decode_s: images that would take longer to decode are refused; estimated as
            their px times scans at 100 million a second.
        timeout_s: for reading a request, and for its cloud's answer.

    Raises:
        ConfigError: the settings contradict each other.
    """

    name: str
    role: Role = "edge"
    cloud: str | None = None
    detector: str | None = None
    preprocessing: Preprocessing = field(default_factory=_as_received)
    forward: Forward = "nothing"
    forward_below: Annotated[float, Ge(0), Le(1)] = 0.5
    threads: Annotated[int, Ge(1)] = 1
    workers: Annotated[int, Ge(1)] = 1
    cpu_limit: Annotated[float | None, Gt(0)] = None
    memory_limit_bytes: Annotated[int | None, Gt(0)] = None
    monitor_period_s: Annotated[float, Ge(0.05)] = 1.0
    workdir: str | None = None
    port: Annotated[int, Ge(0), Le(65535)] = 0
    seed: int = 0
    max_body_bytes: int = 64 << 20
    max_head_bytes: int = _SERVER.max_head_bytes
    max_url_bytes: int = _SERVER.max_url_bytes
    head_timeout_s: float = _SERVER.head_timeout_s
    max_flight_bytes: int = _SERVER.max_flight_bytes
    max_connections: int = _SERVER.max_connections
    answer_timeout_s: float = _SERVER.answer_timeout_s
    max_pixels: Annotated[int, Ge(1)] = 25_000_000
    max_scans: Annotated[int, Ge(1)] = 100
    max_decode_s: Annotated[float, Gt(0)] = 10.0
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if problem := _contradiction(self):
            message = f"node {self.name}: {problem}"
            raise ConfigError(message)

    @property
    def decoding(self) -> DecodingLimits:
        """What the head of an image is held to before its pixels are decoded."""
        return DecodingLimits(
            max_pixels=self.max_pixels,
            max_scans=self.max_scans,
            max_s=self.max_decode_s,
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NodeSettings:
        """The settings in a JSON object.

        Raises:
            ConfigError: a key is unknown, or a value does not fit.
        """
        return cls(**_fitting(cls, values))

    def variable(self) -> dict[str, Any]:
        """The settings that ``PUT /settings`` changes, as a JSON object."""
        return {name: self.to_dict()[name] for name in VARIABLE}

    def changed(self, values: Mapping[str, Any]) -> NodeSettings:
        """These settings with some of the variable ones replaced.

        Args:
            values: a JSON object with keys of :data:`VARIABLE`.

        Raises:
            ConfigError: a key is not variable, or a value does not fit.
        """
        if fixed := sorted(set(values) - set(VARIABLE)):
            message = (
                f"node {self.name}: a running node changes {', '.join(VARIABLE)}; "
                f"found {', '.join(fixed)}"
            )
            raise ConfigError(message)
        return dataclasses.replace(self, **_fitting(type(self), values))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFile:
    """What a node's process is told at its start, as a JSON file.

    Attributes:
        settings: of the node.
        cloud_url: where it reaches its cloud; None where it has none.
        host: address it listens on.
        fd: file descriptor of a socket that listens already; None to open one.
        is_attached: true when it ends as soon as its standard input does, so that it
            never outlives the program that started it.
    """

    settings: NodeSettings
    cloud_url: str | None = None
    host: str = "127.0.0.1"
    fd: int | None = None
    is_attached: bool = False

    def write(self, file: Path) -> None:
        """Write the file."""
        file.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, file: Path) -> NodeFile:
        """Read a file that :meth:`write` or a person wrote.

        DataError if it is missing or no JSON object; ConfigError if the settings in it
        do not fit.
        """
        with documents.expected(f"{file} should be the JSON file of a node:"):
            found: object = documents.parse_json(documents.read_text(file))
        known = {f.name for f in dataclasses.fields(cls)}
        values = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if "settings" not in values or not set(values) <= known:
            message = (
                f"{file} should be a JSON object with 'settings' and perhaps "
                f"{', '.join(sorted(known - {'settings'}))}"
            )
            raise DataError(message)
        settings: Any = values.pop("settings")
        if not isinstance(settings, dict):
            message = f"{file}: settings should be a JSON object"
            raise DataError(message)
        try:
            _check({**settings, **values}, (*_KINDS, *_KINDS_OF_FILE))
            node = NodeSettings.from_dict(settings)
        except ConfigError as error:
            message = f"{file}: {error}"
            raise ConfigError(message, error.hint) from error
        return cls(settings=node, **values)


def _contradiction(node: NodeSettings) -> str:
    """Why the settings cannot be meant; empty when they can."""
    is_cloud = node.role == "cloud"
    needs_detector = node.forward in ("results", "uncertain")
    least = min(
        node.threads, node.workers, node.max_body_bytes, node.max_pixels, node.max_scans
    )
    rules = (
        (node.forward in FORWARDS, f"forward is one of {', '.join(FORWARDS)}"),
        (node.role in ("edge", "cloud"), "role is edge or cloud"),
        (
            not is_cloud or (node.forward == "nothing" and node.cloud is None),
            "a cloud forwards nothing and has no cloud of its own",
        ),
        (
            node.forward == "nothing" or node.cloud is not None,
            f"it forwards {node.forward!r} but names no cloud",
        ),
        (
            not needs_detector or node.detector is not None,
            f"it forwards {node.forward!r} but has no detector to decide by",
        ),
        (0 <= node.port < 1 << 16, f"port lies in 0..65535; found {node.port}"),
        (
            least >= 1,
            "threads, workers, max_body_bytes, max_pixels and max_scans are at least 1",
        ),
        (
            min(node.timeout_s, node.monitor_period_s, node.max_decode_s) > 0,
            "timeout_s, monitor_period_s and max_decode_s are positive",
        ),
        (
            node.cpu_limit is None or node.cpu_limit > 0,
            f"cpu_limit is a positive number of cores; found {node.cpu_limit}",
        ),
        (
            node.memory_limit_bytes is None or node.memory_limit_bytes > 0,
            f"memory_limit_bytes is positive; found {node.memory_limit_bytes}",
        ),
    )
    return next((problem for is_kept, problem in rules if not is_kept), "")


def _fitting(cls: type[NodeSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the constructor takes them."""
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        message = f"settings of a node are {', '.join(sorted(known))}; found {unknown}"
        raise ConfigError(message)
    fitting = {k: v for k, v in values.items() if not (k == "detector" and v == "")}
    if "detector" in values:
        fitting.setdefault("detector", None)
    if isinstance(steps := fitting.get("preprocessing"), dict):
        fitting["preprocessing"] = _preprocessing(cast("dict[str, Any]", steps))
    elif "preprocessing" in fitting:
        message = f"preprocessing is an object of steps; found {steps!r}"
        raise ConfigError(message)
    _check(fitting, _KINDS)
    return fitting


def _preprocessing(steps: dict[str, Any]) -> Preprocessing:
    from midhaul.vision.images.image import Preprocessing  # noqa: PLC0415 - needs an extra

    try:
        return Preprocessing(**steps)
    except (TypeError, ValueError) as error:
        message = f"preprocessing: {error}"
        raise ConfigError(message) from error


_NUMBERS = (
    "forward_below",
    "cpu_limit",
    "monitor_period_s",
    "timeout_s",
    "max_decode_s",
    "head_timeout_s",
    "answer_timeout_s",
)
_INTEGERS = (
    "threads",
    "workers",
    "memory_limit_bytes",
    "port",
    "seed",
    "max_body_bytes",
    "max_pixels",
    "max_scans",
    "max_head_bytes",
    "max_url_bytes",
    "max_flight_bytes",
    "max_connections",
)

_TEXTS = ("name", "role", "cloud", "detector", "forward", "workdir")
_OPTIONAL = (
    "cloud",
    "cloud_url",
    "cpu_limit",
    "detector",
    "fd",
    "memory_limit_bytes",
    "workdir",
)


Kinds = tuple[tuple[tuple[str, ...], tuple[type, ...], str], ...]

_KINDS: Kinds = (
    (_NUMBERS, (int, float), "a number"),
    (_INTEGERS, (int,), "a whole number"),
    (_TEXTS, (str,), "text"),
)
_KINDS_OF_FILE: Kinds = (
    (("cloud_url", "host"), (str,), "text"),
    (("fd",), (int,), "a whole number"),
    (("is_attached",), (bool,), "true or false"),
)


def _check(values: Mapping[str, Any], kinds: Kinds) -> None:
    """Say of all values at once which are not of their kind."""
    wrong = [
        f"{name} is {words}; found {values[name]!r}"
        for names, types, words in kinds
        for name in names
        if name in values
        and not (values[name] is None and name in _OPTIONAL)
        and (
            not isinstance(values[name], types)
            or (isinstance(values[name], bool) and bool not in types)
        )
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))
