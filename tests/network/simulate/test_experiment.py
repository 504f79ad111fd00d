"""network.simulate from its file to its summary, with a simulator for nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.network.fake_simulator import FakeSimulation, FakeSimulator

from midhaul.errors import ConfigError
from midhaul.kinds import KINDS
from midhaul.network.decomposition import HybridSimulator, PathsSimulator
from midhaul.network.fluid import FluidSimulator
from midhaul.network.simulate import tables
from midhaul.network.simulate.config import NetworkSimulateConfig
from midhaul.network.simulate.execution import CaseWork
from midhaul.network.simulate.experiment import simulate
from midhaul.network.simulate.metrics import METRICS, samples
from midhaul.network.simulators import SIMULATORS
from midhaul.registry import Entry
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.network.simulator import FlowResults

KIND = KINDS["network.simulate"]


class Untimed(FakeSimulator):
    """Follows no flow over time, and looks at no queue."""

    def begin(self, problem: Any, state: Any = None) -> FakeSimulation:
        """Begin as one that is asked for neither."""
        return super().begin(replace(problem, watched=(), sample_ns=0), state)


SHORT = {
    "simulator": "packet",
    "flows": [
        {"name": "uploads", "sources": "gateway*", "targets": "cloud", "n_flows": 800}
    ],
    "n_resamples": 100,
}
MEASURED = {"took_s", "predicted_s"}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the packet simulator, which would take its time."""
    monkeypatch.setitem(SIMULATORS._entries, "packet", Entry(place=FakeSimulator))
    monkeypatch.setattr("midhaul.network.simulators._KERNELS", {})


def read(**changes: object) -> NetworkSimulateConfig:
    """A config as from a file."""
    return NetworkSimulateConfig.model_validate_json(json.dumps({**SHORT, **changes}))


