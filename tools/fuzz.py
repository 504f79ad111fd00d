"""Have every reader read what nobody meant, and the servers hear it.

    python tools/fuzz.py [--seconds N] [--only NAME …] [--found DIR] [--blind]

Readers are those of the tests (``tests/support/readers.py``), and so is the rule: a
content is good, or a ``MidhaulError`` says in a few words what is wrong. Each reader
gets N seconds. Where atheris is installed (the group ``fuzz``), what the code goes
through steers the changes; with ``--blind``, or without atheris, they are drawn. What
breaks a reader is kept in DIR.

A node (``--only "served node"``), a federation (``"served federation"``) and a memory
(``"served memory"``) get requests that were changed: any bytes end in a status or in a
close, not in an error of its own, and it is healthy after them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.util
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
LARGEST_BYTES = 20_000
"""Of a content from which the changes begin: large ones only cost time."""
SLOW_S, MEMORY_MB = 20, 3000
SERVERS = ("served node", "served federation", "served memory")


def corpus() -> list[bytes]:
    """Contents to begin with: what the tests have, and small good files."""
    from tests.support.bad_files import ALL  # noqa: PLC0415
    from tests.support.good_files import GOOD  # noqa: PLC0415

    return [*GOOD, *(d for d in ALL.values() if len(d) <= LARGEST_BYTES)]


def places(name: str, folder: Path) -> list[Path]:
    """The files by whose names a reader tells what it reads."""
    from tests.support.readers import SUFFIXES  # noqa: PLC0415

    return [folder / f"file{ending}" for ending in SUFFIXES.get(name, (".txt",))]


def instrument() -> None:
    """Import the readers so that what they go through is seen."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["midhaul"]):
        importlib.import_module("tests.support.readers")


def steered(name: str, seconds: float, found: Path) -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris  # noqa: PLC0415
    from tests.support.readers import READERS, told  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "corpus").mkdir()
        for number, data in enumerate(corpus()):
            (folder / "corpus" / f"{number}").write_bytes(data)
        files = places(name, folder)

        def test(data: bytes) -> None:
            for file in files:
                file.write_bytes(data)
                if (error := told(READERS[name], file)) is not None:
                    raise error

        atheris.Setup(
            [
                "fuzz",
                f"-max_total_time={seconds:.0f}",
                f"-timeout={SLOW_S}",
                f"-rss_limit_mb={MEMORY_MB}",
                f"-artifact_prefix={found}/{name.replace(' ', '-')}-",
                f"-max_len={LARGEST_BYTES}",
                "-print_final_stats=1",
                str(folder / "corpus"),
            ],
            test,
        )
        atheris.Fuzz()


def drawn(name: str, seconds: float, seed: int) -> Iterator[tuple[bytes, str]]:
    """What breaks a reader, by drawn changes: content and words."""
    from tests.support.mutations import mutant  # noqa: PLC0415
    from tests.support.readers import READERS, told  # noqa: PLC0415

    rng, contents, n = random.Random(seed), corpus(), 0  # noqa: S311
    end_s = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as temporary:
        files = places(name, Path(temporary))
        while time.monotonic() < end_s:
            data = mutant(contents, rng)
            for file in files:
                file.write_bytes(data)
                if (error := told(READERS[name], file)) is not None:
                    yield data, f"{type(error).__name__}: {str(error)[:200]}"
            n += 1
    print(f"{name}: {n} contents", flush=True)


@contextlib.contextmanager
def server(name: str) -> Iterator[tuple[str, Callable[[], str], list[bytes]]]:
    """A server's URL, what it has written, and requests to begin with."""
    from tests.support import raw_http  # noqa: PLC0415
    from tests.support.federations import served_federation  # noqa: PLC0415
    from tests.support.served_memory import logged_memory, requests  # noqa: PLC0415

    from midhaul.testbed.nodes.launcher import LocalLauncher  # noqa: PLC0415
    from midhaul.testbed.nodes.settings import NodeSettings  # noqa: PLC0415

    if name == SERVERS[0]:
        with LocalLauncher() as launcher:
            node = launcher.start(NodeSettings(name="edge", detector="null"), {})
            yield node.url, node.log, raw_http.requests()
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name == SERVERS[1]:
            with served_federation(folder) as (url, log):
                yield url, log, raw_http.requests_to_a_federation()
            return
        with logged_memory(folder) as (url, log):
            yield url, log, requests(folder)


def served(name: str, seconds: float, seed: int) -> Iterator[tuple[bytes, str]]:
    """What a server does not bear."""
    from tests.support.mutations import mutant  # noqa: PLC0415
    from tests.support.raw_http import is_healthy, problem_of  # noqa: PLC0415

    rng, n = random.Random(seed), 0  # noqa: S311
    end_s = time.monotonic() + seconds
    with server(name) as (url, log, contents):
        while time.monotonic() < end_s:
            data = mutant(contents, rng)
            if problem := problem_of(url, data):
                yield data, problem
            if not is_healthy(url):
                yield data, f"no healthy request after it; {log()[-500:]}"
            n += 1
        if "Traceback" in (said := log()):
            yield b"", f"an error of its own: {said[-500:]}"
    print(f"{name}: {n} requests", flush=True)


def in_a_child(name: str, seconds: float, found: Path) -> int:
    """Fuzz one reader in a copy of this process; 1 where something was found."""
    with tempfile.TemporaryFile() as log:
        pid = os.fork()
        if pid == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                steered(name, seconds, found)
            finally:
                os._exit(3)  # atheris ends the process itself
        _, status = os.waitpid(pid, 0)
        log.seek(0)
        said = log.read().decode(errors="replace").splitlines()
    if status:
        print(f"{name}: found\n" + "\n".join(said[-40:]), flush=True)
        return 1
    n = next((x.split()[-1] for x in said if "executed_units" in x), "no")
    print(f"{name}: {n} contents", flush=True)
    return 0


def blindly(name: str, options: argparse.Namespace) -> int:
    """Fuzz a reader or a server with drawn changes; how much was found."""
    breaks = (
        served(name, options.seconds, options.seed)
        if name in SERVERS
        else drawn(name, options.seconds, options.seed)
    )
    words: set[str] = set()
    for data, problem in breaks:
        if problem in words:
            continue
        words.add(problem)
        mark = hashlib.sha256(data).hexdigest()[:12]
        file = options.found / f"{name.replace(' ', '-')}-{mark}"
        file.write_bytes(data)
        print(f"{name}: {problem}\n  kept as {file}", flush=True)
    return len(words)


def main() -> int:
    """Search; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each reader")
    parser.add_argument("--only", nargs="*", help="names of readers, or servers")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    options.found.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") is None and not options.blind:
        print("atheris is not installed: changes are drawn, not steered")
        options.blind = True
    if not options.blind:
        instrument()
    from tests.support.readers import READERS  # noqa: PLC0415

    n_found = 0
    for name in options.only or [*READERS, *SERVERS]:
        if options.blind or name in SERVERS:
            n_found += blindly(name, options)
        else:
            n_found += in_a_child(name, options.seconds, options.found)
    print(f"{n_found} found")
    return int(n_found > 0)


if __name__ == "__main__":
    sys.exit(main())
