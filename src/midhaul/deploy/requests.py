"""Who asks for which analytic when, and what kind of analytic that is.

A request becomes an :class:`~midhaul.deploy.problem.Analytic` by the kind of its image:
kinds are given, none is known by name here.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from midhaul import documents
from midhaul.deploy.problem import Analytic
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from midhaul.deploy.curves.qos_curve import QosCurve

_CSV_HINT = "columns: version, analytic, arrival_min, lifetime_min"
_PARQUET_HINT = "columns: image (or analytic), arrival_s, lifetime_s"
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticRequest:
    """Somebody asks for an image's analytic; a DataError for times that cannot be."""

    image: str
    arrival_s: float
    lifetime_s: float

    def __post_init__(self) -> None:
        """Check the times."""
        if not (self.arrival_s >= 0 and math.isfinite(self.arrival_s)):
            message = f"request of {self.image}: arrival at {self.arrival_s} s"
            raise DataError(message, "arrivals are at 0 s or later")
        if not self.lifetime_s >= 0:
            message = f"request of {self.image}: lifetime of {self.lifetime_s} s"
            raise DataError(message, "lifetimes are at least 0 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticKind:
    """What all analytics of one kind have in common.

    Attributes:
        images: pattern of the names of their images, such as ``audio*``.
        saved_bps: upload rate that is saved while one runs on a gateway.
        n_cores: CPU cores that each keeps busy.
        memory_bytes: memory that each holds.
        cloud_curve: quality by upload rate while it runs in the cloud.
        gateway_curve: the same while it runs on a gateway.
    """

    images: str
    saved_bps: float
    n_cores: float
    memory_bytes: float
    cloud_curve: QosCurve
    gateway_curve: QosCurve


def poisson_requests(
    images: Sequence[str],
    *,
    n_minutes: int,
    rate_per_min: float,
    lifetimes_min: tuple[int, int],
    rng: np.random.Generator,
    is_distinct: bool = True,
) -> list[AnalyticRequest]:
    """Draw requests as the seed's generator does.

    Each minute a Poisson number of requests arrives, at its begin; images are uniform,
    lifetimes uniform whole minutes. Where images are distinct, a minute has at most as
    many requests as there are images.
    """
    low, high = lifetimes_min
    if not images or rate_per_min < 0 or not 0 <= low <= high:
        message = (
            "expected images, a rate of at least 0 and lifetimes in order, found "
            f"{len(images)} images, {rate_per_min} per minute, {low} to {high} minutes"
        )
        raise DataError(message)
    requests: list[AnalyticRequest] = []
    for minute in range(n_minutes):
        n = int(rng.poisson(rate_per_min))
        n = min(n, len(images)) if is_distinct else n
        chosen = rng.choice(len(images), size=n, replace=not is_distinct)
        lifetimes = rng.integers(low, high + 1, size=n)
        requests += [
            AnalyticRequest(
                image=images[int(place)],
                arrival_s=minute * _MINUTE_S,
                lifetime_s=float(lifetime) * _MINUTE_S,
            )
            for place, lifetime in zip(chosen, lifetimes, strict=True)
        ]
    return requests


def read_requests_csv(file: Path, version: str = "1") -> list[AnalyticRequest]:
    """Read one version of the requests of a file in the seed's form.

    Its columns are ``version,analytic,arrival_min,lifetime_min``; the analytic names
    its container image.
    """
    with documents.expected(
        f"{file}: expected requests as CSV:", _CSV_HINT, also=(csv.Error,)
    ):
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    found: list[AnalyticRequest] = []
    for line, row in enumerate(rows, start=2):
        if row.get("version") != version:
            continue
        try:
            request = AnalyticRequest(
                image=row["analytic"],
                arrival_s=float(row["arrival_min"]) * _MINUTE_S,
                lifetime_s=float(row["lifetime_min"]) * _MINUTE_S,
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"{file}, line {line}: expected a request, found {dict(row)}"
            raise DataError(message, _CSV_HINT) from error
        found.append(request)
    if not found:
        versions = sorted({str(row.get("version")) for row in rows})
        message = f"{file}: no request of version {version!r}, only of {versions}"
        raise DataError(message, _CSV_HINT)
    return found


def read_requests(file: Path) -> list[AnalyticRequest]:
    """Read requests from a Parquet table."""
    with documents.expected(
        f"{file}: expected a Parquet table of requests:", _PARQUET_HINT
    ):
        table = documents.read_parquet(file)
    names = set(table.column_names)
    image = "image" if "image" in names else "analytic"
    if missing := {image, "arrival_s", "lifetime_s"} - names:
        message = f"{file}: columns {sorted(missing)} are missing"
        raise DataError(message, _PARQUET_HINT)
    columns = [table[c].to_pylist() for c in (image, "arrival_s", "lifetime_s")]
    try:
        return [
            AnalyticRequest(
                image=str(name), arrival_s=float(at), lifetime_s=float(lasts)
            )
            for name, at, lasts in zip(*columns, strict=True)
        ]
    except (TypeError, ValueError) as error:
        message = f"{file}: expected times as numbers: {error}"
        raise DataError(message, _PARQUET_HINT) from error


def draw_weights(images: Collection[str], rng: np.random.Generator) -> dict[str, float]:
    """A weight for each image, uniform in 0 to 1 with three decimals."""
    names = sorted(images)
    drawn = rng.uniform(0, 1, len(names)).round(3).tolist()
    return dict(zip(names, drawn, strict=True))


def analytics_of(
    requests: Sequence[AnalyticRequest],
    kinds: Sequence[AnalyticKind],
    weights: Mapping[str, float],
) -> list[Analytic]:
    """One analytic for each request, named ``IMAGE.NUMBER``; weights are 1 by default.

    The first kind whose pattern fits an image counts; a DataError where none does.
    """
    return [
        Analytic(
            name=f"{request.image}.{number}",
            image=request.image,
            saved_bps=kind.saved_bps,
            weight=weights.get(request.image, 1.0),
            n_cores=kind.n_cores,
            memory_bytes=kind.memory_bytes,
            cloud_curve=kind.cloud_curve,
            gateway_curve=kind.gateway_curve,
            arrival_s=request.arrival_s,
            lifetime_s=request.lifetime_s,
        )
        for number, request in enumerate(requests)
        for kind in (kind_of(request.image, kinds),)
    ]


def kind_of(image: str, kinds: Sequence[AnalyticKind]) -> AnalyticKind:
    """The first kind whose pattern fits an image; a DataError where none does."""
    for kind in kinds:
        if fnmatchcase(image, kind.images):
            return kind
    message = (
        f"container image {image} fits no kind of analytic: "
        f"{', '.join(kind.images for kind in kinds) or 'there is none'}"
    )
    raise DataError(message, 'a last kind with images = "*" takes what is left')
