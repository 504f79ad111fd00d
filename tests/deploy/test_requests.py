"""Requests, drawn and read, and the analytics that they become."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.requests import (
    AnalyticKind,
    AnalyticRequest,
    analytics_of,
    draw_weights,
    poisson_requests,
    read_requests,
    read_requests_csv,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

CURVE = QosCurve.of("any", np.array([1.0]), np.array([1e3]), np.array([0.5]))


def kind(images: str, saved_bps: float = 1.0) -> AnalyticKind:
    """A kind of analytic."""
    return AnalyticKind(
        images=images,
        saved_bps=saved_bps,
        n_cores=0.5,
        memory_bytes=1e6,
        cloud_curve=CURVE,
        gateway_curve=CURVE,
    )


def test_drawn_requests_have_the_stated_rate_and_lifetimes() -> None:
    """3 a minute on average, 1 to 10 whole minutes, no image twice in a minute."""
    requests = poisson_requests(
        [f"i{n}" for n in range(24)],
        n_minutes=2000,
        rate_per_min=3,
        lifetimes_min=(1, 10),
        rng=np.random.default_rng(0),
    )
    assert len(requests) / 2000 == pytest.approx(3, rel=0.05)
    assert {r.lifetime_s for r in requests} == {60.0 * n for n in range(1, 11)}
    twice = Counter((r.arrival_s, r.image) for r in requests)
    assert max(twice.values()) == 1


def test_images_may_be_asked_for_twice_where_that_is_wanted() -> None:
    """With few images and many requests, distinct ones are capped, others are not."""

    def draw(*, is_distinct: bool) -> list[AnalyticRequest]:
        return poisson_requests(
            ["a"],
            n_minutes=50,
            rate_per_min=5.0,
            lifetimes_min=(1, 1),
            rng=np.random.default_rng(0),
            is_distinct=is_distinct,
        )

    some, more = draw(is_distinct=True), draw(is_distinct=False)
    assert len(some) <= 50 < len(more)
    with pytest.raises(DataError, match="lifetimes in order"):
        poisson_requests(
            ["a"],
            n_minutes=1,
            rate_per_min=1,
            lifetimes_min=(2, 1),
            rng=np.random.default_rng(0),
        )


def test_requests_are_read_from_tables(tmp_path: Path) -> None:
    """CSV in the seed's form, by version, and Parquet in seconds."""
    text = "version,analytic,arrival_min,lifetime_min\n1,a,0,6\n2,b,1.5,2\n"
    (tmp_path / "requests.csv").write_text(text)
    wanted = [AnalyticRequest(image="b", arrival_s=90.0, lifetime_s=120.0)]
    assert read_requests_csv(tmp_path / "requests.csv", "2") == wanted
    table = pa.table({"analytic": ["b"], "arrival_s": [90], "lifetime_s": [120.0]})
    pq.write_table(table, tmp_path / "requests.parquet")
    assert read_requests(tmp_path / "requests.parquet") == wanted


def test_files_without_requests_are_refused(tmp_path: Path) -> None:
    """A missing version, a word for a time and a missing column are named."""
    file = tmp_path / "requests.csv"
    file.write_text("version,analytic,arrival_min,lifetime_min\n1,a,soon,6\n")
    with pytest.raises(DataError, match=r"line 2.*soon"):
        read_requests_csv(file, "1")
    with pytest.raises(DataError, match="no request of version '7'"):
        read_requests_csv(file, "7")
    pq.write_table(pa.table({"image": ["a"]}), tmp_path / "requests.parquet")
    with pytest.raises(DataError, match="lifetime_s"):
        read_requests(tmp_path / "requests.parquet")
    with pytest.raises(DataError, match="arrival at -1"):
        AnalyticRequest(image="a", arrival_s=-1.0, lifetime_s=1.0)


def test_the_first_kind_that_fits_makes_the_analytic() -> None:
    """Kinds are patterns of image names; what fits none is refused."""
    requests = [
        AnalyticRequest(image=name, arrival_s=1.0, lifetime_s=2.0)
        for name in ("audio1", "x")
    ]
    kinds = [kind("audio*", 7.0), kind("*", 3.0)]
    first, second = analytics_of(requests, kinds, {"audio1": 0.25})
    assert (first.saved_bps, first.weight, first.name) == (7.0, 0.25, "audio1.0")
    assert (second.saved_bps, second.weight, second.departure_s) == (3.0, 1.0, 3.0)
    with pytest.raises(DataError, match="x fits no kind"):
        analytics_of(requests, kinds[:1], {})


def test_weights_belong_to_images() -> None:
    """Three decimals between 0 and 1, the same for equal seeds."""
    weights = draw_weights(["b", "a"], np.random.default_rng(1))
    assert weights == draw_weights(["a", "b"], np.random.default_rng(1))
    assert all(0 <= w <= 1 and round(w, 3) == w for w in weights.values())


def test_the_seeds_request_files_are_read(data_dir: Path) -> None:
    """Five versions of 92, 96, 97, 88 and 95 requests."""
    file = data_dir / "iot_seed" / "requests.csv"
    counts = [len(read_requests_csv(file, str(version))) for version in range(1, 6)]
    assert counts == [92, 96, 97, 88, 95]
