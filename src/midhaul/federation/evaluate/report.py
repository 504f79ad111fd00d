"""Reports of federation.evaluate and federation.train, and the chapters they share.

Quality against price is the picture that a federation is judged by.

That of federation.evaluate says who answers best for how much, that of federation.train
what was learned, and what it will cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.metrics import EVALUATE_METRICS, TRAIN_METRICS
from midhaul.federation.evaluate.tables import FAULT_PHASES, FAULT_SUMMARY
from midhaul.model.estimate import AT_LEAST, SIGNS
from midhaul.report import Cell, DataTable, Figure, Notice, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import against, dots, lines, over_time, stack
from midhaul.report.numbers import (
    PER,
    duration_text,
    percent,
    points_text,
    usd_of_1000_text,
)
from midhaul.report.page import gallery
from midhaul.report.view import (
    View,
    gather,
    headline,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.runs.run import Run


def trade_off(view: View) -> Figure | str:
    """Every policy at every budget: a line per family, marks for the others."""
    rows: list[dict[str, Any]] = []
    for row in view.run.read(tables.CONFIGURATIONS).to_pylist():
        number = int(row["configuration"])
        quality = view.metric(number, "quality")
        cost = view.value(number, "cost_usd")
        if quality is None or cost is None:
            continue
        policy = str(row["policy"])
        point = {"policy": policy, "path": policy, "name": row["name"]}
        point |= {"cost": cost * PER, "quality": quality["value"] * 100}
        if quality["low"] is not None:
            point |= {"quality_low": quality["low"] * 100}
            point |= {"quality_high": quality["high"] * 100}
        rows.append(point)
    if not rows:
        return "Quality against price: nothing was judged yet."
    rows.sort(key=lambda row: row["cost"])
    names = tuple(dict.fromkeys(row["policy"] for row in rows))
    chart = lines(
        rows,
        Axis("cost", "price of 1,000 items in USD"),
        Axis("quality", "quality on unseen items, in %"),
        Series("policy", "policy", names),
    )
    caption = (
        "A line is one family of policies at rising budgets; a single mark is a policy "
        "that keeps none. Bars are 95 % intervals over items. Up and left is better."
    )
    return Figure(title="Quality against price", chart=chart, caption=caption)


def matches_table(view: View) -> DataTable | str:
    """What it costs to match something simpler."""
    rows = view.run.read(tables.MATCHES).to_pylist() if _has(view) else []
    if not rows:
        return ""
    return DataTable(
        title="What it costs to be as good",
        columns=("policy", "as good as", "quality", "its price", "price", "saved"),
        rows=tuple(
            (
                str(row["policy"]),
                str(row["target"]),
                Cell(points_text(row["target_quality"]), row["target_quality"]),
                Cell(usd_of_1000_text(row["target_cost_usd"]), row["target_cost_usd"]),
                _price(row["cost_usd"]),
                percent(row["saving"]),
            )
            for row in rows
        ),
        caption="Prices of 1,000 items, read off the lines above between two budgets; "
        "the target's quality is that on the same items.",
    )


def _has(view: View) -> bool:
    return tables.MATCHES.name in view.has


def _price(usd: float | None) -> Cell:
    return (
        Cell("not reached", None) if usd is None else Cell(usd_of_1000_text(usd), usd)
    )


_MOST_LABELS = 20
_MOST_SUBSETS = 8


def calls(view: View) -> PageSection | None:
    """Who is asked how often, and with whom."""
    rows = [row for row in view.rows(tables.CALLS) if row["share"] > 0]
    if not rows:
        return None
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["name"]] = totals.get(row["name"], 0.0) + row["share"]
    marks = [{**row, "total": totals[row["name"]]} for row in rows]
    providers = tuple(dict.fromkeys(row["provider"] for row in view.rows(tables.CALLS)))
    chart = stack(
        marks,
        Axis("share", "calls for one item", ".2f"),
        Axis(
            "name", "policy", order=tuple(n for n in view.names.values() if n in totals)
        ),
        Series("provider", "provider", providers),
        Axis("total", "calls", ".2f"),
    )
    figure = Figure(
        title="Who is asked",
        chart=chart,
        caption="Mean number of calls for an item, by provider.",
    )
    return PageSection(title="Calls", items=gather((figure, _subsets(view))))


def _subsets(view: View) -> DataTable | str:
    rows = view.rows(tables.SUBSETS)
    shown: list[tuple[Any, ...]] = []
    seen: dict[str, int] = {}
    for row in rows:
        seen[row["name"]] = seen.get(row["name"], 0) + 1
        if seen[row["name"]] <= _MOST_SUBSETS:
            quality = Cell(points_text(row["quality"]), row["quality"])
            shown.append((row["name"], row["subset"], percent(row["share"]), quality))
    if not shown:
        return ""
    return DataTable(
        title="Subsets that were asked most",
        columns=("policy", "subset", "of the items", "quality of these items"),
        rows=tuple(shown),
        caption="Quality of each item alone: items that need more calls are harder.",
    )


def classes(view: View, best: str, base: str) -> PageSection | None:
    """Quality by label, of one policy and of what it is held against."""
    rows = [r for r in view.rows(tables.CLASSES) if r["name"] in (best, base)]
    rows = [row for row in rows if row["quality"] is not None]
    values = {(row["name"], row["label"]): row["quality"] for row in rows}
    support = {row["label"]: row["support"] for row in rows}
    both = [x for x in support if (best, x) in values and (base, x) in values]
    common = sorted(both, key=lambda label: -support[label])[:_MOST_LABELS]
    if not common:
        return None
    common.sort(key=lambda label: values[base, label] - values[best, label])
    marks = [
        {"label": label, "name": name, "quality": values[name, label] * 100}
        for label in common
        for name in (best, base)
    ]
    chart = dots(
        marks,
        Axis("quality", "quality in %"),
        Axis("label", "label", order=tuple(common)),
        Series("name", "policy", (best, base)),
    )
    figure = Figure(
        title="Gain by label",
        chart=chart,
        caption="AP50 for boxes, F1 for tags, recall for labels, on the test items of "
        f"the first split; at most {_MOST_LABELS} labels, the most frequent ones, the "
        "largest gain first.",
    )
    return PageSection(title="Labels", items=(figure,))


def calibration(view: View) -> PageSection | None:
    """Reliability diagrams: what a score of a provider is worth."""
    if tables.CALIBRATION.name not in view.has:
        return None
    rows = view.run.read(tables.CALIBRATION).to_pylist()
    figures: list[Figure] = []
    for is_calibrated in (False, True):
        marks = [
            {**row, "score": row["score"], "right": row["share_right"]}
            for row in rows
            if row["is_calibrated"] == is_calibrated and row["n"] > 0
        ]
        if not marks:
            continue
        providers = tuple(dict.fromkeys(row["provider"] for row in rows))
        chart = against(
            marks,
            Axis("score", "mean score"),
            Axis("right", "share that is right"),
            Series("provider", "provider", providers),
        )
        errors = {row["provider"]: row["error"] for row in marks}
        text = ", ".join(f"{name} {error * 100:.1f}" for name, error in errors.items())
        title = "Scores after calibration" if is_calibrated else "Scores as answered"
        caption = f"Expected calibration error in points: {text}."
        figures.append(Figure(title=title, chart=chart, caption=caption))
    if not figures:
        return None
    text = (
        "A score is honest where the share that is right equals it: on the dashed "
        "line. The items are none that calibration was fitted on."
    )
    return PageSection(title="Calibration of scores", text=text, items=tuple(figures))


def learning(view: View) -> PageSection | None:
    """Quality and price while a learner is trained."""
    rows = view.rows(tables.LEARNING)
    if not rows:
        return None
    marks = [
        {
            **row,
            "path": f"{row['name']} {row['split']}",
            "percent": row["quality"] * 100,
            "usd": row["cost_usd"] * PER,
        }
        for row in rows
    ]
    names = tuple(dict.fromkeys(row["name"] for row in marks))
    x = Axis("step", "steps")
    series = Series("name", "policy", names)
    figures = tuple(
        Figure(
            title=f"{title} while learning",
            chart=lines(marks, x, Axis(field, axis), series),
            caption="On calibration items; a line for each split.",
        )
        for title, field, axis in (
            ("Quality", "percent", "quality in %"),
            ("Price", "usd", "price of 1,000 items in USD"),
        )
    )
    return PageSection(title="Learning", items=figures)


def regret(view: View) -> PageSection | None:
    """What a stream of items costs against the best fixed subset."""
    rows = view.rows(tables.REGRET, "configuration, item_number")
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["name"] for row in rows))
    series = Series("name", "policy", names)
    x = Axis("item_number", "items seen")
    charts = (
        (
            "Regret over time",
            Axis("regret", "regret in quality"),
            "Against the best fixed subset for the same exchange of quality and price; "
            "falling is better than it. Audits are charged.",
        ),
        (
            "Quality over time",
            Axis("quality", "quality of the last items"),
            "Mean quality of single items, the latest ones.",
        ),
    )
    figures = tuple(
        Figure(title=title, chart=over_time(rows, x, y, series), caption=caption)
        for title, y, caption in charts
    )
    return PageSection(title="Over time", items=figures)


def online(view: View) -> PageSection | None:
    """What keeping policies up to date is worth where a provider gets worse."""
    if tables.ONLINE_SUMMARY.name not in view.has:
        return None
    rows = [_streamed(row) for row in view.run.read(tables.ONLINE).to_pylist()]
    names = tuple(dict.fromkeys(row["name"] for row in rows))
    series, x = Series("name", "policy", names), Axis("item_number", "items seen")
    charts = (
        ("Regret where a provider gets worse", Axis("regret", "regret in quality")),
        ("Quality where a provider gets worse", Axis("quality", "of the last items")),
    )
    caption = (
        "Test items of the first split, in one order. Regret is against the best fixed "
        "subset of the whole stream; audits are charged."
    )
    figures = tuple(
        Figure(title=title, chart=over_time(rows, x, y, series), caption=caption)
        for title, y in charts
    )
    summary = view.run.read(tables.ONLINE_SUMMARY).to_pylist()
    worths = DataTable(
        title="What it was worth",
        columns=("policy", "regret", "worth", "at the end", "best fixed at the end",
                 "price", "alarms", "audits", "refits"),
        rows=tuple(
            (
                _streamed(row)["name"],
                Cell(f"{row['regret']:.1f}", row["regret"]),
                *(
                    Cell(f"{row[key]:.4f}", row[key])
                    for key in ("worth", "worth_at_end", "best_fixed_at_end")
                ),
                Cell(usd_of_1000_text(row["cost_usd"]), row["cost_usd"]),
                row["n_alarms"],
                row["n_audits"],
                row["n_refits"],
            )
            for row in summary
        ),
        caption="Worth is quality less multiplier times price; prices are of 1,000 "
        "items. The end is the last third.",
    )  # fmt: skip
    return PageSection(
        title="Learning while it is used", items=(*figures, worths, _alarms(view))
    )


def _streamed(row: Mapping[str, Any]) -> dict[str, Any]:
    how = "kept up to date" if row["is_online"] else "as learned"
    return {**row, "name": f"{row['policy']}, {how}"}


def _alarms(view: View) -> DataTable | Notice:
    rows = view.run.read(tables.ALARMS).to_pylist()
    if not rows:
        return Notice(text="Nobody raised an alarm.")
    return DataTable(
        title="Alarms",
        columns=("policy", "item", "provider", "what", "seems to begin at item"),
        rows=tuple(
            (
                row["policy"],
                row["item_number"],
                row["provider"] or "(fused answers)",
                f"{row['signal']} {row['direction']}",
                row["onset"],
            )
            for row in rows
        ),
    )


def faults(view: View) -> PageSection | None:
    """How latency, quality and price stand a bad day of the best provider."""
    if FAULT_SUMMARY.name not in view.has:
        return None
    rows = view.run.read(FAULT_SUMMARY).to_pylist()
    marks = [
        {
            **row,
            **_bound(row),
            "percent": row["quality"] * 100,
            "usd": row["cost_usd"] * PER,
        }
        for row in rows
    ]
    phases = tuple(dict.fromkeys(row["phase"] for row in rows))
    names = tuple(dict.fromkeys(row["policy"] for row in rows))
    series = Series("policy", "policy", names)
    label = Axis("phase", "phase", order=phases)
    charts = (
        ("Latency under faults", "latency_p95_s", "95th percentile in s"),
        ("Quality under faults", "percent", "mean quality of items in %"),
        ("Price under faults", "usd", "price of 1,000 requests in USD"),
    )
    hit = [
        str(row["provider"])
        for row in view.run.read(FAULT_PHASES).to_pylist()
        if row["provider"]
    ]
    text = (
        f"Requests come as they like while {hit[0] if hit else 'a provider'} fails in "
        "one way after another. Retries, breakers and failover are those of the "
        "service; time is virtual, and latencies of calls are drawn where the "
        "recording has none. A request without an answer has quality 0."
    )
    items = gather(
        Figure(
            title=title,
            chart=dots(shown, Axis(field, axis, from_zero=True), label, series),
            caption="By phase, on test items of the first split.",
        )
        if (shown := [mark for mark in marks if mark[field] is not None])
        else f"{title}: no phase has the requests that a percentile needs; raise "
        "`faults.phase_s` or `faults.rate_hz`."
        for title, field, axis in charts
    )
    return PageSection(title="A bad day", text=text, items=items)


def _bound(row: Mapping[str, Any]) -> dict[str, str]:
    """The sign of a percentile that lies among requests without an answer."""
    p95, known_below = row["latency_p95_s"], row["latency_known_below_s"]
    if p95 is None or known_below is None or p95 < known_below:
        return {}
    return {"latency_p95_s_bound": SIGNS[AT_LEAST]}


_HINDSIGHT = ("oracle",)


def build_evaluate(run: Run) -> Page:
    """The report of an evaluation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    best, base = _pair(view)
    title = "Federation: quality against price"
    return page_of(
        run,
        title,
        _evaluate_overview(view),
        calls(view),
        classes(view, best, base) if best else None,
        regret(view),
        online(view),
        faults(view),
        learning(view),
        calibration(view),
        gallery(run),
        _times(view),
    )


