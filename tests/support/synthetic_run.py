"""A run that was never measured: tables like those of a large sweep, from a seed.

The numbers are invented but hang together: heavier detectors are better and slower,
harder preprocessing costs accuracy and saves bytes, stages add up to latencies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from midhaul.model import Verdict
from midhaul.runs.run import Run
from midhaul.runs.spec import Spec
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.config import AccuracyConfig, MeasureConfig

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.runs.manifest import Status

DETECTORS = {
    "street-n": (0.46, 0.009),
    "street-s": (0.55, 0.021),
    "street-m": (0.61, 0.048),
    "yolox-tiny": (0.66, 0.085),
    "rtdetr-r18": (0.72, 0.240),
}
"""Name to F1 on untouched images and seconds of inference."""

N_WARMUP = 4
NODES = ("cloud", "edge1", "edge2")
_ANSWERED = ("done_ns", "latency_ns", "service_ns", "network_ns")
_STAGES = {"queue": 0.002, "decode": 0.004, "preprocess": 0.0012, "encode": 0.003}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much a synthetic run holds."""

    detectors: tuple[str, ...] = tuple(DETECTORS)
    encodes: tuple[str, ...] = ("keep", "jpeg:75", "jpeg:50", "jpeg:25")
    resizes: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    grays: tuple[bool, ...] = (False,)
    labels: tuple[str, ...] = ("person", "car", "bicycle", "bus", "truck", "dog", "cat")
    n_blocks: int = 3
    n_requests: int = 60
    is_measured: bool = True
    is_judged: bool = True
    has_summary: bool = True
    fails: bool = False
    status: Status = "done"
    verdict: Verdict | None = None


def synthetic_run(root: Path, shape: Shape | None = None, *, seed: int = 0) -> Run:
    """Write a run below ``root``.

    Args:
        root: folder of runs.
        shape: what to write; everything by default.
        seed: of the numbers.
    """
    shape = shape or Shape()
    rng = np.random.default_rng(seed)
    run = _create(root, shape)
    configurations = _configurations(shape)
    run.write(tables.CONFIGURATIONS, configurations)
    if shape.is_measured:
        for block in range(shape.n_blocks):
            order = rng.permutation(len(configurations))
            for position, index in enumerate(order):
                cell = (configurations[index], block, position)
                _write_cell(run, shape, rng, *cell)
            run.write(tables.LINKS, _links(rng, block))
    if shape.has_summary:
        run.write(tables.SUMMARY, _summary(rng, shape, configurations))
    if shape.is_judged and shape.has_summary:
        run.write(tables.CLASSES, _classes(rng, shape, configurations))
    run.finish(shape.status, verdict=shape.verdict or Verdict())
    return Run.open(run.dir)


def _create(root: Path, shape: Shape) -> Run:
    specs = tuple(Spec(f"builtin:{name}") for name in shape.detectors)
    if not shape.is_measured:
        config = AccuracyConfig(
            seed=1,
            detectors=specs,
            encode=shape.encodes,
            resize=shape.resizes,
            gray=shape.grays,
        )
        return Run.create(root, "testbed.accuracy", config)
    grid = {
        "cloud.detector": specs,
        "edge.encode": tuple(Spec(e) for e in shape.encodes),
        "edge.resize": shape.resizes,
    }
    return Run.create(root, "testbed.measure", MeasureConfig(seed=1, grid=grid))


def _label(encode: str, resize: float, *, gray: bool) -> str:
    parts = ["gray"] if gray else []
    if resize < 1:
        parts.append(f"resize {resize * 100:.0f} %")
    if encode != "keep":
        codec, quality = encode.split(":")
        parts.append(f"{codec.upper().replace('WEBP', 'WebP')} {quality}")
    return ", ".join(parts) or "as received"


def _configurations(shape: Shape) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for detector in shape.detectors:
        for encode in shape.encodes:
            for resize in shape.resizes:
                for gray in shape.grays:
                    label = _label(encode, resize, gray=gray)
                    quality = None if encode == "keep" else int(encode.split(":")[1])
                    settings = {
                        "cloud.detector": f"builtin:{detector}",
                        "edge.encode": encode,
                        "edge.resize": resize,
                        "edge.gray": gray,
                    }
                    row = {
                        "configuration": len(rows),
                        "name": f"{detector}, {label}",
                        "detector": detector,
                        "cloud_detector": detector,
                        "preprocessing": label,
                        "encode": encode,
                        "quality": quality,
                        "resize": resize,
                        "gray": gray,
                        "forward": "image",
                        "settings": json.dumps(settings),
                    }
                    rows.append(row)
    return rows


def _quality(row: dict[str, object]) -> float:
    return float(row["quality"] or 95)  # type: ignore[arg-type]


def _f1(row: dict[str, object]) -> float:
    base = DETECTORS.get(str(row["detector"]), (0.5, 0.02))[0]
    loss = 0.16 * (1 - _quality(row) / 100) ** 2
    loss += 0.45 * (1 - float(row["resize"])) ** 2  # type: ignore[arg-type]
    return base * (1 - loss) - (0.02 if row["gray"] else 0)


