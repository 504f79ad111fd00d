"""A federation as a process, before a node that finds nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def served_federation(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Its URL, and what it has written."""
    said = folder / "said.txt"
    (folder / "words.toml").write_text('names = ["person", "car"]\n')
    with LocalLauncher(folder) as launcher, said.open("wb") as log:
        node = launcher.start(NodeSettings(name="node", detector="null"), {})
        (folder / "federation.toml").write_text(
            'port = 0\n[policy]\nvocabulary = "words.toml"\n'
            '[ledger]\nfile = "ledger.tsv"\n[[providers]]\nname = "a"\n'
            f'spec = "{node.url}"\nprice_usd = 0.001\n'
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "midhaul", "serve", "federation",
             folder / "federation.toml"],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = line.partition("/detect")[0].rpartition(" ")[2]
            yield url, lambda: said.read_text(errors="replace")
        finally:
            process.kill()
            process.communicate()
