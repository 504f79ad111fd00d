"""A run's tables as the report's sections need them: by configuration and metric."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.model.estimate import SIGNS
from midhaul.report.axes import Axis, Series
from midhaul.report.view import metrics_of
from midhaul.testbed.measure import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.runs.run import Run

_OWN_KEYS = ("encode", "resize", "gray")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationView:
    """One configuration as the charts name it.

    Attributes:
        index: its number in the tables.
        series: detector, and whatever else tells it from its like; decides its colour.
        preprocessing: in words.
        codec: ``keep``, ``jpeg`` or ``webp``.
        quality: of the codec; None where the received encoding is kept.
        resize: factor on width and height.
        gray: True where colour is dropped.
    """

    index: int
    series: str
    preprocessing: str
    codec: str
    quality: int | None
    resize: float
    gray: bool

    @property
    def name(self) -> str:
        """Series and preprocessing."""
        return f"{self.series}, {self.preprocessing}"

    @property
    def encoding(self) -> str:
        """The encoding in words, without the other steps."""
        if self.codec == "keep":
            return "as received"
        return f"{'WebP' if self.codec == 'webp' else 'JPEG'} {self.quality}"

    @property
    def strength(self) -> tuple[bool, float, str, int]:
        """Sorts preprocessings from none to the hardest."""
        codec = "" if self.codec == "keep" else self.codec
        return (self.gray, -self.resize, codec, -(self.quality or 101))


class GridView:
    """The tables of a run, read once.

    Attributes:
        run: where they come from.
        configurations: in the order of the tables.
        preprocessings: all of them in words, from none to the hardest.
        reference: the preprocessing that the charts by detector are drawn at: none,
            or the mildest there is.
        has: names of the tables with rows.
    """

    def __init__(self, run: Run) -> None:
        """Read what every section needs of ``run``."""
        self.run = run
        self.has = frozenset(run.tables())
        rows = run.read(tables.CONFIGURATIONS).to_pylist()
        names = _series_names(rows)
        self.configurations = tuple(
            _configuration(row, name) for row, name in zip(rows, names, strict=True)
        )
        mildest_first = sorted(self.configurations, key=lambda c: c.strength)
        self.preprocessings = tuple(
            dict.fromkeys(c.preprocessing for c in mildest_first)
        )
        self.reference = self.preprocessings[0] if self.preprocessings else ""
        self._metrics = metrics_of(run)

    @property
    def series(self) -> Series:
        """The detectors, in the order that fixes their colours."""
        names = dict.fromkeys(c.series for c in self.configurations)
        return Series("series", "detector", tuple(names))

    def at(self, preprocessing: str) -> list[ConfigurationView]:
        """The configurations with this preprocessing."""
        return [c for c in self.configurations if c.preprocessing == preprocessing]

    def metric(
        self, configuration: ConfigurationView, name: str
    ) -> Mapping[str, Any] | None:
        """A row of the summary; None where it is not there or has no number."""
        return self._metrics.get((configuration.index, name))

    def value(self, configuration: ConfigurationView, name: str) -> float | None:
        """The point estimate of a number of the summary."""
        found = self.metric(configuration, name)
        return None if found is None else found["value"]

    def knows(self, *names: str) -> bool:
        """Whether some configuration has all of these numbers."""
        return any(
            all(self.metric(c, name) is not None for name in names)
            for c in self.configurations
        )

    def rows(
        self, configurations: Iterable[ConfigurationView], **fields: tuple[str, float]
    ) -> list[dict[str, Any]]:
        """Rows for a chart: one per configuration that has all the numbers.

        A field of the row is a metric and a factor for its unit.
        """
        rows: list[dict[str, Any]] = []
        for c in configurations:
            row: dict[str, Any] = {
                "series": c.series,
                "preprocessing": c.preprocessing,
                "name": c.name,
            }
            for field, (metric, factor) in fields.items():
                found = self.metric(c, metric)
                if found is None:
                    break
                row[field] = found["value"] * factor
                for end in ("low", "high"):
                    if found[end] is not None:
                        row[f"{field}_{end}"] = found[end] * factor
                if found["bound"]:
                    row[f"{field}_bound"] = SIGNS[found["bound"]]
            else:
                rows.append(row)
        return rows


def ordered(
    rows: Sequence[Mapping[str, Any]], label: str, value: str
) -> tuple[str, ...]:
    """The labels of rows, the one with the largest value first."""
    ranked = sorted(rows, key=lambda row: -float(row[value]))
    return tuple(dict.fromkeys(str(row[label]) for row in ranked))


def detector_axis(rows: Sequence[Mapping[str, Any]], value: str) -> Axis:
    """Detectors from top to bottom, the one with the largest value first."""
    return Axis("series", "detector", order=ordered(rows, "series", value))


def _configuration(row: Mapping[str, Any], series: str) -> ConfigurationView:
    encode = str(row["encode"] or "keep")
    return ConfigurationView(
        index=int(row["configuration"]),
        series=series,
        preprocessing=str(row["preprocessing"] or "as received"),
        codec=encode.partition(":")[0],
        quality=row["quality"],
        resize=1.0 if row["resize"] is None else float(row["resize"]),
        gray=bool(row["gray"]),
    )


def _series_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The detector of each row, and the settings that tell apart its like."""
    settings = [_settings(row) for row in rows]
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        alike[str(row["detector"]), str(row["preprocessing"])].append(place)
    varied = [
        key
        for key in dict.fromkeys(key for each in settings for key in each)
        if key.rpartition(".")[2] not in _OWN_KEYS
        and any(
            len({str(settings[p].get(key)) for p in places}) > 1
            for places in alike.values()
        )
    ]
    names: list[str] = []
    for row, each in zip(rows, settings, strict=True):
        name = str(row["detector"] or "no detector")
        extra = [f"{key} {each[key]}" for key in varied if key in each]
        names.append(", ".join((name, *extra)))
    return names


def _settings(row: Mapping[str, Any]) -> dict[str, object]:
    try:
        settings: object = json.loads(row["settings"] or "{}")
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}  # pyright: ignore[reportUnknownVariableType]
