"""Does a run that is killed lose anything, leave anything behind, or end differently?

Every kind of experiment is run from its example, made small: twice undisturbed, then
again and again with SIGKILL, SIGINT or SIGTERM at a random moment and ``--resume``
until it is done. What two undisturbed runs agree in (every column of every table that
holds no measured time, every other file), the disturbed one must agree in as well.

``federation.record`` never asks again what may have been charged, so the calls that
were in flight at a kill stay unfinished. Exactly those calls may be, and are left out
of what is compared; the rest is compared as everywhere.

    python benchmarks/kills.py [--quick] [--data DIR] [--only KIND …] [--seed N]

After each kill no process that the run had started, or that those had started, may be
left two seconds later, every table must be readable, and SIGINT and SIGTERM must end
the program within three seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.experiment import check_machine
from midhaul.errors import MidhaulError, PrerequisiteError
from midhaul.federation.record.config import RecordConfig
from midhaul.federation.record.samples import sum_up
from midhaul.machine.warden import VARIABLE, bearers
from midhaul.runs.listing import list_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from midhaul.runs.run import Run

EXAMPLES = Path(__file__).parent.parent / "examples"
NODES = (
    "n_blocks=2",
    "load.n_requests=12",
    "load.max_warmup=0",
    "load.percentile=50.0",
)
CASES = {
    "testbed.measure": (
        "measure.toml",
        (
            "data.n_scenes=12",
            "judge.n_resamples=100",
            "load.rate_hz=20.0",
            'grid={"edge.encode"=["keep", "jpeg:50"]}',
            *NODES,
        ),
    ),
    "testbed.accuracy": (
        "accuracy.toml",
        (
            "data.n_scenes=24",
            'encode=["keep", "jpeg:50"]',
            "resize=[1.0]",
            "judge.n_resamples=100",
        ),
    ),
    "testbed.overhead": (
        "overhead.toml",
        ("data.n_scenes=6", "judge.n_resamples=100", *NODES),
    ),
    "deploy.plan": (
        "deploy-plan.toml",
        ("with_prices=false", 'planners=["mincut+exact", "additive-greedy+raa"]'),
    ),
    "deploy.allocate": ("deploy-allocate.toml", ("draw.n=20",)),
    "deploy.simulate": ("deploy-simulate.toml", ("duration_s=900.0", "n_repeats=3")),
    "deploy.live": (
        "deploy-live.toml",
        (
            "duration_s=4.0",
            "n_repeats=2",
            "time_scale=50.0",
            "images.scale=0.004",
            "requests.min_lifetime_min=2",
            "gateway.disk_bytes=30e6",
            "workload.detector=builtin:street-n",
            "workload.n_curve_images=6",
            "workload.n_curve_sounds=12",
        ),
    ),
    "federation.record": (
        "federation-record.toml",
        ("data.n_scenes=40", "n_resamples=100"),
    ),
    "federation.train": ("federation-train.toml", ("data.n_scenes=60",)),
    "federation.evaluate": (
        "federation-evaluate.toml",
        (
            "data.n_scenes=60",
            'policies=["single", "fixed", "frugal", "linucb", "oracle"]',
            "n_seeds=1",
            "n_resamples=50",
            "budget_shares=[0.5]",
            "faults.phase_s=2.0",
        ),
    ),
    "federation.latency": (
        "federation-latency.toml",
        ("capture.n_requests=2", "n_resamples=100"),
    ),
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
LEFT_S, END_S = 2.0, 3.0
PATIENCE_S = 600.0
JUDGED = (
    "is_valid",
    "reasons",
    "advice",
    "is_realised",
    "is_wasted",
    "planned_rate_hz",
    "rates.json",
    "steal",
)
"""Columns and files that say what became of measured times, such as whether a pull came
to its end within its slot, or what other guests of the machine took meanwhile, or that
differ in their last digit by where measured times agreed; equal by chance only."""
MEASURED = ("usage",)
"""Tables with a row for each second that a run lasted."""
SUMMED = tuple(f"summary.{name}" for name in ("value", "low", "high", "n", "remark"))
"""What is said of all calls of a recording; held to the run's own calls instead."""
CHAIN = 5
"""Kills of one run before it is let finish."""

CallKey = tuple[str, str, int]
"""Provider, item and pass of a call of a recording."""


