"""How long answers take, and where the time goes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midhaul.report import Figure, Section
from midhaul.report.axes import Axis, Choice, Series
from midhaul.report.charts import bars, dots, percentile_curves, stack
from midhaul.report.gathering import gather
from midhaul.testbed.figures.view import detector_axis, ordered

if TYPE_CHECKING:
    from midhaul.testbed.figures.view import View

_MS = 1e3
_LATENCIES = {
    "latency_p50_s": "median",
    "latency_mean_s": "mean",
    "latency_p90_s": "90 %",
    "latency_p99_s": "99 %",
    "latency_p999_s": "99.9 %",
}
_PER_DECADE = 16
_MOST_NINES = 4
_FEW = 10

_STAGES = {
    "late": ("sent late", "#9aa5b1"),
    "network_ns": ("network, workload to edge", "#e69f00"),
    "queue_ns": ("queue, edge", "#d3ebe1"),
    "decode_ns": ("decode, edge", "#9dd6bf"),
    "preprocess_ns": ("preprocess", "#62bd99"),
    "encode_ns": ("encode", "#1f9a70"),
    "inference_ns": ("inference, edge", "#00664a"),
    "rest": ("rest, edge", "#b7c4bd"),
    "backhaul_ns": ("network, edge to cloud", "#d55e00"),
    "cloud_queue_ns": ("queue, cloud", "#cfe3f2"),
    "cloud_decode_ns": ("decode, cloud", "#7fb4dc"),
    "cloud_inference_ns": ("inference, cloud", "#0072b2"),
}
_OK = "not is_warmup and status = 'ok' and latency_ns is not null"


def speed(view: View) -> Section | None:
    """Latency, its distribution and its parts; None where nothing was answered."""
    if not view.knows("latency_mean_s") and not _has_answers(view):
        return None
    text = (
        "Latency is what a user waits: from the moment a request was **planned** to "
        "the decoded answer, so that a stalled server cannot hide its queue. Warm-up "
        "is left out, and so are failed requests, which the chapter on validity "
        "counts. Lines through the marks are 95 % intervals over batches."
    )
    items = (
        _mean(view),
        _percentiles(view),
        _f1_per_second(view),
        _curves(view),
        *_stages(view),
    )
    return Section(title="Latency", text=text, items=gather(items))


def _has_answers(view: View) -> bool:
    if "requests" not in view.has:
        return False
    query = f"select count(*) as n from requests where {_OK}"  # noqa: S608 - ours
    return view.run.sql(query).to_pylist()[0]["n"] > 0


def _mean(view: View) -> Figure | str:
    rows = view.rows(view.at(view.reference), ms=("latency_mean_s", _MS))
    if not rows:
        return "Mean latency: it was not computed yet."
    value = Axis("ms", "mean latency, ms")
    slowest_last = Axis("series", "detector", order=ordered(rows, "series", "ms")[::-1])
    return Figure(
        title="Mean latency by detector",
        chart=bars(rows, value, slowest_last, view.series),
        caption=f"At the preprocessing “{view.reference}”.",
    )


def _percentiles(view: View) -> Figure | str:
    rows = [
        {**row, "statistic": words}
        for metric, words in _LATENCIES.items()
        for row in view.rows(view.configurations, ms=(metric, _MS))
    ]
    if not rows:
        return "Percentiles of latency: they were not computed yet."
    label = Axis("statistic", "statistic", order=tuple(_LATENCIES.values()))
    value = Axis("ms", "latency, ms", is_log=True)
    chart = dots(rows, value, label, view.series, step=11)
    return Figure(
        title="Latency from the median to the tail",
        chart=preprocessing_choice(view).on(chart),
        caption="A percentile is shown where there are enough requests to claim it.",
    )


def preprocessing_choice(view: View) -> Choice:
    """A list of all preprocessings, the mildest one picked."""
    return Choice("preprocessing", "Preprocessing", view.preprocessings, view.reference)


def _f1_per_second(view: View) -> Figure | str:
    rows = view.rows(view.at(view.reference), rate=("f1_per_s", 1))
    if not rows:
        return "F1 per second: it needs ground truth and latencies."
    return Figure(
        title="F1 per second",
        chart=bars(
            rows,
            Axis("rate", "F1 over mean latency, 1/s"),
            detector_axis(rows, "rate"),
            view.series,
        ),
        caption="The thesis's figure of merit. It favours fast detectors without "
        "bound: one that is half as good and a third as slow wins.",
    )


def _curves(view: View) -> Figure | str:
    if "requests" not in view.has:
        return "The distribution of latencies: the run kept no requests."
    nines = range(_MOST_NINES * _PER_DECADE + 1)
    shares = [1 - 10 ** (-k / _PER_DECADE) for k in nines]
    query = (
        "select configuration, count(*) as n, "  # noqa: S608 - no foreign text in it
        f"quantile_cont(latency_ns, {shares!r}) as quantiles "
        f"from requests where {_OK} group by configuration order by configuration"
    )
    of = {c.index: c for c in view.configurations}
    rows: list[dict[str, Any]] = []
    for found in view.run.sql(query).to_pylist():
        c = of[found["configuration"]]
        label = {"series": c.series, "preprocessing": c.preprocessing}
        curve = _curve(found["n"], shares, found["quantiles"])
        rows.extend(label | point for point in curve)
    if not rows:
        return "The distribution of latencies: no request was answered."
    value = Axis("ms", "latency, ms", is_log=True)
    chart = percentile_curves(rows, value, view.series)
    return Figure(
        title="Distribution of latency",
        chart=preprocessing_choice(view).on(chart),
        caption="Read upwards from 99 %: one request in a hundred takes longer than "
        "this. Dotted where fewer than ten requests lie beyond, which is too few to "
        "claim the percentile.",
    )


def _curve(
    n: int, shares: list[float], quantiles: list[float]
) -> list[dict[str, float | bool]]:
    """The points of one curve, up to its largest value."""
    points: list[dict[str, float | bool]] = []
    for share, quantile in zip(shares, quantiles, strict=True):
        beyond = n * (1 - share)
        if beyond < 1:
            break
        is_thin = beyond < _FEW - 1e-6
        if is_thin and points and not points[-1]["is_thin"]:
            points[-1]["is_seam"] = True
        points.append(
            {
                "nines": -math.log10(1 - share),
                "percentile": share * 100,
                "ms": quantile / 1e6,
                "is_thin": is_thin,
            }
        )
    return points


def _stages(view: View) -> tuple[Figure | str, ...]:
    if "requests" not in view.has:
        return ("Where the time goes: the run kept no requests.",)
    rows = _stage_rows(view)
    if not rows:
        return ("Where the time goes: no request was answered.",)
    used = {row["part"] for row in rows}
    shown = [stage for stage in _STAGES.values() if stage[0] in used]
    names, palette = zip(*shown, strict=True)
    parts = Series("part", "stage", names, palette)
    value = Axis("ms", "mean time, ms")
    total = Axis("total", "latency, ms")
    here = [row for row in rows if row["preprocessing"] == view.reference]
    detectors = Axis("series", "detector", order=ordered(here, "series", "total")[::-1])
    by_detector = Figure(
        title="Where the time goes, by detector",
        chart=preprocessing_choice(view).on(
            stack(rows, value, detectors, parts, total)
        ),
        caption="Means over the answered requests: green at the edge, blue in the "
        "cloud, orange between them. What no node claims is the network's and HTTP's: "
        "service minus the edge's own time, and forwarding minus the cloud's.",
    )
    if len(view.preprocessings) == 1:
        return (by_detector,)
    label = Axis("preprocessing", "preprocessing", order=view.preprocessings)
    slowest = max(here, key=lambda row: row["total"])["series"] if here else ""
    pick = Choice("series", "Detector", view.series.names, slowest)
    by_preprocessing = Figure(
        title="Where the time goes, by preprocessing",
        chart=pick.on(stack(rows, value, label, parts, total)),
        caption="The same times for one detector.",
    )
    return (by_detector, by_preprocessing)


def _stage_rows(view: View) -> list[dict[str, Any]]:
    own = [k for k in _STAGES if k.endswith("_ns")]
    means = ", ".join(f"avg(coalesce({k}, 0)) as {k}" for k in own)
    query = (
        f"select configuration, {means}, avg(latency_ns) as latency_ns, "  # noqa: S608 - no foreign text in it
        f"avg(latency_ns - service_ns) as late from requests where {_OK} "
        "group by configuration order by configuration"
    )
    of = {c.index: c for c in view.configurations}
    rows: list[dict[str, Any]] = []
    for found in view.run.sql(query).to_pylist():
        c = of[found["configuration"]]
        found["late"] = found["late"] or 0
        found["rest"] = found["latency_ns"] - found["late"] - sum(found[k] for k in own)
        rows += [
            {
                "series": c.series,
                "preprocessing": c.preprocessing,
                "part": words,
                "ms": found[key] / 1e6,
                "total": found["latency_ns"] / 1e6,
            }
            for key, (words, _) in _STAGES.items()
            if found[key] > 0
        ]
    return rows