def _evaluate_overview(view: View) -> PageSection:
    if not view.knows("quality"):
        text = "This run has judged no policy to its end, so there is nothing to show."
        return nothing_yet(text)
    wanted = (
        ("Most over the best single provider", "gain_on_best_single"),
        ("Most over asking everybody", "gain_on_all"),
    )
    text = (
        "Every policy was learned on one part of the items, its budget calibrated on a "
        "second, and judged on a third that nothing had seen. Every call is charged. "
        "`oracle` knows the truth and takes the cheapest best subset of each item: it "
        "bounds the mean quality of single items, not the pooled AP50 of boxes. The "
        "best single provider is the one that is best on the test items, which favours "
        "it."
    )
    caption = (
        "Quality is pooled AP50 (boxes), the Jaccard index (tags) or accuracy "
        "(labels), in %; differences are paired over items, in points."
    )
    deployable = _without(view, _HINDSIGHT)
    items = (
        headline(deployable, EVALUATE_METRICS, wanted),
        trade_off(view),
        matches_table(view),
        summary_table(view, EVALUATE_METRICS, caption),
    )
    return PageSection(title="Overview", text=text, items=gather(items))


def _without(view: View, policies: tuple[str, ...]) -> View:
    """The same run without policies that nobody could use."""
    kept = View(view.run, tables.CONFIGURATIONS)
    kept.names = {n: name for n, name in view.names.items() if name not in policies}
    return kept