@dataclass(slots=True)
class Account:
    """What was seen over all kinds."""

    n_kills: int = 0
    n_left: int = 0
    n_damaged: int = 0
    n_unequal: int = 0
    n_finished: int = 0
    ends_s: list[float] = field(default_factory=list[float])
    lefts_s: list[float] = field(default_factory=list[float])


def main() -> None:
    """Kill, resume, compare, and print the figures."""
    parser = argparse.ArgumentParser(description="Kill runs and resume them.")
    parser.add_argument("--quick", action="store_true", help="two kills of each kind")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, account = random.Random(options.seed), Account()  # noqa: S311
    n_each = 2 if options.quick else 10
    for kind in options.only:
        if kind == "deploy.live":
            try:
                check_machine()
            except PrerequisiteError as error:
                print(f"{kind}: left out: {error.message}")
                continue
        with tempfile.TemporaryDirectory("-kills") as folder:
            torment(kind, Path(folder), n_each, chance, account)
    n_wanted = n_each * len(options.only)
    sys.exit(report(account, n_wanted))


def torment(
    kind: str, root: Path, n_kills: int, chance: random.Random, account: Account
) -> None:
    """Kill runs of one kind and hold what becomes of them to undisturbed ones."""
    began_s = time.monotonic()
    first = finished(kind, root / "a")  # it also compiles what is compiled once
    begin_s = time.monotonic()
    undisturbed = [first, finished(kind, root / "b")]
    lasts_s = time.monotonic() - begin_s
    n_before, n_chains, n_cut = account.n_kills, 0, 0
    while account.n_kills - n_before < n_kills:
        out = root / f"disturbed-{n_chains}"
        n_chains += 1
        cut = set[CallKey]()
        for _ in range(min(CHAIN, n_kills - account.n_kills + n_before)):
            if is_done(out) or not kill(kind, out, chance, lasts_s, account):
                break
            cut |= in_flight(out)
        run = finished(kind, out)
        account.n_finished += 1
        n_cut += len(cut)
        if unlike := differences(undisturbed, run, cut):
            account.n_unequal += 1
            print(f"{kind}: a disturbed run differs in {', '.join(unlike)}")
    n = account.n_kills - n_before
    print(
        f"{kind}: {n} kills, {n_chains} runs, {n_cut} calls cut off, "
        f"{lasts_s:.1f} s undisturbed, {time.monotonic() - began_s:.0f} s in all",
        flush=True,
    )


def kill(
    kind: str, out: Path, chance: random.Random, lasts_s: float, account: Account
) -> bool:
    """Start or resume a run and kill it; False when it had ended by itself before."""
    token = f"kills-{os.getpid()}-{account.n_kills}-{chance.random()}"
    process = start(kind, out, token)
    how = chance.choice(SIGNALS)
    try:
        process.wait(chance.uniform(0.2, lasts_s))
    except subprocess.TimeoutExpired:
        pass
    else:
        return False
    begin_s = time.monotonic()
    process.send_signal(how)
    process.wait(PATIENCE_S)
    ended_s = time.monotonic()
    if how != signal.SIGKILL:
        account.ends_s.append(ended_s - begin_s)
    while left := bearers(token):
        if time.monotonic() > ended_s + LEFT_S:
            account.n_left += len(left)
            for pid in left:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                print(f"{kind}: left after {how.name}: {words[:4]}")
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    else:
        account.lefts_s.append(time.monotonic() - ended_s)
    account.n_kills += 1
    account.n_damaged += not is_readable(out)
    return True


