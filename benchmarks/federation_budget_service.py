"""The processes of the budget benchmark: a federation's service, and its providers."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal
    from collections.abc import Generator, Sequence

BILLED = ("ok", "timeout", "unavailable", "malformed")
PROVIDERS: tuple[dict[str, Any], ...] = (
    {"price_usd": 0.0004, "latency_s": 0.02, "throttled": 0.05, "unavailable": 0.08,
     "malformed": 0.02, "timeout": 0.03},
    {"price_usd": 0.001, "latency_s": 0.03, "throttled": 0.02, "unavailable": 0.05,
     "timeout": 0.01},
    {"price_usd": 0.002, "latency_s": 0.04, "unavailable": 0.01},
)  # fmt: skip
NAMES = "abc"
TIMEOUT_S = 1.0
RETRY_S = 0.1


class Service:
    """The federation's process; killed and started again under the same address."""

    def __init__(self, folder: Path, ports: Sequence[int], budget_usd: float) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "words.toml").write_text('names = ["person", "car"]\n')
        (folder / "federation.toml").write_text(
            f"port = {self.port}\nmax_requests = 20_000\ndrain_s = 20.0\n"
            '[policy]\nname = "cheapest-first"\nvocabulary = "words.toml"\n'
            f'[budget]\nrun_usd = {budget_usd:.9f}\n[ledger]\nfile = "ledger.tsv"\n'
            + "".join(
                f'[[providers]]\nname = "{name}"\nspec = "http://127.0.0.1:{port}"\n'
                f"price_usd = {one['price_usd']}\ntimeout_s = {TIMEOUT_S}\n"
                f"n_at_once = 48\nretry = {{ attempts = 2, base_s = {RETRY_S} }}\n"
                for name, port, one in zip(NAMES, ports, PROVIDERS, strict=True)
            )
        )
        self.process = self.start()

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, whatever happened."""
        self.process.kill()
        self.process.wait()

    @property
    def ledger(self) -> Path:
        """Its ledger."""
        return self.folder / "ledger.tsv"

    def start(self) -> subprocess.Popen[str]:
        """Start, and wait until it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "midhaul", "serve", "federation",
             str(self.folder / "federation.toml")],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = first_line(self.process)
        if self.url not in line:
            self.process.kill()
            sys.exit(f"the service did not start: {line}")
        return self.process

    def end(self, how: signal.Signals) -> int:
        """Send a signal, and wait for the end; the exit code."""
        self.process.send_signal(how)
        self.process.communicate()
        return self.process.returncode


def first_line(process: subprocess.Popen[str]) -> str:
    """What a process says first; empty when it ends before."""
    return "" if process.stdout is None else process.stdout.readline()


@contextlib.contextmanager
def counting(
    folder: Path,
    budget_usd: float,
    providers: Sequence[dict[str, Any]] = PROVIDERS,
) -> Generator[list[int]]:
    """The providers' process; their ports."""
    file = folder / "providers.json"
    file.write_text(
        json.dumps({"budget_usd": budget_usd, "billed": BILLED, "providers": providers})
    )
    script = Path(__file__).parent / "counting_providers.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(file)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield json.loads(first_line(process))
    finally:
        process.kill()
        process.communicate()