def _pair(view: View) -> tuple[str, str]:
    """The cascade at its dearest budget and the best single provider, by name."""
    rows = view.run.read(tables.CONFIGURATIONS).to_pylist()
    known = [r for r in rows if view.value(int(r["configuration"]), "quality")]
    singles = [r for r in known if "provider" in r["settings"]]
    others = [r for r in known if r not in singles and r["policy"] not in _HINDSIGHT]
    if not singles or not others:
        return "", ""

    def quality(row: dict[str, object]) -> float:
        return view.value(int(str(row["configuration"])), "quality") or 0.0

    best, base = max(others, key=quality), max(singles, key=quality)
    return str(best["name"]), str(base["name"])


def _times(view: View) -> PageSection | None:
    """How long learning and deciding took."""
    if tables.FITS.name not in view.has:
        return None
    query = (
        "SELECT policy, avg(fit_s) AS fit_s, avg(decide_s) AS decide_s FROM fits "
        "JOIN configurations USING (configuration) GROUP BY policy ORDER BY fit_s DESC"
    )
    rows = view.run.sql(query).to_pylist()
    table = DataTable(
        title="Time to learn and to decide",
        columns=("policy", "to learn", "to decide about an item"),
        rows=tuple(
            (
                str(row["policy"]),
                duration_text(row["fit_s"]),
                duration_text(row["decide_s"]),
            )
            for row in rows
        ),
        caption="Learning is of the whole family, on one split. Deciding is over all "
        "rounds, many items at once.",
    )
    return PageSection(title="Times", items=(table,))


