"""deploy.simulate from its file to its summary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from midhaul.deploy.simulate import config, tables
from midhaul.deploy.simulate import config as config_parts
from midhaul.deploy.simulate.config import SimulateConfig
from midhaul.deploy.simulate.experiment import simulate
from midhaul.deploy.simulate.metrics import METRICS, samples
from midhaul.errors import ConfigError, DataError
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

SHORT = {"duration_s": 600.0, "n_repeats": 2, "n_resamples": 100}


def read(**changes: object) -> SimulateConfig:
    """A config as from a file."""
    return SimulateConfig.model_validate_json(json.dumps({**SHORT, **changes}))


def perform(folder: Path, **changes: object) -> Run:
    """A run of a short experiment."""
    config = read(**changes)
    run = Run.create(folder, "deploy.simulate", config)
    simulate(config, run, SilentProgress())
    return run


def value(run: Run, metric: str, configuration: int = 0) -> float:
    """A number of the summary."""
    query = (
        f"SELECT value FROM summary WHERE metric = '{metric}' "  # noqa: S608 - ours
        f"AND configuration = {configuration}"
    )
    return run.sql(query).to_pylist()[0]["value"]


def test_defaults_are_a_whole_experiment() -> None:
    """The kind runs without a single key."""
    assert SimulateConfig().kind == "deploy.simulate"


def test_every_key_is_described() -> None:
    """Help texts and the reference are made from the descriptions."""
    modules = (config, config_parts)
    sections = [
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, BaseModel)
    ]
    for section in sections:
        for key, field in section.model_fields.items():
            text = field.description or ""
            assert text.endswith("."), f"{section.__name__}.{key}: {text}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slot_s": 250.0}, "whole number of times"),
        ({"policies": [{}, {}]}, "must be unique"),
        ({"requests": {"kind": "csv"}}, "need the key file"),
        (
            {"requests": {"kind": "csv", "file": "x.csv", "versions": ["1"]}},
            "as many versions",
        ),
        ({"network": {"name": "5G"}}, "optical50"),
        ({"curves": {}}, "not in"),
        (
            {"requests": {"min_lifetime_min": 5, "max_lifetime_min": 2}},
            "min_lifetime_min is above",
        ),
    ],
)
def test_experiments_that_cannot_be_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    """Each mistake is named where it is."""
    with pytest.raises(ValidationError, match=words):
        read(**changes)


def test_a_run_says_what_was_planned_and_what_happened(tmp_path: Path) -> None:
    """All tables are there, and ours keeps what the seed's way of deciding does not."""
    run = perform(tmp_path, n_repeats=3, duration_s=1800.0)
    wanted = {table.name for table in tables.SIMULATE_TABLES}
    assert set(run.tables()) == wanted
    assert run.verdict is not None
    assert run.verdict.is_valid
    assert value(run, "realised_share") == 1
    assert value(run, "realised_share", 1) < 1
    assert value(run, "overshoot_share") == 0
    assert value(run, "overshoot_share", 1) > 0
    assert value(run, "weighted_qos") <= 1
    rows = run.sql("SELECT DISTINCT metric, is_model FROM summary").to_pylist()
    assert {row["metric"] for row in rows} == METRICS.keys()
    measured = {row["metric"] for row in rows if not row["is_model"]}
    assert measured == {one.name for one in METRICS.values() if not one.is_model}


def test_policies_meet_the_same_requests(tmp_path: Path) -> None:
    """Two names for one way to decide have one result, and one set of requests."""
    policies = [{"name": "one"}, {"name": "other"}]
    run = perform(tmp_path, policies=policies)
    for metric in METRICS.values():
        if metric.is_model:
            first, second = (value(run, metric.name, number) for number in (0, 1))
            assert first == second, metric.name
    counted = run.sql("SELECT count(*) AS n FROM requests").to_pylist()[0]["n"]
    assert value(run, "n_requests") == counted / 2


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Finished repetitions are kept, the others are done, the result is the same."""
    whole = perform(tmp_path / "whole")
    run = perform(tmp_path / "killed")
    kept = (run.dir / "tables" / "periods" / "part-0000.parquet").stat().st_mtime_ns
    for table in ("repeats", "periods", "summary"):
        run.drop(table, [1, 2, 3])
    simulate(read(), run, SilentProgress())
    again = (run.dir / "tables" / "periods" / "part-0000.parquet").stat().st_mtime_ns
    assert kept == again
    query = "SELECT * FROM periods ORDER BY configuration, repeat, begins_s"
    assert run.sql(query) == whole.sql(query)


def test_metrics_are_ratios_over_the_repetitions(tmp_path: Path) -> None:
    """The samples give the summary's values, and both ends of their ratios count."""
    run = perform(tmp_path)
    found = samples(run)
    for sample in found:
        if sample.configuration == "mincut+exact":
            counts = np.ones((1, len(sample.units)))
            expected = value(run, sample.metric)
            computed = float(sample.statistic(counts)[0])
            assert computed == pytest.approx(expected, nan_ok=True) or expected is None
    assert {sample.units for sample in found} == {("repeat 0", "repeat 1")}


def test_nobody_who_comes_makes_a_run_invalid(tmp_path: Path) -> None:
    """A repetition without analytics has no quality; the verdict says what to do."""
    run = perform(tmp_path, requests={"rate_per_min": 0.0})
    assert run.verdict is not None
    assert "no quality" in run.verdict.reasons[0]
    assert "rate_per_min" in run.verdict.advice[0]


def test_images_of_a_registry_need_whole_names(tmp_path: Path) -> None:
    """A pattern cannot be looked up."""
    with pytest.raises(ConfigError, match="looked up by their names"):
        perform(tmp_path, images={"kind": "registry"})


def test_a_trace_and_the_seeds_own_files_can_be_run(
    tmp_path: Path, data_dir: Path
) -> None:
    """Real container images, real requests and a real uplink."""
    seed = data_dir / "iot_seed"
    run = perform(
        tmp_path,
        images={"kind": "file", "file": str(seed / "images.parquet")},
        requests={"kind": "csv", "file": str(seed / "requests.csv")},
        gateway={"disk_bytes": 3e9, "disk_unit": "compressed"},
        network={
            "uplink_trace": str(data_dir / "uplink_traces" / "Verizon-LTE-short.up")
        },
        policies=[{"name": "ours"}, {"name": "last", "forecast": "last"}],
    )
    assert 0 < value(run, "overshoot_share", 1) < 1
    assert value(run, "max_late_bytes", 1) > 0
    run.finish()
    assert run.verdict is not None
    said = " ".join(run.verdict.remarks)
    assert "rate periods of last were granted more than the uplink carried" in said
    assert "several sizes" in said


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    """The path stands in the message."""
    missing = str(tmp_path / "missing.parquet")
    with pytest.raises(DataError, match=r"missing\.parquet"):
        perform(tmp_path, images={"kind": "file", "file": missing})
