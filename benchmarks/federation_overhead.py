"""What does the federation add to a request, where its providers answer at once?

Three recorded providers without latency, all asked in parallel, fused by WBF. One
request after another, in one process, interleaved:

- ``floor``: the three providers are asked by hand and their answers fused;
- ``engine``: the same through the federation: limits, breakers, a reservation and a
  settlement in the ledger for each call, cleaning, the policy, what is told of it all;
- ``cached``: the federation again, with an answer that it has.

And over HTTP, to processes of their own: ``http cached`` is ``POST /detect`` with an
answer that the service has, ``http floor`` the least HTTP server there is, which reads
the same image and sends the same bytes back.

    python benchmarks/federation_overhead.py [--quick] [--data DIR]

DIR is not needed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import uvicorn
import uvloop

from midhaul.federation.fusion import fuser_named
from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.prices import PriceList
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.providers.local import RecordedProvider
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.federation.recordings.vocabulary import Vocabulary
from midhaul.federation.serving import Federation, Knowledge
from midhaul.services.http import read_body, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from midhaul.services.http import Receive, Scope, Send

NAMES = ("person", "car", "bus")
N_ITEMS, N_BOXES = 200, 6
TIMES_FLOOR = 12.0
TIMES_HTTP_FLOOR = 2.5


def recording() -> Recording:
    """Three providers that find the same things, each a little elsewhere."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (N_ITEMS * N_BOXES, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 200, corners.shape)], 1)
    labels = rng.integers(0, len(NAMES), len(boxes)).astype(np.int32)
    answers = [
        Answers.of_rows(
            np.repeat(np.arange(N_ITEMS), N_BOXES),
            N_ITEMS,
            labels,
            rng.uniform(0.1, 1, len(boxes)).astype(np.float32),
            (boxes + rng.normal(0, 3, boxes.shape)).astype(np.float32),
        )
        for _ in range(3)
    ]
    return Recording(
        task="boxes",
        items=tuple(f"i{i}" for i in range(N_ITEMS)),
        names=NAMES,
        providers=("a", "b", "c"),
        prices_usd=np.full(3, 0.001),
        answers=tuple(answers),
        sizes_px=np.full((N_ITEMS, 2), 800, np.float32),
    )


async def engine(n: int, folder: Path) -> dict[str, float]:
    """Median times in one process, in seconds."""
    whole = recording()
    fuser = fuser_named("wbf")
    prices = PriceList.flat(dict.fromkeys(whole.providers, 0.001))
    providers = [RecordedProvider(whole, name) for name in whole.providers]
    everybody = np.array([whole.everyone], np.int64)
    knowledge = Knowledge(
        task="boxes",
        vocabulary=Vocabulary(NAMES),
        policy=FixedPolicy(mask=whole.everyone),
        fuser=fuser,
    )
    with Ledger.open(folder / "ledger.tsv", sync="interval") as ledger:
        guard = BudgetGuard(ledger, Budgets(run_usd=1e6), run="run", prices=prices)
        async with Federation(providers, knowledge, guard, prices) as federation:

            async def by_hand(number: int) -> None:
                item = number % N_ITEMS
                await asyncio.gather(
                    *(p.predict(b"", item=f"i{item}", timeout_s=1) for p in providers)
                )
                fuser.fuse(whole.take(np.array([item])), everybody)

            async def federated(number: int) -> None:
                answer = await federation.answer(
                    b"%d" % number, item=f"i{number % N_ITEMS}", size_px=(800, 800)
                )
                if answer.status != "complete":
                    sys.exit(f"an answer is {answer.status}")

            async def cached(number: int) -> None:
                del number
                await federation.answer(b"0", item="i0")

            return await medians(
                {"floor": by_hand, "engine": federated, "cached": cached}, n
            )


async def medians(
    ways: dict[str, Callable[[int], Awaitable[None]]], n: int
) -> dict[str, float]:
    """Median time of each way, one after another in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(n):
        for name, way in ways.items():
            begin = time.perf_counter()
            await way(number)
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(found[n // 10 :])) for name, found in times.items()}


def over_http(n: int, folder: Path) -> dict[str, float]:
    """Median times over HTTP, in seconds."""
    image = cv2.imencode(".jpg", np.full((480, 640, 3), 90, np.uint8))[1].tobytes()
    (folder / "words.toml").write_text('names = ["person", "car"]\n')
    file = folder / "federation.toml"
    file.write_text(
        'port = 0\n[policy]\nvocabulary = "words.toml"\n[[providers]]\nname = "a"\n'
        'spec = "local:null"\nprice_usd = 0.001\n'
    )
    serve = [sys.executable, "-m", "midhaul", "serve", "federation", str(file)]
    bare = [sys.executable, __file__, "--floor"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for command in (serve, bare)
    ]
    try:
        urls = [p.stdout.readline().split("http://")[1] for p in processes if p.stdout]
        hosts = [url.partition("/")[0].strip() for url in urls]
        ends = [http.client.HTTPConnection(host) for host in hosts]
        first = ask(ends[0], image)
        if first["status"] != "complete":
            sys.exit(f"the service answers {first}")
        times = np.zeros((n, 2))
        for row in times:
            for way, end in enumerate(ends):
                begin = time.perf_counter()
                ask(end, image)
                row[way] = time.perf_counter() - begin
        found = np.median(times[n // 10 :], axis=0).tolist()
        return dict(zip(("http cached", "http floor"), found, strict=True))
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ask(end: http.client.HTTPConnection, image: bytes) -> dict[str, Any]:
    """One request over a connection that stays open."""
    end.request("POST", "/detect", image)
    return json.loads(end.getresponse().read())


def floor() -> None:
    """The least HTTP server: it reads an image and sends as much as an answer has."""
    body = json.dumps({"status": "complete", "filling": "x" * 600}).encode()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(scope, receive, max_bytes=1 << 20, timeout_s=10)
        await write(send, 200, body, b"application/json")

    server = uvicorn.Server(
        uvicorn.Config(
            application, port=0, log_level="warning", access_log=False,
            lifespan="off", http="httptools", loop="uvloop", ws="none",
        )
    )  # fmt: skip
    socket = server.config.bind_socket()
    print(f"http://127.0.0.1:{socket.getsockname()[1]}/", flush=True)
    server.run(sockets=[socket])


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        floor()
        return 0
    n = 300 if options.quick else 3000
    with tempfile.TemporaryDirectory() as name:
        times = uvloop.run(engine(n, Path(name))) | over_http(n, Path(name))
    for way, seconds in times.items():
        print(f"{way:12} p50 {seconds * 1e6:8.0f} µs")
    figures = [
        ("engine_over_floor", times["engine"] / times["floor"], TIMES_FLOOR),
        ("cached_over_engine", times["cached"] / times["engine"], 0.2),
        (
            "http_cached_over_http_floor",
            times["http cached"] / times["http floor"],
            TIMES_HTTP_FLOOR,
        ),
    ]
    is_short = False
    for name, value, bar in figures:
        is_met = value <= bar
        is_short |= not is_met
        print(
            f"figure {name} {value:.4f} - bar <={bar:g} {'ok' if is_met else 'short'}"
        )
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