def build_train(run: Run) -> Page:
    """The report of a training, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Federation: a policy is learned"
    return page_of(
        run,
        title,
        _train_overview(view),
        calls(view),
        learning(view),
        calibration(view),
    )


def _train_overview(view: View) -> PageSection:
    if not view.knows("quality"):
        text = "This run has learned no policy yet, so there is nothing to show."
        return nothing_yet(text)
    text = (
        "Numbers are of the calibration items, which chose the budget's exchange rate: "
        "a guide. `federation.evaluate` judges on items that nothing has seen. The "
        "policy, the fusion and the calibration are in `files/federation.npz`; "
        "`midhaul serve federation` serves them."
    )
    items = (summary_table(view, TRAIN_METRICS, ""), _points(view), _bill(view))
    return PageSection(title="Overview", text=text, items=gather(items))


def _points(view: View) -> Figure | str:
    if tables.POINTS.name not in view.has:
        return ""
    rows = view.run.read(tables.POINTS).to_pylist()
    marks = [
        {
            "path": "saved" if row["is_chosen"] else "family",
            "which": "saved" if row["is_chosen"] else "other budgets",
            "usd": row["cost_usd"] * PER,
            "quality": row["quality"] * 100,
            "quality_low": None if row["low"] is None else row["low"] * 100,
            "quality_high": None if row["high"] is None else row["high"] * 100,
        }
        for row in rows
    ]
    chart = lines(
        marks,
        Axis("usd", "price of 1,000 items in USD"),
        Axis("quality", "quality on calibration items, in %"),
        Series("which", "budget", ("other budgets", "saved")),
    )
    caption = (
        "Each mark is one exchange rate between quality and price; what was saved may "
        "mix two of them."
    )
    return Figure(title="What other budgets would buy", chart=chart, caption=caption)


def _bill(view: View) -> DataTable | str:
    if tables.BILL.name not in view.has:
        return ""
    rows = view.run.read(tables.BILL).to_pylist()
    return DataTable(
        title="Calls that were learned from",
        columns=("provider", "calls", "price"),
        rows=tuple(
            (str(row["provider"]), f"{row['n_calls']:,}", f"{row['usd']:.4g} USD")
            for row in rows
        ),
        caption="What they would cost, were the answers not recorded already.",
    )