def start(kind: str, out: Path, token: str) -> subprocess.Popen[bytes]:
    """Start or resume the only run below a folder."""
    example, settings = CASES[kind]
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "midhaul", "run", str(EXAMPLES / example), *words]
    return subprocess.Popen(
        [*command, "--out", str(out), "--no-report", "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: token},
    )


def finished(kind: str, out: Path) -> Run:
    """The run below a folder, brought to its end.

    Raises:
        RuntimeError: it does not come to its end.
    """
    if not is_done(out):
        code = start(kind, out, "undisturbed").wait(PATIENCE_S)
        if code:
            message = f"{kind} ends with {code} in {out}"
            raise RuntimeError(message)
    (run,) = (run for run in list_runs(out) if run.status == "done")
    return run


def is_done(out: Path) -> bool:
    """Whether a run below a folder has come to its end."""
    return out.is_dir() and any(run.status == "done" for run in list_runs(out))


def is_readable(out: Path) -> bool:
    """Whether every table of every run below a folder can be read."""
    try:
        for run in list_runs(out):
            for table in run.tables():
                run.sql(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - our names
    except MidhaulError as error:
        print(error)
        return False
    return True


def in_flight(out: Path) -> set[CallKey]:
    """The calls that a killed recording had made and that nobody answered in time."""
    found = dict[Any, str]()
    for run in list_runs(out):
        journal = run.dir / "files" / "journal.jsonl"
        text = journal.read_text() if journal.is_file() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                call = json.loads(line)
                found[tuple(call["key"])] = call["status"]
    return {key for key, status in found.items() if status == "unfinished"}


def content(run: Run, cut: Collection[CallKey]) -> dict[str, Any]:
    """Each column of each table as a bag of values, its length, and all other files.

    Args:
        run: that is done.
        cut: calls whose rows, and whose part in the summary, are left out.
    """
    found = dict[str, Any]()
    for table in set(run.tables()) - set(MEASURED):
        rows = run.sql(f'SELECT * FROM "{table}"').to_pylist()  # noqa: S608 - our names
        if cut:
            rows = [row for row in rows if call_of(run, row) not in cut]
        found[table] = len(rows)
        for name in rows[0] if rows else ():
            column = f"{table}.{name}"
            if name not in JUDGED and not (cut and column in SUMMED):
                found[column] = Counter(repr(row[name]) for row in rows)
    for file in sorted((run.dir / "files").rglob("*")):
        if file.is_file() and file.name not in JUDGED:
            name = str(file.relative_to(run.dir))
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def call_of(run: Run, row: dict[str, Any]) -> CallKey | None:
    """The call that a row is about; None where it is about none."""
    if "pass" not in row:
        return None
    number = int(row["configuration"])
    return run.config_values()["providers"][number]["name"], row["item"], row["pass"]


def differences(
    undisturbed: Sequence[Run], run: Run, cut: Collection[CallKey]
) -> list[str]:
    """Where a run is not what undisturbed ones agree to be, but for calls cut off."""
    first, second, found = (content(one, cut) for one in (*undisturbed, run))
    unlike = [
        key
        for key, value in first.items()
        if second.get(key) == value and found.get(key) != value
    ]
    if run.manifest.kind == "federation.record":
        if unfinished(run) != set(cut):
            unlike.append("which calls are unfinished")
        said = run.sql("FROM summary ORDER BY ALL").to_pylist()
        sum_up(RecordConfig.model_validate(run.config_values(), strict=False), run)
        if repr(said) != repr(run.sql("FROM summary ORDER BY ALL").to_pylist()):
            unlike.append("the sum of its own calls")
    return unlike


def unfinished(run: Run) -> set[CallKey | None]:
    """The calls of a recording that nobody knows the answers of."""
    rows = run.sql("SELECT * FROM calls").to_pylist()
    return {call_of(run, row) for row in rows if row.get("status") == "unfinished"}


def report(account: Account, n_wanted: int) -> int:
    """Print the figures; 1 when one is short."""
    figures: list[tuple[str, float, str, float, bool]] = [
        ("kills", account.n_kills, "kills", n_wanted, account.n_kills >= n_wanted),
        ("processes_left", account.n_left, "processes", 0, account.n_left == 0),
        ("tables_damaged", account.n_damaged, "kills", 0, account.n_damaged == 0),
        ("runs_unequal", account.n_unequal, "runs", 0, account.n_unequal == 0),
    ]
    for name, times, bar in (
        ("slowest_end_after_signal", account.ends_s, END_S),
        ("slowest_end_of_children", account.lefts_s, LEFT_S),
    ):
        worst = max(times, default=0.0)
        figures.append((name, round(worst, 2), "s", bar, worst <= bar))
    for name, value, unit, bar, is_ok in figures:
        print(f"figure {name} {value} {unit} bar {bar} {'ok' if is_ok else 'short'}")
    return int(not all(is_ok for *_, is_ok in figures))


if __name__ == "__main__":
    main()
