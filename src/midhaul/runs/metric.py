"""A metric, declared once: what its rows, reports, comparisons and reference follow.

Every kind of experiment declares its metrics in ``metrics.py``. The table ``summary``,
the headline, the overview of the report, units and directions of ``midhaul compare``
and the page ``docs/reference/metrics.md`` are made from that.

Most are written as a text, an entry each, which :func:`metric_table` reads::

    n_calls, lower, "calls" as {:.2f}: mean number of providers asked about an item
    cost_usd [USD], lower, "price of 1,000" as usd_of_1000: mean price of the calls
        made for an item
    bound_usd [USD], model, over "items, in comparisons": no policy is cheaper

A kind's ``metrics.py`` has ``METRICS = declare(*metric_table(text, over="items"),
headline="n_calls cost_usd")``; what several kinds share is a table that each of them
declares.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from textwrap import dedent
from typing import TYPE_CHECKING, Any, Literal

from midhaul.model.estimate import MetricSamples
from midhaul.model.numbers import NumberForm, form_for
from midhaul.stats import estimate_row, known, percentile_samples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy as np
    from jaxtyping import Float64, Int

    from midhaul.model import Estimate
    from midhaul.model.estimate import Statistic

    Metrics = Mapping[str, "Metric"]
    Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that a kind of experiment finds for each configuration.

    Attributes:
        name: in the column ``metric`` of the table ``summary``.
        doc: what it means, in markdown, without a full stop.
        unit: SI unit, or empty.
        better: which direction is an improvement; empty where neither is.
        heading: of its column in the report's overview; empty where it has none.
        form: how it is written: a name of a form in ``midhaul.model.numbers`` or a
            format with one place; by its unit where nothing is said.
        over: the units that its interval rests on; empty without an interval.
        is_model: true where stated coefficients make it, not a measurement.
        is_headline: true where it belongs to what a run shows first.
    """

    name: str
    doc: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    heading: str = ""
    form: str = "{:.3g}"
    over: str = ""
    is_model: bool = False
    is_headline: bool = False

    @property
    def label(self) -> str:
        """What a person reads: its heading, or its name."""
        return self.heading or self.name

    @property
    def number_form(self) -> NumberForm:
        """How its numbers are written."""
        return form_for(self.form, self.unit, is_unit_said=bool(self.heading))

    def samples(
        self,
        configuration: str,
        units: tuple[str, ...],
        statistic: Statistic,
        *,
        known_below: float = math.inf,
        lack: str = "",
        n_stretches: int | None = None,
    ) -> MetricSamples:
        """This metric of a configuration, as a function of its independent units.

        ValueError if nothing says which direction is better, so that two of them cannot
        be compared.
        """
        return MetricSamples(
            metric=self.name,
            configuration=configuration,
            units=units,
            statistic=statistic,
            better=self._direction(),
            unit=self.unit,
            known_below=known_below,
            lack=lack,
            n_stretches=n_stretches,
            is_model=self.is_model,
        )

    def percentile(
        self,
        configuration: str,
        units: tuple[str, ...],
        values: Float64[np.ndarray, " m"],
        unit_index: Int[np.ndarray, " m"],
        *,
        q: float,
        known_below: float = math.inf,
        n_own: int | None = None,
    ) -> MetricSamples:
        """This metric as a percentile of values, as far as so many carry it."""
        found = percentile_samples(
            values,
            unit_index,
            units,
            q=q,
            metric=self.name,
            configuration=configuration,
            known_below=known_below,
            unit=self.unit,
            n_own=n_own,
        )
        return replace(found, better=self._direction(), is_model=self.is_model)

    def row(self, configuration: int, value: float, n: int = 1) -> Row:
        """A row of the table ``summary`` without an interval."""
        return {
            "configuration": configuration,
            "metric": self.name,
            "value": known(value),
            "n": n,
            "unit": self.unit,
            "is_model": self.is_model,
        }

    def estimate_row(self, configuration: int, found: Estimate) -> Row:
        """A row of the table ``summary`` from an estimate."""
        ends: Row = {"low": known(found.low), "high": known(found.high)}
        return {**self.row(configuration, found.value, found.n), **ends}

    def _direction(self) -> Literal["higher", "lower"]:
        if not self.better:
            message = f"metric {self.name} does not say which direction is better"
            raise ValueError(message)
        return self.better


_ENTRY = re.compile(r"(\w+)(?: \[(.+?)\])?((?:, (?:\"[^\"]+\"|[^\"])+?)?): (.+)")
_WORD = re.compile(
    r", (?:(higher|lower)|(model)|(headline)|over (?:\"([^\"]+)\"|([^,\"]+))"
    r"|(?:\"([^\"]+)\")?(?: ?as (\S+?))?)(?=, |$)"
)
_FIELDS = ("better", "is_model", "is_headline", "over", "over", "heading", "form")


def metric_table(text: str, **defaults: Any) -> tuple[Metric, ...]:
    """Metrics from entries ``name [unit], higher, over items, "heading" as form: doc``.

    All but name and doc may be left out; ``model`` and ``headline`` are further words,
    and indented lines go on with an entry. The defaults are of those that say nothing
    else. ValueError if a word is none of these.
    """
    found: list[Metric] = []
    for lines in re.split(r"\n(?=\S)", dedent(text).strip()):
        entry = _ENTRY.fullmatch(" ".join(lines.split()))
        rest = entry[3] if entry else lines
        told = dict(defaults)
        while entry and (word := _WORD.match(rest)) and word[0]:
            said = zip(_FIELDS, word.groups(), strict=True)
            told |= {k: k.startswith("is_") or it for k, it in said if it}
            rest = rest[word.end() :]
        if entry is None or rest:
            message = f"expected 'name [unit], higher, …: doc', found {lines!r}"
            raise ValueError(message)
        told |= {"unit": entry[2]} if entry[2] else {}
        found.append(Metric(entry[1], entry[4], **told))
    return tuple(found)


def declare(
    *metrics: Metric, over: str = "", headline: Collection[str] | str = ()
) -> Metrics:
    """The metrics of a kind by their names, in the order of its report.

    ``over`` is what the intervals of those rest on that do not say it; ``headline``
    names what a run shows first (words of a text, too), besides those that say it.
    ValueError if a name is declared twice, or is to be a headline and is none.
    """
    headline = headline.split() if isinstance(headline, str) else headline
    found = {
        metric.name: replace(
            metric,
            over=metric.over or over,
            is_headline=metric.is_headline or metric.name in headline,
        )
        for metric in metrics
    }
    if len(found) != len(metrics) or not found.keys() >= set(headline):
        message = "every metric is declared once, and a headline names some of them"
        raise ValueError(message)
    return found


def summary_rows(
    samples: Iterable[MetricSamples],
    configuration: int,
    rng: np.random.Generator,
    n_resamples: int = 1000,
) -> list[Row]:
    """Metrics of a configuration as rows of the table ``summary``, with intervals."""
    return [
        {
            "configuration": configuration,
            **estimate_row(metric, rng, n_resamples=n_resamples),
            "is_model": metric.is_model,
        }
        for metric in samples
    ]