def perform(folder: Path, **changes: object) -> Run:
    """A run of a short experiment."""
    config = read(**changes)
    run = Run.create(folder, KIND.name, config)
    simulate(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


def value(run: Run, metric: str) -> float:
    """A number of the summary."""
    return next(r["value"] for r in run.summary.rows if r["metric"] == metric)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topology": {"kind": "file"}}, "needs the key file"),
        ({"topology": {"counts": {"n_gateway": 3}}}, "did you mean 'n_gateways'"),
        ({"topology": {"cables": [{"name": "uplink"}]}}, "did you mean 'uplinks'"),
        ({"topology": {"oversubscription": 2.0}}, "cannot be told an oversub"),
        (
            {
                "topology": {
                    "kind": "file",
                    "file": "a.json",
                    "cables": [{"name": "uplinks"}],
                }
            },
            "file has no cable",
        ),
        ({"flows": [{"kind": "file"}]}, "needs? the key file"),
        ({"flows": [{"load": 0.5, "rate_hz": 3.0}]}, "load or rate_hz"),
        ({"flows": [{}, {}]}, "must be unique"),
        ({"flows": [{"transport": "cubik"}]}, "did you mean 'cubic'"),
        ({"transports": [{}, {}]}, "must be unique"),
        ({"simulator": "opnet"}, "packet"),
    ],
)
def test_experiments_that_cannot_be_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    """Each mistake is named where it is."""
    with pytest.raises(ValidationError, match=words):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flows": [{"sources": "camera*"}]}, "no host fits the pattern"),
        ({"queues": [{"links": "a->b"}]}, "no link fits the pattern"),
        ({"watched": [800]}, "watched names flow 800"),
        ({"flows": [{"kind": "cameras", "targets": "*"}]}, "must be one host"),
        ({"routing": {"weights": "file"}}, "says nothing of weights"),
        ({"flows": [{"rate_hz": 1e-9, "n_flows": 9}]}, "would start over 9e+09 s"),
        (
            {"flows": [{"sizes": {"kind": "fixed", "mean_bytes": 1e20}}]},
            "would start over",
        ),
    ],
)
def test_what_the_network_does_not_have_is_named(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """The message says what was looked for, the hint what there is."""
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        perform(tmp_path, **changes)
    assert caught.value.hint


def test_a_run_has_all_tables_and_metrics(tmp_path: Path) -> None:
    """Flows, links, queues over time, timelines, classes, work, summary."""
    run = perform(tmp_path)
    assert set(run.tables()) == {table.name for table in tables.SIMULATE_TABLES} - {
        "rungs"
    }
    assert run.count("flows") == 800
    assert run.verdict is not None
    assert run.verdict.is_valid
    found = set(run.summary.metrics)
    assert found <= METRICS.keys()
    assert {"slowdown_p99", "fct_mean_s", "goodput_bps", "max_utilisation"} <= found
    assert value(run, "unfinished_share") == 0
    starts = run.sql("SELECT start_ns FROM flows ORDER BY flow")["start_ns"].to_numpy()
    assert (np.diff(starts) >= 0).all()
    assert not (run.dir / "files" / "states").exists()


def test_the_summary_is_made_of_the_samples(tmp_path: Path) -> None:
    """What is compared with another run is what was summed up."""
    run = perform(tmp_path)
    for one in samples(run):
        whole = float(one.statistic(np.ones((1, len(one.units))))[0])
        if not one.lack:
            assert whole == pytest.approx(value(run, one.metric), nan_ok=True)


def test_classes_have_their_flows_and_their_transports(tmp_path: Path) -> None:
    """Cameras and pulls in one network, each with a transport of its own."""
    run = perform(
        tmp_path,
        transports=[{"kind": "cubic"}, {"kind": "bbr"}],
        flows=[
            {
                "name": "cameras",
                "kind": "cameras",
                "sources": "gateway*",
                "targets": "cloud",
                "duration_s": 3.0,
            },
            {
                "name": "pulls",
                "kind": "pulls",
                "sources": "cloud",
                "targets": "gateway*",
                "layers_bytes": [50_000, 2_000_000, 7000, 100],
                "n_parallel": 2,
                "duration_s": 2.0,
                "transport": "bbr",
            },
        ],
    )
    query = """
        SELECT label, transport, count(*) AS n, min(target) AS target FROM flows
        GROUP BY ALL ORDER BY label
    """
    cameras, pulls = run.sql(query).to_pylist()
    assert (cameras["label"], cameras["transport"], cameras["target"]) == (
        "cameras",
        "cubic",
        "cloud",
    )
    assert (pulls["label"], pulls["transport"], pulls["n"]) == ("pulls", "bbr", 40)
    assert {row["label"] for row in run.table("classes").to_pylist()} == {
        "all",
        "cameras",
        "pulls",
    }


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state and flows that have ended are kept; in the end tables are equal."""
    whole = perform(tmp_path / "whole", keep_every_s=1e-9)
    config = read(keep_every_s=1e-9)
    run = Run.create(tmp_path / "killed", KIND.name, config)
    kept = CaseWork._keep

    def keep_and_die(self: CaseWork, *arguments: Any) -> None:
        kept(self, *arguments)
        raise KeyboardInterrupt

    # Slices of few flows, so that there are some.
    monkeypatch.setattr("midhaul.network.work._MOST_GROWTH", 1.0)
    monkeypatch.setattr("midhaul.network.work._FIRST_EVENTS", 100)
    monkeypatch.setattr(CaseWork, "_keep", keep_and_die)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, run, SilentProgress())
    assert (run.dir / "files" / "states" / "0.npz").is_file()
    n_kept = run.count("flows")
    assert 0 < n_kept < 800
    monkeypatch.setattr(CaseWork, "_keep", kept)
    begun: list[int] = []
    begin = FakeSimulation.__init__

    def note(self: FakeSimulation, problem: Any, state: Any) -> None:
        begin(self, problem, state)
        begun.append(self._position)

    monkeypatch.setattr(FakeSimulation, "__init__", note)
    simulate(config, run, SilentProgress())
    assert begun == [n_kept]
    assert not (run.dir / "files" / "states").exists()
    for table in tables.SIMULATE_TABLES:
        if table.name not in {"simulations", "summary"}:
            assert run.read(table).equals(whole.read(table)), table.name
    for table in ("simulations", "summary"):
        rows = [run.table(table).to_pylist(), whole.table(table).to_pylist()]
        for one, other in zip(*rows, strict=True):
            if one.get("metric") not in {*MEASURED, "events_hz"}:
                assert {k: v for k, v in one.items() if k not in MEASURED} == {
                    k: v for k, v in other.items() if k not in MEASURED
                }


def test_a_damaged_state_is_no_end(tmp_path: Path) -> None:
    """The simulation begins again and says so."""
    config = read()
    run = Run.create(tmp_path, KIND.name, config)
    file = run.dir / "files" / "states" / "0.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK\x03\x04 not all of it")
    simulate(config, run, SilentProgress())
    assert run.count("flows") == 800


def test_flows_cut_off_make_a_run_not_valid(tmp_path: Path) -> None:
    """What had not ended stands as a bound, and is counted beside the verdict."""
    span_ns = perform(tmp_path).table("flows")["start_ns"].to_numpy().max()
    run = perform(tmp_path, until_s=float(span_ns) / 2e9)
    assert run.verdict is not None
    told = [*run.verdict.reasons, *run.verdict.remarks]
    assert any("not judged" in text for text in told)
    n = run.sql("SELECT n_late FROM simulations").to_pylist()[0]["n_late"]
    assert n > 0
    whole = run.sql("SELECT count(*) AS n FROM flows WHERE fct_ns IS NULL").to_pylist()
    assert whole[0]["n"] > 0


def test_a_load_above_1_is_said(tmp_path: Path) -> None:
    """Such queues never end while flows come, and the links are named."""
    flows = [{**SHORT["flows"][0], "load": 1.5}]  # type: ignore[index]
    run = perform(tmp_path, flows=flows)
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert "gateway" in run.verdict.reasons[0]
    assert "never end" in run.verdict.reasons[0]


def test_queues_that_rdma_does_not_have_are_told(tmp_path: Path) -> None:
    """They are no mistake, as others of a comparison may have them."""
    queues = [{"max_packets": 5}]
    run = perform(tmp_path, queues=queues, transports=[{"kind": "hpcc"}])
    assert run.verdict is not None
    assert any("queues of RDMA" in text for text in run.verdict.remarks)


def test_who_follows_no_flow_over_time_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the verdict and in the report, not by an empty place alone."""
    monkeypatch.setitem(SIMULATORS._entries, "links", Entry(place=Untimed))
    run = perform(tmp_path, simulator="links", watched=[1, 2])
    assert run.verdict is not None
    assert run.verdict.is_valid
    assert any("no timeline, as links follows" in text for text in run.verdict.remarks)
    page = run.report().path.read_text(encoding="utf-8")
    assert "links follows no flow over time" in page
    assert "links does not look at them" in page
    assert run.count("timeline") == 0


def test_the_report_shows_slowdowns_links_and_timelines(tmp_path: Path) -> None:
    """Every chart is there, and the page can be written."""
    run = perform(tmp_path)
    titles = set(run.figures)
    assert {
        "Slowdown by size of the flow",
        "Completion time against size",
        "Loads and queues on the topology",
        "Queues over time",
        "A flow over time: its window",
    } <= titles
    assert run.report().path.stat().st_size > 100_000


def test_a_run_that_got_nowhere_has_a_report_all_the_same(tmp_path: Path) -> None:
    """It says that there is nothing to show yet."""
    run = Run.create(tmp_path, KIND.name, read())
    run.presenter = KIND
    assert "nothing to show" in run.report().path.read_text(encoding="utf-8")


def test_a_mesh_of_hosts_can_be_drawn(tmp_path: Path) -> None:
    """Also a ring, where links join nodes that are equally far from hosts."""
    for kind in ("star", "wan-ring", "leaf-spine"):
        run = perform(tmp_path / kind, topology={"kind": kind}, flows=[{"n_flows": 50}])
        assert run.figure("Loads").chart.to_dict()


def test_the_most_exact_simulator_that_fits_is_taken(tmp_path: Path) -> None:
    """The run says which and why; one that is resumed keeps it."""
    run = perform(tmp_path, simulator="auto", budget_s=1e6)
    assert run.table("configurations")["simulator"].to_pylist() == ["packet"]
    (row,) = run.table("rungs").to_pylist()
    assert row["simulator"] == "packet"
    assert row["is_taken"]
    assert row["predicted_s"] >= 0
    assert "packet is the most exact simulator that fits" in run.manifest.notes[0]
    with pytest.raises(ValidationError, match="budget_s is what simulator 'auto'"):
        read(simulator="auto")
    with pytest.raises(ValidationError, match="budget_s is what simulator 'auto'"):
        read(budget_s=1.0)


def test_what_a_corrector_told_is_not_called_valid(tmp_path: Path) -> None:
    """Flows of an estimate do not say what it was warned of, so the run cannot."""
    run = perform(tmp_path, simulator="estimate", n_paths=3)
    assert not run.verdict.is_valid
    assert any("that a corrector told" in reason for reason in run.verdict.reasons)


class Resending(FakeSimulation):
    """Loses packets of every flow."""

    def results(self) -> FlowResults:
        """The same, with packets that were sent again."""
        found = super().results()
        return replace(found, n_retransmitted=np.ones_like(found.n_retransmitted))


class Lossy(FakeSimulator):
    """Packets in queues that overflow."""

    def begin(self, problem: Any, state: Any = None) -> Resending:
        """Begin."""
        return Resending(problem, state)


def test_windows_that_lose_packets_are_not_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way when they begin is sent as new flows."""

    def hybrid(share: float) -> HybridSimulator:
        return HybridSimulator(
            inner=Lossy(), fluid=FluidSimulator(), share=share, fewest_flows=0
        )

    entry = Entry(place=hybrid, options=("share",))
    monkeypatch.setitem(SIMULATORS._entries, "hybrid", entry)
    run = perform(tmp_path, simulator="hybrid", share=0.25)
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert any("lost packets" in one for one in run.verdict.reasons)


class Losing(FakeSimulation):
    """Loses packets where nothing should."""

    def results(self) -> FlowResults:
        """The same, with drops."""
        found = super().results()
        dropped = np.full(len(found.links.n_dropped), 70)
        return replace(found, links=replace(found.links, n_dropped=dropped))


class Overwhelmed(FakeSimulator):
    """A judge on a machine that is too slow for it."""

    def begin(self, problem: Any, state: Any = None) -> Losing:
        """Begin."""
        return Losing(replace(problem, watched=(), sample_ns=0), state)


def test_what_a_judge_lost_by_itself_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links with a queue may lose packets; endless ones do not."""
    monkeypatch.setitem(SIMULATORS._entries, "kernel", Entry(place=Overwhelmed))
    run = perform(tmp_path, simulator="kernel")
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert any("were lost by this machine" in one for one in run.verdict.reasons)
    queues = [{"links": "*", "max_packets": 100}]
    run = perform(tmp_path, simulator="kernel", queues=queues)
    assert run.verdict is not None
    assert run.verdict.is_valid


def test_flows_outside_of_windows_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each names its donor, and intervals are over batches of what was simulated."""

    def hybrid(share: float) -> HybridSimulator:
        return HybridSimulator(
            inner=FakeSimulator(),
            fluid=FluidSimulator(),
            share=share,
            n_windows=8,
            fewest_flows=0,
        )

    entry = Entry(place=hybrid, options=("share",))
    monkeypatch.setitem(SIMULATORS._entries, "hybrid", entry)
    run = perform(tmp_path, simulator="hybrid", share=0.25)
    rows = run.table("flows").to_pylist()
    drawn = [row for row in rows if row["drawn_from"] is not None]
    assert 400 < len(drawn) < 800
    assert all(rows[row["drawn_from"]]["drawn_from"] is None for row in drawn)
    assert run.verdict is not None
    said = " ".join(run.verdict.remarks)
    assert f"{len(drawn):,} of 800 flows of hybrid were not simulated" in said
    assert "times what packets are over fluid" in said
    assert {one.units[0] for one in samples(run)} == {"batch 0"}
    assert run.report().path.is_file()


def test_flows_that_were_drawn_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each names its donor, stands beside the verdict, and carries no percentile."""
    place = PathsSimulator

    def paths(n_paths: int) -> PathsSimulator:
        return place(inner=FakeSimulator(), n_paths=n_paths)

    entry = Entry(place=paths, options=("n_paths",))
    monkeypatch.setitem(SIMULATORS._entries, "paths", entry)
    run = perform(tmp_path, simulator="paths", n_paths=3)
    rows = run.table("flows").to_pylist()
    drawn = [row for row in rows if row["drawn_from"] is not None]
    assert 100 < len(drawn) < 800
    for row in drawn:
        donor = rows[row["drawn_from"]]
        assert donor["drawn_from"] is None
        assert row["slowdown"] == pytest.approx(donor["slowdown"], rel=0.01)
    assert run.verdict is not None
    said = " ".join(run.verdict.remarks)
    assert f"{len(drawn):,} of 800 flows of paths were not simulated" in said
    (shown,) = run.sql(
        "SELECT slowdown_p99, slowdown_p50, n FROM classes WHERE size_class = 'all'"
    ).to_pylist()
    assert shown["slowdown_p99"] is None  # 800 flows carry one, so few of them do not
    assert shown["slowdown_p50"] is not None
    unseen = run.sql("SELECT count(*) AS n FROM links WHERE n_dropped IS NULL")
    assert unseen["n"][0].as_py() > 0
    assert {one.units[0] for one in samples(run)} == {"batch of ends 0"}
    assert run.report().path.is_file()
