"""federation.record: providers asked, and every answer kept; its forecast and budget.

What it will cost is known before: prices of its providers, a forecast, the budget.
Packets are captured with tcpdump while providers are asked.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, PrerequisiteError
from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.ledger_file import month_of
from midhaul.federation.money.prices import prices_of_file
from midhaul.federation.providers.catalogue import ProviderSpec, make_provider
from midhaul.federation.record import tables
from midhaul.federation.record.caller import (
    Asked,
    Asker,
    Journal,
    RecordTurn,
    keys_to_ask,
    turns_of,
)
from midhaul.federation.record.samples import RecordTables, sum_up
from midhaul.federation.record.tables import write_recording
from midhaul.machine.children import LoggedChild
from midhaul.machine.coroutines import run_coroutine
from midhaul.model import Verdict
from midhaul.vision.data.dataset import Faults
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.detector import stated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.money.prices import Forecast, PriceList
    from midhaul.federation.record.caller import CallKey
    from midhaul.federation.record.config import RecordConfig, SniffConfig
    from midhaul.federation.serving.config import AskedConfig
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.vision.data.dataset import Dataset

_LINGER_S = 0.25
_CAPTURED = re.compile(r"(\d+) packets? captured")
_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")
_HINT = (
    'setcap cap_net_raw,cap_net_admin=eip "$(command -v tcpdump)", or run as root; '
    "capture.is_on = false records without packets"
)


class Sniffer(LoggedChild):
    """Runs tcpdump; a context manager.

    Files are called after their time. PrerequisiteError where tcpdump is missing or may
    not capture.

    Attributes:
        n_packets: packets that were captured, known at the end.
        n_dropped: packets that the kernel could not hand over, known at the end.
    """

    def __init__(self, config: SniffConfig, folder: Path) -> None:
        program = shutil.which("tcpdump")
        if program is None:
            message = "capturing needs tcpdump, which is not installed"
            raise PrerequisiteError(message, "apt install tcpdump")
        self._file = tempfile.NamedTemporaryFile(prefix="midhaul-tcpdump-")  # noqa: SIM115 - gone with this
        super().__init__("tcpdump", Path(self._file.name), ready="listening on")
        self._words = arguments(config, folder, is_root=os.geteuid() == 0)
        self._program = program
        self.n_packets = self.n_dropped = 0

    def stop(self, *, is_kill: bool = False) -> None:
        """End; the files are complete then, and the numbers known."""
        if self.pid is None:
            return
        time.sleep(_LINGER_S)  # the last packets are on their way to the file
        super().stop(is_kill=is_kill)
        for line in self.said.splitlines():
            if found := _CAPTURED.search(line):
                self.n_packets = int(found[1])
            if found := _DROPPED.search(line):
                self.n_dropped = int(found[1])

    def _command(self) -> list[str]:
        return [self._program, *self._words]

    def _failure(self, message: str) -> PrerequisiteError:
        return PrerequisiteError(f"tcpdump does not capture: {message}", _HINT)


def arguments(config: SniffConfig, folder: Path, *, is_root: bool) -> list[str]:
    """What tcpdump is called with. Where root starts it, it becomes somebody else."""
    stem = config.region_pair or "capture"
    words = ["-i", config.device, "-n", "-U", "--immediate-mode"]
    words += ["-s", str(config.snaplen_bytes)]
    words += ["-G", str(config.rotate_s)]
    words += ["-w", str(folder / f"{stem}-%Y%m%d_%H%M%S.pcap")]
    if is_root:
        words += ["-Z", config.user or folder.owner()]
    return [*words, *config.filter.split()]


def list_price_usd(prices: PriceList, name: str) -> float:
    """What a call costs behind the free ones."""
    of = prices.of(name)
    n_free = math.ceil(of.free_units / of.units_per_call)
    return prices.price_usd(name, n_free)


def forecast_of(
    config: RecordConfig, prices: PriceList, ask: frozenset[CallKey], ledger: Ledger
) -> Forecast:
    """What the calls that are left will cost, behind those of the month so far."""
    now_s = ledger.now_s()
    month = month_of(now_s)
    names = [one.name for one in config.providers]
    return prices.forecast(
        {name: sum(key.provider == name for key in ask) for name in names},
        n_calls_before={
            name: ledger.spending.of_provider_month(name, month).n_calls
            for name in names
        },
        now_s=now_s,
    )


def tell(
    config: RecordConfig,
    forecast: Forecast,
    guard: BudgetGuard,
    n_calls: int,
    progress: Progress,
) -> None:
    """Say what the run will cost, before it begins."""
    parts = ", ".join(
        f"{name} {usd:.4g}" + (f" ({n} free)" if (n := forecast.n_free[name]) else "")
        for name, usd in forecast.usd.items()
    )
    spent = f"; {guard.spent_usd:.4g} were spent before" if guard.spent_usd else ""
    progress.note(
        f"{n_calls} calls will cost about {forecast.total_usd:.4g} USD: {parts}; the "
        f"budget is {config.budget_usd:.4g} USD{spent}"
    )
    for warning in forecast.warnings:
        progress.note(warning)


def check_budget(config: RecordConfig, forecast: Forecast, guard: BudgetGuard) -> None:
    """Refuse a run that would cost more than it may, by a ConfigError."""
    expected = forecast.total_usd + guard.spent_usd
    if expected > config.budget_usd * (1 + 1e-9) and not config.stops_at_budget:
        message = (
            f"the run would cost about {expected:.4g} USD, the budget is "
            f"{config.budget_usd:.4g} USD"
        )
        hint = "raise budget_usd, or set stops_at_budget = true"
        raise ConfigError(message, hint)


RECORDING = "recording"
CAPTURES = "captures"


def record(config: RecordConfig, run: Run, progress: Progress) -> None:
    """Send the image set to every provider, and keep what they answer.

    Every call is noted before it is made and when it has ended, so a run that was
    killed goes on with what nobody was asked about.
    """
    dataset = _dataset(config)
    run.tally(*dataset.tallies)
    for one in config.providers:
        kind, _, detector = str(one.spec).partition(":")
        if kind == "local":
            run.tally(*stated(detector).tallies)
    prices = prices_of_file(config.providers)
    asked = [_asked(one, config.seed) for one in config.providers]
    schedule = config.schedule
    turns = turns_of(
        dataset.image_ids,
        n_slices=schedule.n_slices,
        n_passes=schedule.n_passes,
        every_s=schedule.every_s,
    )
    ledger_file = config.ledger or run.file("ledger.tsv")
    with (
        Journal(run.file("journal.jsonl")) as journal,
        Ledger.open(ledger_file) as ledger,
    ):
        if ledger.recovery.sentence:
            run.note(f"The ledger was taken up again: {ledger.recovery.sentence}.")
        ask = keys_to_ask(turns, asked, journal, config.ask_again)
        guard = BudgetGuard(
            ledger, Budgets(run_usd=config.budget_usd), run=run.id, prices=prices
        )
        forecast = forecast_of(config, prices, ask, ledger)
        tell(config, forecast, guard, len(ask), progress)
        _write_configurations(config, run, prices, forecast, ask)
        if config.is_dry_run:
            run.verdict = Verdict(
                reasons=("a dry run asks nobody",), advice=("set is_dry_run = false",)
            )
            return
        check_budget(config, forecast, guard)
        recording = RecordTables(config, run, journal, turns)
        recording.write_all()
        asker = Asker(asked, journal, guard, read=dataset.read, save=recording.write)
        n_packets, n_dropped = _ask(config, run, asker, turns, ask, progress)
        recording.write_all()
        folder = run.file(f"{RECORDING}/answers.parquet").parent
        listed = {
            one.name: list_price_usd(prices, one.name) for one in config.providers
        }
        write_recording(folder, journal.calls.values(), dataset, listed)
        sum_up(config, run, n_packets=n_packets, n_dropped=n_dropped)


def _dataset(config: RecordConfig) -> Dataset:
    data = config.data
    dataset = open_dataset(
        data.kind,
        images=data.images,
        annotations=data.annotations,
        on_size_mismatch=data.on_size_mismatch,
        voc_origin=data.voc_origin,
        faults=Faults(data.on_bad_item),
        n_images=data.n_scenes,
        seed=config.seed,
    )
    if data.n_images:
        rng = np.random.default_rng([config.seed, 73])
        dataset = dataset.sample(data.n_images, rng)
    return dataset


def _asked(one: AskedConfig, seed: int) -> Asked:
    spec = ProviderSpec(
        spec=one.spec,
        name=one.name,
        region=one.region,
        endpoint=one.endpoint,
        token_env=one.token_env,
        n_at_once=one.n_at_once,
        is_trusted=one.is_trusted,
        seed=seed,
    )
    return Asked(
        provider=make_provider(spec),
        timeout_s=one.timeout_s,
        n_at_once=one.n_at_once,
        rate_hz=math.inf if one.rate_hz is None else one.rate_hz,
    )


def _write_configurations(
    config: RecordConfig,
    run: Run,
    prices: PriceList,
    forecast: Forecast,
    ask: frozenset[CallKey],
) -> None:
    if run.parts(tables.CONFIGURATIONS.name) and not config.is_dry_run:
        return  # a run that is resumed keeps what it began with
    rows = [
        {
            "configuration": number,
            "name": one.name,
            "spec": str(one.spec),
            "price_usd": list_price_usd(prices, one.name),
            "n_calls": sum(key.provider == one.name for key in ask),
            "forecast_usd": forecast.usd[one.name],
            "n_free": forecast.n_free[one.name],
        }
        for number, one in enumerate(config.providers)
    ]
    run.write(tables.CONFIGURATIONS, rows, part=0)


def _ask(
    config: RecordConfig,
    run: Run,
    asker: Asker,
    turns: Sequence[RecordTurn],
    ask: frozenset[CallKey],
    progress: Progress,
) -> tuple[int, int]:
    """Make all calls; the packets that tcpdump has captured meanwhile, and lost."""
    with contextlib.ExitStack() as stack:
        sniffer = None
        if config.capture.is_on:
            folder = run.file(f"{CAPTURES}/x").parent
            sniffer = stack.enter_context(Sniffer(config.capture, folder))
        task = stack.enter_context(progress.task("asking", total=len(ask)))
        run_coroutine(asker.run(turns, ask, _begins_s(turns, ask), task))
    return (0, 0) if sniffer is None else (sniffer.n_packets, sniffer.n_dropped)


def _begins_s(turns: Sequence[RecordTurn], ask: frozenset[CallKey]) -> float:
    """When the schedule begins: with the run, or so that a resumed one goes on now."""
    wanted = {(key.item, key.number) for key in ask}
    for turn in turns:
        if any((item, turn.pass_number) in wanted for item in turn.items):
            return time.time() - turn.after_s
    return time.time()