def _size_left(row: dict[str, object]) -> float:
    codec = {95: 1.0, 75: 0.42, 50: 0.27, 25: 0.17}.get(int(_quality(row)), 0.5)
    return codec * float(row["resize"]) ** 1.7 * (0.9 if row["gray"] else 1)  # type: ignore[arg-type]


def _write_cell(
    run: Run,
    shape: Shape,
    rng: np.random.Generator,
    row: dict[str, object],
    block: int,
    position: int,
) -> None:
    n = shape.n_requests
    inference_s = DETECTORS.get(str(row["detector"]), (0.5, 0.02))[1]
    columns = _stages(rng, n, inference_s, _size_left(row))
    start = np.cumsum(rng.exponential(1 / 12, n))
    service = columns["service_ns"]
    columns["planned_ns"] = np.int64(start * 1e9)
    columns["sent_ns"] = columns["planned_ns"] + np.int64(rng.exponential(8e4, n))
    columns["done_ns"] = columns["sent_ns"] + service
    columns["latency_ns"] = columns["done_ns"] - columns["planned_ns"]
    is_ok = np.arange(n) % 59 > 0
    if shape.fails:
        is_ok[:] = False
    keys: dict[str, object] = {
        "configuration": np.full(n, row["configuration"], np.int32),
        "block": np.full(n, block, np.int32),
        "request": np.arange(n),
        "is_warmup": np.arange(n) < N_WARMUP,
        "node": np.where(np.arange(n) % 2, "edge2", "edge1"),
        "images": [[f"{i:04d}"] for i in range(n)],
        "status": np.where(is_ok, "ok", "timeout"),
        "error": np.where(is_ok, None, "no answer within 30 s"),
        "answered_by": np.where(is_ok, "cloud", None),
    }
    gone = {k: pa.array(v, mask=~is_ok) for k, v in columns.items() if k in _ANSWERED}
    columns_of = tables.REQUESTS.schema
    data = {field.name: (keys | columns | gone)[field.name] for field in columns_of}
    run.write(tables.REQUESTS, pa.table(data, schema=columns_of))
    duration_s = float(columns["done_ns"].max() / 1e9)
    run.write(tables.USAGE, _usage(rng, row, block, duration_s))
    late = rng.random() < 0.02
    cell = {
        "configuration": row["configuration"],
        "block": block,
        "position": position,
        "n_requests": n - N_WARMUP,
        "n_warmup": N_WARMUP,
        "n_errors": int(np.count_nonzero(~is_ok[N_WARMUP:])),
        "duration_s": duration_s,
        "planned_rate_hz": 12.0,
        "achieved_rate_hz": 11.96,
        "late_p99_s": 0.4 if late else 0.0004,
        "is_valid": not late,
        "reasons": ["p99 of lateness is 400 ms, above 1 ms"] if late else [],
        "advice": ["lower load.rate_hz"] if late else [],
    }
    run.write(tables.CELLS, [cell])


def _stages(
    rng: np.random.Generator, n: int, inference_s: float, size_left: float
) -> dict[str, np.ndarray]:
    def spread(mean_s: float) -> np.ndarray:
        return np.int64(mean_s * 1e9 * rng.lognormal(-0.045, 0.3, n))

    columns = {f"{name}_ns": spread(mean) for name, mean in _STAGES.items()}
    columns["inference_ns"] = np.zeros(n, np.int64)
    columns["cloud_queue_ns"] = spread(inference_s * 0.4 * rng.exponential())
    columns["cloud_decode_ns"] = spread(0.003)
    columns["cloud_inference_ns"] = spread(inference_s)
    columns["backhaul_ns"] = spread(0.02 + 0.09 * size_left)
    cloud = [columns[f"cloud_{k}_ns"] for k in ("queue", "decode", "inference")]
    columns["forward_ns"] = columns["backhaul_ns"] + np.sum(cloud, axis=0)
    own = [columns[f"{k}_ns"] for k in _STAGES]
    columns["node_ns"] = np.sum(own, axis=0) + columns["forward_ns"] + 200_000
    columns["network_ns"] = spread(0.001)
    columns["service_ns"] = columns["node_ns"] + columns["network_ns"]
    received = np.int64(rng.lognormal(11.6, 0.4, n))
    columns["access_up_bytes"] = received
    columns["access_down_bytes"] = np.full(n, 900)
    columns["backhaul_up_bytes"] = np.int64(received * size_left)
    columns["backhaul_down_bytes"] = np.full(n, 900)
    return columns


def _usage(
    rng: np.random.Generator, row: dict[str, object], block: int, duration_s: float
) -> list[dict[str, object]]:
    weight = DETECTORS.get(str(row["detector"]), (0.5, 0.02))[1]
    rows: list[dict[str, object]] = []
    for second in range(int(duration_s) + 1):
        for node in (*NODES, "workload"):
            busy = {"cloud": min(0.98, 12 * weight), "workload": 0.08}.get(node, 0.17)
            memory = {"cloud": 240 + 900 * weight, "workload": 80}.get(node, 120)
            rows.append(
                {
                    "configuration": row["configuration"],
                    "block": block,
                    "node": node,
                    "begin_ns": second * 1_000_000_000,
                    "period_ns": 1_000_000_000,
                    "cpu_s": float(busy * rng.lognormal(0, 0.1)),
                    "rss_bytes": int(memory * 1e6 * rng.lognormal(0, 0.01)),
                    "cpu_pressure": float(rng.beta(1, 20)),
                    "steal": float(rng.beta(1, 90)),
                    "throttled_s": 0.0,
                }
            )
    return rows


