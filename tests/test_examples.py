"""Every example runs, on tiny data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from midhaul.deploy.live.experiment import check_machine
from midhaul.errors import PrerequisiteError
from midhaul.kinds import KINDS
from midhaul.runs.experiment_file import read_file
from midhaul.runs.run import Run

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = EXAMPLES.parent.parent / "shared" / "data"
NODES = ("n_blocks=1", "load.n_requests=3", "load.max_warmup=0", "load.percentile=50.0")
LIVE = (
    "duration_s=8.0",
    "time_scale=60.0",
    "images.scale=0.004",
    "workload.n_curve_images=6",
    "workload.n_curve_sounds=12",
)
MEMORY = (
    "stream.n_periods=3",
    "stream.n_sessions=4",
    "fit.n_steps=10",
    "n_seeds=1",
    "n_resamples=100",
)
TINY = {
    "deploy-allocate.toml": ("draw.n=6", "uplink_bps=[1e6]"),
    "deploy-live.toml": LIVE,
    "deploy-live-trace.toml": LIVE,
    "deploy-plan.toml": ("with_prices=false",),
    "deploy-simulate.toml": ("duration_s=600.0", "n_repeats=1"),
    "federation-evaluate.toml": (
        "data.n_scenes=30",
        "n_seeds=1",
        "n_resamples=50",
        "budget_shares=[0.5]",
        "faults.phase_s=1.0",
        "faults.rate_hz=2.0",
    ),
    "federation-latency.toml": ("capture.n_requests=1", "n_resamples=100"),
    "federation-pascal.toml": (
        "data.n_items=100",
        "n_seeds=1",
        "n_resamples=50",
        "budget_shares=[0.5]",
        "faults.phase_s=1.0",
        "faults.rate_hz=2.0",
    ),
    "federation-record.toml": ("data.n_scenes=3", "n_resamples=100"),
    "federation-train.toml": ("data.n_scenes=60",),
    "federation-voc.toml": (
        "data.n_items=80",
        "n_seeds=1",
        "n_resamples=50",
        "budget_shares=[0.5]",
        "faults.phase_s=1.0",
        "faults.rate_hz=2.0",
    ),
    "accuracy.toml": ("data.n_scenes=3", 'encode=["jpeg:50"]', "judge.n_resamples=100"),
    "accuracy-coco.toml": ("data.n_images=3", "judge.n_resamples=100"),
    "memory-analyse.toml": (
        "viewing.n_days=2",
        "viewing.n_streams=30",
        "n_resamples=100",
    ),
    "memory-compare.toml": MEMORY,
    "memory-replay.toml": MEMORY,
    "measure.toml": ("data.n_scenes=3", "judge.n_resamples=100", *NODES),
    "overhead.toml": ("data.n_scenes=3", "judge.n_resamples=100", *NODES),
    "network-compare.toml": (
        "flows.foreground.n_flows=200",
        "flows.background.n_flows=400",
        'grid={simulator = ["packet", "fluid"]}',
        "n_resamples=100",
    ),
    "network-edge.toml": (
        "topology.counts={n_gateways = 4, n_metros = 3}",
        "flows.cameras.duration_s=2.0",
        "flows.recordings.duration_s=2.0",
        "flows.pulls.layers_bytes=[400000]",
        "flows.pulls.duration_s=1.0",
        'grid={transport = ["cubic", "bbr"]}',
        "n_resamples=100",
    ),
    "network-estimate.toml": (
        "flows.web.n_flows=1000",
        "n_paths=20",
        "headroom_paths=4",
        "n_blamed=1",
    ),
    "network-train.toml": (
        "n_scenarios=24",
        "n_tests=8",
        "amount={fewest = 60, most = 120, rdma_hops = 3e4, tcp_hops = 2e4}",
        "test_amount={fewest = 150, most = 150}",
        "fitting={n_nets = 1, n_epochs = 2, width = 16, hop_width = 8}",
        "curve=[12]",
        "n_resamples=100",
    ),
    "network-validate.toml": (
        "flows.web.n_flows=2000",
        "others=[]",
        "n_checked=3",
        "n_resamples=100",
    ),
    "network-whatif.toml": (
        "flows.uploads.n_flows=800",
        'vary={"queue.discipline" = ["fifo", "fq_codel"]}',
        "costs=[]",
        "n_seeds=1",
        "n_resamples=100",
    ),
    "network-simulate.toml": ("flows.web.n_flows=1000", "n_resamples=100"),
    "testbed-coco.toml": (
        "data.n_images=3",
        "judge.n_resamples=100",
        'grid={"edge.encode" = ["keep", "jpeg:25"], "edge.resize" = [0.5]}',
        *NODES,
    ),
}


def test_every_example_is_tried_and_every_kind_has_one() -> None:
    """Nothing in the folder is forgotten, and no kind is without its example."""
    files = sorted(EXAMPLES.glob("*.toml"))
    assert [file.name for file in files] == sorted(TINY)
    assert {read_file(file).kind for file in files} == set(KINDS)


@pytest.mark.parametrize("name", sorted(TINY))
def test_example(name: str, tmp_path: Path) -> None:
    """The example ends well, with a report and a summary."""
    needs_data = any(word in name for word in ("coco", "trace", "pascal", "voc"))
    if needs_data and not DATA.is_dir():
        pytest.skip(f"the example reads real data in {DATA}")
    if "live" in name:
        try:
            check_machine()
        except PrerequisiteError as error:
            pytest.skip(f"deploy.live cannot run here: {error.message}")
    words = [word for setting in TINY[name] for word in ("--set", setting)]
    command = [sys.executable, "-m", "midhaul", "run", str(EXAMPLES / name)]
    subprocess.run([*command, *words, "--out", str(tmp_path)], check=True, timeout=900)
    (folder,) = tmp_path.iterdir()
    run = Run.open(folder)
    assert run.status == "done"
    kind = KINDS[run.manifest.kind]
    declared = kind.load_metrics()
    rows = run.summary.rows
    assert rows
    assert {(row["metric"], row["unit"]) for row in rows} <= {
        (metric.name, metric.unit) for metric in declared.values()
    }
    for one in kind.samples_of(run):
        metric = declared[one.metric]
        assert (one.better, one.unit) == (metric.better, metric.unit)
    assert (folder / "report" / "index.html").stat().st_size > 100_000