def _links(rng: np.random.Generator, block: int) -> list[dict[str, object]]:
    pairs = [("edge1", "cloud"), ("cloud", "edge1"), ("edge2", "cloud")]
    return [
        {
            "block": block,
            "link": f"{source}->{target}",
            "rate_bps": 20e6,
            "measured_rate_bps": 20e6 * rng.normal(1, 0.01),
            "delay_s": 0.01,
            "measured_delay_s": 0.01 * rng.normal(1, 0.01),
            "error": abs(rng.normal(0, 0.015)),
        }
        for source, target in pairs
    ]


def _summary(
    rng: np.random.Generator, shape: Shape, configurations: list[dict[str, object]]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for row in configurations:
        values = _bytes(row)
        if shape.is_judged:
            values |= _judged(row)
        if shape.is_measured and shape.fails:
            values["error_rate"] = (1.0, 0, "")
        elif shape.is_measured:
            values |= _measured(row)
        if shape.is_judged and "latency_mean_s" in values:
            values["f1_per_s"] = (_f1(row) / values["latency_mean_s"][0], 0.03, "1/s")
        for metric, (value, relative, unit) in values.items():
            moved = value * float(rng.normal(1, relative / 6)) if relative else value
            rows.append(
                {
                    "configuration": row["configuration"],
                    "metric": metric,
                    "value": moved,
                    "low": moved * (1 - relative) if relative else None,
                    "high": moved * (1 + relative) if relative else None,
                    "n": 500,
                    "unit": unit,
                    "is_model": metric in {"usd_per_1000", "joule_per_request"},
                }
            )
    return rows


_Values = dict[str, tuple[float, float, str]]


def _bytes(row: dict[str, object]) -> _Values:
    left = _size_left(row)
    return {
        "received_bytes": (118_000, 0, "B"),
        "prepared_bytes": (118_000 * left, 0, "B"),
        "size_left": (left, 0.01, ""),
    }


def _judged(row: dict[str, object]) -> _Values:
    f1 = _f1(row)
    ratios = {"ap": 0.68, "ap50": 0.97, "ap75": 0.72, "ap_small": 0.31}
    ratios |= {"ap_medium": 0.66, "ap_large": 0.93, "f1": 1, "f1_calibrated": 1.03}
    ratios |= {"precision": 1.15, "recall": 0.89}
    values: _Values = {k: (f1 * ratio, 0.04, "") for k, ratio in ratios.items()}
    values["f1_thesis"] = (0.55 + f1 * 0.3, 0.04, "")
    return values


def _measured(row: dict[str, object]) -> _Values:
    inference_s = DETECTORS.get(str(row["detector"]), (0.5, 0.02))[1]
    mean = 0.035 + 1.4 * inference_s + 0.09 * _size_left(row)
    values: _Values = {
        "latency_mean_s": (mean, 0.04, "s"),
        "latency_p50_s": (mean * 0.94, 0.03, "s"),
        "latency_p90_s": (mean * 1.4, 0.05, "s"),
        "latency_p99_s": (mean * 1.9, 0.12, "s"),
        "latency_p999_s": (mean * 2.4, 0.3, "s"),
        "service_p50_s": (mean * 0.93, 0.03, "s"),
        "throughput_hz": (min(12.0, 1 / inference_s), 0.02, "Hz"),
        "goodput_hz": (min(11.8, 1 / inference_s), 0.02, "Hz"),
        "access_up_bytes": (118_000, 0.02, "B"),
        "backhaul_up_bytes": (118_000 * _size_left(row), 0.02, "B"),
        "usd_per_1000": (0.002 + inference_s * 0.05 + 0.01 * _size_left(row), 0, "USD"),
        "joule_per_request": (0.4 + inference_s * 11, 0.02, "J"),
        "error_rate": (1 / 60, 0.2, ""),
    }
    return values


def _classes(
    rng: np.random.Generator, shape: Shape, configurations: list[dict[str, object]]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    hardness = rng.uniform(0.6, 1.25, len(shape.labels))
    support = np.int64(rng.lognormal(4, 1.4, len(shape.labels))) + 1
    for row in configurations:
        for place, label in enumerate(shape.labels):
            f1 = min(0.98, _f1(row) * hardness[place] * rng.normal(1, 0.03))
            rows.append(
                {
                    "configuration": row["configuration"],
                    "label": label,
                    "support": int(support[place]),
                    "ap": f1 * 0.68,
                    "ap50": f1 * 0.97,
                    "threshold": 0.5,
                    "precision": min(1.0, f1 * 1.15),
                    "recall": f1 * 0.89,
                    "f1": f1,
                    "f1_calibrated": f1 * 1.02,
                }
            )
    return rows
